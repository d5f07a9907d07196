//! The house rules, held by a test instead of by intent.
//!
//! Everything here is text: the sources are read, cut into words and compared with the lists
//! below. Each complaint reads `path:line: rule: what is wrong; what to do`. `tidy/bites.rs`
//! proves that every rule bites, on small projects made in memory.

#[path = "tidy/bites.rs"]
mod bites;
mod bounded;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;

use bounded::bounded;
use source::{Owners, Source};
use std::collections::BTreeMap;
use std::path::Path;

/// The rooms of `src/`, bottom first: a room may name itself and what stands before it.
const ROOMS: &[&str] = &[
    "sys",
    "stack",
    "timer",
    "poller",
    "coroutine",
    "hub",
    "cancel",
    "greenlet",
    "generator",
    "sim",
    "local",
    "fiber",
    "sync",
    "future",
    "threadpool",
    "dns",
    "io",
    "net",
    "thread",
    "fs",
    "process",
    "os",
    "tls",
    "signal",
    "pool",
    "select",
    "server",
    "http",
    "inspect",
    "monkey",
    "recipes",
    "lib",
];

/// Foreign things with one door each: the word, and the rooms that may say it.
const DOORS: &[(&str, &[&str])] = &[
    ("corosensei", &["coroutine"]),
    ("libc", &["sys", "stack", "monkey"]),
];

/// The rooms in which `unsafe` is at home.
const UNSAFE_ROOMS: &[&str] = &["sys", "stack", "coroutine", "monkey"];

/// Single files outside those rooms that may say `unsafe`. Each must justify itself here, in one
/// line that says why safe code cannot do it, and leaves the list when it no longer needs to.
const UNSAFE_FILES: &[&str] = &[
    // The list of timeouts runs through the stack of the greenlet that is inside of them.
    "src/cancel/frames.rs",
    // Thread-locals are ended by functions of glibc's, at a moment that only it knows.
    "src/greenlet/identity.rs",
    // Bodies move to another stack, and leave it only while they stand on it.
    "src/generator/nested.rs",
    // A generator borrows what only the function that lends it keeps alive.
    "src/generator/scoped.rs",
    // A panic payload is `Send`, not `Sync`; an error that people pass on has to be both.
    "src/greenlet/join_error.rs",
    // Closures that borrow move to another stack; the result of a greenlet is put there.
    "src/greenlet/launch.rs",
    // A result moves from one OS thread to another, ordered by the phase of its task.
    "src/greenlet/packet.rs",
    // Greenlets borrow what only the scope's wait keeps alive.
    "src/greenlet/scope.rs",
    // A task and its result are one block, counted without a lock and used again.
    "src/hub/cell.rs",
    // The thread-local pointer to the hub.
    "src/hub/current.rs",
    // Coroutines: who may be resumed, and when a stack may be left.
    "src/hub/switch.rs",
    // The task cell is shared between the hub, its handles and its waiters without a lock.
    "src/hub/task.rs",
    // The guard of a part points into the value that its lock keeps where it is.
    "src/sync/mapped.rs",
    // A lock with one locked instruction where std's needs two: half the cost of a put and get.
    "src/sync/queue/brief.rs",
    // Who waits for an item lends a place in his own frame, and takes it back before it ends.
    "src/sync/queue/place.rs",
    // An item is written there by another, ordered by the phase of the slot.
    "src/sync/queue/slot.rs",
    "src/sync/queue/tests.rs",
    // The value in a mutex is changed through a shared reference, by whoever has the lock.
    "src/sync/mutex.rs",
    // As in a mutex, except that its value need not be Sync, nor is it changed.
    "src/sync/rlock.rs",
    // As in a mutex.
    "src/sync/rwlock.rs",
    // `pre_exec` is an `unsafe fn` in std, and so is its mirror.
    "src/os/unix/process.rs",
];

/// Files that call `lock` of a mutex themselves. All others go by `sys::lock::lock`: a wait for one
/// of our own locks must not become a park in a patched program.
const LOCK_FILES: &[&str] = &[
    // The door itself.
    "src/sys/lock.rs",
    // A lock of the room `sync`, which is to park.
    "src/io/stdin.rs",
];

/// Words that newcomers search the documentation for. Each must lead somewhere.
const SEARCHED: &[&str] = &[
    "timeout",
    "select",
    "deadlock",
    "cancel",
    "spawn_blocking",
    "thread_local",
    "nursery",
    "gather",
    "graceful shutdown",
];

