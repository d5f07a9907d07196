//! A program whose `main` returns with parked greenlets, without a harness: nothing more runs,
//! and its status is 0. Row 15 of the register of hazards.

use std::time::Duration;

struct Aborts;

impl Drop for Aborts {
    fn drop(&mut self) {
        eprintln!("a destructor ran after the end of main");
        std::process::abort();
    }
}

fn main() {
    let park: [fn(); 3] = [
        || greenroom::sleep(Duration::from_secs(3600)),
        || greenroom::shield(greenroom::thread::park),
        || _ = greenroom::with_timeout(Duration::from_secs(9), greenroom::thread::park),
    ];
    for park in park {
        drop(greenroom::spawn(move || {
            let _aborts = Aborts;
            park();
        }));
    }
    greenroom::yield_now();
    assert_eq!(greenroom::hub::stats().greenlets, 3);
    // One that has not begun yet.
    drop(greenroom::spawn(|| std::process::abort()));
}
