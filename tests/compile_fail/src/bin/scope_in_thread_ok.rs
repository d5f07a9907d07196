fn main() {
    greenroom::scope(|s| {
        greenroom::scope(|inner| {
            inner.spawn(|| {
                s.spawn(|| 1);
            });
        });
    });
}
