//! A server seen from elsewhere: to look at, and to stop.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Phase};
use super::door::Kind;
use super::lane;

/// What a server has done and has to do; see [`StreamServer::stats`](super::StreamServer::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections or datagrams that it has let in since it was made.
    pub accepted: u64,
    /// Those of them that are being served, or wait for it.
    pub active: usize,
    /// Those whose handler returned an error or panicked.
    pub failed: u64,
    /// Accepts, receives and spawns that failed, and datagrams that were cut off.
    pub errors: u64,
}

/// What can be done with a server of any kind.
pub(super) trait Control: Send + Sync {
    fn phase(&self) -> Phase;
    fn stats(&self) -> Stats;
    fn stop(&self, limit: Option<Duration>) -> usize;
    fn close(&self);
    fn stop_accepting(&self);
    fn start_accepting(self: Arc<Self>) -> io::Result<()>;
}

impl<K: Kind> Control for Core<K> {
    fn phase(&self) -> Phase {
        Core::phase(self)
    }

    fn stats(&self) -> Stats {
        Core::stats(self)
    }

    fn stop(&self, limit: Option<Duration>) -> usize {
        Core::stop(self, limit)
    }

    fn close(&self) {
        Core::close(self);
    }

    fn stop_accepting(&self) {
        Core::stop_accepting(self);
    }

    fn start_accepting(self: Arc<Self>) -> io::Result<()> {
        lane::start_accepting(&self)
    }
}

/// Names a server, for any greenlet and any thread: to stop it from its own handler, or when a
/// signal comes. It does not keep the server open.
///
/// # Examples
/// ```
/// use greenroom::net::TcpStream;
/// use greenroom::server::StreamServer;
/// use std::sync::OnceLock;
///
/// static SERVER: OnceLock<greenroom::server::ServerHandle> = OnceLock::new();
///
/// let server = StreamServer::bind("127.0.0.1:0", |_, _| {
///     SERVER.get().unwrap().stop(None);
/// })?;
/// SERVER.set(server.handle()).unwrap();
/// let address = server.address();
/// greenroom::spawn(move || TcpStream::connect(address));
/// server.serve_forever()?;
/// assert_eq!(server.stats().accepted, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct ServerHandle(Arc<dyn Control>);

impl ServerHandle {
    pub(super) fn new(control: Arc<dyn Control>) -> ServerHandle {
        ServerHandle(control)
    }
}

/// The methods that servers and their handles have in common. `$control` gives the `Arc` of it.
macro_rules! common_controls {
    ($control:expr) => {
        /// Lets nobody in any more, waits until those who are in have left, at most for `limit`,
        /// and then kills them. Returns how many it had to kill: 0 after a clean end.
        ///
        /// Without a limit it waits for as long as it takes. Those who are killed have a second
        /// for their destructors; who withstands that is told of in the log. What runs on an OS
        /// thread that a [`Spawn::With`](crate::server::Spawn::With) has chosen can't be killed.
        /// Greenlets that a handler has spawned are its own affair.
        /// Called by a handler it counts on all guests but its own.
        ///
        /// When it returns, the address is free again, and [`hubs`] of the server's own have
        /// ended, with all greenlets on them, unless somebody is still in. Connections that the
        /// kernel had in its queue are refused. To stop what does not run does nothing.
        ///
        /// [`hubs`]: crate::server::StreamBuilder::hubs
        ///
        /// # Parks
        /// Until then. A kill or a timeout of the caller unwinds from here, the server closed.
        #[doc(alias("graceful shutdown", "drain"))]
        pub fn stop(&self, limit: Option<std::time::Duration>) -> usize {
            $control(self).stop(limit)
        }

        /// Lets nobody in any more, and closes the socket; who is in stays. The socket is gone
        /// when the greenlets that accept have ended, in the next turn of their hubs.
        ///
        /// # Parks
        /// Never.
        pub fn close(&self) {
            $control(self).close();
        }

        /// Lets nobody in for the time being. The socket stays open: who connects waits in the
        /// queue of the kernel.
        ///
        /// # Parks
        /// Never.
        pub fn stop_accepting(&self) {
            $control(self).stop_accepting();
        }

        /// Lets guests in again after a [`stop_accepting`](Self::stop_accepting).
        ///
        /// # Errors
        /// `NotConnected` when the server does not run.
        ///
        /// # Parks
        /// Never.
        pub fn start_accepting(&self) -> std::io::Result<()> {
            let control = std::sync::Arc::clone($control(self));
            $crate::server::handle::Control::start_accepting(control)
        }

        /// Whether it runs: started, and neither closed nor stopped since.
        pub fn started(&self) -> bool {
            $control(self).phase() == $crate::server::core::Phase::Started
        }

        /// Whether it has been closed or stopped, or an error has ended it.
        pub fn closed(&self) -> bool {
            $control(self).phase() == $crate::server::core::Phase::Closed
        }

        /// What it has done and has to do.
        pub fn stats(&self) -> $crate::server::Stats {
            $control(self).stats()
        }
    };
}

pub(super) use common_controls;

impl ServerHandle {
    common_controls!(ServerHandle::control);

    fn control(&self) -> &Arc<dyn Control> {
        &self.0
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("phase", &self.0.phase())
            .field("stats", &self.0.stats())
            .finish_non_exhaustive()
    }
}
