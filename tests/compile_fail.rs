//! What must not compile does not, and for the reason given: `tests/compile_fail/src/bin` holds
//! pairs of programs, `x.rs` with the error it must meet in its first line, and `x_ok.rs`, which
//! differs in the offending thing alone and must compile.

mod bounded;

use bounded::bounded_by;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

#[test]
fn the_library_refuses_what_must_not_compile() {
    let _bound = bounded_by(600);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(complaints("library", root, &[]), [""; 0]);
}

#[test]
fn the_programs_are_right_by_the_signatures_alone() {
    let _bound = bounded_by(600);
    assert_eq!(complaints("stub", &folder().join("stub"), &[]), [""; 0]);
}

#[test]
fn a_library_without_bounds_is_caught_by_every_program() {
    let _bound = bounded_by(600);
    let found = complaints(
        "unsound",
        &folder().join("stub"),
        &["--features", "greenroom/unsound"],
    );
    let caught: BTreeSet<&str> = found
        .iter()
        .filter_map(|it| it.strip_suffix(": compiles"))
        .collect();
    let all = programs();
    let wrong: BTreeSet<&str> = all
        .keys()
        .map(String::as_str)
        .filter(|it| !is_twin(it))
        .collect();
    assert!(wrong.len() >= 11, "the programs are gone: {wrong:?}");
    assert_eq!(caught, wrong, "{found:#?}");
    assert_eq!(found.len(), wrong.len(), "{found:#?}");
}

#[test]
fn a_twin_differs_only_in_the_offending_thing() {
    let _bound = bounded_by(600);
    let all = programs();
    for (name, text) in all.iter().filter(|(name, _)| !is_twin(name)) {
        let twin = all
            .get(&format!("{name}_ok"))
            .unwrap_or_else(|| panic!("{name} has no twin"));
        let lines = |text: &str| -> Vec<String> {
            text.lines()
                .filter(|line| !line.starts_with("//!"))
                .map(str::to_owned)
                .collect()
        };
        let (wrong, right) = (lines(text), lines(twin));
        let fresh = right.iter().filter(|line| !wrong.contains(line)).count();
        assert!(wrong != right, "{name} is its own twin");
        assert!(
            fresh <= 3 && wrong.len().abs_diff(right.len()) <= 1,
            "{name} is another program"
        );
    }
    assert_eq!(all.len() % 2, 0, "a twin without its program");
}

fn is_twin(name: &str) -> bool {
    name.ends_with("_ok")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail")
}

/// The programs, by name.
fn programs() -> BTreeMap<String, String> {
    let files = fs::read_dir(folder().join("src/bin")).expect("the programs");
    let read = |path: PathBuf| {
        let name = path
            .file_stem()
            .expect("a name")
            .to_str()
            .expect("UTF-8")
            .to_owned();
        (name, fs::read_to_string(path).expect("a program"))
    };
    files
        .map(|file| read(file.expect("a program").path()))
        .collect()
}

/// What is not as it should be when the programs are checked against `library`.
fn complaints(label: &str, library: &Path, args: &[&str]) -> Vec<String> {
    let report = check(label, library, args);
    let mut out: Vec<String> = Vec::new();
    for (name, text) in programs() {
        let found = report
            .errors
            .get(&name)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let compiles = report.compiled.contains(&name);
        if is_twin(&name) {
            if !compiles {
                out.push(format!("{name}: must compile: {found:?}\n{}", report.rest));
            }
        } else if compiles {
            out.push(format!("{name}: compiles"));
        } else {
            let first = text.lines().next().unwrap_or_default();
            let wanted = first
                .strip_prefix("//! error: ")
                .unwrap_or("(not said in line 1)");
            let file = format!("src/bin/{name}.rs");
            let as_wanted = |error: &Error| error.file == file && error.is(wanted);
            if found.is_empty() || !found.iter().all(as_wanted) {
                let seen = format!("{name}: wanted {wanted} in {file}: {found:?}");
                out.push(format!("{seen}\n{}", report.rest));
            }
        }
    }
    out
}

#[derive(Debug)]
struct Error {
    /// `E0277` and the like; errors of lifetimes have none.
    code: String,
    message: String,
    file: String,
}

impl Error {
    /// Whether this is the error wanted: one of several codes, or else the message.
    fn is(&self, wanted: &str) -> bool {
        if wanted.starts_with("E0") {
            wanted.split(' ').any(|code| code == self.code)
        } else {
            self.code.is_empty() && self.message == wanted
        }
    }
}

#[derive(Default)]
struct Report {
    compiled: BTreeSet<String>,
    errors: BTreeMap<String, Vec<Error>>,
    /// What Cargo itself had to say.
    rest: String,
}

/// One `cargo check` of all the programs, in a package of their own that borrows the sources.
fn check(label: &str, library: &Path, args: &[&str]) -> Report {
    let package = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("compile_fail")
        .join(label);
    fs::create_dir_all(&package).expect("a folder for the package");
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).expect("the manifest");
    let here = format!("path = {:?}", library.to_str().expect("UTF-8"));
    assert!(
        manifest.contains("path = \"../..\""),
        "the manifest leans on the library"
    );
    let manifest = manifest.replace("path = \"../..\"", &here);
    fs::write(package.join("Cargo.toml"), manifest).expect("writing the manifest");
    let _ = fs::remove_file(package.join("src"));
    std::os::unix::fs::symlink(folder().join("src"), package.join("src")).expect("a link");
    // The same versions as the library's own, which are there: nothing is fetched.
    if library.join("Cargo.lock").exists() {
        fs::copy(library.join("Cargo.lock"), package.join("Cargo.lock")).expect("a copy");
    }
    let output = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .args([
            "check",
            "--bins",
            "--keep-going",
            "--offline",
            "--message-format",
            "json",
        ])
        .args(args)
        .current_dir(&package)
        .env("CARGO_TARGET_DIR", package.join("target"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTFLAGS")
        .stdin(Stdio::null())
        .output()
        .expect("running cargo");
    let mut report = Report {
        rest: String::from_utf8_lossy(&output.stderr).into(),
        ..Report::default()
    };
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        report.read(&line);
    }
    report
}

impl Report {
    fn read(&mut self, line: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = text(&line["target"]["name"]);
        match line["reason"].as_str() {
            Some("compiler-artifact") => drop(self.compiled.insert(name)),
            Some("compiler-message") if line["message"]["level"] == "error" => {
                let (message, none) = (&line["message"], Vec::new());
                let mut spans = message["spans"].as_array().unwrap_or(&none).iter();
                // "aborting due to ..." has no span.
                let Some(span) = spans.find(|span| span["is_primary"] == true) else {
                    return;
                };
                let code = text(&message["code"]["code"]);
                let (message, file) = (text(&message["message"]), text(&span["file_name"]));
                self.errors.entry(name).or_default().push(Error {
                    code,
                    message,
                    file,
                });
            }
            _ => {}
        }
    }
}
