fn main() {
    let text = String::from("outlives the scope");
    let _outcome = greenroom::try_scope(|s| {
        s.spawn(|| Ok(println!("{text}")));
        Ok::<_, ()>(())
    });
}
