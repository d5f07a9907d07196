//! A build with panic = "abort", which the test harness itself can't have:
//! `panic_abort/program.rs`, in a package of its own.

mod bounded;

use bounded::bounded_by;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn under_panic_abort_kills_and_timeouts_come_as_errno() {
    let _bound = bounded_by(600);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("panic_abort");
    fs::create_dir_all(&package).unwrap();
    let manifest = format!(
        "[package]\nname = \"panic_abort\"\nedition = \"2024\"\n\
         [[bin]]\nname = \"panic_abort\"\npath = {:?}\n\
         [dependencies]\ngreenroom = {{ path = {root:?} }}\n\
         [profile.dev]\npanic = \"abort\"\n[workspace]\n",
        root.join("tests/panic_abort/program.rs"),
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline"])
        .current_dir(&package)
        .env("CARGO_TARGET_DIR", package.join("target"))
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(output.stdout, b"all as documented\n");
}
