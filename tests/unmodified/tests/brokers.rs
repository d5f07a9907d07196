//! The crates mysql and rumqttc against a MariaDB and a Mosquitto; `.ci/unmodified` says where by
//! MYSQL_URL and MQTT_PORT.

use mysql::prelude::Queryable;
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use std::thread;
use std::time::Duration;
use unmodified::*;

fn mysql_url() -> String {
    std::env::var("MYSQL_URL").expect("MYSQL_URL names the server: run .ci/unmodified")
}

#[test]
fn a_hundred_wait_for_mysql() {
    on_one_os_thread(|| {
        let wait = |n: usize| {
            let mut connection = mysql::Conn::new(mysql_url().as_str()).expect("a connection");
            let query = format!("SELECT SLEEP(1), {n}");
            let row: Option<(i32, usize)> = connection.query_first(query).unwrap();
            assert_eq!(row, Some((0, n)));
        };
        let (_, single) = timed(|| wait(0));
        let (_, all) = many(100, wait);
        eprintln!("mysql: one {single:?}, 100 at once {all:?}");
        assert!(all < single * 3, "one {single:?}, 100 {all:?}");
    });
}

#[test]
fn a_kill_and_a_timeout_reach_who_waits_for_mysql() {
    on_one_os_thread(|| {
        let wait = || {
            let mut connection = mysql::Conn::new(mysql_url().as_str()).expect("a connection");
            connection.query_drop("SELECT SLEEP(60)").unwrap_err();
        };
        let waits = greenroom::spawn(wait);
        greenroom::sleep(Duration::from_millis(100));
        waits.kill();
        let (killed, took) = timed(|| waits.join());
        assert!(killed.unwrap_err().is_killed());
        assert!(took < Duration::from_secs(5), "{took:?}");
        let limit = Duration::from_millis(100);
        let limited = greenroom::spawn(move || greenroom::with_timeout(limit, wait));
        let (limited, took) = timed(|| limited.join());
        assert!(limited.unwrap().is_err());
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
}

#[test]
fn what_is_published_by_mqtt_arrives() {
    on_one_os_thread(|| {
        let port = std::env::var("MQTT_PORT").expect("MQTT_PORT: run .ci/unmodified");
        let port = port.parse().unwrap();
        let (received, _) = many(50, move |n| {
            let name = format!("greenroom-{}-{n}", std::process::id());
            let options = MqttOptions::new(name.as_str(), "127.0.0.1", port);
            let (client, mut connection) = Client::new(options, 10);
            client.subscribe(&name, QoS::AtLeastOnce).unwrap();
            let publishes = thread::spawn(move || {
                for i in 0..5u8 {
                    thread::sleep(Duration::from_millis(20));
                    client.publish(&name, QoS::AtLeastOnce, false, [i]).unwrap();
                }
                client
            });
            let mut received = Vec::new();
            while received.len() < 5 {
                let next = connection.recv().expect("it is connected");
                if let Event::Incoming(Packet::Publish(message)) = next.unwrap() {
                    received.extend(message.payload);
                }
            }
            publishes.join().unwrap().disconnect().unwrap();
            received
        });
        for one in received {
            assert_eq!(one, [0, 1, 2, 3, 4]);
        }
    });
}
