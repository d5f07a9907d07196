fn main() {
    let text = String::from("outlives the scope");
    greenroom::scope(|s| {
        s.spawn(|| println!("{text}"));
    });
}
