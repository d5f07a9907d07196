fn main() {
    let text = String::from("mine");
    let _ = greenroom::hub::current().spawn(move || println!("{text}"));
}
