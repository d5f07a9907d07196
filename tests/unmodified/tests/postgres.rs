//! The crate postgres, and libpq, against a real PostgreSQL; `.ci/unmodified` says where by
//! POSTGRES_URL.

use unmodified::*;

/// What a server allows by default (max_connections = 100), less what it keeps for itself.
const CONNECTIONS: usize = 80;

fn url() -> String {
    std::env::var("POSTGRES_URL").expect("POSTGRES_URL names the server: run .ci/unmodified")
}

#[test]
fn the_crate_waits_for_many_queries_at_once() {
    on_one_os_thread(|| {
        let query = |n: usize| {
            let mut client = postgres::Client::connect(&url(), postgres::NoTls).unwrap();
            let row = client.query_one("select $1::int8, pg_sleep(1)", &[&(n as i64)]);
            row.unwrap().get::<_, i64>(0)
        };
        let (_, single) = timed(|| query(0));
        let (numbers, all) = many(CONNECTIONS, query);
        assert_eq!(numbers, (0..CONNECTIONS as i64).collect::<Vec<_>>());
        assert_side_by_side("postgres, 80 connections", single, all);
    });
}

#[cfg(feature = "libpq")]
#[test]
fn libpq_waits_for_many_queries_at_once() {
    use std::ffi::{CStr, CString};
    fn query(n: usize) -> String {
        let url = CString::new(url()).unwrap();
        let text = CString::new(format!("select {n}, pg_sleep(1)")).unwrap();
        // SAFETY: C strings that outlive the calls; each handle is used until it is freed.
        unsafe {
            let connection = pq_sys::PQconnectdb(url.as_ptr());
            assert_eq!(
                pq_sys::PQstatus(connection),
                pq_sys::ConnStatusType::CONNECTION_OK
            );
            let result = pq_sys::PQexec(connection, text.as_ptr());
            let value = CStr::from_ptr(pq_sys::PQgetvalue(result, 0, 0));
            let value = value.to_str().unwrap().to_owned();
            pq_sys::PQclear(result);
            pq_sys::PQfinish(connection);
            value
        }
    }
    on_one_os_thread(|| {
        let (_, single) = timed(|| query(0));
        let (values, all) = many(CONNECTIONS, query);
        assert_eq!(values[79], "79");
        assert_side_by_side("libpq, 80 connections", single, all);
    });
}
