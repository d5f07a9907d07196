//! Every rule seen to bite, and seen to let go, on projects of a few lines.

use super::bounded;
use super::{Project, UNSAFE_FILES, check, words};

/// A project that keeps every rule, to be spoiled by one file at a time.
fn sound() -> Project {
    let manifest = "[package]\nname = \"x\"\nrust-version = \"1.88\"\n[dependencies]\n\
                    corosensei = { version = \"0.3\" }\ncrossbeam-queue = \"0.3\"\n\
                    libc = \"0.2\"\nlog = \"0.4\"\nonce_cell = \"1\"\n\
                    extra = { version = \"1\", optional = true }\n\
                    [dev-dependencies]\nother = \"1\"\n";
    let changes = "# Changelog\n[form](https://keepachangelog.com/)\n\n## [Unreleased]\n";
    let files = [
        ("Cargo.toml", manifest),
        ("CHANGELOG.md", changes),
        ("README.md", "# x\n\n```sh\ncargo test\n```\n"),
        ("LICENSE-MIT", "Permission is granted"),
        ("LICENSE-APACHE", "Apache License"),
        (
            "src/lib.rs",
            "mod hub;\nmod timer;\npub use crate::timer::{heap::{Heap}, Timer};\n",
        ),
    ];
    let owned = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
    owned.into_iter().collect()
}

/// The complaints about a sound project once `path` holds `text`.
fn complaints(path: &str, text: &str) -> Vec<String> {
    let mut project = sound();
    project.insert(path.to_owned(), text.to_owned());
    check(&project)
}

#[track_caller]
fn clean(path: &str, text: &str) {
    assert_eq!(complaints(path, text), [""; 0]);
}

/// Exactly one complaint, at that line and by that rule.
#[track_caller]
fn bites(path: &str, text: &str, line: usize, rule: &str) {
    let found = complaints(path, text);
    assert_eq!(found.len(), 1, "{found:?}");
    let start = format!("{path}:{line}: {rule}: ");
    assert!(found[0].starts_with(&start), "{found:?} and not {start}");
    assert!(found[0].contains("; "), "it must say what to do: {found:?}");
}

#[test]
fn a_sound_project_passes() {
    let _bound = bounded();
    assert_eq!(check(&sound()), [""; 0]);
}

#[test]
fn an_upward_import_is_found_in_every_form() {
    let _bound = bounded();
    let forms = [
        "use crate::hub::Hub;",
        "fn f() { let x: crate::hub::Hub = g(); }",
        "use crate::{sys, hub};",
        "use crate::{\n    sys::{fd, clock},\n    hub::Hub};",
        "use super::hub::Hub;",
        "use super::{sys::fd, hub as h};",
        "use self::super::hub;",
        "mod inner { use super::super::hub::Hub; }",
        "mod inner { use super::{super::hub::Hub, x}; }",
        "macro_rules! m { () => { $crate::hub::turn() } }",
        "pub(in crate::hub) fn f() {}",
        "#[cfg(not(test))] mod inner { use crate::hub; }",
    ];
    for form in forms {
        let line = 1 + usize::from(form.contains('\n')) * 2;
        bites("src/timer.rs", form, line, "stairs");
    }
    let folder = "use super::super::super::hub::Hub;";
    bites("src/timer/heap/deep.rs", folder, 1, "stairs");
    bites("src/timer/mod.rs", "use super::hub::Hub;", 1, "stairs");
}

#[test]
fn looking_down_or_beside_is_free() {
    let _bound = bounded();
    clean(
        "src/hub/turn.rs",
        "use crate::{sys, timer::Heap};\nuse super::list;\nuse crate::hub::*;",
    );
    clean(
        "src/hub/mod.rs",
        "mod inner { use super::super::timer; use super::greenlet; }",
    );
    clean(
        "src/timer.rs",
        "// use crate::hub;\n/// [`crate::hub`]\nconst S: &str = \"crate::hub\";",
    );
    clean("src/timer.rs", "pub(crate) fn f() { a::hub(); }");
}

