//! error: lifetime may not live long enough
fn main() {
    let _escaped = greenroom::try_scope(|s| Ok::<_, ()>(s.spawn(|| Ok(1))));
}
