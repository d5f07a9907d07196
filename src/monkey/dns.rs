//! Names: libc's resolver waits out of sight, so each lookup runs on an OS thread of ours.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::net::IpAddr;

use libc::{addrinfo, hostent, size_t, sockaddr, socklen_t};

use super::gate::{Green, run};
use super::hooks;
use super::raw::{errno, next, set_errno};
use crate::{cancel, threadpool};

unsafe extern "C" {
    fn __h_errno_location() -> *mut c_int;
    fn inet_aton(text: *const c_char, address: *mut libc::in_addr) -> c_int;
}

fn h_errno() -> *mut c_int {
    // SAFETY: libc returns the address of this thread's h_errno, always valid.
    unsafe { __h_errno_location() }
}

/// What is lent to another thread while its owner waits.
struct Lent<T>(T);

// SAFETY: made by those only who wait until the other thread is done.
unsafe impl<T> Send for Lent<T> {}

impl<T> Lent<T> {
    fn get(self) -> T {
        self.0
    }
}

/// Runs `f` on one of our threads, with errno and h_errno brought back. The greenlet waits for
/// its end whatever happens, since `f` uses what the greenlet owns. `None`: there is no thread.
fn lend(green: &Green<'_>, f: &dyn Fn() -> isize) -> Option<isize> {
    // SAFETY: the reference is used by the job only, for the end of which this function waits: it
    // is shielded from kills and timeouts, and nothing else makes `call` return before.
    let f: &'static dyn Fn() -> isize = unsafe { std::mem::transmute(f) };
    let lent = Lent(f);
    let job = move || {
        let result = lent.get()();
        // SAFETY: see `h_errno`.
        (result, errno(), unsafe { *h_errno() })
    };
    let done = green.hold_off(|| threadpool::look_up(job));
    let (result, errno, code) = done.ok()?;
    // SAFETY: see `h_errno`.
    unsafe { *h_errno() = code };
    set_errno(errno);
    Some(result)
}

/// An answer of getaddrinfo that nobody has taken yet.
struct Answer(*mut addrinfo);

// SAFETY: a list in memory of its own.
unsafe impl Send for Answer {}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: from getaddrinfo, and not given away.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
}

type GetAddrInfo = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *const addrinfo,
    *mut *mut addrinfo,
) -> c_int;

fn real_getaddrinfo() -> Option<GetAddrInfo> {
    next!(c"getaddrinfo" as GetAddrInfo)
}

/// # Safety
/// Null or a C string.
unsafe fn copy(text: *const c_char) -> Option<CString> {
    // SAFETY: the caller's.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_owned())
}

/// Is it no name at all, or an address in figures, which libc reads without asking anybody?
fn is_numeric(host: Option<&CStr>) -> bool {
    let Some(host) = host else { return true };
    let text = host.to_str().unwrap_or_default();
    let address = text.split('%').next().unwrap_or_default();
    let mut four = libc::in_addr { s_addr: 0 };
    // "127.1" and "0x7f000001" are addresses; what follows a space is looked at by getaddrinfo(3),
    // and not by inet_aton(3).
    // SAFETY: a C string, and a place for the address.
    let mut is_short = || unsafe { inet_aton(host.as_ptr(), &mut four) } != 0;
    address.parse::<IpAddr>().is_ok() || !text.contains(char::is_whitespace) && is_short()
}

fn pointer(text: Option<&CString>) -> *const c_char {
    text.map_or(std::ptr::null(), |text| text.as_ptr())
}

