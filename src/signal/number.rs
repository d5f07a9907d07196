//! Which signal.

use std::fmt;
use std::io;

use crate::sys::signal as sys;

/// A signal that can be listened for and sent.
///
/// # Examples
/// ```
/// use greenroom::signal::Signal;
///
/// assert_eq!(Signal::TERM.to_string(), "SIGTERM");
/// assert_eq!(Signal::new(15)?, Signal::TERM);
/// assert!(Signal::new(9).unwrap_err().to_string().contains("SIGKILL"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(i32);

/// Those that have a name, what it is, and what they are for.
macro_rules! signals {
    ($($name:ident $number:ident $text:literal $about:literal)*) => {
        impl Signal {
            $(#[doc = $about] pub const $name: Signal = Signal(sys::$number);)*
        }

        const NAMES: &[(i32, &str)] = &[$((sys::$number, $text)),*];
    };
}

signals! {
    HUP SIGHUP "SIGHUP" "The terminal is gone; for servers, by custom: read the settings again."
    INT SIGINT "SIGINT" "Ctrl-C."
    QUIT SIGQUIT "SIGQUIT" "Ctrl-\\."
    USR1 SIGUSR1 "SIGUSR1" "For the user's own purposes."
    USR2 SIGUSR2 "SIGUSR2" "For the user's own purposes."
    PIPE SIGPIPE "SIGPIPE" "A write to a pipe that nobody reads. Rust programs ignore it."
    ALRM SIGALRM "SIGALRM" "The time of alarm(2) is up."
    TERM SIGTERM "SIGTERM" "A polite request to end."
    CHLD SIGCHLD "SIGCHLD" "A child has ended, stopped or gone on."
    CONT SIGCONT "SIGCONT" "Goes on after a stop."
    TSTP SIGTSTP "SIGTSTP" "Ctrl-Z."
    TTIN SIGTTIN "SIGTTIN" "A read from the terminal, in the background."
    TTOU SIGTTOU "SIGTTOU" "A write to the terminal, in the background."
    URG SIGURG "SIGURG" "Urgent data on a socket."
    WINCH SIGWINCH "SIGWINCH" "The terminal has another size."
    IO SIGIO "SIGIO" "I/O is possible."
    PWR SIGPWR "SIGPWR" "The power fails."
}

/// Those that can't be listened for, and why.
const FORBIDDEN: &[(i32, &str, &str)] = &[
    (sys::SIGKILL, "SIGKILL", "the kernel lets nobody catch it"),
    (sys::SIGSTOP, "SIGSTOP", "the kernel lets nobody catch it"),
    (sys::SIGSEGV, "SIGSEGV", FAULT),
    (sys::SIGBUS, "SIGBUS", FAULT),
    (sys::SIGFPE, "SIGFPE", FAULT),
    (sys::SIGILL, "SIGILL", FAULT),
    (sys::SIGTRAP, "SIGTRAP", FAULT),
    (sys::SIGSYS, "SIGSYS", FAULT),
];
const FAULT: &str = "it is a fault of the code that it interrupts, which can't go on";

impl Signal {
    /// By its number.
    ///
    /// # Errors
    /// InvalidInput for a number that no signal has, for those that the C library uses itself, and
    /// for those that can't be dealt with later: SIGKILL, SIGSTOP, and the faults SIGSEGV, SIGBUS,
    /// SIGFPE, SIGILL, SIGTRAP and SIGSYS.
    pub fn new(number: i32) -> io::Result<Signal> {
        let refuse = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let forbidden = FORBIDDEN.iter().find(|known| known.0 == number);
        if let Some((_, name, why)) = forbidden {
            return refuse(format!("{name} can't be listened for: {why}"));
        }
        let (first, _) = sys::real_time();
        if !(1..=sys::NUMBER_MAX).contains(&number) {
            return refuse(format!(
                "there is no signal {number}: they are from 1 to {}",
                sys::NUMBER_MAX
            ));
        }
        if (32..first).contains(&number) {
            return refuse(format!("the C library needs the signal {number} itself"));
        }
        Ok(Signal(number))
    }

    /// The `index`th of those that are free for any use, SIGRTMIN being the 0th. Of these, none is
    /// lost when several come at once.
    ///
    /// # Errors
    /// InvalidInput for more than the system has.
    pub fn real_time(index: u8) -> io::Result<Signal> {
        let (first, last) = sys::real_time();
        let number = first + i32::from(index);
        if number <= last {
            return Ok(Signal(number));
        }
        let why = format!("there is no SIGRTMIN+{index}: the last is {}", last - first);
        Err(io::Error::new(io::ErrorKind::InvalidInput, why))
    }

    /// The number, as the kernel and `libc` have it.
    pub fn number(self) -> i32 {
        self.0
    }

    pub(super) fn of_listener(number: i32) -> Signal {
        Signal(number)
    }
}

impl TryFrom<i32> for Signal {
    type Error = io::Error;

    fn try_from(number: i32) -> io::Result<Signal> {
        Signal::new(number)
    }
}

/// "SIGTERM", "SIGRTMIN+1", "signal 16".
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, _) = sys::real_time();
        match NAMES.iter().find(|known| known.0 == self.0) {
            Some((_, name)) => f.write_str(name),
            None if self.0 >= first => write!(f, "SIGRTMIN+{}", self.0 - first),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
