//! What the user sees when a kill or a limit meets crates and C libraries in the middle of a wait:
//! the table at the head of `greenroom::monkey`.

use greenroom::{spawn, with_timeout_late};
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use unmodified::*;

const LIMIT: Duration = Duration::from_millis(100);
const SOON: Duration = Duration::from_secs(1);

/// What `call` itself returned after a limit and after a kill; both are reported within a second.
fn meets<T: Debug + Send + 'static>(call: impl FnOnce() -> T + Clone + Send + 'static) -> [T; 2] {
    meets_within(SOON, call)
}

fn meets_within<T, F>(most: Duration, call: F) -> [T; 2]
where
    T: Debug + Send + 'static,
    F: FnOnce() -> T + Clone + Send + 'static,
{
    let theirs = call.clone();
    let (limited, took) = timed(|| spawn(move || with_timeout_late(LIMIT, theirs)).join());
    let (elapsed, limited) = limited
        .expect("no panic")
        .expect_err("the limit is reported");
    assert_eq!(elapsed.limit(), LIMIT);
    assert!(took < LIMIT + most, "{took:.2?} with a limit of {LIMIT:?}");
    let victim = spawn(call);
    greenroom::sleep(LIMIT);
    victim.kill();
    let (killed, took) = timed(|| victim.join_late());
    let (error, killed) = killed.expect_err("the kill is reported");
    assert!(error.is_killed(), "{error}");
    assert!(took < most, "{took:.2?} after the kill");
    [limited, killed].map(|late| late.expect("nothing was unwound"))
}

fn assert_said(said: [String; 2], limited: &str, killed: &str) {
    eprintln!("  limit: {}\n  kill: {}", said[0], said[1]);
    assert!(said[0].contains(limited), "limit: {}", said[0]);
    assert!(said[1].contains(killed), "kill: {}", said[1]);
}

