use std::sync::Arc;

fn main() {
    let greenlet = greenroom::spawn(|| Arc::new(1));
    std::thread::spawn(move || drop(greenlet));
}
