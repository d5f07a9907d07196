//! Moving code over is search and replace: one text, compiled against std's names and ours, for
//! `thread`, `sync` and `io`; and what the compiler knows of each type, compared with std's.
//!
//! `net_surface.rs`, `fs_surface.rs` and `process_surface.rs` do the same for their rooms.
mod bounded;

use bounded::bounded;
use std::any::Any;
use std::cell::Cell;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

/// What std's names can do, in one text for both.
macro_rules! surface {
    ($name:ident, $root:ident) => {
        #[allow(deprecated, dead_code, reason = "only the types are of interest")]
        mod $name {
            use super::{Any, Duration, Instant};
            use std::fmt::Debug;
            use std::io::{BufRead, Read, Result, Write};
            use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
            use std::process::Stdio;
            use $root::io::{
                PipeReader, PipeWriter, Stderr, StderrLock, Stdin, StdinLock, Stdout, StdoutLock,
                stderr, stdout,
            };
            use $root::sync::{
                MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, WaitTimeoutResult, mpsc,
            };
            use $root::thread::{self, Builder, JoinHandle, ScopedJoinHandle, Thread, ThreadId};

            fn threads() {
                let _: fn(Duration) = thread::sleep;
                let _: fn(u32) = thread::sleep_ms;
                let _: fn(Duration) = thread::park_timeout;
                let _: fn(u32) = thread::park_timeout_ms;
                let _: [fn(); 2] = [thread::park, thread::yield_now];
                let _: fn() -> Thread = thread::current;
                let _: fn(&Thread) -> ThreadId = Thread::id;
                let _: fn(&Thread) = Thread::unpark;
                let _: fn(&Thread) -> Option<&str> = Thread::name;
                let _: fn(fn()) -> JoinHandle<()> = thread::spawn;
                let _: fn(JoinHandle<u8>) -> thread::Result<u8> = JoinHandle::join;
                let _: fn(&JoinHandle<u8>) -> &Thread = JoinHandle::thread;
                let _: fn(&JoinHandle<u8>) -> bool = JoinHandle::is_finished;
                let _: fn(ScopedJoinHandle<'static, u8>) -> thread::Result<u8> =
                    ScopedJoinHandle::join;
                let _: fn(Builder, String) -> Builder = Builder::name;
                let _: fn(Builder, usize) -> Builder = Builder::stack_size;
                let _: fn(Builder, fn()) -> Result<JoinHandle<()>> = Builder::spawn;
                let _: unsafe fn(Builder, fn()) -> Result<JoinHandle<()>> =
                    Builder::spawn_unchecked;
            }

            /// What a panic was, by the methods of the error of a join.
            pub(super) fn payload() -> (bool, Option<u8>, u8) {
                let panicked = || {
                    thread::spawn(|| std::panic::panic_any(7_u8))
                        .join()
                        .unwrap_err()
                };
                let seen = panicked().downcast_ref().copied();
                (panicked().is::<u8>(), seen, *panicked().downcast().unwrap())
            }

            /// The length of what is borrowed by a thread that the compiler does not watch.
            pub(super) fn unchecked(text: &str) -> usize {
                // SAFETY: it is joined before the borrow ends; nobody cancels this caller.
                let handle = unsafe { Builder::new().spawn_unchecked(|| text.len()) };
                handle.unwrap().join().unwrap()
            }

            /// The panic of a spawn whose name has a null byte.
            pub(super) fn bad_name() -> Box<dyn Any + Send> {
                let builder = Builder::new().name("a\0b".to_owned());
                std::panic::catch_unwind(|| builder.spawn(|| ())).unwrap_err()
            }

            pub(super) fn sizes() -> [usize; 2] {
                [size_of::<ThreadId>(), size_of::<Option<ThreadId>>()]
            }

            fn ends<T>()
            where
                T: AsFd + AsRawFd + FromRawFd + IntoRawFd + From<OwnedFd> + Into<OwnedFd>,
                T: Into<Stdio> + Debug,
            {
            }

            fn descriptors() {
                fn lent<T: AsFd + AsRawFd + Debug>() {}
                fn reads<T: Read>() {}
                fn writes<T: Write>() {}
                ends::<PipeReader>();
                ends::<PipeWriter>();
                reads::<PipeReader>();
                reads::<&PipeReader>();
                writes::<PipeWriter>();
                writes::<&PipeWriter>();
                lent::<Stdin>();
                lent::<StdinLock<'static>>();
                fn buffered<T: BufRead>() {}
                buffered::<StdinLock<'static>>();
                fn output<T: AsFd + AsRawFd + Debug + Write>() {}
                output::<Stdout>();
                output::<StdoutLock<'static>>();
                output::<Stderr>();
                output::<StderrLock<'static>>();
                writes::<&Stdout>();
                writes::<&Stderr>();
                fn goes_to_a_child<T: Into<Stdio>>() {}
                goes_to_a_child::<Stdout>();
                goes_to_a_child::<Stderr>();
                let _: fn() -> Stdout = stdout;
                let _: fn() -> Stderr = stderr;
                let _: fn(&Stdout) -> StdoutLock<'static> = Stdout::lock;
                let _: fn(&Stderr) -> StderrLock<'static> = Stderr::lock;
            }

            /// Moved code may hand out a guard under a shorter life of its value's type.
            fn shorter<'a, 'b, 'long: 'b>(
                reader: RwLockReadGuard<'a, &'long str>,
            ) -> RwLockReadGuard<'a, &'b str> {
                reader
            }

            fn shorter_guards<'a, 'long: 'a>(
                guards: (
                    MutexGuard<'long, u8>,
                    RwLockReadGuard<'long, u8>,
                    RwLockWriteGuard<'long, u8>,
                    mpsc::Iter<'long, u8>,
                    StdinLock<'long>,
                    StdoutLock<'long>,
                    ScopedJoinHandle<'long, u8>,
                ),
            ) -> (
                MutexGuard<'a, u8>,
                RwLockReadGuard<'a, u8>,
                RwLockWriteGuard<'a, u8>,
                mpsc::Iter<'a, u8>,
                StdinLock<'a>,
                StdoutLock<'a>,
                ScopedJoinHandle<'a, u8>,
            ) {
                guards
            }

            /// What lives shorter than the lock is compared with what is read.
            pub(super) fn reads_next_to_a_local() -> bool {
                fn longer<'a>(reader: RwLockReadGuard<'_, &'a str>, other: &'a str) -> bool {
                    reader.len() > other.len()
                }
                let lock = RwLock::new("static");
                let local = String::from("local");
                let longer = longer(lock.read().unwrap(), &local);
                longer
            }

            fn times(result: WaitTimeoutResult, until: Instant) -> bool {
                let _ = until;
                result.timed_out()
            }
        }
    };
}