/// The file that calls the crate `log`. A logger is foreign code: all others go by `report!`, which
/// knows where it may run.
const LOG_FILE: &str = "src/sys/report.rs";

/// Folders of `tests/` that are packages of their own.
const OTHER_PACKAGES: &[&str] = &["compile_fail", "monkey_builds", "panic_abort", "unmodified"];

/// Macros that stand for unfinished work.
const UNFINISHED_MACROS: &[&str] = &["todo", "unimplemented", "dbg"];

/// Macros for output nobody asked a library for; what is compiled for tests only may print.
const OUTPUT_MACROS: &[&str] = &["print", "println", "eprint", "eprintln"];

/// The file that prints all the same: the seed of a simulation that failed, for a test harness to
/// capture.
const PRINTING_FILE: &str = "src/sim.rs";

/// What `[dependencies]` holds, sorted; anything more is optional and behind a feature.
const DEPENDENCIES: &[&str] = &["corosensei", "crossbeam-queue", "libc", "log", "once_cell"];

const FILE_LINES_MAX: usize = 700;
const FN_LINES_MAX: usize = 70;
const LINE_CHARS_MAX: usize = 100;

/// Path below the project's root to text.
type Project = BTreeMap<String, String>;

#[test]
fn the_project_keeps_its_house_rules() {
    let _bound = bounded();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut project = Project::new();
    for name in [
        "Cargo.toml",
        "CHANGELOG.md",
        "README.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
    ] {
        load(&mut project, root, name);
    }
    for folder in ["src", "tests", "examples", "benches"] {
        load(&mut project, root, folder);
    }
    assert!(
        project.contains_key("src/lib.rs"),
        "the sources were not found below {root:?}"
    );
    let complaints = check(&project);
    assert!(
        complaints.is_empty(),
        "{} against the house rules:\n{}\n",
        complaints.len(),
        complaints.join("\n")
    );
}

/// Reads `name`, a file or a folder, into `project`; build output and what is not text stay out.
fn load(project: &mut Project, root: &Path, name: &str) {
    let path = root.join(name);
    if path.is_dir() {
        for entry in std::fs::read_dir(&path).expect("a folder of the project") {
            let entry = entry.expect("an entry of the project").file_name();
            let entry = entry.to_str().expect("names are UTF-8");
            if entry != "target" && !entry.starts_with('.') {
                load(project, root, &format!("{name}/{entry}"));
            }
        }
    } else if let Ok(text) = std::fs::read_to_string(&path) {
        project.insert(name.to_owned(), text);
    }
}

/// Every complaint about the project, in the order of paths.
fn check(project: &Project) -> Vec<String> {
    let rust = project.iter().filter(|(path, _)| path.ends_with(".rs"));
    let mut sources: Vec<Source> = rust.map(Source::new).collect();
    let mut owners = Owners::default();
    let mut test_modules = Vec::new();
    for source in sources.iter().filter(|source| source.is_ours()) {
        test_modules.extend(source.test_modules());
        owners.macros.extend(source.macros());
        if source.path == "src/lib.rs" {
            owners.exports.extend(source.exports());
        }
    }
    let mut out = Vec::new();
    for source in &mut sources {
        source.test_only = test_modules
            .iter()
            .any(|inner| source.module().starts_with(inner));
        source.check_lengths(&mut out);
        source.check_ignored(&mut out);
        if source.is_tested_here() {
            source.check_bounds(&mut out);
        }
        if source.is_ours() {
            source.check_room(&owners, &mut out);
            source.check_doors(&mut out);
            source.check_macros(&mut out);
            source.check_locks(&mut out);
            source.check_log(&mut out);
        }
    }
    check_papers(project, &mut out);
    check_search(project, &mut out);
    check_manifest(project, &mut out);
    check_examples_and_benches(project, &mut out);
    out
}