fn endless() -> SocketAddr {
    silent_server(Duration::from_secs(60))
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// Says goodbye by a `block_on` in its destructor, as `postgres::Client` does.
struct Polite(tokio::runtime::Runtime);

impl Drop for Polite {
    fn drop(&mut self) {
        let goodbye = async { tokio::time::sleep(Duration::from_millis(1)).await };
        self.0.block_on(goodbye);
    }
}

#[test]
fn a_socket_in_block_on_of_tokio_fails() {
    let server = endless();
    on_one_os_thread(move || {
        let read = move || {
            let polite = Polite(runtime());
            let error = polite.0.block_on(async {
                use tokio::io::AsyncReadExt;
                let mut peer = tokio::net::TcpStream::connect(server).await?;
                peer.read(&mut [0]).await
            });
            told(error.unwrap_err())
        };
        assert_said(meets(read), "errno Some(110)", "errno Some(125)");
    });
}

#[test]
fn a_timer_in_block_on_of_tokio_has_its_time() {
    on_one_os_thread(|| {
        let nap = || {
            let polite = Polite(runtime());
            let begin = Instant::now();
            let nap = async { tokio::time::sleep(Duration::from_millis(500)).await };
            polite.0.block_on(nap);
            begin.elapsed()
        };
        let took = meets_within(Duration::from_secs(30), nap);
        assert!(took.iter().all(|took| *took >= LIMIT * 5), "{took:?}");
    });
}

/// A task that waits for a connection, one that computes, and a timer, in one runtime.
#[test]
fn all_sockets_of_a_runtime_fail_at_once() {
    let server = endless();
    on_one_os_thread(move || {
        let reads = move || {
            runtime().block_on(async {
                use tokio::io::AsyncReadExt;
                let read = move || async move {
                    let mut peer = tokio::net::TcpStream::connect(server).await?;
                    peer.read(&mut [0]).await
                };
                let tasks: Vec<_> = (0..20).map(|_| tokio::spawn(read())).collect();
                let mut said = Vec::new();
                for task in tasks {
                    said.push(task.await.unwrap().unwrap_err().raw_os_error());
                }
                said
            })
        };
        let [limited, killed] = meets(reads);
        assert_eq!(limited, [Some(110); 20]);
        assert_eq!(killed, [Some(125); 20]);
    });
}

#[test]
fn ureq_fails() {
    let server = endless();
    on_one_os_thread(move || {
        let get = move || told(ureq::get(format!("http://{server}/")).call().unwrap_err());
        let said = meets(get);
        eprintln!("  limit: {}\n  kill: {}", said[0], said[1]);
        let get = move || {
            let config = ureq::Agent::config_builder();
            let config = config.timeout_global(Some(Duration::from_secs(60))).build();
            let agent = ureq::Agent::new_with_config(config);
            told(agent.get(format!("http://{server}/")).call().unwrap_err())
        };
        let said = meets(get);
        eprintln!("  limit: {}\n  kill: {}", said[0], said[1]);
    });
}

/// The thread that waits is another one than the one that reads.
#[test]
fn reqwest_goes_on_until_its_own_limit() {
    let server = endless();
    on_one_os_thread(move || {
        let get = move || {
            let client = reqwest::blocking::Client::builder();
            let client = client.timeout(Duration::from_millis(800)).build().unwrap();
            let begin = Instant::now();
            let error = client.get(format!("http://{server}/")).send().unwrap_err();
            assert!(begin.elapsed() >= Duration::from_millis(800));
            told(error)
        };
        let said = meets_within(Duration::from_secs(30), get);
        assert_said(said, "timed out", "timed out");
    });
}

#[test]
fn redis_fails() {
    let server = endless();
    on_one_os_thread(move || {
        let ask = move || {
            let client = redis::Client::open(format!("redis://{server}/")).unwrap();
            told(client.get_connection().err().unwrap())
        };
        let said = meets(ask);
        eprintln!("  limit: {}\n  kill: {}", said[0], said[1]);
    });
}

/// A PostgreSQL that lets anybody in, and never answers a query.
fn mute_postgres() -> SocketAddr {
    server(|mut peer| {
        let mut length = [0; 4];
        peer.read_exact(&mut length).unwrap();
        let mut rest = vec![0; u32::from_be_bytes(length) as usize - 4];
        peer.read_exact(&mut rest).unwrap();
        let welcome = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
        peer.write_all(welcome).unwrap();
        // Until the client hangs up.
        let _ = std::io::copy(&mut peer, &mut std::io::sink());
    })
}

#[test]
fn the_crate_postgres_fails_and_its_client_is_dropped() {
    let server = mute_postgres();
    on_one_os_thread(move || {
        let url = format!("postgresql://nobody@{server}/none?sslmode=disable");
        let ask = move || {
            let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
            let error = client.batch_execute("select pg_sleep(60)").unwrap_err();
            let closed = client.is_closed();
            drop(client);
            format!("{} closed {closed}", told(error))
        };
        assert_said(meets(ask), "closed true", "closed true");
    });
}

#[test]
fn a_connect_of_the_crate_postgres_fails() {
    let server = endless();
    on_one_os_thread(move || {
        let url = format!("postgresql://nobody@{server}/none?sslmode=disable");
        let connect = move || {
            told(
                postgres::Client::connect(&url, postgres::NoTls)
                    .err()
                    .unwrap(),
            )
        };
        assert_said(meets(connect), "errno Some(110)", "errno Some(125)");
    });
}

#[cfg(feature = "curl")]
#[test]
fn libcurl_fails() {
    let server = endless();
    on_one_os_thread(move || {
        let get = move || {
            let mut easy = curl::easy::Easy::new();
            easy.url(&format!("http://{server}/")).unwrap();
            let error = easy.perform().unwrap_err();
            format!(
                "{} {}, errno {}",
                error.code(),
                error,
                easy.os_errno().unwrap()
            )
        };
        let said = meets(get);
        eprintln!("  limit: {}\n  kill: {}", said[0], said[1]);
    });
}

#[cfg(feature = "libpq")]
#[test]
fn libpq_fails() {
    use std::ffi::{CStr, CString};
    let (mute, silent) = (mute_postgres(), endless());
    on_one_os_thread(move || {
        let ask = |server: SocketAddr| {
            move || {
                let url = format!("postgresql://nobody@{server}/none?sslmode=disable");
                let (url, sql) = (
                    CString::new(url).unwrap(),
                    CString::new("select 1").unwrap(),
                );
                // SAFETY: C strings that outlive the calls, and what libpq keeps until it is freed.
                unsafe {
                    let connection = pq_sys::PQconnectdb(url.as_ptr());
                    if pq_sys::PQstatus(connection) == pq_sys::ConnStatusType::CONNECTION_OK {
                        pq_sys::PQclear(pq_sys::PQexec(connection, sql.as_ptr()));
                    }
                    let said = CStr::from_ptr(pq_sys::PQerrorMessage(connection));
                    let said = said.to_str().unwrap().to_owned();
                    pq_sys::PQfinish(connection);
                    said
                }
            }
        };
        assert_said(meets(ask(mute)), "timed out", "canceled");
        assert_said(meets(ask(silent)), "timed out", "canceled");
    });
}
