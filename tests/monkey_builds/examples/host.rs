//! A program without greenroom that loads a shared object with it: the path is its argument.

use std::ffi::{CString, c_void};

fn main() {
    let path = CString::new(std::env::args().nth(1).expect("the path")).unwrap();
    // SAFETY: C strings; `run_plugin` has this type.
    let answer = unsafe {
        let plugin = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!plugin.is_null());
        let run = libc::dlsym(plugin, c"run_plugin".as_ptr());
        assert!(!run.is_null());
        std::mem::transmute::<*mut c_void, extern "C" fn() -> i32>(run)()
    };
    assert_eq!(answer, 0);
    println!("ok");
}
