//! Selectors: descriptors with data of yours, watched until they are unregistered, as Python's
//! `selectors` module has them.
//!
//! | type | waits with | costs per call | `Events::EDGE` |
//! |---|---|---|---|
//! | [`EpollSelector`], which is the [`DefaultSelector`] | epoll(7) | what is ready | yes |
//! | [`PollSelector`] | poll(2) | all that is registered | no |
//! | [`SelectSelector`] | [`select()`](super::select()) | all that is registered | no |
//!
//! All are used in the same way: see [`Selector`]. They can be shared: while one greenlet, or OS
//! thread, is in `select`, others may register and unregister, which counts at once. Several
//! selectors may watch the same descriptor, and greenlets may wait in a `read` of it meanwhile.
//!
//! **What is closed** should be unregistered before. If it was not:
//!
//! | | tells | its number, when it names something new |
//! |---|---|---|
//! | [`EpollSelector`] | nothing: epoll forgets it | can be registered again |
//! | [`PollSelector`] | what was asked for, and [`INVALID`](Events::INVALID) | is watched |
//! | [`SelectSelector`] | nothing: `select` fails with EBADF | is watched |
//!
//! To unregister it is still possible, by its number.
//!
//! # Examples
//! An echo server, whose sockets are owned by what it has registered.
//! ```
//! use greenroom::net::{TcpListener, TcpStream};
//! use greenroom::select::Events;
//! use greenroom::selectors::DefaultSelector;
//! use std::io::{Read, Write};
//! use std::os::fd::AsRawFd;
//! use std::time::Duration;
//!
//! enum Socket {
//!     Server(TcpListener),
//!     Client(TcpStream),
//! }
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! let client = greenroom::spawn(move || {
//!     let mut stream = TcpStream::connect(address)?;
//!     stream.write_all(b"hello")?;
//!     let mut word = [0; 5];
//!     stream.read_exact(&mut word).map(|()| word)
//! });
//!
//! let selector = DefaultSelector::new()?;
//! selector.register(listener.as_raw_fd(), Events::READ, Socket::Server(listener))?;
//! while !client.is_finished() {
//!     for (key, _events) in selector.select(Some(Duration::from_millis(10)))? {
//!         match &*key.data {
//!             Socket::Server(listener) => {
//!                 let (stream, _) = listener.accept()?;
//!                 selector.register(stream.as_raw_fd(), Events::READ, Socket::Client(stream))?;
//!             }
//!             Socket::Client(stream) => {
//!                 let mut bytes = [0; 1000];
//!                 match (&*stream).read(&mut bytes)? {
//!                     0 => drop(selector.unregister(key.fd)?),
//!                     count => (&*stream).write_all(&bytes[..count])?,
//!                 }
//!             }
//!         }
//!     }
//! }
//! assert_eq!(&client.join().unwrap()?, b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```

mod epoll;
mod key;
mod polling;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

pub use epoll::Epoll;
pub use key::SelectorKey;
pub use polling::{Polling, Selecting};

use super::descriptor::{Descriptor, number_of};
use super::{Events, poll::unknown};
use crate::sys::errno;
use crate::sys::lock::lock;
use key::Keys;

/// The best selector of this system.
#[doc(alias("epoll", "selector", "mio"))]
pub type DefaultSelector<T> = EpollSelector<T>;

/// Waits with epoll: what a call costs depends on what is ready, not on what is registered. It
/// can be told of edges ([`Events::EDGE`]). Its epoll set is a descriptor of the process.
pub type EpollSelector<T> = Selector<T, Epoll>;

/// Waits as poll(2) does: asks about all descriptors at each call, and tells of closed ones.
pub type PollSelector<T> = Selector<T, Polling>;

/// Waits as [`select()`](super::select()) does: asks about all at each call, and fails when one
/// is closed.
pub type SelectSelector<T> = Selector<T, Selecting>;

/// How a [`Selector`] waits: [`Epoll`], [`Polling`] or [`Selecting`].
pub trait Kind: sealed::Kind {}

pub(crate) mod sealed {
    use super::{Events, Selector, Telling};
    use std::io;
    use std::os::fd::RawFd;
    use std::time::Duration;

    /// What differs between the selectors. All but `wait` are called with the selector locked.
    pub trait Kind: Sized {
        const NAME: &'static str;

        fn new() -> io::Result<Self>;
        fn check(events: Events) -> io::Result<()>;
        /// AlreadyExists when `fd` is known, and is still what it was, as far as that can be found.
        fn add(&mut self, fd: RawFd, events: Events, token: u64, is_known: bool) -> io::Result<()>;
        fn change(&mut self, fd: RawFd, events: Events, token: u64) -> io::Result<()>;
        fn remove(&mut self, fd: RawFd);
        /// Has all who wait look again, and find it closed.
        fn close(&mut self);
        fn wait<T>(selector: &Selector<T, Self>, limit: Option<Duration>)
        -> io::Result<Telling<T>>;
    }
}

/// What a call of `select` tells.
type Telling<T> = Vec<(SelectorKey<T>, Events)>;

/// Watches descriptors, each with data of type `T`; use it as [`DefaultSelector`],
/// [`EpollSelector`], [`PollSelector`] or [`SelectSelector`].
///
/// Dropping it closes it, and drops the data; the descriptors are yours.
///
/// # Examples
/// ```
/// use greenroom::select::Events;
/// use greenroom::selectors::DefaultSelector;
/// use std::io::Write;
///
/// let (reader, mut writer) = greenroom::io::pipe()?;
/// let selector = DefaultSelector::new()?;
/// selector.register(&reader, Events::READ, "the pipe")?;
/// greenroom::spawn(move || writer.write_all(b"x").map(|()| writer));
/// for (key, events) in selector.select(None)? {
///     assert_eq!(*key.data, "the pipe");
///     assert!(events.contains(Events::READ));
/// }
/// selector.unregister(&reader)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Selector<T, K> {
    state: Mutex<State<T, K>>,
}

struct State<T, K> {
    /// `None` once it is closed.
    keys: Option<Keys<T>>,
    kind: K,
}

impl<T, K: Kind> Selector<T, K> {
    /// One that watches nothing yet.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM, of an [`EpollSelector`] only.
    pub fn new() -> io::Result<Selector<T, K>> {
        let state = State {
            keys: Some(Keys::new()),
            kind: K::new()?,
        };
        Ok(Selector {
            state: Mutex::new(state),
        })
    }

    /// Watches `fd` for `events` from now on. The key is what [`select`](Selector::select) will
    /// return with it.
    ///
    /// # Errors
    /// AlreadyExists when it is registered. InvalidInput for a negative number, when `events`
    /// holds nothing to wait for, and for [`Events::EDGE`] and [`Events::ONESHOT`] where only an
    /// [`EpollSelector`] can do it. EBADF when the selector is closed.
    ///
    /// Of an [`EpollSelector`] also: EBADF when `fd` is closed; ENOSPC at the system's limit
    /// (`fs.epoll.max_user_watches`), ENOMEM; ELOOP when it is an epoll set that contains this
    /// one; EMFILE and ENFILE for a regular file, which needs a descriptor to stand in for it.
    pub fn register(
        &self,
        fd: impl Descriptor,
        events: Events,
        data: T,
    ) -> io::Result<SelectorKey<T>> {
        let fd = number_of(&fd)?;
        events.check_not_empty()?;
        K::check(events)?;
        let mut state = self.lock();
        let State { keys, kind } = &mut *state;
        let keys = keys.as_mut().ok_or_else(closed)?;
        let is_known = keys.get(fd).is_some();
        let token = keys.next_token(fd);
        if let Err(error) = kind.add(fd, events, token, is_known) {
            let exists = error.kind() == io::ErrorKind::AlreadyExists;
            return Err(if exists { known(fd) } else { error });
        }
        let key = SelectorKey::new(fd, events, data);
        let stale = keys.insert(token, key.clone());
        drop(state);
        // The user's data may do anything when it is dropped.
        drop(stale);
        Ok(key)
    }

    /// Watches `fd`, which is registered, for other events; its data stays. With
    /// [`Events::EDGE`] or [`Events::ONESHOT`] what is ready now is told anew.
    ///
    /// # Errors
    /// NotFound when it is not registered, or no longer: of an [`EpollSelector`] also when it has
    /// been closed meanwhile. InvalidInput as [`register`](Selector::register). EBADF when the
    /// selector is closed.
    pub fn modify(&self, fd: impl Descriptor, events: Events) -> io::Result<SelectorKey<T>> {
        self.replace(fd.number(), events, None)
    }

    /// As [`modify`](Selector::modify), with other data as well.
    ///
    /// # Errors
    /// As [`modify`](Selector::modify).
    pub fn modify_with(
        &self,
        fd: impl Descriptor,
        events: Events,
        data: T,
    ) -> io::Result<SelectorKey<T>> {
        self.replace(fd.number(), events, Some(data))
    }

    fn replace(&self, fd: RawFd, events: Events, data: Option<T>) -> io::Result<SelectorKey<T>> {
        events.check_not_empty()?;
        K::check(events)?;
        let mut state = self.lock();
        let State { keys, kind } = &mut *state;
        let keys = keys.as_mut().ok_or_else(closed)?;
        let (old, token) = keys.get(fd).ok_or_else(|| unknown(fd))?;
        let new = match data {
            Some(data) => SelectorKey::new(fd, events, data),
            None => SelectorKey {
                events,
                ..old.clone()
            },
        };
        if let Err(error) = kind.change(fd, events, token) {
            let gone = error.kind() == io::ErrorKind::NotFound;
            let stale = if gone { keys.remove(fd) } else { None };
            drop(state);
            drop(stale);
            return Err(if gone { unknown(fd) } else { error });
        }
        let old = keys.insert(token, new.clone());
        drop(state);
        drop(old);
        Ok(new)
    }

    /// Stops watching `fd`, closed or not, and gives its key back.
    ///
    /// # Errors
    /// NotFound when it is not registered. EBADF when the selector is closed.
    pub fn unregister(&self, fd: impl Descriptor) -> io::Result<SelectorKey<T>> {
        let fd = fd.number();
        let mut state = self.lock();
        let State { keys, kind } = &mut *state;
        let keys = keys.as_mut().ok_or_else(closed)?;
        let key = keys.remove(fd).ok_or_else(|| unknown(fd))?;
        kind.remove(fd);
        Ok(key)
    }

    /// Waits until something that is watched is ready, and returns the keys of all that are, each
    /// with what it is ready for. Nothing after `timeout`; with one of zero it only looks.
    ///
    /// What is told: of what was asked for that which is so, and ERROR, HANGUP or INVALID, which
    /// come with all of READ and WRITE that was asked for, since neither would wait. (A
    /// [`SelectSelector`] tells READ, WRITE and PRIORITY only.) An [`EpollSelector`] tells of at
    /// most 1024 at a time; the rest comes with the next call, before what is told a second time.
    ///
    /// With nothing registered it waits until somebody registers something. With several greenlets
    /// or OS threads in it at once, those of one hub look in the order in which they came.
    ///
    /// # Errors
    /// EBADF when the selector is closed, also meanwhile. EMFILE, ENFILE, ENOMEM. ECANCELED or
    /// ETIMEDOUT where a kill or a timeout can't unwind. Of a [`SelectSelector`] also: EBADF when
    /// one that is registered is closed.
    ///
    /// # Parks
    /// As [`select`](super::select()): nothing told is lost by a kill, since what is ready is told
    /// again.
    pub fn select(&self, timeout: Option<Duration>) -> io::Result<Vec<(SelectorKey<T>, Events)>> {
        K::wait(self, timeout)
    }

    /// The key of `fd`.
    ///
    /// # Errors
    /// NotFound when it is not registered. EBADF when the selector is closed.
    pub fn get_key(&self, fd: impl Descriptor) -> io::Result<SelectorKey<T>> {
        let fd = fd.number();
        let state = self.lock();
        let keys = state.keys.as_ref().ok_or_else(closed)?;
        let (key, _) = keys.get(fd).ok_or_else(|| unknown(fd))?;
        Ok(key.clone())
    }

    /// All keys, by descriptor, as of now; none when the selector is closed.
    pub fn get_map(&self) -> BTreeMap<RawFd, SelectorKey<T>> {
        let state = self.lock();
        let keys = state.keys.iter().flat_map(Keys::iter);
        keys.map(|(key, _)| (key.fd, key.clone())).collect()
    }

    /// Number of descriptors that are registered.
    pub fn len(&self) -> usize {
        self.lock().keys.as_ref().map_or(0, Keys::len)
    }

    /// Is nothing registered?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything, for good: who is in [`select`](Selector::select), and all calls from now
    /// on, get EBADF. Closing twice is fine.
    pub fn close(&self) {
        let mut state = self.lock();
        let keys = state.keys.take();
        if keys.is_some() {
            state.kind.close();
        }
        drop(state);
        drop(keys);
    }

    fn lock(&self) -> MutexGuard<'_, State<T, K>> {
        lock(&self.state)
    }
}

impl<T, K: Kind> fmt::Debug for Selector<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let keys = state.keys.iter().flat_map(Keys::iter);
        let registered: Vec<(RawFd, Events)> = keys.map(|(key, _)| (key.fd, key.events)).collect();
        let open = state.keys.is_some();
        drop(state);
        f.debug_struct(K::NAME)
            .field("open", &open)
            .field("registered", &registered)
            .finish()
    }
}

fn closed() -> io::Error {
    io::Error::from_raw_os_error(errno::EBADF)
}

fn known(fd: RawFd) -> io::Error {
    let what = format!("descriptor {fd} is registered already");
    io::Error::new(io::ErrorKind::AlreadyExists, what)
}
