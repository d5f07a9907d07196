//! A child process, its end and its output.

use std::fmt;
use std::io::{self, Read, Write};
use std::mem;
use std::panic::resume_unwind;
use std::process::{self, ExitStatus, Output};
use std::sync::Arc;
use std::time::Duration;

use super::exit::Exit;
use super::pidfd::PidFd;
use super::{ChildStderr, ChildStdin, ChildStdout};
use crate::cancel;
use crate::greenlet::sealed::{Subscribe, Subscription};
use crate::greenlet::{Builder, Ready, Waitable, scope, watch};
use crate::sys::report::report;

/// Bytes of output that are read at a time; the kernel's pipes hold 64 KiB.
const CHUNK: usize = 16 * 1024;

/// A running or exited child process. As [`std::process::Child`]; made by
/// [`Command::spawn`](super::Command::spawn).
///
/// Dropping it neither kills nor reaps the child: see [`process`](crate::process). It can be waited
/// for with [`wait`](crate::wait) and [`iwait`](crate::iwait): it is ready from its end on, and is
/// not reaped by that.
///
/// # Examples
/// ```
/// use greenroom::process::Command;
/// use std::time::Duration;
///
/// let mut child = Command::new("sleep").arg("60").spawn()?;
/// assert_eq!(child.wait_timeout(Duration::from_millis(5))?, None);
/// child.kill()?;
/// assert!(!child.wait()?.success());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Child {
    /// Our end of the pipe to its standard input, if that was asked for.
    pub stdin: Option<ChildStdin>,
    /// Our end of the pipe from its standard output, if that was asked for.
    pub stdout: Option<ChildStdout>,
    /// Our end of the pipe from its standard error, if that was asked for.
    pub stderr: Option<ChildStderr>,
    inner: process::Child,
    exit: Arc<Exit>,
    /// For the user, who may take it away.
    pidfd: Option<PidFd>,
    talk: Talk,
}

/// How far [`Child::communicate`] has come.
#[derive(Default)]
struct Talk {
    input: Vec<u8>,
    written: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Child {
    /// Takes over a child that std has just started.
    pub(super) fn of_spawn(mut inner: process::Child) -> io::Result<Child> {
        let exit = Exit::new(inner.id());
        Ok(Child {
            stdin: inner.stdin.take().map(ChildStdin::of_spawn).transpose()?,
            stdout: inner.stdout.take().map(ChildStdout::of_spawn).transpose()?,
            stderr: inner.stderr.take().map(ChildStderr::of_spawn).transpose()?,
            inner,
            exit: Arc::new(exit),
            pidfd: None,
            talk: Talk::default(),
        })
    }

    /// Makes a descriptor for the user, if there is one to be had.
    pub(super) fn create_pidfd(&mut self) {
        self.pidfd = PidFd::open(self.id()).ok();
    }

    pub(crate) fn created_pidfd(&self) -> Option<&PidFd> {
        self.pidfd.as_ref()
    }

    #[allow(clippy::result_large_err, reason = "std gives the child back as well")]
    pub(crate) fn into_created_pidfd(mut self) -> Result<PidFd, Child> {
        self.pidfd.take().ok_or(self)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// Has the child ended by SIGKILL. Fine as well when it has ended, whether it was waited for
    /// or not.
    ///
    /// # Errors
    /// Those of kill(2).
    ///
    /// # Parks
    /// Never.
    pub fn kill(&mut self) -> io::Result<()> {
        self.inner.kill()
    }

    /// Closes [`stdin`](Child::stdin), so that the child does not wait for more, waits for its end
    /// and reaps it. Once it has been, the same status is returned at once.
    ///
    /// Whoever leaves a piped output unread may wait forever, for a child that waits for room in
    /// the pipe: see [`wait_with_output`](Child::wait_with_output).
    ///
    /// # Examples
    /// ```
    /// use greenroom::process::Command;
    /// let status = Command::new("false").spawn()?.wait()?;
    /// assert_eq!(status.code(), Some(1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// ECHILD when somebody else has reaped it, or SIGCHLD is ignored. ECANCELED or ETIMEDOUT
    /// where a kill or a timeout can't unwind.
    ///
    /// # Parks
    /// Until the child has ended. A kill or a timeout unwinds and leaves the child alone.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.wait_within(None)?;
        Ok(status.expect("without a limit it is waited for"))
    }

    /// As [`wait`](Child::wait), for at most `limit`; `None` when the child runs longer.
    ///
    /// # Examples
    /// See [`Child`].
    ///
    /// # Errors
    /// As `wait`.
    ///
    /// # Parks
    /// As `wait`, and no longer than `limit`.
    pub fn wait_timeout(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        self.wait_within(Some(limit))
    }

    fn wait_within(&mut self, limit: Option<Duration>) -> io::Result<Option<ExitStatus>> {
        drop(self.stdin.take());
        let Child { inner, exit, .. } = self;
        let status = exit.wait(limit, || inner.try_wait())?;
        status.inspect(|_| exit.note_reaped());
        Ok(status)
    }

    /// The status of the child if it has ended, which reaps it.
    ///
    /// # Errors
    /// ECHILD, as [`wait`](Child::wait).
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        cancel::let_others_run();
        let status = self.inner.try_wait()?;
        status.inspect(|_| self.exit.note_reaped());
        Ok(status)
    }