fn check_papers(project: &Project, out: &mut Vec<String>) {
    let text = |name: &str| project.get(name).map(String::as_str).unwrap_or_default();
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        if text(name).trim().is_empty() {
            out.push(format!(
                "{name}:1: licence: missing; the crate is MIT OR Apache-2.0"
            ));
        }
    }
    let changes = text("CHANGELOG.md");
    let titled = changes.starts_with("# Changelog") && changes.contains("keepachangelog.com");
    if !titled || !changes.lines().any(|line| line == "## [Unreleased]") {
        let what = "changelog: not in Keep a Changelog form with an [Unreleased] section; add it";
        out.push(format!("CHANGELOG.md:1: {what}"));
    }
    let mut fenced = false;
    let mut command = false;
    for line in text("README.md").lines() {
        fenced ^= line.starts_with("```");
        command |= fenced && line.trim_start_matches("$ ").starts_with("cargo test");
    }
    if !command {
        let what = "readme: no fenced block of commands with `cargo test` in it; CI runs that line";
        out.push(format!("README.md:1: {what}"));
    }
}

fn check_search(project: &Project, out: &mut Vec<String>) {
    let sources = project.iter().filter(|(path, _)| path.starts_with("src/"));
    let lines: Vec<&str> = sources.flat_map(|(_, text)| text.lines()).collect();
    for word in SEARCHED
        .iter()
        .filter(|_| project.contains_key("src/cancel/mod.rs"))
    {
        let quoted = format!("\"{word}\"");
        let found = |line: &&str| line.contains("doc(alias") && line.contains(&quoted);
        if !lines.iter().any(found) {
            out.push(format!(
                "src/lib.rs:1: search: nothing is found for {quoted}; add a doc(alias)"
            ));
        }
    }
}

fn check_manifest(project: &Project, out: &mut Vec<String>) {
    let manifest = project
        .get("Cargo.toml")
        .map(String::as_str)
        .unwrap_or_default();
    let mut section = "";
    let mut held = Vec::new();
    let mut rust_version = false;
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
            let elsewhere = section.contains("dependencies.") || section.ends_with(".dependencies");
            if elsewhere && !section.contains("dev-dependencies") {
                let what = "dependencies: written elsewhere; keep them in one [dependencies] table";
                out.push(format!("Cargo.toml:{}: {what}", index + 1));
            }
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key.trim().split('.').next().unwrap_or_default();
            rust_version |= section == "package" && key == "rust-version";
            let tabled = section == "dependencies" && !line.starts_with([' ', '#']);
            if tabled && !value.replace(' ', "").contains("optional=true") {
                held.push(key);
            }
        }
    }
    if held != DEPENDENCIES {
        let what = format!("dependencies: {held:?} instead of {DEPENDENCIES:?}");
        let what = format!("{what}; make others optional and sort them, or change tests/tidy.rs");
        out.push(format!("Cargo.toml:1: {what}"));
    }
    if !rust_version {
        out.push("Cargo.toml:1: rust-version: missing; .ci/rust-version holds it".to_owned());
    }
}

/// Every example is named by a test, every benchmark by the benches' README where there is one.
fn check_examples_and_benches(project: &Project, out: &mut Vec<String>) {
    let tests = |(path, _): &(&String, &String)| {
        path.starts_with("tests/") && path.ends_with(".rs") && *path != "tests/tidy.rs"
    };
    let named_in = |text: &str, name: &str| {
        let apart = |c: char| !c.is_alphanumeric() && c != '_' && c != '-';
        text.split(apart).any(|word| word == name)
    };
    for (path, name) in programs(project, "examples/") {
        if !project
            .iter()
            .filter(tests)
            .any(|(_, text)| named_in(text, name))
        {
            let what = format!("example: no test names {name}; run it from a file under tests/");
            out.push(format!("{path}:1: {what}"));
        }
    }
    let Some(readme) = project.get("benches/README.md") else {
        return;
    };
    for (path, name) in programs(project, "benches/") {
        if !named_in(readme, name) {
            let what = format!("benchmark: benches/README.md does not name {name}; say there");
            out.push(format!(
                "{path}:1: {what} what it measures and how to run it"
            ));
        }
    }
}

/// The programs Cargo finds below a folder: `name.rs` and `name/main.rs`.
fn programs<'a>(project: &'a Project, folder: &'a str) -> Vec<(&'a str, &'a str)> {
    let named = project.keys().filter_map(|path| {
        let inner = path.strip_prefix(folder)?;
        let name = inner
            .strip_suffix("/main.rs")
            .or_else(|| inner.strip_suffix(".rs"))?;
        Some((path.as_str(), name))
    });
    named.filter(|(_, name)| !name.contains('/')).collect()
}
