//! Wait for many descriptors at once, as Python's `select` module does: [`select()`], [`Poll`],
//! and the [`selectors`].
//!
//! With a greenlet for each connection nobody needs this: a `read` that finds nothing parks, and
//! the hub does the rest. It is here for programs that were written the other way round, one loop
//! over all descriptors, and for what owns its descriptors itself and only wants to be told when
//! they are ready. Such a loop parks its own greenlet only; all others run on.
//!
//! | | remembers what to watch | costs per call | tells of a closed descriptor |
//! |---|---|---|---|
//! | [`select()`] | no | all descriptors | EBADF |
//! | [`Poll`] | yes | all descriptors | [`Events::INVALID`] |
//! | [`DefaultSelector`] | yes | what is ready | the kernel forgets it |
//!
//! [`DefaultSelector`]: selectors::DefaultSelector
//!
//! None of them has a limit of 1024 descriptors, and all watch whatever poll(2) does, regular
//! files among it, which are always ready.
//!
//! **What is told is level-triggered:** what is ready is told again until it no longer is, unless
//! [`Events::EDGE`] is asked for. It is a hint: by the time of the read somebody else may have
//! been faster. So sockets that are served in such a loop are best set nonblocking.
//!
//! **Simulations.** The sockets of a [simulation](crate::sim) can be watched as well, and limits
//! are virtual time there. But the kernel's descriptors below are what is asked: so delays of the
//! simulated network and operations that it makes fail are met by the read, not by the wait. Who
//! waits here counts as waiting for a real descriptor, so that a deadlock is not told.
//!
//! # Examples
//! ```
//! use greenroom::net::{TcpListener, TcpStream};
//! use greenroom::select::select;
//! use std::io::Write;
//! use std::os::fd::AsFd;
//! use std::time::Duration;
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let mut client = TcpStream::connect(listener.local_addr()?)?;
//! let (server, _) = listener.accept()?;
//!
//! greenroom::spawn(move || client.write_all(b"hello"));
//! let sockets = [listener.as_fd(), server.as_fd()];
//! let (readable, _, _) = select(&sockets, &[], &[], Some(Duration::from_secs(5)))?;
//! assert_eq!(readable.len(), 1);
//! # Ok::<(), std::io::Error>(())
//! ```

mod descriptor;
mod events;
mod poll;
pub mod selectors;
mod wait;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

pub use descriptor::Descriptor;
pub use events::Events;
pub use poll::Poll;

use crate::sys::errno;
use crate::sys::poll::{PollFd, bits};
use descriptor::number_of;
use wait::{List, Look};

/// Waits until one of `read` can be read, one of `write` written, or something exceptional (in
/// practice: urgent data) is to be had from one of `except`. Returns those of each that are ready.
///
/// As select(2) and Python's `select.select`, for any number of descriptors with any numbers. At
/// the end of `timeout`, if there is one, all three are empty; with one of zero it only looks.
/// One may be in several of the slices. What is closed while this waits is not noticed, unless
/// something else is. What has come to its end or broken can be read, and if
/// broken be written, without waiting.
///
/// # Examples
/// The three slices hold the same type; where the sockets are of several, use `as_fd()`.
/// ```
/// use greenroom::select::select;
/// use std::io::Write;
///
/// let (reader, mut writer) = std::io::pipe()?;
/// writer.write_all(b"x")?;
/// let (readable, writable, exceptional) = select(&[&reader], &[], &[], None)?;
/// assert_eq!(readable.len(), 1);
/// assert!(writable.is_empty() && exceptional.is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// EBADF when one of them is closed; a [`Poll`] says which. InvalidInput for a negative number.
/// EMFILE, ENFILE, ENOMEM: a wait needs a descriptor of its own. ECANCELED or ETIMEDOUT where a
/// kill or a timeout can't unwind.
///
/// # Panics
/// In the root, without descriptors and without a timeout, when nothing is left to run.
///
/// # Parks
/// Until then; if something is ready at once only now and then, and with a timeout of zero to let
/// the others have their turn. A kill or a timeout unwinds.
#[doc(alias("poll", "readiness"))]
#[allow(clippy::type_complexity, reason = "three lists in, three lists out")]
pub fn select<F: Descriptor + Clone>(
    read: &[F],
    write: &[F],
    except: &[F],
    timeout: Option<Duration>,
) -> io::Result<(Vec<F>, Vec<F>, Vec<F>)> {
    let sides = [
        (read, Events::READ),
        (write, Events::WRITE),
        (except, Events::PRIORITY),
    ];
    let mut asked = BTreeMap::<RawFd, Events>::new();
    for (side, events) in sides {
        for fd in side {
            *asked.entry(number_of(fd)?).or_default() |= events;
        }
    }
    let ready = wait::wait(&Selection { asked: &asked }, timeout)?.unwrap_or_default();
    let [read, write, except] = sides.map(|(side, events)| {
        let is_ready = |fd: &&F| ready.get(&fd.number()).is_some_and(|r| r.contains(events));
        side.iter().filter(is_ready).cloned().collect()
    });
    Ok((read, write, except))
}

/// Descriptors as select(2) sees them.
struct Selection<'a> {
    asked: &'a BTreeMap<RawFd, Events>,
}

impl Look for Selection<'_> {
    type Found = BTreeMap<RawFd, Events>;

    fn list(&self) -> List {
        List::of(self.asked)
    }

    fn judge(&self, fds: &[PollFd]) -> io::Result<Option<Self::Found>> {
        let mut ready = BTreeMap::new();
        for fd in fds {
            let events = selected(fd)?;
            if !events.is_empty() {
                ready.insert(fd.fd(), events);
            }
        }
        Ok(Some(ready).filter(|ready| !ready.is_empty()))
    }
}

/// What select(2) makes of poll(2)'s answer, by the table in Linux's fs/select.c.
///
/// # Errors
/// EBADF for a descriptor that is closed.
fn selected(fd: &PollFd) -> io::Result<Events> {
    let found = Events::from_bits(fd.found());
    if found.contains(Events::INVALID) {
        return Err(io::Error::from_raw_os_error(errno::EBADF));
    }
    let mut means = found & (Events::READ | Events::WRITE | Events::PRIORITY);
    if found.intersects(Events::from_bits(bits::HANGUP | bits::ERROR)) {
        means |= Events::READ;
    }
    if found.contains(Events::ERROR) {
        means |= Events::WRITE;
    }
    Ok(means & Events::from_bits(fd.asked()))
}

impl List {
    fn of(asked: &BTreeMap<RawFd, Events>) -> List {
        let fds = asked.iter();
        let fds = fds.map(|(fd, events)| PollFd::new(*fd, events.question()));
        List {
            version: 0,
            fds: fds.collect(),
        }
    }
}