    /// Closes [`stdin`](Child::stdin), reads all output that is piped, both at the same time, and
    /// waits for the end of the child.
    ///
    /// # Examples
    /// ```
    /// use greenroom::process::{Command, Stdio};
    /// let child = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
    /// assert_eq!(child.wait_with_output()?.stdout, b"hello\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`communicate`](Child::communicate).
    ///
    /// # Parks
    /// As `communicate`; but a kill or a timeout drops the child and what it has said, since both
    /// were given away.
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        self.communicate(b"")
    }

    /// Writes `input` to the child and closes its standard input, reads all output that is piped,
    /// and waits for its end: all of it at the same time, so that neither side waits for the other
    /// with its pipes full. A child that does not want its input is no error.
    ///
    /// # Examples
    /// When it is interrupted, nothing is lost: the next call goes on where this one was. It may
    /// have more input to add.
    /// ```
    /// use greenroom::process::{Command, Stdio};
    /// use std::time::Duration;
    ///
    /// let mut child = Command::new("sh")
    ///     .args(["-c", "echo early; cat; sleep 0.1; echo late"])
    ///     .stdin(Stdio::piped())
    ///     .stdout(Stdio::piped())
    ///     .spawn()?;
    /// let limit = Duration::from_millis(30);
    /// let soon = greenroom::with_timeout(limit, || child.communicate(b"input\n"));
    /// assert!(soon.is_err());
    /// assert_eq!(child.communicate(b"")?.stdout, b"early\ninput\nlate\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// InvalidInput for input to a child without a pipe for it. Those of [`wait`](Child::wait), of
    /// the pipes, and of [`Builder::spawn`](crate::Builder::spawn).
    ///
    /// # Parks
    /// Until the child has ended and all who could write to its pipes have closed them. A kill or
    /// a timeout unwinds and leaves the child alone.
    pub fn communicate(&mut self, input: &[u8]) -> io::Result<Output> {
        if self.stdin.is_none() && !input.is_empty() {
            let why = "input for a child whose standard input is not piped, or closed already";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        self.talk.input.extend_from_slice(input);
        self.exchange()?;
        let status = self.wait()?;
        Ok(Output {
            status,
            stdout: mem::take(&mut self.talk.stdout),
            stderr: mem::take(&mut self.talk.stderr),
        })
    }

    /// Moves bytes in all directions until nothing is left to move.
    fn exchange(&mut self) -> io::Result<()> {
        let mut moves: Vec<Move<'_>> = Vec::new();
        let talk = &mut self.talk;
        if talk.written == talk.input.len() {
            drop(self.stdin.take());
        }
        if let pipe @ Some(_) = &mut self.stdin {
            moves.push(Box::new(|| feed(pipe, &mut talk.input, &mut talk.written)));
        }
        if let pipe @ Some(_) = &mut self.stderr {
            moves.push(Box::new(|| drain(pipe, &mut talk.stderr)));
        }
        if let pipe @ Some(_) = &mut self.stdout {
            moves.push(Box::new(|| drain(pipe, &mut talk.stdout)));
        }
        move_all(moves)
    }
}

type Move<'a> = Box<dyn FnOnce() -> io::Result<()> + 'a>;

