fn main() {
    let _escaped = greenroom::try_scope(|s| Ok::<_, ()>(s.spawn(|| Ok(1)).join().unwrap()));
}