#[test]
fn tests_inside_a_room_may_look_up() {
    let _bound = bounded();
    clean(
        "src/timer.rs",
        "#[cfg(test)]\nmod tests {\n    use crate::hub::Hub;\n}",
    );
    clean(
        "src/timer.rs",
        "#[cfg(all(test, a = \"b\"))]\nmod tests { fn f() { crate::hub::f() } }",
    );
    let mut project = sound();
    let declared = "#[cfg(test)]\nmod tests;\nmod heap;".to_owned();
    project.insert("src/timer/mod.rs".to_owned(), declared);
    let upward = "use crate::hub::Hub; fn f() { println!() }".to_owned();
    project.insert("src/timer/tests/order.rs".to_owned(), upward.clone());
    assert_eq!(check(&project), [""; 0]);
    project.insert("src/timer/heap.rs".to_owned(), upward);
    assert_eq!(check(&project).len(), 2);
    let after = "#[cfg(test)]\nmod tests { fn f() {} }\nuse crate::hub;";
    bites("src/timer.rs", after, 3, "stairs");
    bites(
        "src/timer.rs",
        "#[cfg(test)]\nuse a::b;\nmod m { use crate::hub; }",
        3,
        "stairs",
    );
}

#[test]
fn the_names_of_lib_are_above_everyone() {
    let _bound = bounded();
    bites("src/hub.rs", "use crate::spawn;", 1, "stairs");
    bites("src/hub.rs", "use crate::Timer;", 1, "stairs");
    bites("src/hub.rs", "use crate::*;", 1, "stairs");
    bites("src/hub.rs", "use super::{self, timer};", 1, "stairs");
}

#[test]
fn a_macro_belongs_to_the_room_that_defines_it() {
    let _bound = bounded();
    let mut project = sound();
    let timer = "macro_rules! tick { () => {} }\n";
    project.insert("src/timer.rs".to_owned(), timer.to_owned());
    project.insert(
        "src/hub.rs".to_owned(),
        "fn f() { crate::tick!() }".to_owned(),
    );
    assert_eq!(check(&project), [""; 0]);
    project.insert("src/stack.rs".to_owned(), "use crate::tick;".to_owned());
    assert!(check(&project)[0].starts_with("src/stack.rs:1: stairs: stack names timer"));
}

#[test]
fn an_exported_macro_may_go_by_the_public_name_of_what_is_below() {
    let _bound = bounded();
    let text = "macro_rules! m { () => { $crate::Timer::new() } }";
    clean("src/hub.rs", text);
    bites("src/sys.rs", text, 1, "stairs");
    bites("src/hub.rs", &text.replace("Timer", "Other"), 1, "stairs");
}

#[test]
fn a_room_without_a_place_is_found() {
    let _bound = bounded();
    bites("src/attic.rs", "", 1, "room");
    bites("src/attic/box.rs", "", 1, "room");
}

#[test]
fn what_is_too_long_is_found() {
    let _bound = bounded();
    clean("src/hub.rs", &"//\n".repeat(700));
    bites("src/hub.rs", &"//\n".repeat(701), 701, "file length");
    clean("src/hub.rs", &format!("// {}", "\u{e9}".repeat(97)));
    bites(
        "src/hub.rs",
        &format!("\n// {}", "e".repeat(98)),
        2,
        "line length",
    );
}

#[test]
fn a_long_function_is_found_whatever_stands_in_it() {
    let _bound = bounded();
    let function = |lines: usize| {
        let traps =
            "let _ = (\"}\", '}', '\\'', b'}', r#\"}\"#, \"\\\"}\"); /* } /* } */ } */ // }";
        let head = "fn long<'a>(x: &'a [u8; 2]) -> [u8; { 1 + 1 }] {";
        format!(
            "\n{head}\n{traps}\n{}}}\nfn short() {{}}\n",
            "x;\n".repeat(lines - 3)
        )
    };
    clean("src/hub.rs", &function(70));
    bites("src/hub.rs", &function(71), 2, "function length");
    bites("tests/a.rs", &function(71), 2, "function length");
    let in_tests = format!("#[cfg(test)]\nmod tests {{{}}}", function(71));
    bites("src/hub.rs", &in_tests, 3, "function length");
    clean(
        "src/hub.rs",
        &format!("trait T {{ fn f(&self);\n{} }}", "// x\n".repeat(80)),
    );
    clean(
        "src/hub.rs",
        &format!("static F: fn() = g;\n{}", "// x\n".repeat(80)),
    );
}

#[test]
fn a_foreign_name_at_the_wrong_door_is_found() {
    let _bound = bounded();
    bites("src/hub.rs", "\nuse corosensei::Coroutine;", 2, "door");
    bites("src/net/tcp.rs", "fn f() { libc::close(3); }", 1, "door");
    clean("src/coroutine.rs", "use corosensei::Coroutine;");
    clean("src/coroutine/reuse.rs", "use corosensei::Coroutine;");
    clean("src/sys/epoll.rs", "use libc::epoll_wait;");
    clean("src/hub.rs", "// libc\nconst NAME: &str = \"libc\";");
}

