//! error: E0277
use std::rc::Rc;

fn main() {
    let _ = greenroom::spawn(|| Rc::new(1));
}
