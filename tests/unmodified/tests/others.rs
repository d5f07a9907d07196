//! Children, and work between waits.

use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;
use unmodified::*;

#[test]
fn the_output_of_a_hundred_children_at_once() {
    on_one_os_thread(|| {
        let (outputs, all) = many(100, |n| {
            let script = format!("sleep 0.3; echo {n}");
            let output = Command::new("sh")
                .args(["-c", &script])
                .output()
                .expect("sh runs");
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        });
        let expected: Vec<_> = (0..100).map(|n| format!("{n}\n")).collect();
        assert_eq!(outputs, expected);
        assert!(all < Duration::from_secs(5), "{all:?}");
    });
}

#[test]
fn compression_between_waits() {
    on_one_os_thread(|| {
        let (texts, _) = many(200, |n| {
            let text = format!("greenlet {n} ").repeat(500);
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            for piece in text.as_bytes().chunks(1000) {
                packed.write_all(piece).unwrap();
                std::thread::yield_now();
            }
            let packed = packed.finish().unwrap();
            let mut back = String::new();
            let mut reader = flate2::read::GzDecoder::new(&packed[..]);
            reader.read_to_string(&mut back).unwrap();
            back == text
        });
        assert!(texts.iter().all(|same| *same));
    });
}
