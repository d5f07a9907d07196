use std::sync::Arc;

fn main() {
    let shared = Arc::new(1);
    let _ = greenroom::spawn(move || println!("{shared}"));
}
