//! The proof, in a test of its own.

#[test]
fn it_is_there_in_an_integration_test() {
    monkey_builds::prove();
}
