//! A function that is called at each delivery.

use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use super::Signal;
use super::registration::Registration;
use crate::cancel;
use crate::greenlet::Builder;
use crate::hub::{Background, current_hub};
use crate::sys::report::report;

/// Calls `f` in a greenlet of this thread's hub, each time that `signal` has come, until the
/// [`Handler`] is dropped or cancelled.
///
/// It is one greenlet for all deliveries, so that the calls come one after the other; one that
/// parks for long keeps the next waiting, and none is lost. A panic of `f` is told by the panic
/// hook, and the handler stays. [`wait_idle`](crate::hub::wait_idle) does not wait for handlers
/// that have nothing to do; the end of a [`run`](crate::run()) ends them.
///
/// # Examples
/// ```
/// use greenroom::signal::{self, Signal};
/// use std::{cell::Cell, rc::Rc, time::Duration};
///
/// let reloads = Rc::new(Cell::new(0));
/// let count = Rc::clone(&reloads);
/// let handler = signal::on(Signal::HUP, move || count.set(count.get() + 1))?;
/// signal::send(std::process::id(), Signal::HUP)?;
/// while reloads.get() == 0 {
///     greenroom::sleep(Duration::from_millis(1));
/// }
/// handler.cancel();
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As [`Signals::new`](super::Signals::new), and when the greenlet can't be had.
///
/// # Parks
/// Never.
#[track_caller]
pub fn on(signal: Signal, f: impl FnMut() + 'static) -> io::Result<Handler> {
    // The greenlet's hub, so that it is that of the mark as well.
    current_hub(|_| ())?;
    let registration = Arc::new(Registration::new(&[signal])?);
    let theirs = Arc::clone(&registration);
    let background = Background::enter();
    let name = format!("handler of {signal}");
    let greenlet = Builder::new()
        .name(name)
        .spawn_local(move || serve(&theirs, &background, f))?;
    drop(greenlet);
    Ok(Handler {
        signal,
        registration,
    })
}

fn serve(registration: &Registration, background: &Background, mut f: impl FnMut()) {
    loop {
        match registration.wait(None, || registration.take()) {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(error) => {
                return report!(Error, "greenroom: a signal handler has ended: {error}");
            }
        }
        let called = panic::catch_unwind(AssertUnwindSafe(|| background.leave_for(&mut f)));
        if let Err(payload) = called {
            if cancel::is_cancellation(&*payload) {
                panic::resume_unwind(payload);
            }
            // The panic hook has told of it; its destructor may panic as well.
            std::mem::forget(payload);
        }
    }
}

/// An installed handler, made by [`on`]. Dropping it takes the handler away, on whatever thread: a
/// call that is under way goes on to its end, and no other comes. The function is dropped by its
/// greenlet, when that next runs.
#[must_use = "dropping it takes the handler away"]
pub struct Handler {
    signal: Signal,
    registration: Arc<Registration>,
}

impl Handler {
    /// Which signal it handles.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// Deliveries that have yet to be handled.
    ///
    /// # Parks
    /// Never.
    pub fn pending(&self) -> usize {
        self.registration.pending()
    }

    /// Takes the handler away, as dropping it does.
    ///
    /// # Parks
    /// Never.
    pub fn cancel(self) {
        drop(self);
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.registration.end();
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler")
            .field("signal", &self.signal)
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}
