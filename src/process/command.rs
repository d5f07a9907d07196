//! What is to be started, and how.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::{self, CommandArgs, CommandEnvs, ExitStatus, Output, Stdio};

use super::Child;

/// A process builder, with the names and the defaults of [`std::process::Command`].
///
/// # Examples
/// ```
/// use greenroom::process::Command;
///
/// let output = Command::new("sh").arg("-c").arg("echo $GREETING").env("GREETING", "hi").output()?;
/// assert!(output.status.success());
/// assert_eq!(output.stdout, b"hi\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Command {
    /// Standard input, output and error that were not chosen are `inherit` here, between spawns.
    inner: process::Command,
    chosen: Chosen,
    creates_pidfd: bool,
}

/// Which of the standard streams the user has said something about.
#[derive(Clone, Copy, Default)]
struct Chosen {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Command {
    /// Of `program`, which is looked for in the PATH if it has no slash: without arguments, with
    /// the environment, the current directory and, for [`spawn`](Command::spawn) and
    /// [`status`](Command::status), the standard streams of this process.
    pub fn new<S: AsRef<OsStr>>(program: S) -> Command {
        Command {
            inner: process::Command::new(program),
            chosen: Chosen::default(),
            creates_pidfd: false,
        }
    }

    /// std's, for what is done on the way to exec(2).
    pub(crate) fn std_mut(&mut self) -> &mut process::Command {
        &mut self.inner
    }

    pub(crate) fn set_create_pidfd(&mut self, creates: bool) {
        self.creates_pidfd = creates;
    }

    /// Adds an argument.
    pub fn arg<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Command {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<I, S>(&mut self, args: I) -> &mut Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.inner.args(args);
        self
    }

    /// Sets a variable of the environment.
    pub fn env<K, V>(&mut self, key: K, value: V) -> &mut Command
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.inner.env(key, value);
        self
    }

    /// Sets variables of the environment.
    pub fn envs<I, K, V>(&mut self, vars: I) -> &mut Command
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.inner.envs(vars);
        self
    }

    /// Takes a variable out of the environment, an inherited one as well.
    pub fn env_remove<K: AsRef<OsStr>>(&mut self, key: K) -> &mut Command {
        self.inner.env_remove(key);
        self
    }

    /// Takes all variables out of the environment, and inherits none.
    pub fn env_clear(&mut self) -> &mut Command {
        self.inner.env_clear();
        self
    }

    /// Sets the directory that the program begins in.
    pub fn current_dir<P: AsRef<Path>>(&mut self, dir: P) -> &mut Command {
        self.inner.current_dir(dir);
        self
    }

    /// What the program reads: see [`Stdio`]. [`output`](Command::output) gives it nothing, the
    /// others give it ours, if nothing is said.
    pub fn stdin<T: Into<Stdio>>(&mut self, stdio: T) -> &mut Command {
        self.chosen.stdin = true;
        self.inner.stdin(stdio);
        self
    }

    /// Where the program writes. [`output`](Command::output) collects it, the others let it write
    /// to ours, if nothing is said.
    pub fn stdout<T: Into<Stdio>>(&mut self, stdio: T) -> &mut Command {
        self.chosen.stdout = true;
        self.inner.stdout(stdio);
        self
    }

    /// As [`stdout`](Command::stdout), for standard error.
    pub fn stderr<T: Into<Stdio>>(&mut self, stdio: T) -> &mut Command {
        self.chosen.stderr = true;
        self.inner.stderr(stdio);
        self
    }

    /// Starts the program.
    ///
    /// # Examples
    /// ```
    /// use greenroom::process::{Command, Stdio};
    /// use std::io::{Read, Write};
    ///
    /// let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    /// child.stdin.take().unwrap().write_all(b"there and back")?;
    /// let mut text = String::new();
    /// child.stdout.take().unwrap().read_to_string(&mut text)?;
    /// assert_eq!(text, "there and back");
    /// assert!(child.wait()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// NotFound and others of exec(3); those of fork(2); EMFILE.
    ///
    /// # Parks
    /// Never; for how long it blocks is told in [`process`](crate::process).
    pub fn spawn(&mut self) -> io::Result<Child> {
        let mut child = Child::of_spawn(self.inner.spawn()?)?;
        if self.creates_pidfd {
            child.create_pidfd();
        }
        Ok(child)
    }

    /// Starts the program, collects what it writes to the standard streams that are not otherwise
    /// disposed of, and waits for its end. It has nothing to read, if nothing is said.
    ///
    /// # Errors
    /// As [`spawn`](Command::spawn) and [`Child::communicate`].
    ///
    /// # Parks
    /// Until it has ended. A kill or a timeout unwinds; the child is left to itself.
    pub fn output(&mut self) -> io::Result<Output> {
        let Chosen {
            stdin,
            stdout,
            stderr,
        } = self.chosen;
        let unless = |chosen: bool, stdio: fn() -> Stdio| (!chosen).then(stdio);
        self.dispose(
            unless(stdin, Stdio::null),
            unless(stdout, Stdio::piped),
            unless(stderr, Stdio::piped),
        );
        let child = self.spawn();
        self.dispose(
            unless(stdin, Stdio::inherit),
            unless(stdout, Stdio::inherit),
            unless(stderr, Stdio::inherit),
        );
        child?.wait_with_output()
    }

    fn dispose(&mut self, stdin: Option<Stdio>, stdout: Option<Stdio>, stderr: Option<Stdio>) {
        stdin.map(|stdio| self.inner.stdin(stdio));
        stdout.map(|stdio| self.inner.stdout(stdio));
        stderr.map(|stdio| self.inner.stderr(stdio));
    }

    /// Starts the program and waits for its end.
    ///
    /// # Errors
    /// As [`spawn`](Command::spawn) and [`Child::wait`].
    ///
    /// # Parks
    /// Until it has ended. A kill or a timeout unwinds; the child is left to itself.
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// The program, as given to [`new`](Command::new).
    pub fn get_program(&self) -> &OsStr {
        self.inner.get_program()
    }

    /// The arguments, without the program's name.
    pub fn get_args(&self) -> CommandArgs<'_> {
        self.inner.get_args()
    }

    /// What was said about the environment: a value, or `None` for what is taken out.
    pub fn get_envs(&self) -> CommandEnvs<'_> {
        self.inner.get_envs()
    }

    /// The directory that was set.
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.inner.get_current_dir()
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.inner, f)
    }
}
