fn main() {
    let text = String::from("mine");
    let _ = greenroom::spawn(move || println!("{text}"));
}
