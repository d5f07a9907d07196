//! Proves that the patch is there in a program however it was built: by what `verify` says, by
//! waits of std and of libc that take as long together as one, and by a channel between two
//! greenlets, each of which has to be a thread.
//!
//! ```
//! monkey_builds::prove();
//! ```

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const NAP: Duration = Duration::from_millis(100);

pub fn prove() {
    greenroom::monkey::verify().expect("each function is ours");
    greenroom::monkey::patch_all().expect("nothing passes us by");
    waits_of_many_last_as_long_as_one();
    greenlets_are_threads();
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
        })
    });
    greenroom::joinall(clients).into_iter().for_each(|done| done.unwrap());
    server.join().unwrap();
    assert_eq!(*count.lock().unwrap(), 20);
    assert!(begin.elapsed() < 15 * NAP, "one by one: {:?}", begin.elapsed());
    let report = greenroom::monkey::report();
    let parks = |name| report.symbol(name).unwrap().parks();
    assert!(parks("recv") > 0 && parks("usleep") > 0 && parks("syscall") > 0, "{report}");
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
    let sent_by = waits.join().unwrap().expect("a receiver that waits is woken");
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
