//! What the tests share: the promise, how it is checked, and servers that take their time.
//!
//! The promise is this. What a thread can do with a crate that knows nothing of greenlets, a
//! thousand greenlets of one OS thread can do at once, in no longer than three times what one
//! takes; and what comes of it, or what it fails with, is the same.

mod servers;

pub use servers::*;

use std::error::Error;
use std::fmt::Debug;
use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

use greenroom::monkey;

/// How many at once.
pub const MANY: usize = 1000;

/// How the work of one OS thread is parted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// `greenroom::spawn`: greenlets that own their thread-locals.
    Spawn,
    /// `greenroom::spawn_local`: all share those of the OS thread, as all do where they can't own
    /// any.
    SpawnLocal,
    /// `std::thread::spawn`, which makes greenlets.
    Thread,
}

impl Mode {
    pub const ALL: &[Mode] = &[Mode::Spawn, Mode::SpawnLocal, Mode::Thread];
    /// For crates that tell threads apart by their thread-locals.
    pub const WITH_IDENTITY: &[Mode] = &[Mode::Spawn, Mode::Thread];

    /// Runs `work` so many times at once, here: what came of it, and the time that it took.
    pub fn many<T, F>(self, count: usize, work: F) -> (Vec<T>, Duration)
    where
        T: Send + 'static,
        F: Fn(usize) -> T + Clone + Send + 'static,
    {
        let one = |n| {
            let work = work.clone();
            let here = os_thread();
            move || {
                assert_eq!(os_thread(), here);
                let result = work(n);
                assert_eq!(os_thread(), here);
                result
            }
        };
        let begin = Instant::now();
        let results = match self {
            Mode::Spawn => joined((0..count).map(|n| greenroom::spawn(one(n)))),
            Mode::SpawnLocal => joined((0..count).map(|n| greenroom::spawn_local(one(n)))),
            Mode::Thread => {
                let threads: Vec<_> = (0..count).map(|n| thread::spawn(one(n))).collect();
                let results = threads.into_iter().map(thread::JoinHandle::join);
                results.map(|one| one.expect("none fails")).collect()
            }
        };
        (results, begin.elapsed())
    }
}

fn joined<T>(greenlets: impl Iterator<Item = greenroom::Greenlet<T>>) -> Vec<T> {
    let results = greenroom::joinall(greenlets).into_iter();
    results.map(|one| one.expect("none fails")).collect()
}

/// Runs `work` in so many greenlets at once.
pub fn many<T, F>(count: usize, work: F) -> (Vec<T>, Duration)
where
    T: Send + 'static,
    F: Fn(usize) -> T + Clone + Send + 'static,
{
    Mode::Spawn.many(count, work)
}

/// Runs `work` on so many OS threads that know nothing of the patch.
pub fn natively<T, F>(count: usize, work: F) -> (Vec<T>, Duration)
where
    T: Send + 'static,
    F: Fn(usize) -> T + Clone + Send + 'static,
{
    monkey::native(|| {
        let begin = Instant::now();
        let thread = |n| {
            let work = work.clone();
            let small = thread::Builder::new().stack_size(1 << 20);
            small.spawn(move || work(n)).expect("an OS thread")
        };
        let threads: Vec<_> = (0..count).map(thread).collect();
        let results = threads.into_iter().map(thread::JoinHandle::join);
        let results = results.map(|one| one.expect("none fails")).collect();
        (results, begin.elapsed())
    })
}

/// The promise, for `work` that gives another result for each number.
///
/// One OS thread does it once, and as many as there will be greenlets do it at once: with what
/// these have got, each mode's results are compared, and with the time of the first its time.
/// `results` says what there is to expect, for it might go wrong alike.
pub fn assert_same_and_side_by_side<T, F>(
    what: &str,
    modes: &[Mode],
    work: F,
    result: fn(usize) -> T,
) where
    T: PartialEq + Debug + Send + 'static,
    F: Fn(usize) -> T + Clone + Send + 'static,
{
    Proof::of(what).modes(modes).run(work, result);
}

