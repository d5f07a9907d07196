//! The crate postgres, and libpq, against a real PostgreSQL; `.ci/unmodified` says where by
//! POSTGRES_URL. It is to allow 1,100 connections.
//!
//! The server makes a process for each connection, which takes it longer than any query of these
//! tests. So the thousand connect first, and are timed when they ask.

use postgres::{Client, NoTls};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use unmodified::*;

fn url() -> String {
    std::env::var("POSTGRES_URL").expect("POSTGRES_URL names the server: run .ci/unmodified")
}

#[test]
fn the_crate_waits_for_a_thousand_queries_at_once() {
    on_one_os_thread(|| {
        let connect = |_| Mutex::new(Client::connect(&url(), NoTls).unwrap());
        let (clients, took) = many(MANY, connect);
        eprintln!("postgres: {MANY} connections in {took:.2?}");
        let clients = Arc::new(clients);
        let query = move |n: usize| {
            let text = "select $1::int8 * 3, $2::text, pg_sleep(1)";
            let mut client = clients[n].lock().unwrap();
            let row = client.query_one(text, &[&(n as i64), &n.to_string()]);
            let row = row.unwrap();
            (row.get::<_, i64>(0), row.get::<_, String>(1))
        };
        let result = |n: usize| (n as i64 * 3, n.to_string());
        // Each call is a `block_on` of a tokio runtime.
        assert_same_and_side_by_side("postgres", Mode::WITH_IDENTITY, query, result);
    });
}

#[test]
fn a_kill_and_a_timeout_reach_a_query_and_the_client_is_dropped() {
    const LIMIT: Duration = Duration::from_millis(100);
    on_one_os_thread(|| {
        let ask = || {
            let mut client = Client::connect(&url(), NoTls).unwrap();
            let error = client.query_one("select pg_sleep(60)", &[]).unwrap_err();
            assert!(client.is_closed(), "it is of no use any more");
            drop(client);
            told(error)
        };
        let victim = greenroom::spawn(ask);
        greenroom::sleep(LIMIT);
        victim.kill();
        let (killed, took) = timed(|| victim.join_late());
        let (error, said) = killed.unwrap_err();
        assert!(error.is_killed());
        assert!(took < Duration::from_secs(1), "{took:.2?}");
        assert!(said.unwrap().contains("errno Some(125)"));
        let limited = greenroom::spawn(move || greenroom::with_timeout_late(LIMIT, ask));
        let (limited, took) = timed(|| limited.join());
        let (_, said) = limited.unwrap().unwrap_err();
        assert!(took < LIMIT + Duration::from_secs(1), "{took:.2?}");
        assert!(said.unwrap().contains("errno Some(110)"));
        let mut client = Client::connect(&url(), NoTls).unwrap();
        assert_eq!(
            client.query_one("select 1", &[]).unwrap().get::<_, i32>(0),
            1
        );
    });
}

#[test]
fn the_crate_needs_thread_locals_for_each() {
    const TWO: &[Case<Mode>] = &[("postgres", |mode| {
        let (numbers, _) = mode.many(2, |n| {
            let mut client = Client::connect(&url(), NoTls).unwrap();
            let row = client.query_one("select $1::int8, pg_sleep(0.1)", &[&(n as i64)]);
            row.unwrap().get::<_, i64>(0)
        });
        assert_eq!(numbers, [0, 1]);
    })];
    only_with_identity("the_crate_needs_thread_locals_for_each", TWO);
}

#[test]
fn errnos_of_the_crate() {
    let closes = closing_server();
    on_one_os_thread(move || {
        let said = same_failures(Mode::WITH_IDENTITY, move || {
            let connect = |to: &str| {
                let url = format!("postgresql://nobody@{to}/none");
                told(Client::connect(&url, NoTls).err().unwrap())
            };
            let mut client = Client::connect(&url(), NoTls).unwrap();
            client
                .batch_execute("set statement_timeout = '100ms'")
                .unwrap();
            let late = client.query_one("select pg_sleep(20)", &[]).unwrap_err();
            let wrong = client.query_one("select 1 / 0", &[]).unwrap_err();
            vec![
                ("refused", connect(NOBODY)),
                ("closed", connect(&closes.to_string())),
                ("no such name", connect("no.such.name.invalid")),
                ("late", told(late)),
                ("wrong", told(wrong)),
            ]
        });
        assert!(said[0].1.contains("errno Some(111)"), "{said:?}");
        assert!(said[3].1.contains("statement timeout"), "{said:?}");
    });
}

