//! Runs an example as a child, with a limit on its time, and keeps what it said.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// No child may take longer.
const CHILD_MAX: Duration = Duration::from_secs(60);

/// What is left of a child.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

impl Done {
    /// The lines of standard error that name a failure.
    pub(crate) fn failures(&self) -> Vec<&str> {
        self.err
            .lines()
            .filter(|line| line.starts_with("failed: "))
            .collect()
    }

    /// Asserts that `url` failed for `reason`, in one line.
    pub(crate) fn assert_failed(&self, url: &str, reason: &str) {
        let line = format!("failed: {url}: {reason}");
        assert!(
            self.failures().iter().any(|l| l.starts_with(&line)),
            "no {line:?} in {self:#?}"
        );
    }

    /// The JSON document on standard output.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e} in {self:#?}"))
    }
}

/// Runs `fetch` with these arguments.
pub(crate) fn fetch<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Done {
    run(Command::new(example("fetch")).args(args))
}

/// Runs a command to its end, or kills it and fails.
pub(crate) fn run(command: &mut Command) -> Done {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the example");
    let out = collect(child.stdout.take().expect("piped"));
    let err = collect(child.stderr.take().expect("piped"));
    let code = loop {
        match child.try_wait().expect("wait for the example") {
            Some(status) => break status.code().unwrap_or(-1),
            None if start.elapsed() < CHILD_MAX => thread::sleep(Duration::from_millis(5)),
            None => {
                child.kill().expect("kill the example");
                child.wait().expect("reap the example");
                let (out, err) = (out.join().unwrap(), err.join().unwrap());
                panic!("{command:?} ran for more than {CHILD_MAX:?}\n{out}\n{err}");
            }
        }
    };
    let took = start.elapsed();
    Done {
        code,
        out: out.join().unwrap(),
        err: err.join().unwrap(),
        took,
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes)
            .expect("read what the example says");
        String::from_utf8(bytes).expect("the example speaks UTF-8")
    })
}

/// The program that Cargo built beside this test; built now if it did not, or if the sources
/// have changed since: `cargo test --test` leaves the examples as they are.
pub(crate) fn example(name: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let this = std::env::current_exe().expect("the path of this test");
    let profile = this
        .parent()
        .and_then(Path::parent)
        .expect("target/<profile>/deps/<test>");
    let path = profile.join("examples").join(name);
    let _alone = BUILDING
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["src", "examples"].map(|folder| newest(&root.join(folder)));
    if newest(&path) < sources.into_iter().max().flatten() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.current_dir(root).args(["build", "--example", name]);
        // What Cargo tells a test about its package would make build scripts run again.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&*name);
            }
        }
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let status = build.status().expect("run cargo");
        assert!(status.success(), "cannot build {name}");
    }
    path
}

/// When the file, or the newest one below the folder, was written; `None` if there is none.
fn newest(path: &Path) -> Option<SystemTime> {
    match std::fs::read_dir(path) {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| newest(&entry.path()))
            .max(),
        Err(_) => path.metadata().and_then(|file| file.modified()).ok(),
    }
}