#[test]
fn unsafe_away_from_home_is_found() {
    let _bound = bounded();
    bites("src/net/tcp.rs", "fn f() { unsafe { g() } }", 1, "unsafe");
    clean("src/stack/map.rs", "fn f() { unsafe { g() } }");
    for file in UNSAFE_FILES {
        clean(file, "fn f() { unsafe { g() } }");
        bites(file, "fn f() {}", 1, "unsafe");
    }
    clean("src/hub.rs", "#![deny(unsafe_code)] // unsafe");
}

#[test]
fn a_lock_that_does_not_go_by_the_door_is_found() {
    let _bound = bounded();
    bites(
        "src/hub.rs",
        "fn f() {\n state\n .lock()\n .unwrap(); }",
        3,
        "lock",
    );
    let poisoned = "fn f() { state.lock().unwrap_or_else(PoisonError::into_inner); }";
    bites("src/pool/crew.rs", poisoned, 1, "lock");
    clean("src/sys/lock.rs", poisoned);
    clean(
        "src/hub.rs",
        "fn f() { lock(&state).unwrap(); self.lock().members.len() }",
    );
    clean(
        "src/hub.rs",
        "#[cfg(test)] mod tests { fn f() { state.lock().unwrap(); } }",
    );
}

#[test]
fn a_call_of_the_logger_that_does_not_go_by_the_door_is_found() {
    let _bound = bounded();
    let forms = [
        "log::warn!(\"x\");",
        "use log::warn;",
        "use log as logger;",
        "fn f(level: log::Level) {}",
        "::log::error!(\"x\");",
        "#[cfg(test)] mod tests { fn f() { log::info!(\"x\") } }",
    ];
    for form in forms {
        bites("src/hub/turn.rs", &format!("\n{form}"), 2, "log");
        clean("src/sys/report.rs", form);
    }
    clean(
        "src/hub.rs",
        "// log::warn!\nfn f() { self.log(1); failure.log(); log(); }",
    );
    clean(
        "src/hub.rs",
        "use crate::sys::report::report; use super::sys::log;",
    );
    let mut project = sound();
    project.insert("tests/b.rs".to_owned(), "use log::warn;".to_owned());
    assert_eq!(check(&project), [""; 0]);
}

#[test]
fn unfinished_work_and_stray_output_are_found() {
    let _bound = bounded();
    for name in [
        "todo",
        "unimplemented",
        "dbg",
        "print",
        "println",
        "eprint",
        "eprintln",
    ] {
        bites(
            "src/hub.rs",
            &format!("fn f() {{\n    {name}!(\"x\")\n}}"),
            2,
            "macro",
        );
    }
    clean(
        "src/hub.rs",
        "#[cfg(test)] mod tests { fn f() { eprint!() } }",
    );
    clean("src/sim.rs", "fn f() { eprintln!() }");
    bites("src/sim.rs", "fn f() { dbg!() }", 1, "macro");
    bites(
        "src/hub.rs",
        "#[cfg(test)] mod tests { fn f() { dbg!() } }",
        1,
        "macro",
    );
    clean(
        "src/hub.rs",
        "/// println!(\"x\");\nfn f() -> bool { todo != dbg }",
    );
    let mut project = sound();
    let test = "fn f() { println!(\"x\"); }";
    project.insert("tests/b.rs".to_owned(), test.to_owned());
    assert_eq!(check(&project), [""; 0]);
}

#[test]
fn an_ignored_test_is_found() {
    let _bound = bounded();
    bites(
        "tests/a.rs",
        "#[test]\n#[ignore]\nfn f() { let _bound = bounded(); }",
        2,
        "ignored test",
    );
    bites(
        "tests/a.rs",
        "#[ignore = \"slow\"]\nfn f() {}",
        1,
        "ignored test",
    );
    bites(
        "src/hub.rs",
        "#[cfg_attr(miri, ignore)]\nfn f() {}",
        1,
        "ignored test",
    );
    clean("src/hub.rs", "#[cfg_attr(a, ignore = \"why\")]\nfn f() {}");
    clean("tests/a.rs", "// #[ignore]\nfn ignore() {}");
}

#[test]
fn missing_papers_are_found() {
    let _bound = bounded();
    bites("LICENSE-MIT", " \n", 1, "licence");
    bites("LICENSE-APACHE", "", 1, "licence");
    bites(
        "README.md",
        "cargo test\n```sh\ncargo build\n```\ncargo test",
        1,
        "readme",
    );
    bites(
        "CHANGELOG.md",
        "# Changelog\nkeepachangelog.com\n",
        1,
        "changelog",
    );
    bites(
        "CHANGELOG.md",
        "# Changelog\n## [Unreleased]\n",
        1,
        "changelog",
    );
}

