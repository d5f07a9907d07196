//! What one may wish of a server, and what of it makes no sense.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::endpoint::Options;
use crate::greenlet::Builder;
use crate::hub::sim::simulation;
use crate::sys::socket::BACKLOG_MAX;

const HUBS_MAX: usize = 1024;
const ACCEPTS_MAX: usize = 100;
/// Far beyond what any datagram socket carries.
const SIZE_MAX: usize = 64 << 20;

/// One guest and all that is to be done for it; to be called once, anywhere. Dropped uncalled it
/// closes the connection.
pub type Job = Box<dyn FnOnce() + Send>;

/// In what a server runs its handler.
///
/// # Examples
/// ```
/// use greenroom::server::{Spawn, StreamServer};
///
/// // Two connections at a time; others wait in the queue of the kernel.
/// let server = StreamServer::builder("127.0.0.1:0").spawn(Spawn::Pool(2)).bind(|_, _| ())?;
/// # drop(server);
/// // Each in a greenlet with a name of our own making.
/// let named = Spawn::with(|job| {
///     let builder = greenroom::Builder::new().name("guest".into());
///     drop(builder.spawn(job));
/// });
/// let server = StreamServer::builder("127.0.0.1:0").spawn(named).bind(|_, _| ())?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Spawn {
    /// In a greenlet for each guest, any number at a time.
    #[default]
    Greenlet,
    /// In a greenlet for each guest, at most so many at a time on all hubs of the server. When all
    /// are taken the server accepts nobody: who connects waits in the queue of the kernel.
    Pool(usize),
    /// In the greenlet that accepts, on each hub one guest after the other.
    Inline,
    /// As the function will have it: it gets the [`Job`] of each guest. It runs where the server
    /// accepts; when it parks, the server accepts nobody meanwhile.
    With(SpawnFn),
}

/// A function that has a [`Job`] run; see [`Spawn::with`].
#[derive(Clone)]
pub struct SpawnFn(pub(super) Arc<dyn Fn(Job) + Send + Sync>);

impl Spawn {
    /// [`Spawn::With`] of a closure.
    ///
    /// A panic of it closes that connection; the server pauses a little, as after a failed accept,
    /// and goes on.
    pub fn with(spawn: impl Fn(Job) + Send + Sync + 'static) -> Spawn {
        Spawn::With(SpawnFn(Arc::new(spawn)))
    }
}

impl fmt::Debug for Spawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spawn::Greenlet => write!(f, "Greenlet"),
            Spawn::Pool(places) => f.debug_tuple("Pool").field(places).finish(),
            Spawn::Inline => write!(f, "Inline"),
            Spawn::With(spawn) => f.debug_tuple("With").field(spawn).finish(),
        }
    }
}

impl fmt::Debug for SpawnFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnFn").finish_non_exhaustive()
    }
}

/// What servers of both kinds have in common.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) spawn: Spawn,
    pub(super) stack_size: Option<usize>,
    pub(super) hubs: Option<usize>,
    pub(super) accepts_max: usize,
    pub(super) backlog: Option<u32>,
    pub(super) options: Options,
    /// Of the longest datagram.
    pub(super) size: usize,
}

impl Settings {
    pub(super) fn new(name: &str, reuse_addr: bool) -> Settings {
        Settings {
            name: name.to_owned(),
            spawn: Spawn::default(),
            stack_size: None,
            hubs: None,
            accepts_max: ACCEPTS_MAX,
            backlog: None,
            size: 1,
            options: Options {
                reuse_addr,
                reuse_port: false,
            },
        }
    }

    pub(super) fn backlog(&self) -> u32 {
        self.backlog.unwrap_or(BACKLOG_MAX)
    }

    /// Whether several hubs take from one socket.
    pub(super) fn shares_socket(&self) -> bool {
        self.hubs.is_some_and(|hubs| hubs > 1) && !self.options.reuse_port
    }

