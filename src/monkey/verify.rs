//! Is each of our functions the one that this process calls by its name?

use std::ffi::{CStr, CString};
use std::fmt::Write;
use std::io;

use super::hooks;
use super::objects;

/// Proves that each function of the patch is the one that is called by its name in this process:
/// by the program, by the dynamic linker's word, and by each shared object that is loaded now.
///
/// [`patch`](super::patch) begins with this. To be called again after a `dlopen`.
///
/// # Examples
/// ```
/// greenroom::monkey::verify()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Of kind `Unsupported`, with a text that names each function that is not ours, whose it is, and
/// each shared object that calls somebody else's: one that was opened with RTLD_DEEPBIND, say.
/// All of them are others' when the program was linked with `--exclude-libs`, or without any
/// dynamic symbols.
///
/// # Parks
/// Never.
pub fn verify() -> io::Result<()> {
    let (mut faults, mut missed) = (String::new(), 0);
    let home = objects::home_of(here as fn() as usize);
    let is_ours = |address: *const ()| {
        let home = home.as_ref();
        home.is_some_and(|home| home.span.contains(&(address as usize)))
    };
    for hook in hooks::ALL {
        let name = CString::new(hook.name)?;
        // SAFETY: a C string; the default scope.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        // Within a shared object even the address of a function of its own is what the loader says.
        if found.cast_const().cast::<()>() != hook.address || !is_ours(hook.address) {
            missed += 1;
            let _ = write!(faults, "\n  {} is that of {}", hook.name, owner(found));
        }
    }
    if missed == hooks::ALL.len() {
        return Err(unsupported(&format!(": {}", why_none(home.as_ref()))));
    }
    for one in objects::bypassing() {
        let _ = write!(faults, "\n  {} is not called by {}", one.name, one.object);
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(unsupported(&format!(":{faults}")))
}

fn unsupported(why: &str) -> io::Error {
    let text = format!("the patch does not reach all of this process{why}");
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// A function of this copy of the library, whose name nobody else has.
fn here() {}

/// Why none of our functions is the one that is called by its name.
fn why_none(home: Option<&objects::Home>) -> String {
    if home.is_some_and(|home| home.is_program) {
        return "no function of the program replaces one of a shared object, since it was linked \
                with --exclude-libs, with a version script or without dynamic symbols"
            .to_owned();
    }
    format!(
        "this copy of greenroom is in {}, which was loaded after the program; only a program's own \
         functions take the place of libc's",
        owner(here as fn() as *mut std::ffi::c_void)
    )
}

/// The object that an address belongs to.
fn owner(address: *mut std::ffi::c_void) -> String {
    if address.is_null() {
        return "nobody".to_owned();
    }
    // SAFETY: zeros are null pointers; dladdr takes any address, and says whose it is.
    let name = unsafe {
        let mut about: libc::Dl_info = std::mem::zeroed();
        let known = libc::dladdr(address, &mut about) != 0 && !about.dli_fname.is_null();
        known.then(|| {
            CStr::from_ptr(about.dli_fname)
                .to_string_lossy()
                .into_owned()
        })
    };
    name.unwrap_or_else(|| "an unknown object".to_owned())
}
