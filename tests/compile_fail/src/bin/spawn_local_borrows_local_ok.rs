fn main() {
    let text = String::from("mine");
    let _ = greenroom::spawn_local(move || println!("{text}"));
}
