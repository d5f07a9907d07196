use std::sync::Arc;

fn main() {
    let _ = greenroom::spawn(|| Arc::new(1));
}
