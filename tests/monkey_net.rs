//! std::net, unchanged, in greenlets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

#[test]
fn a_thousand_clients_of_an_echo_server_share_one_os_thread() {
    greenroom::monkey::patch_all().unwrap();
    const CLIENTS: usize = 1000;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = greenroom::spawn(move || {
        for _ in 0..CLIENTS {
            let (mut peer, _) = listener.accept().unwrap();
            greenroom::spawn(move || {
                let mut buffer = [0; 64];
                loop {
                    match peer.read(&mut buffer).unwrap() {
                        0 => break,
                        n => peer.write_all(&buffer[..n]).unwrap(),
                    }
                }
            });
        }
    });
    let begin = Instant::now();
    let clients = (0..CLIENTS).map(|i| {
        greenroom::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            for round in 0..3 {
                let text = format!("client {i} round {round}");
                stream.write_all(text.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(100));
                let mut back = vec![0; text.len()];
                stream.read_exact(&mut back).unwrap();
                assert_eq!(back, text.as_bytes());
            }
        })
    });
    for client in greenroom::joinall(clients) {
        client.unwrap();
    }
    server.join().unwrap();
    println!("{:?}\n{}", begin.elapsed(), greenroom::monkey::report());
}
