//! What gevent's own tests ask of its rendezvous channel: behaviours 72 and 73 of our list,
//! re-written in our words after the test that each names, not copied.
mod gevent_support;

use gevent_support::bounded;
use gevent_support::{LONG, Notes, ms};
use greenroom::sync::{
    Arc, Channel, GetError, GetTimeoutError, PutError, PutTimeoutError, TryGetError, TryPutError,
};
use greenroom::{sim, sleep, spawn, with_timeout, yield_now};
use std::panic;

fn shared<T>() -> (Arc<Channel<T>>, Arc<Channel<T>>) {
    let channel = Arc::new(Channel::new());
    (Arc::clone(&channel), channel)
}

// 72: test__queue.py TestChannel.test_send
#[test]
fn a_put_goes_on_after_its_taker() {
    let _bound = bounded();
    let (channel, theirs) = shared();
    let notes = Notes::new();
    let (note, their_note) = (notes.pen(), notes.pen());
    let taker = spawn(move || {
        their_note(theirs.get().unwrap());
        their_note(theirs.get().unwrap());
    });
    note("sending");
    channel.put("hello").unwrap();
    note("sent hello");
    channel.put("world").unwrap();
    note("sent world");
    taker.join().unwrap();
    let expected = ["sending", "hello", "sent hello", "world", "sent world"];
    assert_eq!(notes.read(), expected);
}

// 72: test__queue.py TestChannel.test_wait
#[test]
fn a_get_goes_on_before_its_putter() {
    let _bound = bounded();
    let (channel, theirs) = shared();
    let notes = Notes::new();
    let (note, their_note) = (notes.pen(), notes.pen());
    let putter = spawn(move || {
        their_note("sending hello");
        theirs.put("hello").unwrap();
        their_note("sending world");
        theirs.put("world").unwrap();
        their_note("sent world");
    });
    note("waiting");
    note(channel.get().unwrap());
    note(channel.get().unwrap());
    let expected = [
        "waiting",
        "sending hello",
        "hello",
        "sending world",
        "world",
    ];
    assert_eq!(notes.read(), expected);
    putter.join().unwrap();
    assert_eq!(notes.read(), ["sent world"]);
}

// 73: test__queue.py test_zero_max_size
#[test]
fn a_put_is_not_over_before_a_get() {
    let _bound = bounded();
    sim::run(73, || {
        let (channel, theirs) = shared();
        let putter = spawn(move || theirs.put("hi"));
        sleep(ms(1));
        assert!(!putter.is_finished());
        assert_eq!(channel.get(), Ok("hi"));
        putter.join().unwrap().unwrap();
    });
}

// 1.7: qsize is 0, empty() and full() are both true, balance is putters less getters
#[test]
fn a_channel_holds_nothing_and_knows_who_waits() {
    let _bound = bounded();
    let (channel, theirs) = shared();
    assert_eq!((channel.len(), channel.capacity()), (0, Some(0)));
    assert!(channel.is_empty() && channel.is_full());
    let putters = [1, 2].map(|n| {
        let theirs = Arc::clone(&theirs);
        spawn(move || theirs.put(n))
    });
    yield_now();
    assert_eq!((channel.balance(), channel.len()), (2, 0));
    assert!(channel.try_iter().eq([1, 2]));
    greenroom::joinall(putters);
    let getter = spawn(move || theirs.get());
    yield_now();
    assert_eq!(channel.balance(), -1);
    channel.put(3).unwrap();
    assert_eq!(getter.join().unwrap(), Ok(3));
    assert_eq!(channel.balance(), 0);
}

// 1.7: put_nowait succeeds if a getter is parked, get_nowait if a putter is
#[test]
fn what_does_not_wait_succeeds_if_the_other_side_waits() {
    let _bound = bounded();
    let (channel, theirs) = shared();
    assert_eq!(channel.try_put(1), Err(TryPutError::Full(1)));
    assert_eq!(channel.try_get(), Err(TryGetError::Empty));
    let getter = spawn(move || theirs.get());
    yield_now();
    assert_eq!(channel.try_put(2), Ok(()));
    assert_eq!(
        channel.try_put(3),
        Err(TryPutError::Full(3)),
        "one getter takes one"
    );
    assert_eq!(
        channel.try_get(),
        Err(TryGetError::Empty),
        "it is kept for him"
    );
    assert_eq!(getter.join().unwrap(), Ok(2));
    let theirs = Arc::clone(&channel);
    let putter = spawn(move || theirs.put(4));
    yield_now();
    assert_eq!(channel.try_get(), Ok(4));
    putter.join().unwrap().unwrap();
}

