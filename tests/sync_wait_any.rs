//! Waiting for whichever comes first: greenlets, events, semaphores, queues, descriptors, time.
mod gevent_support;

use gevent_support::{LONG, bounded, ms};
use greenroom::io::{self, Read, Write, readable, writable};
use greenroom::net::{TcpListener, TcpStream};
use greenroom::sync::{Arc, Channel, Event, Queue, Semaphore, mpsc};
use greenroom::{
    Deadline, Waitable, hub, iwait, sim, spawn, wait, wait_any, wait_any_timeout, yield_now,
};
use std::fs::File;
use std::time::Duration;

#[test]
fn whichever_comes_first_of_all_kinds_is_told_by_its_position() {
    let _bound = bounded();
    let (reader, writer) = io::pipe().unwrap();
    let (event, semaphore, queue) = (Event::new(), Semaphore::new(0), Queue::bounded(1));
    let channel = Arc::new(Channel::new());
    let (sender, receiver) = mpsc::channel();
    let (full, greenlet) = (Queue::<u8>::bounded(0), spawn(greenroom::thread::park));
    let in_reader = readable(&reader);
    let (room, never) = (full.room(), Deadline::after(LONG));
    let objects: [&dyn Waitable; 9] = [
        &in_reader, &event, &semaphore, &queue, &channel, &receiver, &room, &greenlet, &never,
    ];
    let while_waiting = |first: usize, make_ready: &(dyn Fn() + Sync)| {
        assert_eq!(wait_any_timeout(&objects[..=first], ms(1)), None);
        greenroom::scope(|scope| {
            scope.spawn(make_ready);
            assert_eq!(wait_any(&objects[..=first]), first);
        });
        assert_eq!(wait_any(&objects), first);
    };
    while_waiting(7, &|| greenlet.thread().unpark());
    // From the last to the first: what is ready stays so, for nothing is taken.
    while_waiting(6, &|| full.resize(1));
    while_waiting(5, &|| sender.send(1).unwrap());
    while_waiting(4, &|| {
        let theirs = Arc::clone(&channel);
        spawn(move || theirs.put(1));
    });
    while_waiting(3, &|| queue.put(1).unwrap());
    while_waiting(2, &|| semaphore.release());
    while_waiting(1, &|| event.set());
    while_waiting(0, &|| (&writer).write_all(b"x").unwrap());
    assert_eq!(
        (queue.len(), receiver.try_recv(), channel.get()),
        (1, Ok(1), Ok(1))
    );
    assert!(semaphore.try_acquire().is_some());
    (&reader).read_exact(&mut [0]).unwrap();
}

#[test]
fn losers_are_left_untouched() {
    let _bound = bounded();
    let before = hub::try_current()
        .map(|_| hub::stats().registrations)
        .unwrap();
    let (queue, event) = (Arc::new(Queue::new()), Event::new());
    let (reader, mut writer) = io::pipe().unwrap();
    event.set();
    for _ in 0..100 {
        assert_eq!(wait_any(&[&*queue, &readable(&reader), &event]), 2);
    }
    // Nobody is in the line: an item goes to who comes for it, and a look is not told again.
    let theirs = Arc::clone(&queue);
    let getter = spawn(move || theirs.get());
    yield_now();
    queue.put(1).unwrap();
    assert_eq!(getter.join().unwrap(), Ok(1));
    writer.write_all(b"x").unwrap();
    assert_eq!(hub::stats().registrations, before);
    assert_eq!(hub::stats().waiting, 0);
}

#[test]
fn a_wait_that_is_killed_leaves_nothing_behind() {
    let _bound = bounded();
    let queue = Arc::new(Queue::<u8>::new());
    let (reader, _writer) = io::pipe().unwrap();
    let theirs = Arc::clone(&queue);
    let waiter = spawn(move || wait_any(&[&*theirs, &readable(&reader), &Deadline::after(LONG)]));
    yield_now();
    assert!(hub::stats().registrations > 0);
    waiter.kill();
    assert!(waiter.join().unwrap_err().is_killed());
    let stats = hub::stats();
    assert_eq!(
        (stats.registrations, stats.waiting, stats.timers),
        (0, 0, 0)
    );
}

#[test]
fn the_time_is_up_when_it_is_and_what_is_ready_wins() {
    let _bound = bounded();
    sim::run(0, || {
        let (queue, begin) = (Queue::new(), greenroom::now());
        assert_eq!(wait_any_timeout(&[&queue], ms(10)), None);
        let moments = [20, 5, 10].map(|count| Deadline::at(begin + ms(10 + count)));
        let order: Vec<_> = iwait(&moments).indexed().map(|(index, _)| index).collect();
        assert_eq!((order, greenroom::now() - begin), (vec![1, 2, 0], ms(30)));
        assert!(moments.iter().all(Deadline::has_passed));
        queue.put(1).unwrap();
        assert_eq!(wait_any(&[&moments[0], &queue]), 1);
        assert_eq!(
            wait_any_timeout(&[&Deadline::after(Duration::MAX)], ms(10)),
            None
        );
        assert_eq!(wait(&moments).count(2).ready().len(), 2);
        assert_eq!(hub::stats().timers, 0);
    });
}

