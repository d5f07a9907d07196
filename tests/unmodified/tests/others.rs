//! Children, and work between waits.

use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;
use unmodified::*;

const DELAY: Duration = Duration::from_secs(2);

#[test]
fn the_output_of_a_hundred_children_at_once() {
    on_one_os_thread(|| {
        let run = |n: usize| {
            let script = format!("sleep 1; echo {n}; echo {n}, too >&2; exit {}", n % 3);
            let output = Command::new("sh").args(["-c", &script]).output();
            let output = output.expect("sh runs");
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (
                output.status.code(),
                text(output.stdout),
                text(output.stderr),
            )
        };
        let result = |n| (Some(n as i32 % 3), format!("{n}\n"), format!("{n}, too\n"));
        Proof::of("std::process::Command")
            .count(100)
            .run(run, result);
    });
}

#[test]
fn errnos_of_children() {
    on_one_os_thread(|| {
        let said = same_failures(Mode::ALL, || {
            let tell = |done: io::Result<String>| done.unwrap_or_else(told);
            let fails =
                |command: &mut Command| tell(command.output().map(|output| format!("{output:?}")));
            let quiet = || {
                let mut cat = Command::new("cat");
                cat.stdin(Stdio::piped()).stdout(Stdio::null());
                cat
            };
            let mut child = quiet().spawn().unwrap();
            let runs = child.try_wait().map(|status| format!("{status:?}"));
            child.kill().unwrap();
            let killed = child.wait().map(|status| status.to_string());
            let again = child.kill().map(|()| "nothing to do".into());
            let mut ends = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
            ends.wait().unwrap();
            let pipe = Command::new("true").stdin(Stdio::piped()).spawn();
            let mut pipe = pipe.unwrap();
            let mut stdin = pipe.stdin.take().unwrap();
            pipe.wait().unwrap();
            let broken = stdin.write(b"nobody reads").map(|n| n.to_string());
            vec![
                (
                    "no such program",
                    fails(&mut Command::new("/no/such/program")),
                ),
                (
                    "no such name",
                    fails(&mut Command::new("no-such-program-at-all")),
                ),
                ("no program", fails(&mut Command::new("/proc/self/status"))),
                (
                    "no such folder",
                    fails(Command::new("true").current_dir("/no/such")),
                ),
                (
                    "a signal",
                    fails(Command::new("sh").args(["-c", "kill -9 $$"])),
                ),
                ("runs", tell(runs)),
                ("killed", tell(killed)),
                ("killed again", tell(again)),
                ("nobody reads", tell(broken)),
            ]
        });
        assert!(said[0].1.contains("errno Some(2)"), "{said:?}");
        assert!(said[2].1.contains("errno Some(13)"), "{said:?}");
        assert!(said[8].1.contains("errno Some(32)"), "{said:?}");
    });
}

/// What is sent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Order {
    number: usize,
    customer: Option<String>,
    items: Vec<(String, f64)>,
}

fn order(number: usize) -> Order {
    let items = (0..20).map(|item| (format!("item {item} of {number}"), item as f64 / 8.0));
    Order {
        number,
        customer: number
            .is_multiple_of(2)
            .then(|| format!("customer \"{number}\" \u{2713}")),
        items: items.collect(),
    }
}

/// As JSON, compressed, there and back again.
fn send(server: SocketAddr, order: &Order) -> io::Result<Order> {
    let mut stream = TcpStream::connect(server)?;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    serde_json::to_writer(&mut packed, order)?;
    let packed = packed.finish()?;
    stream.write_all(&packed)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let unpacked = flate2::read::GzDecoder::new(stream);
    Ok(serde_json::from_reader(io::BufReader::new(unpacked))?)
}

#[test]
fn flate2_and_serde_between_waits() {
    let server = echo_server(DELAY);
    on_one_os_thread(move || {
        let send = move |n| send(server, &order(n)).unwrap();
        assert_same_and_side_by_side("flate2 and serde_json", Mode::ALL, send, order);
    });
}

#[test]
fn errors_of_flate2_and_serde() {
    let server = server(|mut peer| {
        let _ = peer
            .write_all(b"neither packed nor JSON")
            .and(peer.read(&mut [0; 4096]).map(drop));
    });
    on_one_os_thread(move || {
        let said = same_failures(Mode::ALL, move || {
            let garbage = send(server, &order(1)).unwrap_err();
            let stream = TcpStream::connect(server).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            (&stream).read_exact(&mut [0; 23]).unwrap();
            let late = serde_json::from_reader::<_, Order>(flate2::read::GzDecoder::new(stream));
            vec![
                ("garbage", told(garbage)),
                ("late", told(late.unwrap_err())),
            ]
        });
        assert!(said[0].1.contains("gzip"), "{said:?}");
        assert!(said[1].1.contains("os error 11"), "{said:?}");
    });
}
