//! Without the patch: what blocks has all greenlets of the OS thread wait, one after the other,
//! and what is greenroom's own waits side by side. Nothing in this program is ever patched.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::sync::{LazyLock, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;
use unmodified::*;

const SHORT: Duration = Duration::from_millis(200);
const A_FEW: usize = 3;

/// That the calls of a few greenlets are right, and that each waits for the one before.
fn assert_one_after_the_other<T, F>(what: &str, work: F, result: fn(usize) -> T)
where
    T: PartialEq + Debug + Send + 'static,
    F: Fn(usize) -> T + Clone + Send + 'static,
{
    assert!(!greenroom::monkey::is_patched("recv"));
    let (results, took) = many(A_FEW, work);
    assert_eq!(results, (0..A_FEW).map(result).collect::<Vec<_>>());
    assert!(took >= SHORT * A_FEW as u32, "{what}: {A_FEW} in {took:?}");
    eprintln!("{what}, unpatched: {A_FEW} calls of {SHORT:?} take {took:.2?}");
}

fn path(n: usize) -> String {
    format!("/{n}")
}

#[test]
fn what_blocks_has_all_wait_one_after_the_other() {
    let echo = echo_server(SHORT);
    assert_one_after_the_other(
        "std::net",
        move |n| {
            let mut stream = std::net::TcpStream::connect(echo).unwrap();
            stream.write_all(&[n as u8]).unwrap();
            let mut back = [0];
            stream.read_exact(&mut back).unwrap();
            usize::from(back[0])
        },
        |n| n,
    );
    let http = http_server(SHORT);
    let url = move |n| format!("http://{http}/{n}");
    let by_ureq = move |n| {
        let mut response = ureq::get(url(n)).call().unwrap();
        response.body_mut().read_to_string().unwrap()
    };
    assert_one_after_the_other("ureq", by_ureq, path);
    let by_reqwest = move |n| reqwest::blocking::get(url(n)).unwrap().text().unwrap();
    assert_one_after_the_other("reqwest::blocking", by_reqwest, path);
    let by_child = |n: usize| {
        let script = format!("sleep 0.2; exit {n}");
        let status = std::process::Command::new("sh")
            .args(["-c", &script])
            .status();
        status.unwrap().code()
    };
    assert_one_after_the_other("std::process", by_child, |n| Some(n as i32));
}

/// What two greenlets do to each other on their OS thread, by name.
const HANGS: &[Case<usize>] = &[
    ("std::sync::mpsc, unpatched", |n| {
        static ENDS: LazyLock<Ends<mpsc::Sender<u8>, mpsc::Receiver<u8>>> =
            LazyLock::new(|| ends(mpsc::channel()));
        match n {
            0 => drop(ENDS.1.lock().unwrap().recv().unwrap()),
            _ => ENDS.0.lock().unwrap().send(7).unwrap(),
        }
    }),
    ("crossbeam-channel, unpatched", |n| {
        use crossbeam_channel::{Receiver, Sender, bounded};
        static ENDS: LazyLock<Ends<Sender<u8>, Receiver<u8>>> = LazyLock::new(|| ends(bounded(1)));
        match n {
            0 => drop(ENDS.1.lock().unwrap().recv().unwrap()),
            _ => ENDS.0.lock().unwrap().send(7).unwrap(),
        }
    }),
    ("std::thread::park, unpatched", |n| {
        static PARKED: OnceLock<thread::Thread> = OnceLock::new();
        match n {
            0 => {
                PARKED.set(thread::current()).unwrap();
                thread::park();
            }
            _ => PARKED.get().unwrap().unpark(),
        }
    }),
    ("std::sync::Mutex, unpatched", |_| {
        static LOCK: Mutex<()> = Mutex::new(());
        let _held = LOCK.lock().unwrap();
        greenroom::sleep(Duration::from_millis(10));
    }),
    ("parking_lot, unpatched", |_| {
        static LOCK: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
        let _held = LOCK.lock();
        greenroom::sleep(Duration::from_millis(10));
    }),
];

type Ends<S, R> = (Mutex<S>, Mutex<R>);

fn ends<S, R>((sender, receiver): (S, R)) -> Ends<S, R> {
    (Mutex::new(sender), Mutex::new(receiver))
}

#[test]
fn what_waits_for_another_greenlet_waits_for_ever() {
    let names: Vec<_> = HANGS.iter().map(|case| case.0).collect();
    let test = "what_waits_for_another_greenlet_waits_for_ever";
    fail_elsewhere(test, &names, |name| {
        let case = HANGS.iter().find(|case| case.0 == name).unwrap().1;
        many(2, case);
    });
}