surface!(of_std, std);
surface!(of_greenroom, greenroom);

#[test]
fn what_a_panic_was_is_asked_in_the_same_words() {
    let _bound = bounded();
    assert_eq!(of_greenroom::payload(), of_std::payload());
}

#[test]
fn an_error_of_a_join_that_is_no_such_panic_comes_back() {
    let _bound = bounded();
    let killed = greenroom::spawn(|| ());
    killed.kill();
    let error = killed.join().unwrap_err();
    assert!(!error.is::<u8>());
    assert!(error.downcast::<u8>().unwrap_err().is_killed());
}

#[test]
fn an_unchecked_spawn_borrows() {
    let _bound = bounded();
    assert_eq!(of_greenroom::unchecked("four"), of_std::unchecked("four"));
}

#[test]
fn a_null_byte_in_a_name_is_refused_in_the_same_words() {
    let _bound = bounded();
    let words = |payload: Box<dyn Any + Send>| *payload.downcast::<String>().unwrap();
    let (ours, std) = (words(of_greenroom::bad_name()), words(of_std::bad_name()));
    let begin = "thread name may not contain interior null bytes: ";
    assert!(std.starts_with(begin), "{std}");
    assert!(ours.starts_with(begin), "{ours}");
    let scoped = std::panic::catch_unwind(|| {
        let builder = greenroom::Builder::new().name("\0".into());
        greenroom::scope(|s| builder.spawn_scoped(s, || ()).is_ok())
    });
    assert!(scoped.is_err());
}

#[test]
fn an_optional_id_is_as_small_as_an_id() {
    let _bound = bounded();
    assert_eq!(of_greenroom::sizes(), of_std::sizes());
    let id = greenroom::current().id();
    assert_eq!(format!("{id:?}"), format!("GreenletId({id})"));
}

#[test]
fn a_read_guard_is_covariant() {
    let _bound = bounded();
    assert!(of_greenroom::reads_next_to_a_local() && of_std::reads_next_to_a_local());
}

