//! The handler that tells a stack overflow from every other fault.
//!
//! ```text
//!   SIGSEGV / SIGBUS ---> handler, on the alternate stack
//!                            | sent by the kernel, and the address is in the guard of the
//!                            | slot that sp is in (or in the slot below: a frame so large
//!                            | that it stepped over the guard)?
//!                     yes ---'--- no ---> the action that was there before, std's as a rule:
//!                      |                  its message for a thread's own stack, else SIG_DFL.
//!            message to fd 2, abort        A greenlet that faults beside an sp that is in no slot
//!                                          gets a message before: a library, stacker for one,
//!                                          has it run on another stack
//! ```
//!
//! Invariants: the handler allocates nothing, locks nothing and waits for nothing; it reads the
//! slab table, which is atomics; `OLD` is filled before the handler is installed; a fault that
//! is not ours leaves the process as if the handler were not there.

#[allow(unused_imports, reason = "whoever keeps one names the type")]
pub(crate) use super::altstack::{AltStack, ensure_alt_stack};

use super::table::{self, Place};
use std::ffi::c_void;
use std::fmt::{self, Write};
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Once, OnceLock};

/// The faults a guard causes: SIGSEGV, and SIGBUS if it is made of poison.
const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// The longest message; what a describer writes beyond it is cut off.
const MESSAGE_BYTES_MAX: usize = 512;

const HINT: &str = "give it a larger one with Builder::stack_size, \
                    or raise the default with set_default_stack_size\n";

/// `BUS_MCEERR_AO` (asm-generic/siginfo.h): a memory error found, but not by this instruction,
/// which will not meet it again.
const BUS_MCEERR_AO: libc::c_int = 5;

/// The actions that were there before, in the order of `SIGNALS`.
static OLD: [OnceLock<libc::sigaction>; 2] = [const { OnceLock::new() }; 2];

/// Old actions with SA_RESETHAND have had their one turn.
static SPENT: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];

/// A `Describer`, as an address; 0 for none.
static DESCRIBER: AtomicUsize = AtomicUsize::new(0);

type Describer = fn(&mut dyn Write) -> bool;

/// A fault that is no further from sp than this is taken for a stack overflow: a frame in C may
/// be that large without being touched from top to bottom.
const FRAME_BYTES_MAX: usize = 64 << 10;

const HINT_FOREIGN: &str = "the library that made it, such as stacker, may keep its limit in a \
                            thread-local that greenlets share: give each its own, with \
                            Part::Identity and spawn, not spawn_local or scope\n";

/// Installs the handler, once per process, over the actions that are there: they get every fault
/// that is no overflow of ours.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        for (signal, old) in SIGNALS.iter().zip(&OLD) {
            // SAFETY: an all-zero sigaction is a valid value: SIG_DFL, no flags.
            let mut before: libc::sigaction = unsafe { mem::zeroed() };
            // SAFETY: with a null new action this only writes `before`.
            if unsafe { libc::sigaction(*signal, ptr::null(), &mut before) } != 0 {
                continue;
            }
            let mut ours = before;
            ours.sa_sigaction = handler as *const () as usize;
            // Whether syscalls restart after a signal somebody sent is theirs to say.
            ours.sa_flags =
                libc::SA_SIGINFO | libc::SA_ONSTACK | (before.sa_flags & libc::SA_RESTART);
            let _ = old.set(before);
            // SAFETY: `handler` has the signature SA_SIGINFO asks for, is async-signal-safe,
            // and finds what it chains to in OLD, filled above.
            unsafe {
                libc::sigemptyset(&mut ours.sa_mask);
                libc::sigaction(*signal, &ours, ptr::null_mut());
            }
        }
    });
}

/// Sets who says, inside the handler, which greenlet is running: by contract async-signal-safe
/// and short, it writes something like `greenlet #2 'worker'`. It returns whether a greenlet is
/// running, not the OS thread itself. Without it: `a greenlet`.
pub(crate) fn set_describer(describer: Describer) {
    DESCRIBER.store(describer as usize, Ordering::Release);
}

extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes live pointers to a handler with SA_SIGINFO; si_addr is set for
    // these two signals if the kernel itself sent them, which `code` tells before it is used.
    let (code, address, sp) = unsafe {
        (
            (*info).si_code,
            (*info).si_addr() as usize,
            stack_pointer(context),
        )
    };
    let sent_by_kernel = code > 0;
    if sent_by_kernel && let Some((place, runs_there)) = overflown(address, sp) {
        report(&place, address, runs_there);
    }
    if sent_by_kernel && address.abs_diff(sp) <= FRAME_BYTES_MAX {
        report_elsewhere(address, sp);
    }
    let Some(index) = SIGNALS.iter().position(|known| *known == signal) else {
        return;
    };
    // SAFETY: errno is this thread's; it is put back for whoever was interrupted.
    unsafe {
        let errno = *libc::__errno_location();
        chain(
            index,
            info,
            context,
            sent_by_kernel && code != BUS_MCEERR_AO,
        );
        *libc::__errno_location() = errno;
    }
}

/// The slot whose stack overflowed, if that is what happened, and whether the thread was running
/// on it.
fn overflown(address: usize, sp: usize) -> Option<(Place, bool)> {
    let Some(running) = table::find(sp) else {
        // Nothing is known about who did it; but the guard was hit.
        return table::find(address)
            .filter(|place| place.guards(address))
            .map(|p| (p, false));
    };
    // Also if sp itself is in the guard by now, or below it: then this is the slot below.
    let below = running.base.saturating_sub(running.layout.slot);
    let hit = running.guards(address) || (below..running.base).contains(&address);
    hit.then_some((running, true))
}

/// Writes which greenlet is running. False when none is, or nobody can say.
fn describe(message: &mut Message) -> bool {
    let describer = DESCRIBER.load(Ordering::Acquire);
    // SAFETY: only `set_describer` stores here, and what it stores is a `Describer`.
    describer != 0 && unsafe { mem::transmute::<usize, Describer>(describer)(message) }
}

/// Prints a message if it was a greenlet that overflowed a stack which is not one of ours. What
/// happens then is not ours to say.
fn report_elsewhere(address: usize, sp: usize) {
    let mut message = Message::begun();
    if table::find(sp).is_some() || !describe(&mut message) {
        return;
    }
    message.cut(MESSAGE_BYTES_MAX - 320);
    message.put(" has overflowed a stack that greenroom did not make, fault at 0x");
    message.put_number(address, 16);
    message.put("\n");
    message.put(HINT_FOREIGN);
    message.print();
}

/// Prints the one message and ends the process.
fn report(place: &Place, address: usize, runs_there: bool) -> ! {
    let mut message = Message::begun();
    if !runs_there || !describe(&mut message) {
        message = Message::begun();
        message.put("a greenlet");
    }
    message.cut(MESSAGE_BYTES_MAX - 256);
    message.put(" has overflowed its stack: ");
    message.put_number(place.layout.nominal, 10);
    message.put(" bytes, fault at 0x");
    message.put_number(address, 16);
    message.put(", ");
    message.put_number(place.end().saturating_sub(address), 10);
    message.put(" bytes below the stack's top\n");
    message.put(HINT);
    message.print();
    // SAFETY: abort is async-signal-safe (POSIX).
    unsafe { libc::abort() }
}

