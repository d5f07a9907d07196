//! What the monkey patch costs: nearly nothing where it is not wanted, little where it is.

mod common;

use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{Bench, Claim, cpu};
use greenroom::GreenletRef;

const CONNECTIONS: usize = 50;
const MESSAGE: usize = 64;

fn main() -> std::process::ExitCode {
    let mut bench = Bench::start();
    pass_through(&mut bench);
    locks(&mut bench, NOT_PATCHED);
    greenroom::monkey::patch_all().expect("nothing passes us by here");
    let run = |bench: &mut Bench, names| locks(bench, names);
    std::thread::scope(|scope| {
        let bench = &mut bench;
        let without_a_hub = || {
            over(bench, "recv, patched, no hub: ns over libc's own");
            run(bench, NO_HUB);
        };
        greenroom::monkey::native(|| scope.spawn(without_a_hub).join())
    })
    .expect("no panic");
    on_a_hub(&mut bench);
    greenroom::scope(|scope| {
        let bench = &mut bench;
        scope.spawn(|| run(bench, IN_A_GREENLET)).join()
    })
    .expect("no panic");
    while_others_wait(&mut bench);
    echo(&mut bench);
    bench.finish()
}

type Recv = unsafe extern "C" fn(c_int, *mut c_void, usize, c_int) -> isize;

/// libc's own `recv`, behind ours.
fn native_recv() -> Recv {
    // SAFETY: libc has it, and it has this type.
    unsafe {
        let found = libc::dlsym(libc::RTLD_NEXT, c"recv".as_ptr());
        std::mem::transmute::<*mut c_void, Recv>(found)
    }
}

fn receive(recv: Recv, count: u64) -> Duration {
    cpu(|| {
        for _ in 0..count {
            let mut byte = 0u8;
            // SAFETY: a valid buffer; the descriptor is none.
            black_box(unsafe { recv(black_box(-1), (&raw mut byte).cast(), 1, 0) });
        }
    })
}

/// On a thread without a hub; a call that the kernel refuses at once is the shortest.
fn pass_through(bench: &mut Bench) {
    over(bench, "recv, not patched: ns over libc's own");
}

/// By the root, which has a hub since it was patched: tried without waiting, and refused.
fn on_a_hub(bench: &mut Bench) {
    let native = native_recv();
    let name = "recv, patched, on a hub : libc's own";
    let (mut ours, mut theirs) = (
        |count| receive(libc::recv, count),
        |count| receive(native, count),
    );
    bench.compare(Claim::information(name), &mut ours, &mut theirs);
}

/// The difference is what counts, so that is the ratio that is judged.
fn over(bench: &mut Bench, name: &'static str) {
    let native = native_recv();
    let ours = |count| receive(libc::recv, count);
    more(bench, name, ours, |count| receive(native, count));
}

fn more(
    bench: &mut Bench,
    name: &'static str,
    our: impl Fn(u64) -> Duration,
    their: impl Fn(u64) -> Duration,
) {
    let count = bench.size(50_000, 50);
    let rounds = bench.size(41, 2);
    let (mut ours, mut theirs, mut more) = (Vec::new(), Vec::new(), Vec::new());
    let per_call = |time: Duration| time.as_nanos() as f64 / count as f64;
    for _ in 0..rounds {
        let a = per_call(our(count));
        let b = per_call(their(count));
        ours.push(a);
        theirs.push(b);
        more.push(a - b);
    }
    let middle = common::median;
    let (ours, theirs, more) = (middle(&mut ours), middle(&mut theirs), middle(&mut more));
    bench.row(Claim::demand(name, 10.0), ours, theirs, more);
}

/// What a lock costs while nobody else has it: the names of the rows.
type Names = &'static [&'static str];
const NOT_PATCHED: Names = &[
    "pthread mutex, not patched: ns over libc's own",
    "pthread rwlock, read, not patched: ns over",
    "pthread rwlock, write, not patched: ns over",
    "pthread_cond_signal, not patched: ns over",
];
const NO_HUB: Names = &[
    "pthread mutex, patched, no hub: ns over",
    "pthread rwlock, read, patched, no hub: ns over",
    "pthread rwlock, write, patched, no hub: ns over",
    "pthread_cond_signal, patched, no hub: ns over",
];
const IN_A_GREENLET: Names = &[
    "pthread mutex, in a greenlet: ns over",
    "pthread rwlock, read, in a greenlet: ns over",
    "pthread rwlock, write, in a greenlet: ns over",
    "pthread_cond_signal, in a greenlet: ns over",
];

const OTHERS_WAIT: Names = &["pthread mutex, others wait elsewhere: ns over"];

type OnLock = unsafe extern "C" fn(*mut c_void) -> c_int;

/// The function of this name as the program calls it, and libc's own.
fn both(name: &std::ffi::CStr) -> [OnLock; 2] {
    // SAFETY: libc has it, and it takes a pointer and returns an int.
    [libc::RTLD_DEFAULT, libc::RTLD_NEXT].map(|whose| unsafe {
        let found = libc::dlsym(whose, name.as_ptr());
        std::mem::transmute::<*mut c_void, OnLock>(found)
    })
}

