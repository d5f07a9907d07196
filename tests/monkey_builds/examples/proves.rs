//! The proof, in an example.

fn main() {
    monkey_builds::prove();
    println!("ok");
}