/// Does what would have happened without our handler.
///
/// # Safety
///
/// Called in the handler, with what the kernel gave it.
unsafe fn chain(index: usize, info: *mut libc::siginfo_t, context: *mut c_void, comes_again: bool) {
    let signal = SIGNALS[index];
    let Some(old) = OLD[index].get() else { return };
    let mut action = old.sa_sigaction;
    if old.sa_flags & libc::SA_RESETHAND != 0 && SPENT[index].swap(true, Ordering::Relaxed) {
        action = libc::SIG_DFL;
    }
    match action {
        libc::SIG_IGN if !comes_again => {}
        // The kernel lets nobody ignore a fault that would come again for ever.
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: all zeroes is SIG_DFL. Once the handler returns, the instruction faults
            // again and the process dies of it, with the right siginfo in its core; a signal
            // that was sent is sent again, to arrive when the handler returns.
            unsafe {
                let default: libc::sigaction = mem::zeroed();
                libc::sigaction(signal, &default, ptr::null_mut());
                if !comes_again {
                    libc::raise(signal);
                }
            }
        }
        // SAFETY: the action was installed for this signal by whoever wrote it, with the
        // signature its SA_SIGINFO flag says. The masks are what it asked for; the kernel puts
        // the interrupted code's own back when we return.
        handler => unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &old.sa_mask, ptr::null_mut());
            if old.sa_flags & libc::SA_NODEFER != 0 {
                let mut this: libc::sigset_t = mem::zeroed();
                libc::sigaddset(&mut this, signal);
                libc::pthread_sigmask(libc::SIG_UNBLOCK, &this, ptr::null_mut());
            }
            if old.sa_flags & libc::SA_SIGINFO != 0 {
                type Full = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut c_void);
                mem::transmute::<usize, Full>(handler)(signal, info, context);
            } else {
                mem::transmute::<usize, extern "C" fn(libc::c_int)>(handler)(signal);
            }
        },
    }
}

/// The stack pointer of the interrupted code.
///
/// # Safety
///
/// `context` is what the kernel gave a handler with SA_SIGINFO.
unsafe fn stack_pointer(context: *mut c_void) -> usize {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the caller's word.
    #[cfg(target_arch = "x86_64")]
    return unsafe { (*context).uc_mcontext.gregs[libc::REG_RSP as usize] } as usize;
    // SAFETY: the caller's word.
    #[cfg(target_arch = "aarch64")]
    return unsafe { (*context).uc_mcontext.sp } as usize;
}

/// A message of limited length. Not core::fmt's machinery where it can be helped: signal stacks
/// are small, std's leaves some 4 KiB below the frame.
struct Message {
    text: [u8; MESSAGE_BYTES_MAX],
    used: usize,
}

impl Message {
    fn begun() -> Message {
        let mut message = Message {
            text: [0; MESSAGE_BYTES_MAX],
            used: 0,
        };
        message.put("\n");
        message
    }

    fn put(&mut self, text: &str) {
        let room = &mut self.text[self.used..];
        let bytes = text.len().min(room.len());
        room[..bytes].copy_from_slice(&text.as_bytes()[..bytes]);
        self.used += bytes;
    }

    fn put_number(&mut self, number: usize, base: usize) {
        if number >= base {
            self.put_number(number / base, base);
        }
        let digit = number % base;
        self.put(&"0123456789abcdef"[digit..=digit]);
    }

    /// Keeps no more than the first bytes, so that there is room for the rest.
    fn cut(&mut self, bytes_max: usize) {
        self.used = self.used.min(bytes_max);
    }

    fn print(&self) {
        let mut left = &self.text[..self.used];
        while !left.is_empty() {
            // SAFETY: the bytes are live and as many as said.
            let wrote =
                unsafe { libc::write(libc::STDERR_FILENO, left.as_ptr().cast(), left.len()) };
            match usize::try_from(wrote) {
                Ok(bytes) if bytes > 0 => left = &left[bytes..],
                _ => return,
            }
        }
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;

    #[test]
    fn numbers_and_long_texts_fit_the_message() {
        let _bound = bounded();
        let mut message = Message {
            text: [0; MESSAGE_BYTES_MAX],
            used: 0,
        };
        message.put_number(0, 10);
        message.put(" ");
        message.put_number(262_144, 10);
        message.put(" ");
        message.put_number(usize::MAX, 16);
        assert_eq!(&message.text[..message.used], b"0 262144 ffffffffffffffff");
        message.put(&"x".repeat(1000));
        assert_eq!(message.used, MESSAGE_BYTES_MAX);
        message.cut(7);
        assert_eq!(&message.text[..message.used], b"0 26214");
    }
}
