//! error: lifetime may not live long enough
use std::cell::Cell;

greenroom::green_local! {
    static X: Cell<i32> = Cell::new(0);
}

fn main() {
    let _escaped = X.with(|x| x);
}
