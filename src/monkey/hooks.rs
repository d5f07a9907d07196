//! Every symbol that is replaced: its name, its part, its address, and what became of calls.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Part;
use crate::sys::clock;

/// Why a call on a thread with a hub blocked that thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bypass {
    Native,
    Panicking,
    Busy,
    Unwatchable,
    Lock,
}

impl Bypass {
    pub(super) const ALL: [Bypass; 5] = [
        Bypass::Native,
        Bypass::Panicking,
        Bypass::Busy,
        Bypass::Unwatchable,
        Bypass::Lock,
    ];
}

impl fmt::Display for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bypass::Native => "inside of native()",
            Bypass::Panicking => "while a panic unwinds",
            Bypass::Busy => "from within the hub",
            Bypass::Unwatchable => "on what the kernel can't watch",
            Bypass::Lock => "for a lock that libc alone can wait for",
        })
    }
}

/// One replaced symbol.
pub(super) struct Hook {
    pub(super) name: &'static str,
    /// The parts that it belongs to, a bit for each: patched if one of them is.
    pub(super) parts: u32,
    /// Of our own function of that name.
    pub(super) address: *const (),
    calls: AtomicU64,
    parks: AtomicU64,
    bypassed: [AtomicU64; Bypass::ALL.len()],
    blocked_ns: AtomicU64,
}

// SAFETY: the address is that of a function, and never changes.
unsafe impl Sync for Hook {}

impl Hook {
    const fn new(name: &'static str, parts: u32, address: *const ()) -> Hook {
        Hook {
            name,
            parts,
            address,
            calls: AtomicU64::new(0),
            parks: AtomicU64::new(0),
            bypassed: [const { AtomicU64::new(0) }; Bypass::ALL.len()],
            blocked_ns: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(super) fn count_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn count_park(&self) {
        self.parks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn parks(&self) -> u64 {
        self.parks.load(Ordering::Relaxed)
    }

    pub(super) fn bypassed(&self, why: Bypass) -> u64 {
        self.bypassed[why as usize].load(Ordering::Relaxed)
    }

    pub(super) fn blocked_ns(&self) -> u64 {
        self.blocked_ns.load(Ordering::Relaxed)
    }

    /// Makes the call natively, and notes why and for how long.
    #[cold]
    pub(super) fn bypass(&self, why: Bypass, native: impl FnOnce() -> isize) -> isize {
        self.bypassed[why as usize].fetch_add(1, Ordering::Relaxed);
        let begin = clock::now_ns();
        let result = native();
        let spent = clock::now_ns().saturating_sub(begin);
        self.blocked_ns.fetch_add(spent, Ordering::Relaxed);
        result
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hook").field(&self.name).finish()
    }
}

macro_rules! hooks {
    ($($module:ident, $parts:expr => $($name:ident)*;)*) => {
        $($(
            #[allow(non_upper_case_globals, reason = "named as the symbol is")]
            pub(super) static $name: Hook =
                Hook::new(stringify!($name), $parts, super::$module::$name as *const ());
        )*)*

        /// All of them.
        pub(super) static ALL: &[&Hook] = &[$($(&$name,)*)*];
    };
}

const SOCKET: u32 = Part::Socket.bit();
const FILE: u32 = Part::File.bit();
const POLL: u32 = Part::Poll.bit();
const LOCKS: u32 = Part::Locks.bit();
const ANY_FD: u32 = SOCKET | FILE | POLL;

hooks! {
    socket, SOCKET => recv recvfrom send sendto __recv_chk __recvfrom_chk;
    message, SOCKET => recvmsg sendmsg recvmmsg sendmmsg;
    connect, SOCKET => accept accept4 connect;
    file, SOCKET | FILE => read write readv writev __read_chk;
    transfer, SOCKET | FILE => sendfile sendfile64 splice;
    lockf, FILE => flock;
    open, FILE => open open64 openat openat64;
    descriptor, ANY_FD => close close_range closefrom dup2 dup3 shutdown fclose
        fcntl fcntl64 ioctl getsockopt setsockopt;
    poll, POLL => poll ppoll __poll_chk __ppoll_chk;
    select, POLL => select pselect;
    epoll, POLL => epoll_wait epoll_pwait epoll_pwait2;
    time, Part::Time.bit() => nanosleep clock_nanosleep usleep sleep sched_yield thrd_sleep;
    dns, Part::Dns.bit() => getaddrinfo getnameinfo gethostbyname gethostbyname2 gethostbyaddr
        gethostbyname_r gethostbyname2_r gethostbyaddr_r;
    futex, Part::Futex.bit() => syscall;
    semaphore, Part::Futex.bit() => sem_wait sem_timedwait sem_clockwait sem_post;
    mutex, LOCKS => pthread_mutex_lock pthread_mutex_timedlock pthread_mutex_clocklock
        pthread_mutex_unlock mtx_lock mtx_timedlock mtx_unlock;
    condition, LOCKS => pthread_cond_wait pthread_cond_timedwait pthread_cond_clockwait
        pthread_cond_signal pthread_cond_broadcast
        cnd_wait cnd_timedwait cnd_signal cnd_broadcast;
    rwlock, LOCKS => pthread_rwlock_rdlock pthread_rwlock_wrlock pthread_rwlock_timedrdlock
        pthread_rwlock_timedwrlock pthread_rwlock_clockrdlock pthread_rwlock_clockwrlock
        pthread_rwlock_unlock;
    sigwait, Part::Process.bit() => sigwait sigwaitinfo sigtimedwait;
    process, Part::Process.bit() => wait waitpid wait3 wait4 waitid;
    join, Part::Process.bit() => pthread_join;
    attributes, Part::Identity.bit() => pthread_getschedparam pthread_setschedparam
        pthread_setschedprio pthread_getaffinity_np pthread_setaffinity_np pthread_getcpuclockid
        pthread_kill;
    os_thread, Part::Identity.bit() => fork _Fork daemon forkpty setuid setgid seteuid setegid
        setreuid setregid setresuid setresgid setgroups initgroups;
    process_exit, Part::Identity.bit() => exit;
    thread_exit, Part::Thread.bit() => pthread_exit;
    threads, Part::Thread.bit() => pthread_create;
    join, Part::Thread.bit() => pthread_detach pthread_tryjoin_np pthread_timedjoin_np
        pthread_clockjoin_np;
    attributes, Part::Thread.bit() => pthread_setname_np pthread_getname_np pthread_getattr_np;
}