#[test]
fn a_manifest_that_grows_is_found() {
    let _bound = bounded();
    let spoiled = |from: &str, to: &str| sound()["Cargo.toml"].replace(from, to);
    bites("Cargo.toml", &spoiled("libc", "lib"), 1, "dependencies");
    bites(
        "Cargo.toml",
        &spoiled("log = \"0.4\"\n", ""),
        1,
        "dependencies",
    );
    bites(
        "Cargo.toml",
        &spoiled(", optional = true", ""),
        1,
        "dependencies",
    );
    bites(
        "Cargo.toml",
        &spoiled("rust-version", "version"),
        1,
        "rust-version",
    );
    let table = spoiled("[dev-", "[dependencies.more]\nversion = \"1\"\n[dev-");
    bites("Cargo.toml", &table, 11, "dependencies");
    clean("Cargo.toml", &spoiled("other", "another"));
}

#[test]
fn an_example_or_benchmark_nobody_names_is_found() {
    let _bound = bounded();
    bites("examples/echo.rs", "fn main() {}", 1, "example");
    bites("examples/echo/main.rs", "fn main() {}", 1, "example");
    clean("examples/common/mod.rs", "");
    let mut project = sound();
    project.insert("examples/echo.rs".to_owned(), String::new());
    project.insert("tests/examples.rs".to_owned(), "run(\"echoes\")".to_owned());
    assert_eq!(check(&project).len(), 1);
    project.insert("tests/examples.rs".to_owned(), "run(\"echo\")".to_owned());
    assert_eq!(check(&project), [""; 0]);
    project.insert("benches/spawn.rs".to_owned(), String::new());
    assert_eq!(check(&project), [""; 0]);
    project.insert("benches/README.md".to_owned(), "`switch`".to_owned());
    assert!(check(&project)[0].starts_with("benches/spawn.rs:1: benchmark: "));
}

#[test]
fn words_are_cut_as_rust_cuts_them() {
    let _bound = bounded();
    let cut = |text| {
        words::tokens(text)
            .iter()
            .map(|token| token.text)
            .collect::<Vec<_>>()
    };
    assert_eq!(cut("a::b /* x */ c"), ["a", ":", ":", "b", "c"]);
    assert_eq!(
        cut("'a' 'b '\\n' '\u{e9}' b'x'"),
        ["'a'", "'b", "'\\n'", "'\u{e9}'", "b'x'"]
    );
    assert_eq!(
        cut("r##\"a\"#\"## b\"\\\"\" c\"x\""),
        ["r##\"a\"#\"##", "b\"\\\"\"", "c\"x\""]
    );
    assert_eq!(
        cut("r#fn 1_0u8..=2"),
        ["r", "#", "fn", "1_0u8", ".", ".", "=", "2"]
    );
    assert_eq!(cut("\"open"), ["\"open"]);
}

#[test]
fn a_word_that_newcomers_search_for_must_lead_somewhere() {
    let _bound = bounded();
    let without = complaints("src/cancel/mod.rs", "pub fn with_timeout() {}");
    let missing = |word: &str| {
        without
            .iter()
            .any(|one| one.contains(&format!("\"{word}\"")))
    };
    assert!(missing("timeout") && missing("nursery"), "{without:?}");
    let one = "#[doc(alias(\"timeout\", \"deadline\"))]\npub fn with_timeout() {}";
    assert_eq!(
        complaints("src/cancel/mod.rs", one).len(),
        without.len() - 1
    );
}

#[test]
fn a_test_without_a_bound_is_refused() {
    let _bound = bounded();
    let bare = "#[test]\nfn f() {\n    let x = 1;\n}\n";
    bites("tests/f.rs", bare, 1, "bounds");
    bites("src/hub/f.rs", bare, 1, "bounds");
    clean("tests/unmodified/tests/f.rs", bare);
    let late = "#[test]\nfn f() {\n    let x = 1;\n    let _bound = bounded();\n}\n";
    bites("tests/f.rs", late, 1, "bounds");
    clean(
        "tests/f.rs",
        "#[test]\nfn f() {\n    let _bound = bounded();\n}\n",
    );
    let long = "#[test]\n#[should_panic]\nfn f() {\n    let _bound = bounded_by(9);\n}\n";
    clean("src/hub/f.rs", long);
}
