use super::*;
use crate::bounded::bounded;
use proptest::prelude::*;
use std::collections::VecDeque;

fn notice() -> Notice {
    Notice::Native(Sleeper::current())
}

/// What a test does with a list; numbers choose among the keys that are out.
#[derive(Clone, Copy, Debug)]
enum Step {
    Push,
    GrantFirst,
    GrantAll,
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Push),
        2 => Just(Step::GrantFirst),
        1 => Just(Step::GrantAll),
        3 => any::<usize>().prop_map(Step::Remove),
    ]
}

proptest! {
    #[test]
    fn it_does_what_a_queue_and_a_set_would_do(steps in prop::collection::vec(step(), 1..200)) {
        let _bound = bounded();
        let mut list = WaitList::new();
        let mut waiting = VecDeque::new();
        let mut out: Vec<(Key, u32, bool)> = Vec::new();
        let grant = |number: u32, out: &mut Vec<(Key, u32, bool)>| {
            out.iter_mut().filter(|one| one.1 == number).for_each(|one| one.2 = true);
        };
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Push => {
                    out.push((list.push(number, notice()), number, false));
                    waiting.push_back(number);
                }
                Step::GrantFirst => {
                    prop_assert_eq!(list.first_mut().copied(), waiting.front().copied());
                    prop_assert_eq!(list.grant_first().is_some(), !waiting.is_empty());
                    waiting.pop_front().into_iter().for_each(|first| grant(first, &mut out));
                }
                Step::GrantAll => {
                    prop_assert_eq!(list.grant_all().len(), waiting.len());
                    waiting.drain(..).for_each(|one| grant(one, &mut out));
                }
                Step::Remove(chosen) if !out.is_empty() => {
                    let (key, number, granted) = out.swap_remove(chosen % out.len());
                    prop_assert_eq!(list.is_granted(&key), granted);
                    let left = list.remove(key);
                    prop_assert_eq!((left.payload, left.granted), (number, granted));
                    waiting.retain(|other| *other != number);
                }
                Step::Remove(_) => (),
            }
            prop_assert_eq!(list.len(), waiting.len());
            prop_assert_eq!(list.is_empty(), waiting.is_empty());
            prop_assert_eq!(list.woken(), out.iter().filter(|one| one.2).count());
        }
    }
}

#[test]
fn the_place_of_one_who_has_left_is_used_again() {
    let _bound = bounded();
    let mut list = WaitList::new();
    for _ in 0..1000 {
        let key = list.push((), notice());
        list.remove(key);
    }
    assert_eq!(list.nodes.len(), 1);
}

#[test]
fn the_memory_of_a_crowd_is_given_back_when_it_has_left() {
    let _bound = bounded();
    let mut list = WaitList::new();
    let keys: Vec<Key> = (0..1000).map(|_| list.push((), notice())).collect();
    for key in keys {
        list.remove(key);
    }
    assert_eq!(list.nodes.capacity(), 0);
    let key = list.push((), notice());
    assert!(!list.remove(key).granted);
}
