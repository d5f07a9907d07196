//! The examples with select, poll and selectors, as built by `cargo test`: what they print.
mod examples_support;

use examples_support::bounded;
use examples_support::{Running, count, plain, run};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    let timeout = Some(Duration::from_secs(20));
    stream.set_read_timeout(timeout).unwrap();
    stream
}

#[test]
fn select_first_step_serves_whoever_speaks() {
    let _bound = bounded();
    let text = run("select_first_step", &[]);
    assert!(text.contains("received: \"123\"\n"), "{text}");
    assert!(text.contains("received: \"456\"\n"), "{text}");
    let text = plain(&text);
    assert!(
        text.starts_with("[N] [] []\nnew connection: ADDRESS\n"),
        "{text}"
    );
    assert_eq!(count(&text, "new connection: ADDRESS"), 2, "{text}");
    assert_eq!(count(&text, "closed: N"), 2, "{text}");
}

#[test]
fn select_level_tells_until_it_is_dealt_with() {
    let _bound = bounded();
    let told = "hello\n>>>>>> 1 ready, at once\n";
    let accepted = "hello\naccepted\n>>>>>> 1 ready, at once\n";
    let over = ">>>>>> 0 ready, after the time limit\n";
    assert_eq!(
        run("select_level", &[]),
        [told, told, accepted, over].concat()
    );
}

#[test]
fn select_answers_answers_its_own_clients() {
    let _bound = bounded();
    let text = run("select_answers", &[]);
    let expected = [
        "What is the time?",
        "answer client No. 1>>>",
        "What is the time? Late.",
        "Who is there?",
        "answer client No. 2>>>",
        "Who is there? Only me.",
    ];
    for line in expected {
        assert_eq!(count(&text, line), 1, "{line}: {text}");
    }
}

#[test]
fn select_answers_asks_standard_input_until_it_ends() {
    let _bound = bounded();
    let mut server = Running::start("select_answers", &["0"]);
    let (address, mut output) = server.address();
    let mut answers = server.0.stdin.take().unwrap();
    let mut client = connect(&address);
    client.write_all(b"how many?").unwrap();
    answers.write_all(b"three\n").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"three");
    drop(answers);
    client.write_all(b"and?").unwrap();
    server.ends_well();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(count(&text, "answer client No. 1>>>"), 2, "{text}");
}

#[test]
fn select_queues_sends_everything_back() {
    let _bound = bounded();
    let text = run("select_queues", &[]);
    for word in ["hello", "aa", "bbb"] {
        assert_eq!(count(&text, &format!("received: {word:?}")), 1, "{text}");
        assert_eq!(count(&text, &format!("Received {word:?}")), 1, "{text}");
    }
    let text = plain(&text);
    assert!(
        text.contains("\n[] [N"),
        "somebody could be written to: {text}"
    );
    assert_eq!(count(&text, "client gone: N"), 2, "{text}");
}

#[test]
fn select_exceptional_meets_all_three_lists() {
    let _bound = bounded();
    let text = plain(&run("select_exceptional", &[]));
    assert!(
        text.starts_with("starting up on ADDRESS\n\nwaiting for the next event\n"),
        "{text}"
    );
    for (line, times) in [
        ("new connection from ADDRESS", 2),
        ("received \"This is the message.\" from ADDRESS", 1),
        ("sending \"This is the message.\" to ADDRESS", 1),
        ("output queue for ADDRESS is empty", 1),
        ("closing ADDRESS after reading no data", 1),
        ("handling exceptional condition for ADDRESS", 1),
    ] {
        assert_eq!(count(&text, line), times, "{line}: {text}");
    }
}

#[test]
fn poll_server_echoes_and_watches_writing_only_while_it_must() {
    let _bound = bounded();
    let text = run("poll_server", &[]);
    for word in ["first", "second", "third"] {
        assert_eq!(count(&text, &format!("echoing {word:?}")), 1, "{text}");
        assert_eq!(count(&text, &format!("Received {word:?}")), 1, "{text}");
    }
    let text = plain(&text);
    assert_eq!(count(&text, "descriptor N: WRITE"), 3, "{text}");
    assert_eq!(count(&text, "closing N"), 3, "{text}");
}

#[test]
fn level_and_edge_tell_the_same_bytes_differently() {
    let _bound = bounded();
    let expected = "level-triggered:\n  told; read \"ab\"\n  told; read \"cd\"\n  \
                    told; read \"ef\"\n  not told any more\n  told of more; read \"g\"\n\
                    edge-triggered:\n  told; read \"ab\"\n  not told any more\n  \
                    told of more; read \"cd\"\n\
                    edge-triggered, reading until nothing is left:\n  told\n    read \"ab\"\n    \
                    read \"cd\"\n    read \"ef\"\n  told\n    read \"g\"\n";
    assert_eq!(run("level_and_edge", &[]), expected);
}

