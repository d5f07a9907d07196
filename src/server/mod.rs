//! Serve connections and datagrams: accept, spawn, limit, drain.
//!
//! ```
//! use greenroom::server::{Spawn, StreamServer};
//! use std::time::Duration;
//!
//! let server = StreamServer::builder("127.0.0.1:0")
//!     .spawn(Spawn::Pool(10_000))
//!     .bind(|stream, _peer| std::io::copy(&mut &stream, &mut &stream))?;
//! server.start()?;
//! // `server.serve_forever()?` waits here until somebody stops it.
//! let killed = server.stop(Some(Duration::from_secs(10)));
//! assert_eq!(killed, 0, "all had left within ten seconds");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! | to | there is |
//! |---|---|
//! | serve TCP | [`StreamServer::bind`], with choices [`StreamServer::builder`] |
//! | serve at a Unix path | [`StreamServer::builder_at`] |
//! | serve with a listener that listens already | [`StreamServer::builder_of`] |
//! | serve datagrams | [`DatagramServer`] |
//! | limit the number of guests | [`Spawn::Pool`] |
//! | use more cores | [`StreamBuilder::hubs`] |
//! | speak TLS | `StreamBuilder::tls`, with the feature `tls` |
//! | stop it from elsewhere | [`StreamServer::handle`] |
//!
//! The state of a handler that is not `Send` belongs into a
//! [`green_local!`](crate::green_local) or a `thread_local!`: a handler may run on several hubs.

mod acceptor;
mod core;
mod datagram;
mod door;
mod endpoint;
mod handle;
mod handler;
mod lane;
mod limit;
mod settings;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod upgrade;

#[cfg(feature = "tls")]
pub use self::tls::Tls;
pub use datagram::{DatagramBuilder, DatagramServer, IntoDatagramSocket};
pub use endpoint::{DatagramSocket, Listener};
pub use handle::{ServerHandle, Stats};
pub use handler::{Handler, Outcome};
pub use settings::{Job, Spawn, SpawnFn};
pub use stream::{IntoListener, StreamBuilder, StreamServer};
pub use upgrade::{Plain, Upgrade};
