//! Every example is run here, as built by `cargo test`, and what it prints is checked.

mod bounded;

use bounded::bounded;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// No example may take longer, in whatever build.
const LONGEST: Duration = Duration::from_secs(60);
const TIMEOUT: Option<Duration> = Some(Duration::from_secs(20));

fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/PROFILE/deps/examples-HASH; the examples are in target/PROFILE/examples.
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let path = profile.join("examples").join(name);
    assert!(path.exists(), "run `cargo build --examples` first");
    path
}

/// A running example; killed when dropped, and when it takes too long.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        Running(command.spawn().unwrap())
    }

    /// A server that prints "listening on ADDRESS" first, and that address.
    fn server(command: &mut Command) -> (Running, BufReader<ChildStdout>, String) {
        let mut server = Running::start(command);
        let mut output = BufReader::new(server.0.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ");
        let address = String::from(address.expect(&line));
        (server, output, address)
    }

    /// What it prints until it ends, which it must do well and soon.
    fn output(mut self) -> String {
        let mut stdout = self.0.stdout.take().unwrap();
        let reader = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        });
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(begin.elapsed() < LONGEST, "it takes too long");
            thread::sleep(Duration::from_millis(2));
        };
        assert!(status.success(), "{status}");
        reader.join().unwrap().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if it has ended, which is just as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(name: &str, args: &[&str]) -> String {
    Running::start(Command::new(example(name)).args(args)).output()
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(TIMEOUT).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn echoes(stream: &mut TcpStream, text: &[u8]) -> bool {
    let mut answer = vec![0; text.len()];
    stream.write_all(text).unwrap();
    stream.read_exact(&mut answer).is_ok() && answer == text
}

/// The number after `label` in a line of its own.
fn number(text: &str, label: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(label));
    let word = line.and_then(|line| line[label.len()..].split_whitespace().next());
    word.and_then(|word| word.parse().ok()).expect(text)
}

const HELLO: &str = "Running in foo\n\
                     Explicit context to bar\n\
                     Running func3\n\
                     Running func3 again\n\
                     Implicit Context switch back to bar\n\
                     Explicit context switch to foo again\n";

#[test]
fn hello_takes_turns_and_as_long_as_its_longest_sleep() {
    let _bound = bounded();
    let begin = Instant::now();
    assert_eq!(run("hello", &[]), HELLO);
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_millis(2900), "{took:?}");
}

#[test]
fn hello_is_the_same_when_fast() {
    let _bound = bounded();
    assert_eq!(run("hello", &["--fast"]), HELLO);
}

/// All examples that this build has, read off the folder so that none is forgotten.
fn all() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = names.map(|name| name.trim_end_matches(".rs").to_owned());
    let patched = ["fetch_unmodified", "threads_to_greenlets"];
    let built = |name: &String| cfg!(feature = "monkey") || !patched.contains(&name.as_str());
    names.filter(built).collect()
}

#[test]
fn every_example_explains_itself_and_refuses_what_it_does_not_know() {
    let _bound = bounded();
    let all = all();
    assert!(all.len() > 25, "{all:?}");
    for name in all {
        let help = run(&name, &["--help"]);
        assert!(help.contains("Usage:"), "{name}: {help}");
        let output = Command::new(example(&name))
            .arg("--bogus")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
    }
}

/// Exit status 1, and what it says in place of a result: a sentence, not a `Debug` of an error.
fn fails(name: &str, args: &[&str]) -> String {
    let mut command = Command::new(example(name));
    let output = command.args(args).env("RUST_BACKTRACE", "0").output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{name}: {said}");
    for part in ["Custom {", "Os {", "kind:", "panicked"] {
        assert!(!said.contains(part), "{name}: {said}");
    }
    said
}

#[test]
fn examples_name_what_went_wrong() {
    let _bound = bounded();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = address.rsplit(':').next().unwrap();
    let servers = [
        ("echo_server", vec![port]),
        ("stream_server", vec![port]),
        ("select_answers", vec![port]),
        ("selectors_chat", vec![port]),
        ("selectors_http", vec![port]),
        ("port_forward", vec![&address, "127.0.0.1:1"]),
    ];
    for (name, args) in servers {
        let said = fails(name, &args);
        assert!(said.contains(&address), "{name}: {said}");
        assert!(said.contains("Address already in use"), "{name}: {said}");
    }
    let said = fails("port_forward", &["nonsense", "127.0.0.1:1"]);
    assert!(said.contains("nonsense"), "{said}");
    // A port that was just given back could be that of another test's server by now.
    let nobody = "127.0.0.1:1";
    let clients = [
        ("echo_client", vec![nobody]),
        ("udp_client", vec![nobody, "hello"]),
        ("crawler", vec!["http://127.0.0.1:1/"]),
    ];
    for (name, args) in clients {
        let said = fails(name, &args);
        assert!(said.contains(nobody), "{name}: {said}");
        assert!(said.contains("Connection refused"), "{name}: {said}");
    }
}