/// The last of `moves` is made here, each other in a greenlet of its own.
fn move_all(mut moves: Vec<Move<'_>>) -> io::Result<()> {
    let Some(last) = moves.pop() else {
        return Ok(());
    };
    if moves.is_empty() {
        return last();
    }
    scope(|s| {
        let spawn = |one| Builder::new().spawn_scoped(s, one);
        let (others, failed) = partition(moves.into_iter().map(spawn));
        let mut done = failed.map_or_else(last, Err);
        if done.is_err() {
            others.iter().for_each(|other| other.kill());
        }
        for other in others {
            match other.join() {
                Ok(moved) => done = done.and(moved),
                Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
                Err(_) => {}
            }
        }
        done
    })
}

/// Those that succeed, up to the first that fails.
fn partition<T>(results: impl Iterator<Item = io::Result<T>>) -> (Vec<T>, Option<io::Error>) {
    let mut found = Vec::new();
    for result in results {
        match result {
            Ok(one) => found.push(one),
            Err(error) => return (found, Some(error)),
        }
    }
    (found, None)
}

/// Writes what is left of `input`, and closes the pipe.
fn feed(pipe: &mut Option<ChildStdin>, input: &mut Vec<u8>, written: &mut usize) -> io::Result<()> {
    while let Some(end) = pipe
        && *written < input.len()
    {
        match end.write(&input[*written..]) {
            Ok(count) => *written += count,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(error),
        }
    }
    input.clear();
    *written = 0;
    drop(pipe.take());
    Ok(())
}

/// Reads to the end, and closes the pipe. Nothing parks between a read and the note of it.
fn drain(pipe: &mut Option<impl Read>, into: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    while let Some(end) = pipe {
        match end.read(&mut chunk)? {
            0 => drop(pipe.take()),
            count => into.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(())
}

impl Subscribe for Child {
    fn subscribe(&self, ready: Ready) -> Option<Box<dyn Subscription>> {
        if self.exit.has_come() {
            ready.call();
            return None;
        }
        let exit = Arc::clone(&self.exit);
        watch(ready, move || {
            if let Err(error) = exit.wait(None, || Ok(exit.has_come().then_some(()))) {
                report!(Debug, "greenroom: the wait for a child has failed: {error}");
            }
        })
    }
}

impl Waitable for Child {}

/// Takes over a child that was started by std, and its pipes.
///
/// # Errors
/// Those of fcntl(2).
impl TryFrom<process::Child> for Child {
    type Error = io::Error;

    fn try_from(child: process::Child) -> io::Result<Child> {
        Child::of_spawn(child)
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("id", &self.id())
            .field("stdin", &self.stdin)
            .field("stdout", &self.stdout)
            .field("stderr", &self.stderr)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use crate::greenlet::{iwait, spawn_local};
    use crate::process::{Command, Stdio};

    /// As it is where the kernel has no pidfd.
    fn without_pidfd(command: &mut Command) -> Child {
        let mut child = command.spawn().unwrap();
        child.exit = Arc::new(Exit::by(child.id(), None));
        child
    }

    #[test]
    fn without_a_pidfd_a_child_is_waited_for_all_the_same() {
        let _bound = bounded();
        let mut command = Command::new("sh");
        let command = command.args(["-c", "read line; exit 7"]);
        let mut child = without_pidfd(command.stdin(Stdio::piped()));
        let input = child.stdin.take();
        let other = spawn_local(|| ());
        // It ends when its input does, and not before.
        assert_eq!(child.wait_timeout(Duration::from_millis(1)).unwrap(), None);
        drop(input);
        assert_eq!(child.wait().unwrap().code(), Some(7));
        assert!(other.is_finished());
    }

    #[test]
    fn without_a_pidfd_children_can_be_waited_for_together() {
        let _bound = bounded();
        let slow = without_pidfd(Command::new("sleep").arg("60"));
        let fast = without_pidfd(Command::new("sleep").arg("0.01"));
        let mut children = [slow, fast];
        let first = iwait(&children).next().unwrap().id();
        assert_eq!(first, children[1].id());
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let ready = iwait(&children).collect::<Vec<_>>();
        assert_eq!(ready.len(), 2, "what was reaped is ready");
    }
}
