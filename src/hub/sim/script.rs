//! Who runs next, by plan instead of by chance: for tests that try every order.
//!
//! A run is a sequence of choices. The first takes the first option everywhere; each further one
//! repeats the last up to its last choice that has an option left, and takes that. What goes on
//! although it could be interrupted costs nothing, an interruption one of a few that a run may
//! have: most mistakes need one or two, and with more the number of runs explodes.

use std::cell::RefCell;

#[derive(Clone, Copy, Debug)]
struct Choice {
    taken: usize,
    options: usize,
}

#[derive(Debug, Default)]
struct Script {
    choices: Vec<Choice>,
    /// How many of them have been made in this run.
    made: usize,
    interruptions_left: usize,
    /// The last in the queue has run until now, and only stopped to be interrupted.
    may_go_on: bool,
}

thread_local! {
    static SCRIPT: RefCell<Option<Script>> = const { RefCell::new(None) };
}

/// Calls `run` with every sequence of choices that has at most so many interruptions; returns how
/// many there were.
pub(crate) fn each_order(interruptions_max: usize, mut run: impl FnMut()) -> usize {
    let mut choices = Vec::new();
    for count in 1.. {
        SCRIPT.set(Some(Script {
            choices,
            interruptions_left: interruptions_max,
            ..Script::default()
        }));
        run();
        let script = SCRIPT.take().expect("nobody else takes it");
        choices = script.choices;
        choices.truncate(script.made);
        while choices
            .pop_if(|last| last.taken + 1 == last.options)
            .is_some()
        {}
        let Some(last) = choices.last_mut() else {
            return count;
        };
        last.taken += 1;
    }
    unreachable!("a range without an end")
}

/// Whether [`each_order`] is at work on this thread.
pub(crate) fn is_on() -> bool {
    SCRIPT.with_borrow(Option::is_some)
}

/// Whoever runs is about to go to the end of the queue, for others that may interrupt it.
pub(crate) fn offer() {
    SCRIPT.with_borrow_mut(|script| script.iter_mut().for_each(|script| script.may_go_on = true));
}

/// The index of who runs next, of so many in the queue.
pub(super) fn choose(count: usize) -> Option<usize> {
    SCRIPT.with_borrow_mut(|script| script.as_mut().map(|script| script.choose(count)))
}

impl Script {
    fn choose(&mut self, count: usize) -> usize {
        let may_go_on = std::mem::take(&mut self.may_go_on);
        let options = match (may_go_on, self.interruptions_left) {
            (true, 0) => 1,
            _ => count,
        };
        if self.made == self.choices.len() {
            self.choices.push(Choice { taken: 0, options });
        }
        let choice = self.choices[self.made];
        assert_eq!(
            choice.options, options,
            "the same choices lead to another place"
        );
        self.made += 1;
        if !may_go_on {
            return choice.taken;
        }
        if choice.taken == 0 {
            return count - 1;
        }
        self.interruptions_left -= 1;
        choice.taken - 1
    }
}