#[test]
fn echo_server_serves_many_clients_at_once() {
    let _bound = bounded();
    let (_server, _output, address) =
        Running::server(Command::new(example("echo_server")).arg("0"));
    let mut clients: Vec<_> = (0..500).map(|_| connect(&address)).collect();
    for round in 0..3u8 {
        for (number, client) in clients.iter_mut().enumerate() {
            assert!(echoes(client, &[round, number as u8, 3]));
        }
    }
    // Larger than the server's buffer and the kernel's, so that both directions fill up.
    let mut client = clients.pop().unwrap();
    let mut reader = client.try_clone().unwrap();
    let sent: Vec<u8> = (0..4 << 20).map(|n| (n % 251) as u8).collect();
    let expected = sent.clone();
    let writer = thread::spawn(move || {
        client.write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    reader.read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(received == expected);
}

#[test]
fn echo_client_finds_that_all_comes_back() {
    let _bound = bounded();
    let (_server, _output, address) =
        Running::server(Command::new(example("echo_server")).arg("0"));
    let args = [&address, "--connections", "20", "--messages", "50"];
    let text = run("echo_client", &args);
    assert!(text.starts_with("1000 messages in "), "{text}");
}

#[test]
fn echo_server_survives_resets() {
    let _bound = bounded();
    let (_server, _output, address) =
        Running::server(Command::new(example("echo_server")).arg("0"));
    for _ in 0..50 {
        let mut client = connect(&address);
        client.write_all(&[7; 1000]).unwrap();
        // Closed with an answer unread, or at once: the server sees a reset.
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
    }
    assert!(echoes(&mut connect(&address), b"still there"));
}

#[test]
fn echo_server_survives_the_want_of_descriptors() {
    let _bound = bounded();
    let limited = "ulimit -n 24; exec \"$0\" 0";
    let mut command = Command::new("sh");
    command.args(["-c", limited]).arg(example("echo_server"));
    let (_server, _output, address) = Running::server(command.stderr(Stdio::null()));
    let mut clients: Vec<_> = (0..40).map(|_| connect(&address)).collect();
    assert!(echoes(&mut clients[0], b"served"));
    // The last has to wait until others have gone.
    let mut last = clients.pop().unwrap();
    last.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    last.write_all(b"x").unwrap();
    let mut byte = [0];
    let error = last.read(&mut byte).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    drop(clients);
    last.set_read_timeout(TIMEOUT).unwrap();
    last.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}

#[test]
fn port_forward_passes_on_both_directions_and_half_closes() {
    let _bound = bounded();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let target_address = target.local_addr().unwrap().to_string();
    let mut command = Command::new(example("port_forward"));
    let (_forward, mut output, address) =
        Running::server(command.args(["127.0.0.1:0", &target_address]));
    // Speaks only after the other side has ended: so the half-close must have come through.
    let server = thread::spawn(move || {
        let (mut stream, _) = target.accept().unwrap();
        stream.set_read_timeout(TIMEOUT).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        stream.write_all(text.to_uppercase().as_bytes()).unwrap();
    });
    let mut client = connect(&address);
    let text = "half a word ".repeat(20_000);
    client.write_all(text.as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer == text.to_uppercase());
    server.join().unwrap();
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(
        line.ends_with(": 240000 bytes there, 240000 back\n"),
        "{line}"
    );
}

#[test]
fn port_forward_outlives_a_target_that_refuses() {
    let _bound = bounded();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let mut command = Command::new(example("port_forward"));
    let command = command.args(["127.0.0.1:0", &target]);
    let (mut forward, _output, address) = Running::server(command.stderr(Stdio::null()));
    for _ in 0..3 {
        let mut rest = Vec::new();
        // An end or a reset: either way, no answer.
        let _ = connect(&address).read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
    assert!(forward.0.try_wait().unwrap().is_none(), "it still runs");
}

/// Does it come true in time?
fn within(holds: impl Fn() -> bool) -> bool {
    (0..400).any(|_| {
        thread::sleep(Duration::from_millis(5));
        holds()
    })
}

// 107: test__example_portforwarder.py
#[test]
fn port_forward_lets_its_guests_end_first_when_it_is_interrupted() {
    let _bound = bounded();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let target_address = target.local_addr().unwrap().to_string();
    let mut command = Command::new(example("port_forward"));
    let (mut forward, mut output, address) =
        Running::server(command.args(["127.0.0.1:0", &target_address]));
    let mut client = connect(&address);
    let (mut server, _) = target.accept().unwrap();
    let pid = i32::try_from(forward.0.id()).unwrap();
    // SAFETY: kill(2) takes numbers; the child has not been waited for, so the id is its own.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(line.contains("nobody new"), "{line}");
    // It says so first, and closes the door at once.
    let refuses = || TcpStream::connect(&address).is_err();
    assert!(within(refuses), "it takes somebody new");
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    server.read_to_string(&mut text).unwrap();
    assert_eq!(text, "last words");
    drop((client, server));
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(
        rest.ends_with("bye; 0 connections were cut off\n"),
        "{rest}"
    );
    assert!(forward.0.wait().unwrap().success());
}

#[test]
fn sleepers_are_cheap_and_punctual() {
    let _bound = bounded();
    let text = run("sleepers", &["100000", "--watch-ms", "300"]);
    assert_eq!(number(&text, "greenlets"), 100_000, "{text}");
    // A page of stack, the page tables (more in debug builds: the stacks lie farther apart),
    // and the hub's cells.
    let most = if cfg!(debug_assertions) {
        12_288
    } else {
        5_120
    };
    assert!(number(&text, "memory") <= most, "{text}");
    assert!(number(&text, "maps") <= 64, "{text}");
}

#[test]
fn scope_shares_what_it_borrows() {
    let _bound = bounded();
    let begin = Instant::now();
    let expected = "1 + 2 + ... + 1000 = 500500\n\
                    14 words, 11 different ones\n\
                    \"the\" comes 3 times, \"dog\" 2\n";
    assert_eq!(run("scope", &[]), expected);
    assert!(begin.elapsed() >= Duration::from_millis(40));
}

#[test]
fn cancel_stops_what_it_should_and_where_it_should() {
    let _bound = bounded();
    let expected = "kill:\n  session of the worker closed\n  the worker was killed\n\
                    timeout:\n  session of the timeout closed\n  timed out after 20ms\n  \
                    in time: 42\n\
                    nested timeouts:\n  the outer one: timed out after 20ms\n\
                    shield:\n  taking the money\n  handing out the goods\n  then killed: true\n\
                    before the start:\n  the greenlet was killed\n";
    assert_eq!(run("cancel", &[]), expected);
}

#[test]
fn generator_hands_over_what_is_made() {
    let _bound = bounded();
    let mut expected = String::from("--->starting eating baozi...\n").repeat(2);
    for n in 1..=5 {
        for eater in ["c1", "c2"] {
            expected += &format!("[{eater}] is eating baozi {n}\n");
        }
        expected += &format!("[producer] is making baozi {n}\n");
    }
    assert_eq!(run("generator", &[]), expected);
}

#[test]
fn switch_goes_back_and_forth() {
    let _bound = bounded();
    assert_eq!(run("switch", &[]), "12\n56\n34\n78\n");
}

#[test]
fn stream_server_sends_back_what_it_gets_on_one_hub_or_several() {
    let _bound = bounded();
    let variants: [&[&str]; 4] = [
        &["0"],
        &["0", "--pool", "1"],
        &["0", "--hubs", "2"],
        &["0", "--hubs", "2", "--reuse-port"],
    ];
    for args in variants {
        let mut command = Command::new(example("stream_server"));
        let (_server, _output, address) = Running::server(command.args(args));
        for word in ["one", "two"] {
            let mut stream = connect(&address);
            stream.write_all(word.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut back = String::new();
            stream.read_to_string(&mut back).unwrap();
            assert_eq!(back, word);
        }
    }
}

#[test]
fn udp_client_gets_the_answer_of_udp_server() {
    let _bound = bounded();
    let mut command = Command::new(example("udp_server"));
    let (_server, mut output, address) = Running::server(command.arg("0"));
    let answer = run("udp_client", &[&address, "hello"]);
    assert_eq!(answer, "Received 5 bytes\n");
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(line.ends_with(": hello\n"), "{line}");
}

#[test]
fn processes_run_at_once_and_are_told_of_as_they_end() {
    let _bound = bounded();
    let begin = Instant::now();
    let expected: String = (0..10)
        .map(|n| {
            format!(
                "{n}: ended as {} of 10, with {n}: I was number {n}\n",
                10 - n
            )
        })
        .collect();
    assert_eq!(run("processes", &[]), expected);
    // One after the other they would take 8.25 s.
    assert!(begin.elapsed() < Duration::from_millis(8000));
}
