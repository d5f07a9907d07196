//! Proves that the patch is there in a program however it was built: by what `verify` says, and
//! by waits of std and of libc that take as long together as one.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

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
        })
    });
    greenroom::joinall(clients).into_iter().for_each(|done| done.unwrap());
    server.join().unwrap();
    assert_eq!(*count.lock().unwrap(), 20);
    assert!(begin.elapsed() < 15 * NAP, "one by one: {:?}", begin.elapsed());
    let report = greenroom::monkey::report();
    let parks = |name| report.symbol(name).unwrap().parks();
    assert!(parks("recv") > 0 && parks("usleep") > 0 && parks("syscall") > 0, "{report}");
    println!("ok");
}