/// The promise, when it is not a thousand, or somebody else has a part in it.
pub struct Proof<'a> {
    what: &'a str,
    modes: &'a [Mode],
    count: usize,
    /// Called before each run with the number of those who will take part.
    ahead: &'a dyn Fn(usize),
    /// How many take turns, where there is not enough for all at once.
    turns: usize,
}

impl<'a> Proof<'a> {
    pub fn of(what: &'a str) -> Proof<'a> {
        Proof {
            what,
            modes: Mode::ALL,
            count: MANY,
            ahead: &|_| (),
            turns: 1,
        }
    }

    pub fn modes(self, modes: &'a [Mode]) -> Proof<'a> {
        Proof { modes, ..self }
    }

    pub fn count(self, count: usize) -> Proof<'a> {
        Proof { count, ..self }
    }

    pub fn ahead(self, ahead: &'a dyn Fn(usize)) -> Proof<'a> {
        Proof { ahead, ..self }
    }

    pub fn turns(self, turns: usize) -> Proof<'a> {
        Proof { turns, ..self }
    }

    /// Checks it; see [`assert_same_and_side_by_side`].
    pub fn run<T, F>(self, work: F, result: fn(usize) -> T)
    where
        T: PartialEq + Debug + Send + 'static,
        F: Fn(usize) -> T + Clone + Send + 'static,
    {
        self.run_each(|| work.clone(), result);
    }

    /// As `run`, where what the work shares (a client with threads of its own) is made for each
    /// run anew, natively or patched as the run itself.
    pub fn run_each<T, F>(self, make: impl Fn() -> F, result: fn(usize) -> T)
    where
        T: PartialEq + Debug + Send + 'static,
        F: Fn(usize) -> T + Clone + Send + 'static,
    {
        let Proof { what, count, .. } = self;
        let work = monkey::native(&make);
        (self.ahead)(1);
        let (one, single) = natively(1, work.clone());
        assert_eq!(one[0], result(0), "{what}, natively");
        (self.ahead)(count);
        let (native, took) = natively(count, work);
        let expected = (0..count).map(result);
        assert!(
            native.iter().eq(&expected.collect::<Vec<_>>()),
            "{what}, natively"
        );
        let mut line = format!("{what}: one {single:.2?}, {count} OS threads {took:.2?}");
        for mode in self.modes {
            (self.ahead)(count);
            let (patched, took) = mode.many(count, make());
            let differs = (0..count).find(|n| patched[*n] != native[*n]);
            if let Some(n) = differs {
                panic!(
                    "{what}, {mode:?}, {n}: {:?}, natively {:?}",
                    patched[n], native[n]
                );
            }
            line += &format!(", {count} by {mode:?} {took:.2?}");
            let most = single * 3 * self.turns as u32;
            assert!(took < most, "{line}, which is more than {most:?}");
        }
        eprintln!("{line}");
    }
}

/// What fails, fails in the same way: `failures` is run on an OS thread, and in each mode. It
/// returns what was tried, and what was said; that some of it is right, the caller checks.
pub fn same_failures<F>(modes: &[Mode], failures: F) -> Vec<(&'static str, String)>
where
    F: Fn() -> Vec<(&'static str, String)> + Clone + Send + 'static,
{
    let failures = move |_| failures();
    let native = natively(1, failures.clone()).0.remove(0);
    for mode in modes {
        let patched = mode.many(1, failures.clone()).0.remove(0);
        assert_eq!(native, patched, "natively, then by {mode:?}");
    }
    native
}

/// An error with those that led to it; of each its text and, where it has one, its errno and kind.
pub fn told(error: impl Error + 'static) -> String {
    let mut text = String::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = next {
        text += &format!("{error}");
        if let Some(io) = error.downcast_ref::<io::Error>() {
            text += &format!(" [{:?}, errno {:?}]", io.kind(), io.raw_os_error());
        }
        next = error.source();
        if next.is_some() {
            text += "; ";
        }
    }
    text
}

/// Runs `test` on an OS thread of its own, with everything patched.
pub fn on_one_os_thread(test: impl FnOnce() + Send + 'static) {
    on_one_os_thread_with(monkey::patch_all, test);
}

/// The same, patched by `patch`.
pub fn on_one_os_thread_with(
    patch: impl FnOnce() -> io::Result<()> + Send + 'static,
    test: impl FnOnce() + Send + 'static,
) {
    raise_limit_of_descriptors();
    // The caller has no hub, so this is a real thread.
    let real = thread::spawn(|| {
        patch().expect("this machine can be patched");
        let before = os_thread();
        test();
        assert_eq!(os_thread(), before);
    });
    if let Err(panic) = real.join() {
        std::panic::resume_unwind(panic);
    }
}

fn os_thread() -> i64 {
    // SAFETY: takes nothing.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// Both ends of a thousand connections are in one process: more than the usual 1,024.
pub fn raise_limit_of_descriptors() {
    static RAISED: Once = Once::new();
    // SAFETY: a place for the limits, and then valid ones.
    RAISED.call_once(|| unsafe {
        let mut limits: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limits);
        limits.rlim_cur = limits.rlim_max.min(limits.rlim_cur.max(20_000));
        libc::setrlimit(libc::RLIMIT_NOFILE, &limits);
    });
}

/// How long one call takes.
pub fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let result = call();
    (result, begin.elapsed())
}

/// By name, what a few do to each other: all of a mode, or each by its number.
pub type Case<A> = (&'static str, fn(A));

/// What works for one who owns its thread-locals, and not between greenlets that share them;
/// `test` as for [`fail_elsewhere`].
pub fn only_with_identity(test: &str, cases: &[Case<Mode>]) {
    let names: Vec<_> = cases.iter().map(|case| case.0).collect();
    let find = |name: &str| cases.iter().find(|case| case.0 == name).expect("a case").1;
    fail_elsewhere(test, &names, |name| {
        let case = find(name);
        on_one_os_thread(move || case(Mode::SpawnLocal));
    });
    if is_elsewhere() {
        return;
    }
    for (name, case) in cases {
        let case = *case;
        let ((), took) = timed(|| {
            on_one_os_thread(move || Mode::WITH_IDENTITY.iter().for_each(|mode| case(*mode)));
        });
        eprintln!("{name}: {took:.2?} with identity, in both modes");
    }
}

/// That each of these waits for ever, or fails. `test` is the name of the test that calls this:
/// the program runs it in a process of its own for each name, where it comes to `run`.
pub fn fail_elsewhere(test: &str, names: &[&str], run: impl FnOnce(&str)) {
    if let Ok(name) = std::env::var(CASE) {
        return run(&name);
    }
    let program = std::env::current_exe().expect("a test has a path");
    let begin = |name: &&str| {
        let mut command = Command::new(&program);
        command.args([test, "--exact"]).env(CASE, name);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("a child")
    };
    let mut children: Vec<_> = names.iter().map(begin).collect();
    let last = Instant::now() + NEVER;
    let goes_on = |child: &mut Child| child.try_wait().expect("it is ours").is_none();
    while Instant::now() < last && children.iter_mut().any(goes_on) {
        thread::sleep(Duration::from_millis(20));
    }
    // All of them are ended before any of them is judged.
    let ended = |mut child: Child| {
        let status = child.try_wait().expect("it is ours");
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        status
    };
    let ends: Vec<_> = children.into_iter().map(ended).collect();
    for (name, end) in names.iter().zip(ends) {
        let what = end.map_or("waits for ever".into(), |status| {
            format!("ends with {status}")
        });
        eprintln!("{name}: {what}, as it must");
        assert!(
            end.is_none_or(|status| !status.success()),
            "{name} works after all"
        );
    }
}

/// Whether this is a process that [`fail_elsewhere`] has made.
fn is_elsewhere() -> bool {
    std::env::var_os(CASE).is_some()
}

const CASE: &str = "GREENROOM_UNMODIFIED_CASE";

/// Who has not ended by then waits for ever: where it works, it takes an instant.
const NEVER: Duration = Duration::from_secs(3);
