//! A shared object with greenroom in it. Its functions take nobody's place once a program is
//! loaded: to patch from here has to fail, with the reason.

use std::io::Write;
use std::time::{Duration, Instant};

/// 0 if it is refused, and greenlets work all the same.
#[unsafe(no_mangle)]
pub extern "C" fn run_plugin() -> i32 {
    let Err(refused) = greenroom::monkey::patch_all() else {
        return 1;
    };
    let begin = Instant::now();
    let nap = || greenroom::sleep(Duration::from_millis(100));
    greenroom::joinall((0..20).map(|_| greenroom::spawn(nap)));
    let _ = writeln!(std::io::stderr(), "{refused}");
    i32::from(begin.elapsed() > Duration::from_millis(1500))
}
