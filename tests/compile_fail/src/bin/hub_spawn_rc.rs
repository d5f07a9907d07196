//! error: E0277
use std::rc::Rc;

fn main() {
    let shared = Rc::new(1);
    let _ = greenroom::hub::current().spawn(move || println!("{shared}"));
}
