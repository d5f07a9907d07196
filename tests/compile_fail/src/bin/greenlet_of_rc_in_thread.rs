//! error: E0277
use std::rc::Rc;

fn main() {
    let greenlet = greenroom::spawn_local(|| Rc::new(1));
    std::thread::spawn(move || drop(greenlet));
}
