//! Handle signals in greenlets, as events: nothing of the user's runs in a signal handler.
//!
//! * [`on`] calls a function in a greenlet at each delivery, until its [`Handler`] is dropped.
//! * [`Signals`] are waited for, one after the other, or together with other objects.
//! * [`wait`] waits for one.
//!
//! What runs as a signal handler only counts, and rings the eventfd of each registration: so each
//! is told, on the hub that it waits on, whatever OS thread the signal came to.
//!
//! * **Signals coalesce.** Of a signal that comes again before it was delivered, the kernel keeps
//!   one (of those made by [`Signal::real_time`], all). Each run of the handler counts once. The
//!   order in which different signals came is not kept: of those that wait, the lowest number
//!   comes first.
//! * The first registration for a signal replaces its disposition (SIGINT, say, no longer ends
//!   the process); the last to go puts it back. A handler function that was there before is called
//!   as well, after ours. One that was installed since is left where it is.
//! * The handler is installed with SA_RESTART, and I/O of greenroom never fails with EINTR.
//! * A forked child starts without registrations, with the dispositions as they were before.
//!
//! # Examples
//! ```
//! use greenroom::signal::{self, Signal, Signals};
//!
//! let signals = Signals::new(&[Signal::INT, Signal::TERM])?;
//! let server = greenroom::spawn(|| loop { greenroom::yield_now() });
//! signal::send(std::process::id(), Signal::TERM)?;
//! assert_eq!(signals.wait()?, Signal::TERM);
//! server.kill();
//! # Ok::<(), std::io::Error>(())
//! ```

mod handler;
mod number;
mod registration;
mod signals;

use std::io;

pub use handler::{Handler, on};
pub use number::Signal;
pub use signals::{Iter, Signals};

/// Waits for one of `signals`, the next that comes: those that came before are not known here.
///
/// # Examples
/// ```no_run
/// use greenroom::signal::{self, Signal};
/// let which = signal::wait(&[Signal::INT, Signal::TERM])?;
/// println!("ended by {which}");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As [`Signals::new`] and [`Signals::wait`].
///
/// # Parks
/// Until one comes. A kill or a timeout unwinds.
#[doc(alias("Ctrl-C", "SIGINT", "SIGTERM", "ctrl_c"))]
pub fn wait(signals: &[Signal]) -> io::Result<Signal> {
    Signals::new(signals)?.wait()
}

/// Sends a signal to the process of that id: kill(2).
///
/// # Examples
/// See [`signal`](self).
///
/// # Errors
/// ESRCH when there is no such process, and for 0 and what is no process id; EPERM.
///
/// # Parks
/// Never.
pub fn send(process: u32, signal: Signal) -> io::Result<()> {
    crate::sys::signal::send(process, signal.number())
}
