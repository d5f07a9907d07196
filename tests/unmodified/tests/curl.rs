//! libcurl, by the crate curl.
#![cfg(feature = "curl")]

use curl::easy::Easy;
use std::time::Duration;
use unmodified::*;

fn get(url: &str, limit: Duration) -> Result<String, (curl::Error, i32)> {
    let mut text = Vec::new();
    let mut easy = Easy::new();
    easy.url(url).unwrap();
    easy.timeout(limit).unwrap();
    let mut transfer = easy.transfer();
    let take = |data: &[u8]| {
        text.extend_from_slice(data);
        Ok(data.len())
    };
    transfer.write_function(take).unwrap();
    let done = transfer.perform();
    drop(transfer);
    match done {
        Ok(()) => Ok(String::from_utf8(text).unwrap()),
        Err(error) => Err((error, easy.os_errno().unwrap())),
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn easy_handles_wait_side_by_side() {
    let server = http_server(Duration::from_secs(1));
    on_one_os_thread(move || {
        let get = move |n| get(&format!("http://{server}/{n}"), PATIENCE).unwrap();
        assert_same_and_side_by_side("libcurl", Mode::ALL, get, |n| format!("/{n}"));
    });
}

#[test]
fn errnos() {
    let silent = silent_server(Duration::from_secs(60));
    let resets = resetting_server();
    on_one_os_thread(move || {
        let said = same_failures(Mode::ALL, move || {
            let fails = |url: String, limit_ms| {
                let limit = Duration::from_millis(limit_ms);
                let (error, errno) = get(&url, limit).unwrap_err();
                format!("{} {}, errno {errno}", error.code(), error.description())
            };
            vec![
                ("refused", fails(format!("http://{NOBODY}/"), 10_000)),
                ("late", fails(format!("http://{silent}/"), 100)),
                ("reset", fails(format!("http://{resets}/"), 10_000)),
                (
                    "no such name",
                    fails("http://no.such.name.invalid/".into(), 10_000),
                ),
            ]
        });
        assert!(
            said[0].1.starts_with("7 ") && said[0].1.ends_with("errno 111"),
            "{said:?}"
        );
        assert!(said[1].1.starts_with("28 "), "{said:?}");
    });
}
