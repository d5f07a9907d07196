//! error: E0277
use std::rc::Rc;

fn main() {
    let shared = Rc::new(1);
    let _ = greenroom::spawn(move || println!("{shared}"));
}
