//! The crate redis against a real redis-server; `.ci/unmodified` says where by REDIS_URL.

use redis::Commands;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;
use unmodified::*;

const DELAY: Duration = Duration::from_secs(1);

fn url() -> String {
    std::env::var("REDIS_URL").expect("REDIS_URL names the server: run .ci/unmodified")
}

/// A key that no other test and no other run uses.
fn key(name: &str) -> String {
    format!("greenroom:{}:{name}", std::process::id())
}

fn connection() -> redis::Connection {
    let client = redis::Client::open(url()).unwrap();
    client.get_connection().expect("a connection")
}

/// On an OS thread that knows nothing of the patch, does `act` for each of so many as soon as
/// `waiting` says that they all wait, and [`DELAY`] has gone by.
fn as_soon_as_all_wait(
    count: usize,
    delay: Duration,
    waiting: impl Fn(&mut redis::Connection) -> usize + Send + 'static,
    act: impl Fn(&mut redis::Connection, usize) + Send + 'static,
) {
    greenroom::monkey::native(|| {
        thread::spawn(move || {
            let mut connection = connection();
            while waiting(&mut connection) < count {
                thread::sleep(Duration::from_millis(5));
            }
            thread::sleep(delay);
            (0..count).for_each(|n| act(&mut connection, n));
        })
    });
}

#[test]
fn a_thousand_wait_in_blpop_until_each_is_served() {
    on_one_os_thread(|| {
        let serve = |count| {
            let blocked = |connection: &mut redis::Connection| {
                let info: redis::InfoDict =
                    redis::cmd("INFO").arg("clients").query(connection).unwrap();
                info.get("blocked_clients").unwrap()
            };
            let push = |connection: &mut redis::Connection, n: usize| {
                let _: usize = connection.rpush(key(&format!("list{n}")), n).unwrap();
            };
            as_soon_as_all_wait(count, DELAY, blocked, push);
        };
        let wait = |n: usize| {
            let popped = connection().blpop(key(&format!("list{n}")), 60.0);
            let (_, number): (String, usize) = popped.unwrap();
            number
        };
        Proof::of("redis, BLPOP").ahead(&serve).run(wait, |n| n);
    });
}

#[test]
fn a_thousand_give_up_blpop_when_its_time_is_over() {
    on_one_os_thread(|| {
        let wait = |n: usize| {
            let mut connection = connection();
            let popped = connection.blpop(key(&format!("never{n}")), DELAY.as_secs_f64());
            let nothing: Option<(String, usize)> = popped.unwrap();
            // The connection is as good as before.
            let own = key(&format!("own{n}"));
            let _: () = connection.set_ex(&own, n, 60).unwrap();
            (nothing, connection.get(&own).unwrap())
        };
        let proof = Proof::of("redis, BLPOP in vain").modes(&[Mode::Spawn]);
        proof.run(wait, |n| (None, n));
    });
}

#[test]
fn what_is_published_reaches_a_thousand_who_have_subscribed() {
    on_one_os_thread(|| {
        let publish = |count| {
            let subscribed = |connection: &mut redis::Connection| {
                let all = redis::cmd("PUBSUB")
                    .arg("NUMSUB")
                    .arg(key("all"))
                    .query(connection);
                let (_, count): (String, usize) = all.unwrap();
                count
            };
            let publish = move |connection: &mut redis::Connection, n: usize| {
                let _: usize = connection.publish(key(&format!("own{n}")), n).unwrap();
                if n + 1 == count {
                    let _: usize = connection.publish(key("all"), "news").unwrap();
                }
            };
            as_soon_as_all_wait(count, 2 * DELAY, subscribed, publish);
        };
        let listen = |n: usize| {
            let mut connection = connection();
            let mut subscription = connection.as_pubsub();
            // To be counted is the last of it.
            subscription.subscribe(key(&format!("own{n}"))).unwrap();
            subscription.subscribe(key("all")).unwrap();
            let mut payload = || subscription.get_message().unwrap().get_payload().unwrap();
            let heard: [String; 2] = [payload(), payload()];
            heard
        };
        let heard = |n: usize| [n.to_string(), "news".into()];
        Proof::of("redis, pub/sub")
            .ahead(&publish)
            .run(listen, heard);
    });
}

#[test]
fn errnos() {
    let silent = silent_server(Duration::from_secs(60));
    let closes = closing_server();
    on_one_os_thread(move || {
        let said = same_failures(Mode::ALL, move || {
            let limit = Duration::from_millis(100);
            let client = |to: &str| redis::Client::open(format!("redis://{to}/")).unwrap();
            let connect = |to: &str| told(client(to).get_connection().err().unwrap());
            let late = client(&silent.to_string()).get_connection_with_timeout(limit);
            let mut patient = connection();
            patient.set_read_timeout(Some(limit)).unwrap();
            let never: redis::RedisResult<()> = patient.blpop(key("never"), 60.0);
            let wrong: redis::RedisResult<()> = redis::cmd("NOSUCH").query(&mut connection());
            vec![
                ("refused", connect(NOBODY)),
                ("closed", connect(&closes.to_string())),
                ("no such name", connect("no.such.name.invalid")),
                ("late to connect", told(late.err().unwrap())),
                ("late", told(never.unwrap_err())),
                ("wrong", told(wrong.unwrap_err())),
            ]
        });
        assert!(said[0].1.contains("os error 111"), "{said:?}");
        assert!(said[4].1.contains("os error 11"), "{said:?}");
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
        let (error, late) = waits.join_late().unwrap_err();
        assert!(error.is_killed());
        assert_eq!(late, Some(true), "the call failed, and the greenlet ended");
        let (late, took) = timed(|| {
            greenroom::with_timeout_late(Duration::from_millis(100), || {
                let mut connection = client.get_connection().unwrap();
                let popped: redis::RedisResult<Option<(String, String)>> =
                    connection.blpop(key("late"), 60.0);
                popped.is_err()
            })
        });
        let late = late.unwrap_err().1;
        assert_eq!(late, Some(true), "a hooked call can't be unwound: it fails");
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