/// Which of the traits a type has that the compiler derives, or a panic is told by.
macro_rules! traits_of {
    ($type:ty) => {{
        #[allow(dead_code)]
        struct Of<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        trait Not {
            const SEND: bool = false;
            const SYNC: bool = false;
            const UNPIN: bool = false;
            const UNWIND_SAFE: bool = false;
            const REF_UNWIND_SAFE: bool = false;
        }
        impl<T: ?Sized> Not for Of<T> {}
        #[allow(dead_code)]
        impl<T: ?Sized + Send> Of<T> {
            const SEND: bool = true;
        }
        #[allow(dead_code)]
        impl<T: ?Sized + Sync> Of<T> {
            const SYNC: bool = true;
        }
        #[allow(dead_code)]
        impl<T: ?Sized + Unpin> Of<T> {
            const UNPIN: bool = true;
        }
        #[allow(dead_code)]
        impl<T: ?Sized + UnwindSafe> Of<T> {
            const UNWIND_SAFE: bool = true;
        }
        #[allow(dead_code)]
        impl<T: ?Sized + RefUnwindSafe> Of<T> {
            const REF_UNWIND_SAFE: bool = true;
        }
        [
            ("Send", <Of<$type>>::SEND),
            ("Sync", <Of<$type>>::SYNC),
            ("Unpin", <Of<$type>>::UNPIN),
            ("UnwindSafe", <Of<$type>>::UNWIND_SAFE),
            ("RefUnwindSafe", <Of<$type>>::REF_UNWIND_SAFE),
        ]
    }};
}

/// The traits that std's types have and ours lack.
macro_rules! lacks {
    ($($module:ident::$($type:ident)::+ $(<$($argument:ty),+>)?),+ $(,)?) => {{
        let mut lacks = Vec::new();
        $({
            let std = traits_of!(std::$module::$($type)::+ $(<$($argument),+>)?);
            let ours = traits_of!(greenroom::$module::$($type)::+ $(<$($argument),+>)?);
            for ((name, is), (_, ours)) in std.into_iter().zip(ours) {
                if is && !ours {
                    let of = stringify!($($type)::+ $(<$($argument),+>)?);
                    lacks.push(format!("{of}: {name}"));
                }
            }
        })+
        lacks
    }};
}

#[test]
fn our_types_have_the_traits_of_std_ones() {
    let _bound = bounded();
    type Sending = Cell<u8>;
    let lacks = lacks![
        thread::Thread,
        thread::ThreadId,
        thread::Builder,
        thread::JoinHandle<u8>,
        thread::AccessError,
        thread::LocalKey<u8>,
        sync::Mutex<u8>,
        sync::Mutex<Sending>,
        sync::RwLock<u8>,
        sync::Condvar,
        sync::Barrier,
        sync::BarrierWaitResult,
        sync::WaitTimeoutResult,
        sync::Once,
        sync::OnceState,
        sync::OnceLock<u8>,
        sync::LazyLock<u8>,
        sync::mpsc::Sender<u8>,
        sync::mpsc::SyncSender<u8>,
        sync::mpsc::Receiver<u8>,
        sync::mpsc::Sender<Sending>,
        sync::mpsc::IntoIter<u8>,
        io::PipeReader,
        io::PipeWriter,
        io::Stdin,
        io::Stdout,
        io::Stderr,
    ];
    assert_eq!(lacks, [""; 0]);
}

/// As above, for what has a lifetime.
#[test]
fn our_guards_have_the_traits_of_std_ones() {
    let _bound = bounded();
    macro_rules! compare {
        ($($std:ty => $ours:ty),+ $(,)?) => {{
            let mut lacks = Vec::new();
            $({
                for ((name, is), (_, ours)) in
                    traits_of!($std).into_iter().zip(traits_of!($ours))
                {
                    if is && !ours {
                        lacks.push(format!("{}: {name}", stringify!($ours)));
                    }
                }
            })+
            lacks
        }};
    }
    use greenroom::{io, sync, thread};
    let lacks = compare![
        std::sync::MutexGuard<'static, u8> => sync::MutexGuard<'static, u8>,
        std::sync::RwLockReadGuard<'static, u8> => sync::RwLockReadGuard<'static, u8>,
        std::sync::RwLockWriteGuard<'static, u8> => sync::RwLockWriteGuard<'static, u8>,
        std::sync::mpsc::Iter<'static, u8> => sync::mpsc::Iter<'static, u8>,
        std::sync::mpsc::TryIter<'static, u8> => sync::mpsc::TryIter<'static, u8>,
        std::io::StdinLock<'static> => io::StdinLock<'static>,
        std::io::StdoutLock<'static> => io::StdoutLock<'static>,
        std::io::StderrLock<'static> => io::StderrLock<'static>,
        std::thread::ScopedJoinHandle<'static, u8> => thread::ScopedJoinHandle<'static, u8>,
        std::thread::Scope<'static, 'static> => thread::Scope<'static, 'static>,
    ];
    // A scope's greenlets share its OS thread, so that what they borrow need not be `Sync`.
    let by_intent = [
        "thread::ScopedJoinHandle<'static, u8>: Send",
        "thread::ScopedJoinHandle<'static, u8>: Sync",
        "thread::Scope<'static, 'static>: Send",
        "thread::Scope<'static, 'static>: Sync",
    ];
    assert_eq!(lacks, by_intent);
}
