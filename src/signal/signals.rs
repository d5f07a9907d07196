//! Signals to be waited for.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Signal;
use super::registration::Registration;
use crate::cancel;
use crate::greenlet::sealed::{Subscribe, Subscription};
use crate::greenlet::{Ready, Waitable, watch};
use crate::sys::report::report;

/// Signals as events: from [`new`](Signals::new) on none is missed, until this is dropped.
///
/// Greenlets on any hub and plain threads may wait; each delivery goes to one of them. With
/// [`wait`](crate::wait) and [`iwait`](crate::iwait) it is ready when a signal has come that was
/// not taken yet; it is not taken by that. Dropping it may put former dispositions back: see
/// [`signal`](crate::signal).
///
/// # Examples
/// ```
/// use greenroom::signal::{self, Signal, Signals};
/// use std::time::Duration;
///
/// let signals = Signals::new(&[Signal::USR1])?;
/// assert_eq!(signals.wait_timeout(Duration::from_millis(1))?, None);
/// signal::send(std::process::id(), Signal::USR1)?;
/// assert_eq!(signals.iter().next(), Some(Signal::USR1));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Signals {
    registration: Arc<Registration>,
    signals: Vec<Signal>,
}

impl Signals {
    /// Begins to listen for `signals`.
    ///
    /// # Errors
    /// InvalidInput for none at all; EMFILE, ENFILE: each registration has two descriptors.
    pub fn new(signals: &[Signal]) -> io::Result<Signals> {
        Ok(Signals {
            registration: Arc::new(Registration::new(signals)?),
            signals: signals.to_vec(),
        })
    }

    /// Waits for the next one, and takes it.
    ///
    /// # Errors
    /// In a forked child, where the signals are the parent's. ECANCELED or ETIMEDOUT where a kill
    /// or a timeout can't unwind.
    ///
    /// # Parks
    /// Until one comes. A kill or a timeout unwinds, and takes none.
    pub fn wait(&self) -> io::Result<Signal> {
        let signal = self.wait_within(None)?;
        Ok(signal.expect("without a limit one is waited for"))
    }

    /// As [`wait`](Signals::wait), for at most `limit`; `None` when none has come.
    ///
    /// # Errors
    /// As `wait`.
    ///
    /// # Parks
    /// As `wait`, and no longer than `limit`.
    pub fn wait_timeout(&self, limit: Duration) -> io::Result<Option<Signal>> {
        self.wait_within(Some(limit))
    }

    fn wait_within(&self, limit: Option<Duration>) -> io::Result<Option<Signal>> {
        self.registration.wait(limit, || self.registration.take())
    }

    /// Takes one that has come already.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_wait(&self) -> Option<Signal> {
        cancel::let_others_run();
        self.registration.take()
    }

    /// How many have come and were not taken.
    ///
    /// # Parks
    /// Never.
    pub fn pending(&self) -> usize {
        self.registration.pending()
    }

    /// Iterates over those that come, without an end but an error of [`wait`](Signals::wait).
    ///
    /// # Parks
    /// Each step does, as `wait`.
    pub fn iter(&self) -> Iter<'_> {
        Iter(self)
    }
}

impl Subscribe for Signals {
    fn subscribe(&self, ready: Ready) -> Option<Box<dyn Subscription>> {
        if self.pending() > 0 {
            ready.call();
            return None;
        }
        let registration = Arc::clone(&self.registration);
        watch(ready, move || {
            let come = || (registration.pending() > 0).then_some(());
            if let Err(error) = registration.wait(None, come) {
                report!(Debug, "greenroom: the wait for signals has failed: {error}");
            }
        })
    }
}

impl Waitable for Signals {}

impl Drop for Signals {
    fn drop(&mut self) {
        self.registration.end();
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals")
            .field("signals", &self.signals)
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

/// Iterator over the signals that come, made by [`Signals::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a>(&'a Signals);

impl Iterator for Iter<'_> {
    type Item = Signal;

    fn next(&mut self) -> Option<Signal> {
        self.0.wait().ok()
    }
}

impl<'a> IntoIterator for &'a Signals {
    type Item = Signal;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}
