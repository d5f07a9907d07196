//! error: E0373 E0597
fn main() {
    let _outcome = greenroom::try_scope(|s| {
        let text = String::from("dropped before the scope joins");
        s.spawn(|| Ok(println!("{text}")));
        Ok::<_, ()>(())
    });
}
