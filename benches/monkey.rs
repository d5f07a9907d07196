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
    greenroom::monkey::patch_all().expect("nothing passes us by here");
    patched_pass_through(&mut bench);
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

fn patched_pass_through(bench: &mut Bench) {
    over(bench, "recv, patched, no hub: ns over libc's own");
}

/// The difference is what counts, so that is the ratio that is judged.
fn over(bench: &mut Bench, name: &'static str) {
    let native = native_recv();
    let count = bench.size(50_000, 50);
    let rounds = bench.size(41, 2);
    let (mut ours, mut theirs, mut more) = (Vec::new(), Vec::new(), Vec::new());
    let per_call = |time: Duration| time.as_nanos() as f64 / count as f64;
    for _ in 0..rounds {
        let a = per_call(receive(libc::recv, count));
        let b = per_call(receive(native, count));
        ours.push(a);
        theirs.push(b);
        more.push(a - b);
    }
    let middle = common::median;
    let (ours, theirs, more) = (middle(&mut ours), middle(&mut theirs), middle(&mut more));
    bench.row(Claim::demand(name, 10.0), ours, theirs, more);
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