    /// # Errors
    /// InvalidInput, naming what makes no sense.
    pub(super) fn check(&self, is_ready: bool) -> io::Result<()> {
        let fault = match self {
            Settings {
                backlog: Some(0), ..
            } => "a backlog of 0 would let nobody in".to_owned(),
            Settings {
                backlog: Some(backlog),
                ..
            } if i32::try_from(*backlog).is_err() => {
                format!("a backlog of {backlog} is beyond the limit of {}", i32::MAX)
            }
            Settings {
                backlog: Some(backlog),
                ..
            } if is_ready => {
                format!("a ready listener has its backlog already: {backlog} can't be set")
            }
            Settings { options, .. } if is_ready && options.reuse_port => {
                "a ready listener is bound already: SO_REUSEPORT can't be set".to_owned()
            }
            Settings {
                spawn: Spawn::Pool(0),
                ..
            } => "a pool of 0 would serve nobody".to_owned(),
            Settings { name, .. } if name.contains('\0') => {
                format!("a server can't be named {name:?}: there is a NUL in it")
            }
            Settings { hubs: Some(0), .. } => "0 hubs would serve nobody".to_owned(),
            Settings {
                hubs: Some(hubs), ..
            } if *hubs > HUBS_MAX => {
                format!("{hubs} hubs are beyond the limit of {HUBS_MAX}")
            }
            Settings { hubs: Some(_), .. } if simulation(|_| ()).is_some() => {
                "a simulation has one hub: a server in it can't have its own".to_owned()
            }
            Settings { accepts_max: 0, .. } => "0 accepts at a time would serve nobody".to_owned(),
            Settings { size: 0, .. } => "datagrams of 0 bytes would all be cut off".to_owned(),
            Settings { size, .. } if *size > SIZE_MAX => {
                format!("datagrams of {size} bytes are beyond the limit of {SIZE_MAX}")
            }
            Settings {
                stack_size: Some(bytes),
                ..
            } => {
                // Said now, and not by each connection.
                let trial = Builder::new().stack_size(*bytes).spawn(|| ());
                return trial.map(drop);
            }
            _ => return Ok(()),
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, fault))
    }
}

/// The methods that the builders of both kinds have in common.
macro_rules! common_settings {
    () => {
        /// Names the server, for logs, and for its OS threads where there are
        /// [`hubs`](Self::hubs).
        pub fn name(mut self, name: impl Into<String>) -> Self {
            self.settings.name = name.into();
            self
        }

        /// In what the handler runs: a greenlet for each guest, unless told otherwise.
        pub fn spawn(mut self, spawn: $crate::server::Spawn) -> Self {
            self.settings.spawn = spawn;
            self
        }

        /// The size of the stack of those greenlets, in bytes; see
        /// [`Builder::stack_size`](crate::Builder::stack_size).
        pub fn stack_size(mut self, bytes: usize) -> Self {
            self.settings.stack_size = Some(bytes);
            self
        }

        /// Serves on `count` OS threads (at most 1,024) made for it, each with a hub of its own;
        /// without this, on the hub of whoever starts the server.
        ///
        /// All take from one socket. The hub that accepts a guest hands it to the one that serves
        /// the fewest, unless it serves hardly more itself. A hub that has not switched for
        /// 100 ms is handed none. With [`Spawn::Inline`](crate::server::Spawn::Inline) and
        /// [`Spawn::with`](crate::server::Spawn::with) a guest stays where it was accepted. With
        /// [`reuse_port`](Self::reuse_port) each hub has its own socket.
        pub fn hubs(mut self, count: usize) -> Self {
            self.settings.hubs = Some(count);
            self
        }

        /// Sets `SO_REUSEPORT`, so that other processes of the same user may bind to the same
        /// address; and gives each of the [`hubs`](Self::hubs) a socket of its own. The kernel
        /// then chooses by a hash of the addresses of both ends which hub accepts a guest; which
        /// one serves it is chosen as ever.
        pub fn reuse_port(mut self, on: bool) -> Self {
            self.settings.options.reuse_port = on;
            self
        }

        /// How many guests are let in, 100 if not said, before others on the hub have a turn.
        pub fn accepts_max(mut self, count: usize) -> Self {
            self.settings.accepts_max = count;
            self
        }
    };
}

pub(super) use common_settings;
