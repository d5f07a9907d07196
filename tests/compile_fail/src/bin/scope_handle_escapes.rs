//! error: lifetime may not live long enough
fn main() {
    let _escaped = greenroom::scope(|s| s.spawn(|| 1));
}
