//! The crate redis against a real redis-server; `.ci/unmodified` says where by REDIS_URL.

use redis::Commands;
use std::process::{Command, Output};
use std::time::Duration;
use unmodified::*;

fn url() -> String {
    std::env::var("REDIS_URL").expect("REDIS_URL names the server: run .ci/unmodified")
}

/// A key that no other test and no other run uses.
fn key(name: &str) -> String {
    format!("greenroom:{}:{name}", std::process::id())
}

#[test]
fn a_thousand_wait_in_blpop() {
    on_one_os_thread(|| {
        let client = redis::Client::open(url()).unwrap();
        let wait = move |n: usize| {
            let mut connection = client.get_connection().expect("a connection");
            let popped: Option<(String, String)> =
                connection.blpop(key(&format!("never{n}")), 1.0).unwrap();
            assert_eq!(popped, None, "nobody pushes");
        };
        let (_, single) = timed(|| wait(0));
        let (_, all) = many(MANY, wait);
        assert_side_by_side("redis BLPOP", single, all);
    });
}

#[test]
fn a_push_in_one_greenlet_ends_the_wait_of_another() {
    on_one_os_thread(|| {
        let client = redis::Client::open(url()).unwrap();
        let theirs = client.clone();
        let waits = greenroom::spawn(move || {
            let mut connection = theirs.get_connection().unwrap();
            let popped: (String, String) = connection.blpop(key("list"), 10.0).unwrap();
            popped.1
        });
        greenroom::sleep(Duration::from_millis(50));
        let mut connection = client.get_connection().unwrap();
        let _: () = connection.rpush(key("list"), "pushed").unwrap();
        assert_eq!(waits.join().unwrap(), "pushed");
    });
}

#[test]
fn what_is_published_reaches_all_who_have_subscribed() {
    const SUBSCRIBERS: usize = 100;
    on_one_os_thread(|| {
        let client = redis::Client::open(url()).unwrap();
        let subscribers: Vec<_> = (0..SUBSCRIBERS)
            .map(|_| {
                let client = client.clone();
                greenroom::spawn(move || {
                    let mut connection = client.get_connection().unwrap();
                    let mut subscription = connection.as_pubsub();
                    subscription.subscribe(key("channel")).unwrap();
                    let message = subscription.get_message().unwrap();
                    message.get_payload::<String>().unwrap()
                })
            })
            .collect();
        let mut connection = client.get_connection().unwrap();
        loop {
            let (_, count): (String, usize) = redis::cmd("PUBSUB")
                .arg("NUMSUB")
                .arg(key("channel"))
                .query(&mut connection)
                .unwrap();
            if count == SUBSCRIBERS {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _: usize = connection.publish(key("channel"), "news").unwrap();
        for subscriber in subscribers {
            assert_eq!(subscriber.join().unwrap(), "news");
        }
    });
}

#[test]
fn a_kill_and_a_timeout_reach_a_wait_inside_of_the_crate() {
    on_one_os_thread(|| {
        let client = redis::Client::open(url()).unwrap();
        let theirs = client.clone();
        let waits = greenroom::spawn(move || {
            let mut connection = theirs.get_connection().unwrap();
            let popped: redis::RedisResult<Option<(String, String)>> =
                connection.blpop(key("killed"), 60.0);
            popped.is_err()
        });
        greenroom::sleep(Duration::from_millis(50));
        waits.kill();
        assert!(
            waits.join().unwrap(),
            "the call failed, and the greenlet ended by itself"
        );
        let (late, took) = timed(|| {
            greenroom::with_timeout(Duration::from_millis(100), || {
                let mut connection = client.get_connection().unwrap();
                let popped: redis::RedisResult<Option<(String, String)>> =
                    connection.blpop(key("late"), 60.0);
                popped.is_err()
            })
        });
        assert_eq!(late, Ok(true), "a hooked call can't be unwound: it fails");
        assert!(took < Duration::from_secs(5));
    });
}

/// The example `redis_blpop`, as cargo has built it next to this test.
fn redis_blpop(url: &str) -> Output {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let mut example = Command::new(profile.join("examples/redis_blpop"));
    example.env("REDIS_URL", url).output().unwrap()
}

#[test]
fn the_example_has_a_hundred_wait_on_one_os_thread() {
    let output = redis_blpop(&url());
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}{said}");
    let lines: Vec<_> = text.lines().collect();
    let [blocked, threads, popped] = lines[..] else {
        panic!("{text}");
    };
    assert!(blocked.starts_with("greenlets in BLPOP  100,"), "{text}");
    assert_eq!(threads, "OS threads          1");
    assert!(popped.starts_with("pushed and popped   100,"), "{text}");
}

#[test]
fn the_example_says_what_to_do_where_no_server_is() {
    // Nobody listens at a port that was just free.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", free.local_addr().unwrap());
    drop(free);
    let output = redis_blpop(&url);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains(&url) && said.contains("Start one by `redis-server"),
        "{said}"
    );
}
