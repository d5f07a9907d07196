//! libcurl, by the crate curl.
#![cfg(feature = "curl")]

use std::time::Duration;
use unmodified::*;

#[test]
fn easy_handles_wait_side_by_side() {
    let server = http_server(Duration::from_secs(1));
    on_one_os_thread(move || {
        let get = move |n: usize| {
            let mut text = Vec::new();
            let mut easy = curl::easy::Easy::new();
            easy.url(&format!("http://{server}/{n}")).unwrap();
            let mut transfer = easy.transfer();
            transfer
                .write_function(|data| {
                    text.extend_from_slice(data);
                    Ok(data.len())
                })
                .unwrap();
            transfer.perform().unwrap();
            drop(transfer);
            String::from_utf8(text).unwrap()
        };
        let (_, single) = timed(|| get(0));
        let (texts, all) = many(MANY, get);
        assert_eq!(texts[999], "/999");
        assert_side_by_side("libcurl", single, all);
    });
}
