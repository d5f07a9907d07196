use std::sync::Arc;

fn main() {
    let shared = Arc::new(1);
    let _ = greenroom::hub::current().spawn(move || println!("{shared}"));
}
