//! error: E0373 E0597
fn main() {
    greenroom::scope(|s| {
        let text = String::from("dropped before the scope joins");
        s.spawn(|| println!("{text}"));
    });
}
