//! futex(2), the wait behind std's `Mutex`, `Condvar`, `RwLock`, `Once` and `Barrier`.
//!
//! A greenlet waits in a queue of ours; who wakes wakes those first, and then by the kernel OS
//! threads, as many as are left. std calls libc's `syscall` for it, which is replaced here; what
//! libc's own locks do inside of it is out of sight.

use std::ffi::{c_int, c_long};
use std::sync::atomic::{AtomicU32, Ordering};

use libc::timespec;

use super::clocks::{self, Deadline};
use super::gate::{Green, is_open, run, step_aside};
use super::queue::{ALL_BITS, Ended, Ticks, Wait, wake_at};
use super::raw::{fail, finish, raw};
use super::{closing, hooks};

/// The arguments of futex(2).
#[derive(Clone, Copy)]
struct Call {
    address: usize,
    operation: c_int,
    value: u32,
    time: usize,
    second: usize,
    third: usize,
}

const PRIVATE: c_int = libc::FUTEX_PRIVATE_FLAG;
const REAL_TIME: c_int = libc::FUTEX_CLOCK_REALTIME;

impl Call {
    fn native(self, value: u32) -> isize {
        let (address, operation) = (self.address, self.operation);
        // SAFETY: as the caller of futex(2) says.
        unsafe {
            raw!(
                SYS_futex,
                address,
                operation,
                value,
                self.time,
                self.second,
                self.third
            )
        }
    }

    /// # Safety
    /// As futex(2).
    unsafe fn run(self) -> isize {
        match self.operation & !PRIVATE & !REAL_TIME {
            // SAFETY: the caller's.
            libc::FUTEX_WAIT => unsafe { self.wait(ALL_BITS) },
            // SAFETY: the caller's.
            libc::FUTEX_WAIT_BITSET => unsafe { self.wait(self.third as u32) },
            libc::FUTEX_WAKE => self.wake(ALL_BITS),
            libc::FUTEX_WAKE_BITSET => self.wake(self.third as u32),
            libc::FUTEX_REQUEUE | libc::FUTEX_CMP_REQUEUE | libc::FUTEX_WAKE_OP => {
                let result = self.native(self.value);
                // Spurious wakes are legal: whoever waits here looks for himself.
                wake_at(self.address, usize::MAX, ALL_BITS);
                if self.operation & !PRIVATE == libc::FUTEX_WAKE_OP {
                    wake_at(self.second, usize::MAX, ALL_BITS);
                }
                result
            }
            _ => self.native(self.value),
        }
    }

    fn wake(self, bits: u32) -> isize {
        // The kernel takes 0 for 1 here, and more than c_int for nothing sensible either.
        let most = (self.value as usize).max(1);
        let woken = wake_at(self.address, most, bits);
        let result = self.wake_others(most, woken);
        if woken > 0 {
            step_aside();
        }
        result
    }

    /// Wakes OS threads, up to `most` with the greenlets that have been.
    fn wake_others(self, most: usize, woken: usize) -> isize {
        if woken >= most {
            return woken as isize;
        }
        match self.native((most - woken) as u32) {
            more if more >= 0 => more + woken as isize,
            failed if woken == 0 => failed,
            _ => woken as isize,
        }
    }

    /// # Safety
    /// As futex(2): the address is readable, the time is null or valid.
    unsafe fn wait(self, bits: u32) -> isize {
        let native = || self.native(self.value);
        let misused = self.address == 0 || !self.address.is_multiple_of(4) || bits == 0;
        // SAFETY: the caller's.
        let time = unsafe { (self.time as *const timespec).as_ref() };
        if misused || time.is_some_and(|time| !clocks::is_valid(time)) {
            return native();
        }
        let relative = self.operation & !PRIVATE & !REAL_TIME == libc::FUTEX_WAIT;
        let clock = if self.operation & REAL_TIME != 0 {
            libc::CLOCK_REALTIME
        } else {
            libc::CLOCK_MONOTONIC
        };
        // SAFETY: the caller's.
        let word = unsafe { &*(self.address as *const AtomicU32) };
        let green = |green: &Green<'_>| {
            let deadline = match time {
                Some(time) if relative => green.deadline_in(clocks::ns_of(time)).into(),
                time => Deadline::until(time.map(|time| (clock, time))),
            };
            // Who is woken from another process can't be told by us.
            let shared = self.operation & PRIVATE == 0;
            let wait = Wait {
                bits,
                deadline,
                ticks: if shared { Ticks::Each } else { Ticks::Nobody },
                ..Wait::at("a futex", self.address)
            };
            let cause = || word.load(Ordering::SeqCst) == self.value;
            Some(match green.wait_at(wait, cause) {
                Ended::Woken => 0,
                Ended::TimedOut => fail(libc::ETIMEDOUT),
                Ended::Changed => fail(libc::EAGAIN),
            })
        };
        run(&hooks::syscall, green, native)
    }
}

/// Variadic in C; arguments that were not passed are not looked at by the kernel either.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    if number == libc::SYS_futex && is_open(hooks::syscall.parts) {
        let call = Call {
            address: a,
            operation: b as c_int,
            value: c as u32,
            time: d,
            second: e,
            third: f,
        };
        // SAFETY: the caller's.
        return finish(unsafe { call.run() }) as c_long;
    }
    if number == libc::SYS_close && is_open(hooks::close.parts) {
        closing::forget(a as c_int);
    }
    // SAFETY: the caller's.
    finish(unsafe { super::raw::syscall(number as usize, [a, b, c, d, e, f]) }) as c_long
}
