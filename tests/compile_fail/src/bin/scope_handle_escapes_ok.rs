fn main() {
    let _escaped = greenroom::scope(|s| s.spawn(|| 1).join());
}