#[test]
fn selectors_echo_echoes_three_messages_to_each_of_four_clients() {
    let _bound = bounded();
    let text = run("selectors_echo", &[]);
    for message in ["This is the message. ", "It will be sent ", "in parts."] {
        for what in ["sending", "received", "echoing"] {
            let lines = text.lines();
            let lines = lines.filter(|line| line.contains(&format!("{what} {message:?}")));
            assert_eq!(lines.count(), 4, "{what} {message}: {text}");
        }
    }
    assert!(text.contains("\n4 clients, 12 echoes in "), "{text}");
    let text = plain(&text);
    assert!(text.starts_with("connecting to ADDRESS\n"), "{text}");
    assert_eq!(count(&text, "accepted fd=N from ADDRESS"), 4, "{text}");
    assert_eq!(count(&text, "closing fd=N"), 4, "{text}");
}

#[test]
fn selectors_echo_serves_three_thousand_clients() {
    let _bound = bounded();
    let text = run("selectors_echo", &["--clients", "3000", "--quiet"]);
    assert!(text.contains("\n3000 clients, 9000 echoes in "), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn selectors_echo_says_what_to_do_when_there_are_too_few_descriptors() {
    let _bound = bounded();
    let limited = "ulimit -n 64; exec \"$0\" --clients 100 --quiet";
    let output = std::process::Command::new("sh")
        .args(["-c", limited])
        .arg(examples_support::example("selectors_echo"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("ulimit -n"), "{text}");
}

#[test]
fn selectors_chat_passes_on_what_each_says_to_all() {
    let _bound = bounded();
    let text = plain(&run("selectors_chat", &[]));
    for said in ["hello", "hello to you"] {
        let heard = format!("guest N hears: N:N:N ADDRESS data = {said}");
        assert_eq!(count(&text, &heard), 3, "{text}");
    }
    assert_eq!(count(&text, "ADDRESS is quit"), 3, "{text}");
}

#[test]
fn selectors_chat_is_open_to_guests_from_elsewhere() {
    let _bound = bounded();
    let mut chat = Running::start("selectors_chat", &["0"]);
    let (address, mut output) = chat.address();
    let mut line = String::new();
    let mut guests = [1, 2].map(|_| {
        let guest = connect(&address);
        line.clear();
        output.read_line(&mut line).unwrap();
        assert!(line.ends_with(" comes in\n"), "{line}");
        BufReader::new(guest)
    });
    guests[0].get_mut().write_all(b"anybody here?\n").unwrap();
    for guest in &mut guests {
        line.clear();
        guest.read_line(&mut line).unwrap();
        assert!(line.ends_with(" data = anybody here?\n"), "{line}");
    }
    guests[0].get_mut().write_all(b"quit\n").unwrap();
    let mut rest = Vec::new();
    guests[0].read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "who says quit is shown out");
    guests[1].get_mut().write_all(b"alone").unwrap();
    line.clear();
    guests[1].read_line(&mut line).unwrap();
    assert!(line.ends_with(" data = alone\n"), "{line}");
}

#[test]
fn selectors_http_answers_and_stops() {
    let _bound = bounded();
    let text = run("selectors_http", &[]);
    for (line, times) in [
        ("GET /welcome", 2),
        ("==============================", 2),
        ("HTTP/1.1 201 Created", 2),
        ("Server: GreenServer", 2),
        ("Welcome!", 2),
    ] {
        assert_eq!(count(&text, line), times, "{line}: {text}");
    }
    assert!(text.ends_with("stopped\n"), "{text}");
}

#[test]
fn selectors_http_serves_a_port_until_it_is_told_to_quit() {
    let _bound = bounded();
    let mut server = Running::start("selectors_http", &["0"]);
    let (address, mut output) = server.address();
    // Whoever says nothing, or nonsense, is no reason to stop.
    let silent = connect(&address);
    connect(&address).write_all(b"\r\n").unwrap();
    for _ in 0..3 {
        let mut visitor = connect(&address);
        visitor
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        visitor.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
        assert!(answer.contains("Content-Length: 68\r\n"), "{answer}");
    }
    drop(silent);
    server
        .0
        .stdin
        .take()
        .unwrap()
        .write_all(b"help\nquit\n")
        .unwrap();
    server.ends_well();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(text.contains("not a request"), "{text}");
    assert!(text.ends_with("stopped\n"), "{text}");
}

#[test]
fn every_one_with_arguments_explains_them() {
    let _bound = bounded();
    for name in [
        "select_answers",
        "selectors_chat",
        "selectors_echo",
        "selectors_http",
    ] {
        let help = run(name, &["--help"]);
        assert!(help.contains("Usage:"), "{name}: {help}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let _bound = bounded();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for name in ["select_answers", "selectors_chat", "selectors_http"] {
        let output = std::process::Command::new(examples_support::example(name))
            .arg(&port)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(
            text.contains("cannot listen on 127.0.0.1"),
            "{name}: {text}"
        );
    }
}