#[test]
fn a_closed_queue_is_ready_on_both_sides() {
    let _bound = bounded();
    let queue = Queue::<u8>::bounded(0);
    assert_eq!(wait_any_timeout(&[&queue, &queue.room()], ms(1)), None);
    queue.close();
    assert_eq!(
        wait(&[&queue as &dyn Waitable, &queue.room()])
            .ready()
            .len(),
        2
    );
    let (sender, receiver) = mpsc::sync_channel::<u8>(1);
    drop(sender);
    assert_eq!(wait_any(&[&receiver]), 0);
}

#[test]
fn the_room_of_a_channel_is_somebody_who_waits_for_an_item() {
    let _bound = bounded();
    let channel = Arc::new(Channel::new());
    assert_eq!(wait_any_timeout(&[&channel.room()], ms(1)), None);
    let theirs = Arc::clone(&channel);
    let getter = spawn(move || theirs.get());
    assert_eq!(wait_any(&[&channel.room()]), 0);
    channel.try_put(1).unwrap();
    assert_eq!(getter.join().unwrap(), Ok(1));
}

#[test]
fn an_item_for_which_somebody_waits_is_told_to_nobody_else() {
    let _bound = bounded();
    sim::run(0, || {
        let queue = Arc::new(Queue::new());
        let theirs = Arc::clone(&queue);
        let getter = spawn(move || theirs.get());
        let theirs = Arc::clone(&queue);
        let watcher = spawn(move || wait_any_timeout(&[&*theirs], ms(10)));
        greenroom::sleep(ms(1));
        queue.put(1).unwrap();
        assert_eq!(getter.join().unwrap(), Ok(1));
        assert_eq!(watcher.join().unwrap(), None);
    });
}

#[test]
fn sockets_are_waited_for_with_other_things() {
    let _bound = bounded();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stop = Event::new();
    let address = listener.local_addr().unwrap();
    let client = spawn(move || TcpStream::connect(address).unwrap());
    assert_eq!(wait_any(&[&stop, &readable(&listener)]), 1);
    let (mut served, _) = listener.accept().unwrap();
    let client = client.join().unwrap();
    assert_eq!(
        wait_any(&[&stop, &readable(&client), &writable(&client)]),
        2
    );
    served.write_all(b"x").unwrap();
    assert_eq!(wait_any(&[&stop, &readable(&client)]), 1);
    let bytes = (&client).read(&mut [0; 8]).unwrap();
    assert_eq!(
        (bytes, wait_any_timeout(&[&readable(&client)], ms(1))),
        (1, None)
    );
    drop(served);
    assert_eq!(
        wait_any(&[&readable(&client)]),
        0,
        "the end is something to read"
    );
}

#[test]
fn many_descriptors_come_in_the_order_of_their_readiness() {
    let _bound = bounded();
    let pipes: Vec<_> = (0..50).map(|_| io::pipe().unwrap()).collect();
    let watched: Vec<_> = pipes.iter().map(|(reader, _)| readable(reader)).collect();
    let order = [7, 3, 49, 0, 21];
    let mut ready = iwait(&watched).timeout(LONG).indexed();
    for index in order {
        (&pipes[index].1).write_all(b"x").unwrap();
        assert_eq!(ready.next().map(|(index, _)| index), Some(index));
    }
    drop(ready);
    assert_eq!(hub::stats().registrations, 0);
}

#[test]
fn what_can_not_be_watched_counts_as_ready() {
    let _bound = bounded();
    let file = File::open("/proc/self/exe").unwrap();
    assert_eq!(wait_any(&[&readable(&file)]), 0);
    let (reader, _writer) = io::pipe().unwrap();
    let reader = Arc::new(reader);
    let theirs = Arc::clone(&reader);
    let waiter = spawn(move || wait_any(&[&readable(&*theirs)]));
    yield_now();
    assert_eq!(io::cancel_waits(&*reader), 1);
    assert_eq!(waiter.join().unwrap(), 0);
}

#[test]
fn a_plain_thread_waits_as_well() {
    let _bound = bounded();
    let queue = Arc::new(Queue::new());
    let theirs = Arc::clone(&queue);
    let (sender, late) = std::sync::mpsc::channel();
    let waiter = std::thread::spawn(move || {
        sender.send(wait_any_timeout(&[&theirs], ms(5))).unwrap();
        wait_any(&[&theirs, &Deadline::after(LONG)])
    });
    assert_eq!(late.recv(), Ok(None));
    queue.put(1).unwrap();
    assert_eq!(waiter.join().unwrap(), 0);
}

#[test]
#[should_panic(expected = "there are no objects to wait for")]
fn nothing_to_wait_for_is_a_mistake() {
    let _bound = bounded();
    wait_any(&[]);
}