#[test]
fn runtimes_sleeps_and_pools_have_all_wait_one_after_the_other() {
    let by_tokio = |n| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::sleep(SHORT).await });
        n
    };
    assert_one_after_the_other("tokio", by_tokio, |n| n);
    let by_sleep = |n| {
        thread::sleep(SHORT);
        n
    };
    assert_one_after_the_other("std::thread::sleep", by_sleep, |n| n);
    struct Nothing;
    impl r2d2::ManageConnection for Nothing {
        type Connection = ();
        type Error = std::io::Error;
        fn connect(&self) -> Result<(), std::io::Error> {
            Ok(())
        }
        fn is_valid(&self, (): &mut ()) -> Result<(), std::io::Error> {
            Ok(())
        }
        fn has_broken(&self, (): &mut ()) -> bool {
            false
        }
    }
    let pool = r2d2::Pool::builder()
        .max_size(A_FEW as u32)
        .build(Nothing)
        .unwrap();
    let by_pool = move |n| {
        let _connection = pool.get().unwrap();
        thread::sleep(SHORT);
        n
    };
    assert_one_after_the_other("r2d2", by_pool, |n| n);
}

#[cfg(feature = "curl")]
#[test]
fn libcurl_has_all_wait_one_after_the_other() {
    let http = http_server(SHORT);
    let status = move |n| {
        let mut easy = curl::easy::Easy::new();
        easy.url(&format!("http://{http}/{n}")).unwrap();
        easy.perform().unwrap();
        (n, easy.response_code().unwrap())
    };
    assert_one_after_the_other("libcurl", status, |n| (n, 200));
}

#[test]
fn redis_has_all_wait_one_after_the_other() {
    let Ok(url) = std::env::var("REDIS_URL") else {
        return eprintln!("SKIPPED: REDIS_URL names no server");
    };
    let client = redis::Client::open(url).unwrap();
    let wait = move |n| {
        let mut connection = client.get_connection().unwrap();
        let list = format!("greenroom:{}:unpatched", std::process::id());
        let popped = redis::Commands::blpop(&mut connection, list, SHORT.as_secs_f64());
        let popped: Option<(String, String)> = popped.unwrap();
        (n, popped)
    };
    assert_one_after_the_other("redis", wait, |n| (n, None));
}

#[test]
fn postgres_has_all_wait_one_after_the_other() {
    let Ok(url) = std::env::var("POSTGRES_URL") else {
        return eprintln!("SKIPPED: POSTGRES_URL names no server");
    };
    let theirs = url.clone();
    let query = move |n: usize| {
        let mut client = postgres::Client::connect(&theirs, postgres::NoTls).unwrap();
        let row = client.query_one("select $1::int8, pg_sleep(0.2)", &[&(n as i64)]);
        row.unwrap().get::<_, i64>(0)
    };
    assert_one_after_the_other("postgres", query, |n| n as i64);
    #[cfg(feature = "libpq")]
    {
        let url = std::ffi::CString::new(url).unwrap();
        let query = move |n| {
            // SAFETY: C strings that outlive the calls; each handle is used until it is freed.
            unsafe {
                let connection = pq_sys::PQconnectdb(url.as_ptr());
                let result = pq_sys::PQexec(connection, c"select pg_sleep(0.2)".as_ptr());
                let rows = pq_sys::PQntuples(result);
                pq_sys::PQclear(result);
                pq_sys::PQfinish(connection);
                (n, rows)
            }
        };
        assert_one_after_the_other("libpq", query, |n| (n, 1));
    }
}

/// The promise, for greenroom's own: as for what is patched.
fn own_and_side_by_side<T, F>(what: &str, count: usize, work: F, result: fn(usize) -> T)
where
    T: PartialEq + Debug + Send + 'static,
    F: Fn(usize) -> T + Clone + Send + 'static,
{
    raise_limit_of_descriptors();
    let (one, single) = many(1, work.clone());
    assert_eq!(one[0], result(0));
    let (results, all) = many(count, work);
    assert!(results.into_iter().eq((0..count).map(result)), "{what}");
    eprintln!("greenroom::{what}, unpatched: one {single:.2?}, {count} {all:.2?}");
    assert!(all < single * 3, "{what}: one {single:?}, {count} {all:?}");
}

#[test]
fn greenrooms_own_streams_wait_side_by_side() {
    let server = echo_server(Duration::from_secs(1));
    let echo = move |n: usize| {
        let mut stream = greenroom::net::TcpStream::connect(server).unwrap();
        stream.write_all(&n.to_be_bytes()).unwrap();
        let mut back = [0; 8];
        stream.read_exact(&mut back).unwrap();
        usize::from_be_bytes(back)
    };
    own_and_side_by_side("net", MANY, echo, |n| n);
}

#[test]
fn flate2_and_serde_work_between_waits_of_greenrooms_own() {
    let server = echo_server(Duration::from_secs(1));
    let send = move |n: usize| {
        let mut stream = greenroom::net::TcpStream::connect(server).unwrap();
        let fast = flate2::Compression::fast();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), fast);
        serde_json::to_writer(&mut packed, &vec![n; 50]).unwrap();
        stream.write_all(&packed.finish().unwrap()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        let unpacked = flate2::read::GzDecoder::new(&back[..]);
        serde_json::from_reader::<_, Vec<usize>>(unpacked).unwrap()
    };
    own_and_side_by_side("net, flate2 and serde_json", MANY, send, |n| vec![n; 50]);
}

#[test]
fn greenrooms_own_children_run_side_by_side() {
    let run = |n: usize| {
        let script = format!("sleep 1; echo {n}");
        let output = greenroom::process::Command::new("sh")
            .args(["-c", &script])
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    own_and_side_by_side("process", 100, run, |n| format!("{n}\n"));
}
