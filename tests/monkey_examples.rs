//! The examples `fetch_unmodified` and `threads_to_greenlets`, and ureq itself, which knows
//! nothing of greenlets.

mod monkey_support;

use monkey_support::bounded;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use monkey_support::{green, ms, os_thread};

/// Runs an example of this name, as built next to this test.
fn example(name: &str, arguments: &[&str]) -> Output {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let mut command = Command::new(profile.join("examples").join(name));
    command.args(arguments).output().unwrap()
}

#[test]
fn threads_to_greenlets_holds_ten_thousand_guests_on_one_os_thread() {
    let _bound = bounded();
    // Or as many as the limit of descriptors allows: the server has one for each.
    let count = (descriptors_max() - 100).min(10_000).to_string();
    let output = example("threads_to_greenlets", &["--connections", &count]);
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}{said}");
    assert!(
        text.starts_with(&format!("connections {count}, in ")),
        "{text}"
    );
    assert!(text.contains("\nOS threads  1\n"), "{text}");
    assert!(
        text.contains(&format!("\nheard by    {count}, in ")),
        "{text}"
    );
    println!("{text}");
}

/// What the limit of descriptors may be raised to.
fn descriptors_max() -> u64 {
    // SAFETY: a place for the limits; zeros are some.
    unsafe {
        let mut limits: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limits), 0);
        limits.rlim_max
    }
}

#[test]
fn threads_to_greenlets_unpatched_has_an_os_thread_for_each() {
    let _bound = bounded();
    let arguments = ["--real-threads", "--connections", "20"];
    let output = example("threads_to_greenlets", &arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("\nOS threads  22\n"), "{text}");
    assert!(text.contains("\nheard by    20, in "), "{text}");
}

#[test]
fn threads_to_greenlets_names_the_limit_that_is_in_the_way() {
    let _bound = bounded();
    let output = example("threads_to_greenlets", &["--connections", "4000000000"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("ulimit -Hn"), "{said}");
}

#[test]
fn fetch_unmodified_is_fast_only_with_the_patch() {
    let _bound = bounded();
    let output = example("fetch_unmodified", &["--count", "20", "--delay-ms", "100"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let took = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")));
        let number = line.and_then(|line| line.strip_suffix(" ms")).expect(&text);
        number.parse::<u64>().unwrap()
    };
    assert!(took("one after the other") >= 2000, "{text}");
    assert!(
        took("in greenlets") >= 2000,
        "without the patch they wait for each other: {text}"
    );
    assert!(took("in greenlets, patched") < 1500, "{text}");
}

/// Answers each request after `delay`, on OS threads of its own.
fn origin(delay: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move |stream: TcpStream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while lines
            .next()
            .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
        {}
        thread::sleep(delay);
        let said = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
        let _ = (&stream).write_all(said);
    };
    os_thread(move || {
        for stream in listener.incoming() {
            os_thread(move || answer(stream.unwrap()));
        }
    });
    format!("http://localhost:{}", address.port())
}

#[test]
fn a_hundred_requests_of_ureq_take_as_long_as_one() {
    let _bound = bounded();
    let url = origin(ms(100));
    green(move || {
        let begin = Instant::now();
        let requests = (0..100).map(|_| {
            let url = url.clone();
            greenroom::spawn(move || {
                let mut response = ureq::get(&url).call().unwrap();
                assert_eq!(response.body_mut().read_to_string().unwrap(), "ok");
            })
        });
        greenroom::joinall(requests)
            .into_iter()
            .for_each(|done| done.unwrap());
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "one by one it takes 10 s"
        );
    });
}

#[test]
fn limits_of_time_of_ureq_hold_for_each_of_many_requests() {
    let _bound = bounded();
    let url = origin(Duration::from_secs(20));
    green(move || {
        let begin = Instant::now();
        let requests = (0..50).map(|_| {
            let url = url.clone();
            greenroom::spawn(move || {
                let config = ureq::Agent::config_builder().timeout_global(Some(ms(200)));
                let agent = ureq::Agent::new_with_config(config.build());
                let failed = agent.get(&url).call().unwrap_err();
                assert!(matches!(failed, ureq::Error::Timeout(_)), "{failed}");
            })
        });
        greenroom::joinall(requests)
            .into_iter()
            .for_each(|done| done.unwrap());
        assert!(
            begin.elapsed() < Duration::from_secs(8),
            "one by one it takes 10 s"
        );
    });
}