/// The lookup on another thread. Who gives it up leaves it behind, so everything is copied.
fn look_up(
    host: Option<CString>,
    service: Option<CString>,
    hints: Option<addrinfo>,
) -> std::io::Result<(c_int, c_int, Answer)> {
    let hints = hints.map(|hints| {
        Lent(addrinfo {
            ai_addr: std::ptr::null_mut(),
            ai_canonname: std::ptr::null_mut(),
            ai_next: std::ptr::null_mut(),
            ..hints
        })
    });
    let job = move || {
        let mut answer = Answer(std::ptr::null_mut());
        let hints = hints.map(Lent::get);
        let hints = hints.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let (host, service) = (pointer(host.as_ref()), pointer(service.as_ref()));
        let code = match real_getaddrinfo() {
            // SAFETY: C strings or null, hints or null, and a place for the answer.
            Some(real) => unsafe { real(host, service, hints, &mut answer.0) },
            None => libc::EAI_SYSTEM,
        };
        (code, errno(), answer)
    };
    cancel::foreign(|| threadpool::look_up(job))
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn getaddrinfo(
    host: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    found: *mut *mut addrinfo,
) -> c_int {
    let native = || match real_getaddrinfo() {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(host, service, hints, found) as isize },
        None => libc::EAI_SYSTEM as isize,
    };
    let mut failed = 0;
    let green = |_: &Green<'_>| {
        // SAFETY: the caller's.
        let (name, port) = unsafe { (copy(host), copy(service)) };
        // SAFETY: the caller's.
        let hints = unsafe { hints.as_ref() }.copied();
        let by_hint = hints.is_some_and(|hints| hints.ai_flags & libc::AI_NUMERICHOST != 0);
        if by_hint || is_numeric(name.as_deref()) {
            return Some(native());
        }
        match look_up(name, port, hints) {
            Ok((code, errno, mut answer)) => {
                if code == 0 {
                    let list = std::mem::replace(&mut answer.0, std::ptr::null_mut());
                    // SAFETY: the caller's place for it.
                    unsafe { *found = list };
                }
                failed = errno;
                Some(code as isize)
            }
            Err(error) => {
                failed = error.raw_os_error().unwrap_or(libc::EAGAIN);
                Some(libc::EAI_SYSTEM as isize)
            }
        }
    };
    let code = run(&hooks::getaddrinfo, green, native) as c_int;
    if code == libc::EAI_SYSTEM && failed != 0 {
        set_errno(failed);
    }
    code
}

/// # Safety
/// Null or a C string.
unsafe fn is_figures(name: *const c_char) -> bool {
    // SAFETY: the caller's.
    is_numeric((!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }))
}

/// Functions of libc that look something up, and return a number or a pointer; `at once` says when
/// they need no lookup.
macro_rules! lookups {
    ($(
        $text:literal $name:ident($($arg:ident: $type:ty),* $(,)?) -> $result:ty
        $(, at once: $numeric:expr)?;
    )*) => {$(
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            type Real = unsafe extern "C" fn($($type),*) -> $result;
            let native = || match next!($text as Real) {
                // SAFETY: the caller's.
                Some(real) => unsafe { real($($arg),*) as isize },
                None => 0,
            };
            let green = |green: &Green<'_>| {
                $(
                    // SAFETY: the caller's.
                    #[allow(unused_unsafe, reason = "one of them looks at no pointer")]
                    let at_once = unsafe { $numeric };
                    if at_once {
                        return Some(native());
                    }
                )?
                lend(green, &native)
            };
            run(&hooks::$name, green, native) as $result
        }
    )*};
}

lookups! {
    c"getnameinfo" getnameinfo(
        address: *const sockaddr,
        length: socklen_t,
        host: *mut c_char,
        host_size: socklen_t,
        service: *mut c_char,
        service_size: socklen_t,
        flags: c_int,
    ) -> c_int, at once: host.is_null() || host_size == 0 || flags & libc::NI_NUMERICHOST != 0;
    c"gethostbyname" gethostbyname(name: *const c_char) -> *mut hostent,
        at once: is_figures(name);
    c"gethostbyname2" gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent,
        at once: is_figures(name);
    c"gethostbyaddr" gethostbyaddr(
        address: *const c_void,
        length: socklen_t,
        family: c_int,
    ) -> *mut hostent;
    c"gethostbyname_r" gethostbyname_r(
        name: *const c_char,
        into: *mut hostent,
        buffer: *mut c_char,
        size: size_t,
        found: *mut *mut hostent,
        code: *mut c_int,
    ) -> c_int, at once: is_figures(name);
    c"gethostbyname2_r" gethostbyname2_r(
        name: *const c_char,
        family: c_int,
        into: *mut hostent,
        buffer: *mut c_char,
        size: size_t,
        found: *mut *mut hostent,
        code: *mut c_int,
    ) -> c_int, at once: is_figures(name);
    c"gethostbyaddr_r" gethostbyaddr_r(
        address: *const c_void,
        length: socklen_t,
        family: c_int,
        into: *mut hostent,
        buffer: *mut c_char,
        size: size_t,
        found: *mut *mut hostent,
        code: *mut c_int,
    ) -> c_int;
}
