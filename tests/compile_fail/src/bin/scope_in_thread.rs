//! error: E0277
fn main() {
    greenroom::scope(|s| {
        std::thread::scope(|threads| {
            threads.spawn(|| {
                s.spawn(|| 1);
            });
        });
    });
}
