//! Where guests come in: a socket that is bound, first deaf, then open, and perhaps opened again.

use std::fmt::Debug;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::core::{Core, Phase};
use super::endpoint::Options;
use super::endpoint::sealed::Endpoint;
use super::settings::Settings;
use crate::net::ToSocketAddrs;
use crate::sys::report::report;

/// What comes in, and how: connections or datagrams.
pub(super) trait Kind: Sized + 'static {
    type Endpoint: Endpoint;
    type Guest: Send + 'static;

    /// Waits for the next guest; each attempt first asks `gate`.
    fn next<P>(
        door: &Arc<Door<Self::Endpoint>>,
        room: &mut Vec<u8>,
        gate: impl FnMut() -> io::Result<P>,
    ) -> io::Result<(Self::Guest, P)>;

    /// Who it is, for logs.
    fn peer(guest: &Self::Guest) -> <Self::Endpoint as Endpoint>::Address;

    /// Room for what it sends along, if it does.
    fn room(core: &Core<Self>) -> usize;
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Door<E: Endpoint> {
    pub(super) endpoint: E,
    pub(super) address: E::Address,
    /// It came to us open: we can't make another one like it.
    pub(super) ready: bool,
    /// Removed when the door is closed.
    _made: Option<MadePath>,
}

/// Where a server is to be found.
#[derive(Debug)]
pub(super) enum Place<E: Endpoint> {
    /// At the first of these that can be bound.
    At(Vec<E::Address>),
    Ready(E),
}

impl<E: Endpoint<Address = std::net::SocketAddr>> Place<E> {
    /// Looks the addresses up.
    pub(super) fn look_up(addr: impl ToSocketAddrs) -> io::Result<Place<E>> {
        Ok(Place::At(addr.to_socket_addrs()?.collect()))
    }
}

impl<E: Endpoint<Address = UnixAddr>> Place<E> {
    pub(super) fn path(path: &Path) -> io::Result<Place<E>> {
        let addr = UnixAddr::from_pathname(path);
        let addr = addr.map_err(|error| about(&path, &error))?;
        Ok(Place::At(vec![addr]))
    }
}

impl<E: Endpoint> Place<E> {
    /// A door that is bound and not yet open, unless it came so.
    pub(super) fn door(self, settings: &Settings) -> io::Result<Door<E>> {
        settings.check(matches!(self, Place::Ready(_)))?;
        match self {
            Place::Ready(endpoint) => {
                endpoint.vet().map_err(|error| about(&endpoint, &error))?;
                let address = endpoint.address();
                let address = address.map_err(|error| about(&endpoint, &error))?;
                Ok(Door {
                    endpoint,
                    address,
                    ready: true,
                    _made: None,
                })
            }
            Place::At(addresses) => {
                let mut last = None;
                for address in &addresses {
                    match Door::at(address, settings.options) {
                        Ok(door) => return Ok(door),
                        Err(error) => last = Some(error),
                    }
                }
                let nothing = "could not resolve to any addresses";
                let nothing = || io::Error::new(io::ErrorKind::InvalidInput, nothing);
                Err(last.unwrap_or_else(nothing))
            }
        }
    }
}

impl<E: Endpoint> Door<E> {
    fn at(address: &E::Address, options: Options) -> io::Result<Door<E>> {
        let endpoint = E::open(address, options).map_err(|error| about(address, &error))?;
        let address = endpoint.address()?;
        Ok(Door {
            _made: MadePath::of(&address),
            endpoint,
            address,
            ready: false,
        })
    }
}

impl<K: Kind> Core<K> {
    /// The doors of a server that starts, open: those that are there already, or new ones.
    pub(super) fn open_doors(
        &self,
        address: &<K::Endpoint as Endpoint>::Address,
        is_ready: bool,
    ) -> io::Result<()> {
        let mut doors = self.lock().doors.clone();
        let options = self.settings.options;
        let count = match self.settings.hubs {
            Some(hubs) if options.reuse_port => hubs,
            _ => 1,
        };
        if doors.is_empty() && is_ready {
            let what = "the server was given a ready socket, which is closed by now";
            return Err(io::Error::new(io::ErrorKind::NotConnected, what));
        }
        while doors.len() < count {
            doors.push(Arc::new(Door::at(address, options)?));
        }
        for door in doors.iter().filter(|door| !door.ready) {
            let listening = door.endpoint.listen(self.settings.backlog());
            listening.map_err(|error| about(address, &error))?;
        }
        let mut state = self.lock();
        if state.phase == Phase::Starting {
            state.doors = doors;
        }
        Ok(())
    }
}

/// The error, with what it is about.
fn about(what: &dyn Debug, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot serve at {what:?}: {error}"))
}

/// A socket file of our own making. Dropped it is removed, unless another one is there by now.
#[derive(Debug)]
struct MadePath {
    path: PathBuf,
    identity: (u64, u64),
}

impl MadePath {
    fn of(address: &dyn std::any::Any) -> Option<MadePath> {
        let path = address.downcast_ref::<UnixAddr>()?.as_pathname()?;
        // A relative path means another file once the working directory has changed.
        let path = fs::canonicalize(path).ok()?;
        let identity = identity(&path)?;
        Some(MadePath { path, identity })
    }
}

impl Drop for MadePath {
    fn drop(&mut self) {
        if identity(&self.path) == Some(self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            report!(Debug, "greenroom: {:?} was not removed: {error}", self.path);
        }
    }
}

/// Device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
