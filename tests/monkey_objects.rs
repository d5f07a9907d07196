//! Shared objects of C: bound to us as they are loaded, and told when they are not.
//!
//! One test, since what it loads is there for the whole process.

mod monkey_support;

use monkey_support::bounded;
use std::ffi::{CString, c_int, c_void};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use monkey_support::{later, parks};

const SOURCE: &str = r#"
#include <sys/socket.h>
#include <stdio.h>
long take(int fd) { char byte; return recv(fd, &byte, 1, 0); }
"#;

fn compiled(folder: &Path, name: &str) -> CString {
    let (source, library) = (folder.join("take.c"), folder.join(name));
    std::fs::write(&source, SOURCE).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O2", "-D_FORTIFY_SOURCE=2"]);
    let status = compiler
        .arg("-o")
        .arg(&library)
        .arg(&source)
        .status()
        .unwrap();
    assert!(
        status.success(),
        "a C compiler is what links Rust programs as well"
    );
    CString::new(library.to_str().unwrap()).unwrap()
}

fn load(library: &CString, flags: c_int) -> unsafe extern "C" fn(c_int) -> isize {
    // SAFETY: C strings; the library runs nothing when it is loaded; `take` has this type.
    unsafe {
        let handle = libc::dlopen(library.as_ptr(), flags);
        assert!(!handle.is_null());
        let take = libc::dlsym(handle, c"take".as_ptr());
        assert!(!take.is_null());
        std::mem::transmute::<*mut c_void, unsafe extern "C" fn(c_int) -> isize>(take)
    }
}

#[test]
fn c_libraries_park_and_those_that_pass_us_by_are_named() {
    let _bound = bounded();
    // T9: RTLD_DEEPBIND is how one escapes.
    let folder = tempfile::tempdir().unwrap();
    for flags in [libc::RTLD_LAZY, libc::RTLD_NOW] {
        let take = load(&compiled(folder.path(), &format!("bound{flags}.so")), flags);
        let (near, mut far) = UnixStream::pair().unwrap();
        let far = later(move || far.write_all(b"x").unwrap());
        // SAFETY: an open descriptor.
        assert_eq!(parks(move || unsafe { take(near.as_raw_fd()) }), 1);
        far.join().unwrap();
        greenroom::monkey::verify().unwrap();
    }
    load(
        &compiled(folder.path(), "escaped.so"),
        libc::RTLD_NOW | libc::RTLD_DEEPBIND,
    );
    let told = greenroom::monkey::verify().unwrap_err().to_string();
    assert!(
        told.contains("recv is not called by") && told.contains("escaped.so"),
        "{told}"
    );
    assert!(!told.contains("bound"), "{told}");
    assert!(
        greenroom::monkey::patch_all().is_err(),
        "no patch by halves"
    );
}