fn while_others_wait(bench: &mut Bench) {
    let mut taken = libc::PTHREAD_MUTEX_INITIALIZER;
    let taken = std::sync::atomic::AtomicPtr::new(&raw mut taken);
    let lock = || {
        let taken = taken.load(std::sync::atomic::Ordering::Relaxed);
        // SAFETY: it lives as long as the scope below.
        unsafe { libc::pthread_mutex_lock(taken) };
        taken
    };
    let ours = lock();
    greenroom::scope(|scope| {
        // SAFETY: it holds the lock.
        scope.spawn(|| unsafe { libc::pthread_mutex_unlock(lock()) });
        greenroom::yield_now();
        locks(bench, OTHERS_WAIT);
        // SAFETY: locked above.
        unsafe { libc::pthread_mutex_unlock(ours) };
    });
}

/// Pairs of lock and unlock, or single signals.
fn locks(bench: &mut Bench, names: Names) {
    let mut mutex = libc::PTHREAD_MUTEX_INITIALIZER;
    let mut rwlock = libc::PTHREAD_RWLOCK_INITIALIZER;
    let mut condition = libc::PTHREAD_COND_INITIALIZER;
    let mutex = (&raw mut mutex).cast::<c_void>();
    let rwlock = (&raw mut rwlock).cast::<c_void>();
    let condition = (&raw mut condition).cast::<c_void>();
    let pairs = [
        (mutex, c"pthread_mutex_lock", Some(c"pthread_mutex_unlock")),
        (
            rwlock,
            c"pthread_rwlock_rdlock",
            Some(c"pthread_rwlock_unlock"),
        ),
        (
            rwlock,
            c"pthread_rwlock_wrlock",
            Some(c"pthread_rwlock_unlock"),
        ),
        (condition, c"pthread_cond_signal", None),
    ];
    for ((at, first, second), name) in pairs.into_iter().zip(names.iter().copied()) {
        let (first, second) = (both(first), second.map(both));
        let time = |whose: usize, count: u64| {
            let (first, second) = (first[whose], second.map(|second| second[whose]));
            cpu(|| {
                for _ in 0..count {
                    // SAFETY: a valid lock; what is locked is unlocked.
                    unsafe {
                        black_box(first(black_box(at)));
                        if let Some(second) = second {
                            black_box(second(black_box(at)));
                        }
                    }
                }
            })
        };
        more(bench, name, |count| time(0, count), |count| time(1, count));
    }
}

fn serve(mut stream: impl Read + Write) {
    let mut buffer = [0; MESSAGE];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
}

/// Clients on an OS thread of their own, which has no hub, so that what is measured is the server.
struct Clients {
    orders: mpsc::Sender<(u64, GreenletRef)>,
}

impl Clients {
    fn new(address: std::net::SocketAddr) -> Clients {
        let (orders, taken) = mpsc::channel::<(u64, GreenletRef)>();
        let serve = move || {
            let connect = |_| TcpStream::connect(address).expect("a server on this machine");
            let mut streams: Vec<_> = (0..CONNECTIONS).map(connect).collect();
            for stream in &streams {
                stream.set_nodelay(true).expect("a socket");
            }
            while let Ok((rounds, root)) = taken.recv() {
                for _ in 0..rounds {
                    let mut message = [7; MESSAGE];
                    let send = |stream: &mut TcpStream| stream.write_all(&[7; MESSAGE]);
                    streams
                        .iter_mut()
                        .try_for_each(send)
                        .expect("a server that echoes");
                    let mut receive = |stream: &mut TcpStream| stream.read_exact(&mut message);
                    streams
                        .iter_mut()
                        .try_for_each(&mut receive)
                        .expect("an echo");
                }
                root.unpark();
            }
        };
        // A real thread, whatever is patched.
        greenroom::monkey::native(|| thread::spawn(serve));
        Clients { orders }
    }

    /// CPU time of this thread, which serves, for at least `count` messages.
    fn drive(&self, count: u64) -> Duration {
        let rounds = count.div_ceil(CONNECTIONS as u64);
        let time = cpu(|| {
            let order = (rounds, greenroom::current());
            self.orders.send(order).expect("the clients live on");
            greenroom::thread::park();
        });
        time.mul_f64(count as f64 / (rounds * CONNECTIONS as u64) as f64)
    }
}

/// The same server, thread for thread, by std's sockets and by our own.
fn echo(bench: &mut Bench) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let patched = Clients::new(listener.local_addr().expect("an address"));
    let accept = greenroom::spawn(move || {
        (0..CONNECTIONS).for_each(|_| {
            let (stream, _) = listener.accept().expect("a client");
            stream.set_nodelay(true).expect("a socket");
            greenroom::spawn(|| serve(stream));
        });
    });
    accept.join().expect("no panic");
    let listener = greenroom::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = Clients::new(listener.local_addr().expect("an address"));
    let accept = greenroom::spawn(move || {
        (0..CONNECTIONS).for_each(|_| {
            let (stream, _) = listener.accept().expect("a client");
            stream.set_nodelay(true).expect("a socket");
            greenroom::spawn(|| serve(stream));
        });
    });
    accept.join().expect("no panic");
    let claim = Claim::new("echo: std::net, patched : greenroom::net", 1.176, 1.0);
    let (mut ours, mut reference) = (|n| patched.drive(n), |n| own.drive(n));
    bench.compare(claim, &mut ours, &mut reference);
}
