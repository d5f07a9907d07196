//! The examples of programming models (crawlers, echo, polling, events, processes), as built by
//! `cargo test`: what they print.
mod examples_support;

use examples_support::bounded;
use examples_support::{count, example, plain, run};
use std::process::Command;

#[test]
fn hello_has_a_form_for_two() {
    let _bound = bounded();
    let expected = "Running in foo\nExplicit context to bar\n\
                    Implicit Context switch back to bar\nExplicit context switch to foo again\n";
    assert_eq!(run("hello", &["--fast", "--two"]), expected);
}

#[test]
fn crawler_is_faster_when_it_crawls_in_parallel() {
    let _bound = bounded();
    let text = run("crawler", &[]);
    let cost = |label| {
        let line = text.lines().find_map(|line| line.strip_prefix(label));
        let seconds = line.and_then(|line| line.strip_suffix(" s"));
        seconds
            .and_then(|seconds| seconds.parse::<f64>().ok())
            .expect(&text)
    };
    let (serial, parallel) = (cost("serial cost "), cost("parallel cost "));
    assert!(serial >= 0.9 && parallel >= 0.4, "{text}");
    assert!(parallel < serial, "{text}");
    for bytes in [48_844, 529_760, 52_239] {
        let received = format!("{bytes} bytes received from http://127.0.0.1:");
        assert_eq!(text.matches(&received).count(), 2, "{text}");
    }
    // One by one, and then all three before the first answer.
    let kinds: Vec<&str> = text.lines().map(|line| &line[..4]).collect();
    let all_at_once = kinds.iter().rposition(|kind| *kind == "GET:").unwrap();
    assert_eq!(
        kinds[all_at_once - 2..all_at_once],
        ["GET:", "GET:"],
        "{text}"
    );
    assert_eq!(kinds[0], "GET:");
    assert_ne!(kinds[1], "GET:", "{text}");
}

#[test]
fn crawler_says_what_is_wrong_with_a_url() {
    let _bound = bounded();
    let urls = ["https://example.invalid/", "http://127.0.0.1:1/x"];
    let output = Command::new(example("crawler"))
        .args(urls)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("https://example.invalid/: only http:// is known"),
        "{text}"
    );
    assert!(
        text.contains("http://127.0.0.1:1/x: Connection refused"),
        "{text}"
    );
}

#[test]
fn socket_echo_talks_to_three_clients_at_the_same_time() {
    let _bound = bounded();
    let text = run("socket_echo", &[]);
    for name in ["one", "two", "three"] {
        for number in [1, 2] {
            let message = format!("{name} {number}");
            assert_eq!(count(&text, &format!("recv: {message:?}")), 1, "{text}");
            assert_eq!(count(&text, &format!("Received {message:?}")), 1, "{text}");
        }
    }
    let place = |line: &str| text.lines().position(|one| one == line).expect(&text);
    assert!(
        place("recv: \"three 1\"") < place("recv: \"one 2\""),
        "{text}"
    );
}

#[test]
fn nonblocking_server_asks_until_somebody_comes() {
    let _bound = bounded();
    let text = plain(&run("nonblocking_server", &[]));
    let asked = count(&text, "waiting client connection .......");
    assert!(asked >= 2, "{text}");
    let error = "Resource temporarily unavailable (os error N)";
    assert_eq!(count(&text, error), asked - 1, "{text}");
    assert!(text.ends_with("+++ ADDRESS\nhello\n"), "{text}");
    assert!(run("nonblocking_server", &["--help"]).contains("--pause-ms"));
}

#[test]
fn event_queue_handles_each_event_in_order_and_is_not_waited_for() {
    let _bound = bounded();
    let text = run("event_queue", &[]);
    let clicks: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("on_click"))
        .collect();
    let expected: Vec<String> = (1..=10)
        .map(|x| format!("on_click({x}, {})", 10 * x))
        .collect();
    assert_eq!(clicks, expected, "{text}");
    let keys: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("on_key"))
        .collect();
    assert_eq!(
        keys,
        ["on_key_down('h')", "on_key_down('i')", "on_key_down('!')"],
        "{text}"
    );
    let done = text.find("the mouse is done, ").expect(&text);
    let last = text.find("on_click(10, 100)").expect(&text);
    assert!(
        done < last,
        "the mouse was done before its events were: {text}"
    );
    assert!(text.ends_with("the window is closed\n"), "{text}");
}

#[test]
fn processes_threads_greenlets_run_all_there_are() {
    let _bound = bounded();
    let args = ["--processes", "3", "--threads", "2", "--greenlets", "100"];
    let text = run("processes_threads_greenlets", &args);
    assert!(text.ends_with("600 greenlets in all\n"), "{text}");
    for thread in 1..=2 {
        let line = format!("  thread {thread}: greenlets that have run: 100");
        assert_eq!(count(&text, &line), 3, "{text}");
    }
    let text = plain(&text);
    assert_eq!(count(&text, "process N:"), 3, "{text}");
    assert!(text.starts_with("N cores, N processes\n"), "{text}");
    assert!(run("processes_threads_greenlets", &["--help"]).contains("--threads"));
    assert!(run("crawler", &["--help"]).contains("Usage:"));
}
