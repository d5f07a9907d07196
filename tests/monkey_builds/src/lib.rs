//! Proves that the patch is there in a program however it was built: by what `verify` says, by
//! waits of std and of libc that take as long together as one, and by a channel between two
//! greenlets, each of which has to be a thread.
//!
//! ```
//! monkey_builds::prove();
//! ```

use std::cell::UnsafeCell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const NAP: Duration = Duration::from_millis(100);

/// A lock of C's, held across a park: also where an allocator uses the same kind of lock.
struct Lock(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a pthread mutex is for several threads.
unsafe impl Sync for Lock {}

static LOCK: Lock = Lock(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

pub fn prove() {
    greenroom::monkey::verify().expect("each function is ours");
    greenroom::monkey::patch_all().expect("nothing passes us by");
    waits_of_many_last_as_long_as_one();
    greenlets_are_threads();
    nobody_parks_within_an_allocation();
}

fn waits_of_many_last_as_long_as_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(Mutex::new(0));
    let begin = Instant::now();
    let server = greenroom::spawn(move || {
        (0..20).for_each(|_| {
            let (mut peer, _) = listener.accept().unwrap();
            greenroom::spawn(move || {
                thread::sleep(NAP);
                peer.write_all(b"x").unwrap();
            });
        });
    });
    let clients = (0..20).map(|_| {
        let count = Arc::clone(&count);
        greenroom::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 1);
            let mut count = count.lock().unwrap();
            // SAFETY: no pointers.
            assert_eq!(unsafe { libc::usleep(1000) }, 0);
            *count += 1;
            drop(count);
            hold();
        })
    });
    greenroom::joinall(clients)
        .into_iter()
        .for_each(|done| done.unwrap());
    server.join().unwrap();
    assert_eq!(*count.lock().unwrap(), 20);
    assert!(
        begin.elapsed() < 15 * NAP,
        "one by one: {:?}",
        begin.elapsed()
    );
    let report = greenroom::monkey::report();
    let parks = |name| report.symbol(name).unwrap().parks();
    assert!(
        parks("recv") > 0 && parks("usleep") > 0 && parks("syscall") > 0,
        "{report}"
    );
    assert!(parks("pthread_mutex_lock") > 0, "{report}");
}

fn nobody_parks_within_an_allocation() {
    let parks = || {
        let report = greenroom::monkey::report();
        report.symbol("pthread_mutex_lock").unwrap().parks()
    };
    let before = parks();
    churn();
    assert_eq!(parks(), before, "{}", greenroom::monkey::report());
}

fn hold() {
    // SAFETY: a valid lock, and a plain wait.
    unsafe {
        assert_eq!(libc::pthread_mutex_lock(LOCK.0.get()), 0);
        assert_eq!(libc::usleep(3000), 0);
        assert_eq!(libc::pthread_mutex_unlock(LOCK.0.get()), 0);
    }
}

/// Has several hubs allocate and free each other's memory at the same time, and park meanwhile.
fn churn() {
    let hub = |seed: usize, theirs: Arc<Mutex<Vec<Vec<u8>>>>| {
        greenroom::monkey::patch_all().expect("as before");
        let greenlets = (0..40).map(|number| {
            let theirs = Arc::clone(&theirs);
            greenroom::spawn(move || {
                for round in 0..200 {
                    let block = vec![number as u8; (seed * 31 + round * 97) % 20_000];
                    let former = {
                        let mut all = theirs.lock().unwrap();
                        let place = (number * 7 + round) % all.len();
                        std::mem::replace(&mut all[place], block)
                    };
                    assert!(former.windows(2).all(|pair| pair[0] == pair[1]));
                    if round % 5 == 0 {
                        greenroom::yield_now();
                    }
                }
            })
        });
        greenroom::joinall(greenlets)
            .into_iter()
            .for_each(|done| done.unwrap());
    };
    let shared = Arc::new(Mutex::new(vec![Vec::new(); 500]));
    let hubs = [1, 2, 3].map(|seed| {
        let shared = Arc::clone(&shared);
        greenroom::monkey::native(|| thread::spawn(move || hub(seed, shared)))
    });
    hubs.into_iter().for_each(|hub| hub.join().unwrap());
}

fn greenlets_are_threads() {
    let report = greenroom::monkey::report();
    assert_eq!(report.identity(), Ok(true));
    // SAFETY: takes nothing.
    let kernel_thread = || unsafe { libc::gettid() };
    let here = (kernel_thread(), thread::current().id());
    let (sender, receiver) = mpsc::channel();
    let waits = thread::spawn(move || receiver.recv_timeout(Duration::from_secs(10)));
    let sends = thread::spawn(move || sender.send((kernel_thread(), thread::current().id())));
    let sent_by = waits
        .join()
        .unwrap()
        .expect("a receiver that waits is woken");
    assert_eq!(sent_by.0, here.0, "std's threads are greenlets");
    assert_ne!(sent_by.1, here.1, "greenlets are threads to std");
    sends.join().unwrap().unwrap();
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_there_in_a_unit_test() {
        super::prove();
    }
}
