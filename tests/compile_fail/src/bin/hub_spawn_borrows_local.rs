//! error: E0373 E0597
fn main() {
    let text = String::from("mine");
    let _ = greenroom::hub::current().spawn(|| println!("{text}"));
}