// 69, for channels: whoever gives up takes or leaves nothing
#[test]
fn who_gives_up_leaves_nothing_behind() {
    let _bound = bounded();
    sim::run(69, || {
        let channel = Channel::new();
        assert_eq!(
            channel.put_timeout(1, ms(10)),
            Err(PutTimeoutError::Timeout(1))
        );
        assert!(with_timeout(ms(10), || channel.put(2)).is_err());
        assert_eq!(channel.get_timeout(ms(10)), Err(GetTimeoutError::Timeout));
        assert_eq!(
            (channel.balance(), channel.try_get()),
            (0, Err(TryGetError::Empty))
        );
    });
}

/// Has `wait` run in a greenlet that has swallowed a kill: it meets the kill again in there, after
/// the others have had their turn, and `meanwhile` with them.
fn unwound_after(wait: impl Fn() + Send + 'static, meanwhile: impl FnOnce()) {
    let stubborn = spawn(move || {
        let swallowed = panic::catch_unwind(greenroom::thread::park);
        assert!(swallowed.is_err());
        wait();
    });
    yield_now();
    stubborn.kill();
    yield_now();
    meanwhile();
    assert!(stubborn.join().unwrap_err().is_killed());
}

// 69, for channels: the getter who was woken is killed before it runs
#[test]
fn what_was_handed_to_a_getter_that_is_killed_goes_to_the_next() {
    let _bound = bounded();
    let (channel, theirs) = shared();
    let get = move || assert!(theirs.get().is_err());
    unwound_after(get, || {
        channel.try_put("for whom?").unwrap();
        assert_eq!(channel.try_get(), Err(TryGetError::Empty));
    });
    assert_eq!(channel.try_get(), Ok("for whom?"));
}

// 69, for channels: the putter is killed while nobody has come for its item
#[test]
fn the_offer_of_a_putter_that_is_killed_is_withdrawn() {
    let _bound = bounded();
    let (channel, theirs) = shared();
    let put = move || assert!(theirs.put(1).is_err());
    unwound_after(put, || assert_eq!(channel.balance(), 1));
    assert_eq!(
        (channel.balance(), channel.try_get()),
        (0, Err(TryGetError::Empty))
    );
}

// 69, for channels: the putter is killed while a getter is on its way
#[test]
fn an_item_that_a_getter_was_woken_for_is_had_though_its_putter_is_killed() {
    let _bound = bounded();
    let (channel, theirs) = shared();
    let getter = {
        let theirs = Arc::clone(&theirs);
        spawn(move || theirs.get())
    };
    yield_now();
    let putter = spawn(move || {
        let swallowed = panic::catch_unwind(greenroom::thread::park);
        assert!(swallowed.is_err());
        theirs.put(1)
    });
    yield_now();
    putter.kill();
    assert!(putter.join().unwrap_err().is_killed());
    assert_eq!(getter.join().unwrap(), Ok(1));
    assert_eq!(channel.balance(), 0);
}

// 75, for channels
#[test]
fn a_closed_channel_gives_back_what_was_offered() {
    let _bound = bounded();
    let (channel, theirs) = shared();
    let putters = [1, 2].map(|n| {
        let theirs = Arc::clone(&theirs);
        spawn(move || theirs.put(n))
    });
    yield_now();
    channel.close();
    let refused = greenroom::joinall(putters).into_iter().map(Result::unwrap);
    assert!(refused.eq([Err(PutError(1)), Err(PutError(2))]));
    assert_eq!(channel.get(), Err(GetError));
    assert_eq!(channel.try_put(3), Err(TryPutError::Closed(3)));
    assert_eq!(
        channel.put_timeout(3, LONG),
        Err(PutTimeoutError::Closed(3))
    );
    assert_eq!(channel.get_timeout(LONG), Err(GetTimeoutError::Closed));
    assert!(channel.shutdown(true).is_empty() && channel.is_closed());
}

// 75, for channels: those who wait for an item
#[test]
fn a_closed_channel_wakes_its_getters() {
    let _bound = bounded();
    for immediate in [false, true] {
        let (channel, theirs) = shared::<u8>();
        let getter = spawn(move || theirs.get());
        yield_now();
        channel.shutdown(immediate);
        assert_eq!(getter.join().unwrap(), Err(GetError));
    }
}

// 75, for channels: what was handed over but not seen yet
#[test]
fn what_a_getter_was_woken_for_is_had_after_a_close_but_not_after_a_shutdown_now() {
    let _bound = bounded();
    for immediate in [false, true] {
        let (channel, theirs) = shared();
        let getter = spawn(move || theirs.get());
        yield_now();
        channel.try_put(1).unwrap();
        let thrown_out = channel.shutdown(immediate);
        let expected = if immediate { Err(GetError) } else { Ok(1) };
        assert_eq!(getter.join().unwrap(), expected);
        assert_eq!(thrown_out.len(), usize::from(immediate));
    }
}
