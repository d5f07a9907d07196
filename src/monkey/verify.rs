//! Is each of our functions the one that this process calls by its name?

use std::ffi::CString;
use std::io;

use super::hooks;

/// doc
pub fn verify() -> io::Result<()> {
    let mut dead = Vec::new();
    for hook in hooks::ALL {
        let name = CString::new(hook.name)?;
        // SAFETY: a C string; the default scope.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        if found.cast_const().cast::<()>() != hook.address {
            dead.push(hook.name);
        }
    }
    if dead.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!("not ours: {dead:?}")))
}
