//! Proves that the patch is there in a program however it was built: by what `verify` says, and
//! by waits of std and of libc that take as long together as one.

use std::cell::UnsafeCell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A lock of C's, held across a park: also where an allocator uses the same kind of lock.
struct Lock(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a pthread mutex is for several threads.
unsafe impl Sync for Lock {}

static LOCK: Lock = Lock(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

/// Allocators that call libc before `main` and in the middle of everything.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "tikv-jemallocator")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NAP: Duration = Duration::from_millis(100);

fn main() {
    greenroom::monkey::verify().expect("each function is ours");
    greenroom::monkey::patch_all().expect("nothing passes us by");
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
    greenroom::joinall(clients).into_iter().for_each(|done| done.unwrap());
    server.join().unwrap();
    assert_eq!(*count.lock().unwrap(), 20);
    assert!(begin.elapsed() < 15 * NAP, "one by one: {:?}", begin.elapsed());
    let report = greenroom::monkey::report();
    let parks = |name| report.symbol(name).unwrap().parks();
    assert!(parks("recv") > 0 && parks("usleep") > 0 && parks("syscall") > 0, "{report}");
    assert!(parks("pthread_mutex_lock") > 0, "{report}");
    let before = parks("pthread_mutex_lock");
    churn();
    let report = greenroom::monkey::report();
    let after = report.symbol("pthread_mutex_lock").unwrap().parks();
    assert_eq!(after, before, "in the middle of an allocation: {report}");
    if std::env::var_os("REPORT").is_some() {
        println!("{report}");
    }
    println!("ok");
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
        greenroom::joinall(greenlets).into_iter().for_each(|done| done.unwrap());
    };
    let shared = Arc::new(Mutex::new(vec![Vec::new(); 500]));
    let hubs = [1, 2, 3].map(|seed| {
        let shared = Arc::clone(&shared);
        greenroom::monkey::native(|| thread::spawn(move || hub(seed, shared)))
    });
    hubs.into_iter().for_each(|hub| hub.join().unwrap());
}