#[cfg(feature = "libpq")]
mod libpq {
    use super::*;
    use pq_sys::{ConnStatusType, PGconn};
    use std::ffi::{CStr, CString, c_char};

    struct Connection(*mut PGconn);

    // SAFETY: libpq lets any thread use a connection, one at a time.
    unsafe impl Send for Connection {}

    impl Drop for Connection {
        fn drop(&mut self) {
            // SAFETY: it is freed here and nowhere else.
            unsafe { pq_sys::PQfinish(self.0) };
        }
    }

    /// Copies a C string that libpq keeps.
    fn text(of: *const c_char) -> String {
        assert!(!of.is_null());
        // SAFETY: a C string, which lives while it is copied.
        unsafe { CStr::from_ptr(of) }.to_str().unwrap().to_owned()
    }

    fn connect(url: &str) -> Result<Connection, String> {
        let url = CString::new(url).unwrap();
        // SAFETY: a C string that outlives the call; a connection until it is freed.
        unsafe {
            let connection = Connection(pq_sys::PQconnectdb(url.as_ptr()));
            if pq_sys::PQstatus(connection.0) == ConnStatusType::CONNECTION_OK {
                return Ok(connection);
            }
            Err(text(pq_sys::PQerrorMessage(connection.0)))
        }
    }

    fn query(connection: &mut Connection, sql: &str) -> Result<String, String> {
        let sql = CString::new(sql).unwrap();
        // SAFETY: a C string that outlives the call; a result until it is cleared.
        unsafe {
            let result = pq_sys::PQexec(connection.0, sql.as_ptr());
            let value = if pq_sys::PQntuples(result) == 1 {
                Ok(text(pq_sys::PQgetvalue(result, 0, 0)))
            } else {
                Err(text(pq_sys::PQerrorMessage(connection.0)))
            };
            pq_sys::PQclear(result);
            value
        }
    }

    #[test]
    fn it_waits_for_a_thousand_queries_at_once() {
        on_one_os_thread(|| {
            let (connections, took) = many(MANY, |_| Mutex::new(connect(&url()).unwrap()));
            eprintln!("libpq: {MANY} connections in {took:.2?}");
            let connections = Arc::new(connections);
            let query = move |n: usize| {
                let mut connection = connections[n].lock().unwrap();
                query(&mut connection, &format!("select {n} * 3, pg_sleep(1)")).unwrap()
            };
            let result = |n: usize| (n * 3).to_string();
            assert_same_and_side_by_side("libpq", Mode::ALL, query, result);
        });
    }

    #[test]
    fn its_errnos() {
        let silent = silent_server(Duration::from_secs(60));
        let closes = closing_server();
        on_one_os_thread(move || {
            let said = same_failures(Mode::ALL, move || {
                let fails = |to: &str| {
                    let url = format!("postgresql://nobody@{to}/none?connect_timeout=2");
                    connect(&url).err().unwrap()
                };
                let mut own = connect(&url()).unwrap();
                query(&mut own, "set statement_timeout = '100ms'").unwrap_err();
                vec![
                    ("refused", fails(NOBODY)),
                    ("closed", fails(&closes.to_string())),
                    ("late to connect", fails(&silent.to_string())),
                    ("no such name", fails("no.such.name.invalid")),
                    ("late", query(&mut own, "select pg_sleep(20)").unwrap_err()),
                    ("wrong", query(&mut own, "select 1 / 0").unwrap_err()),
                    ("ended", {
                        let ended = "select pg_terminate_backend(pg_backend_pid())";
                        query(&mut own, ended).unwrap_err()
                    }),
                ]
            });
            assert!(said[0].1.contains("Connection refused"), "{said:?}");
            assert!(said[2].1.contains("timeout"), "{said:?}");
        });
    }
}
