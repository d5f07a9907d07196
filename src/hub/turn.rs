//! One turn of the hub; the picture stands at the head of the room.
//!
//! Limits, each a promise to whoever waits for the next poll:
//! * [`RESUMES_MAX`] resumes or [`BETWEEN_POLLS_MAX_NS`] between two polls,
//! * [`OPERATIONS_MAX`] operations in a row that did not have to park,
//! * [`MAIL_MAX`] messages taken from the inbox at a time.
//!
//! And at most `STEPS_ASIDE_MAX` switches that a thread under the patch need not have made.

use std::cell::Cell;

use super::stuck::Outlook;
use super::task::{State, TaskPtr, Why};
use super::{Hub, Message, switch};
use crate::sys;
use crate::sys::report::report;

const RESUMES_MAX: u32 = if cfg!(greenroom_turn_of_one) { 1 } else { 256 };
const BETWEEN_POLLS_MAX_NS: u64 = 1_000_000;
/// As tokio's budget; without one an always-ready socket starved its neighbours for 688 ms.
pub(crate) const OPERATIONS_MAX: u32 = 128;
const MAIL_MAX: usize = 1024;
/// Enough for a few threads to start and to answer; one in 32 of the resumes between two polls.
#[cfg(feature = "monkey")]
const STEPS_ASIDE_MAX: u32 = 8;
/// The clock costs more than a switch, so it is read only after so many resumes since the poll,
/// and then after as many as, at their pace, take a quarter of the time that is left.
const RESUMES_PER_CLOCK: u32 = if RESUMES_MAX < 8 { RESUMES_MAX } else { 8 };
const RESUMES_PER_CLOCK_MAX: u64 = 64;
/// How many switches ahead a greenlet's stack and, before it, its cell are fetched.
const STACK_AHEAD: usize = 1;
const TASK_AHEAD: usize = 3;
/// Stacks are trimmed at most this often, and only when the hub has nothing to do.
const TRIM_EVERY_NS: u64 = 1_000_000_000;

/// How far the present turn has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    resumes: Cell<u32>,
    /// The number of resumes after which the clock is read.
    look_at: Cell<u32>,
    operations: Cell<u32>,
    polled_at: Cell<u64>,
    trimmed_at: Cell<u64>,
    coins: Cell<u32>,
    #[cfg(feature = "monkey")]
    steps_aside: Cell<u32>,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress {
            look_at: Cell::new(RESUMES_PER_CLOCK),
            ..Progress::default()
        }
    }

    fn begin_run(&self) {
        self.operations.set(0);
    }

    /// Counts one operation.
    #[inline]
    pub(super) fn spend_operation(&self) {
        self.operations.set(self.operations.get() + 1);
    }

    #[inline]
    pub(super) fn is_budget_spent(&self) -> bool {
        self.operations.get() >= OPERATIONS_MAX
    }

    /// Counts a wake, and returns whether the one that was woken is to run now.
    #[cfg(feature = "monkey")]
    pub(super) fn steps_aside(&self) -> bool {
        self.spend_operation();
        let steps = self.steps_aside.get();
        if steps < STEPS_ASIDE_MAX {
            self.steps_aside.set(steps + 1);
        }
        steps < STEPS_ASIDE_MAX || self.is_budget_spent()
    }

    /// Heads or tails, for the test-only spurious wakes.
    pub(super) fn coin(&self) -> bool {
        self.coins.set(
            self.coins
                .get()
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223),
        );
        self.coins.get() >> 31 == 1
    }
}

impl Hub {
    /// Runs turns on the root's stack until the root is to run again.
    #[inline(never)]
    pub(super) fn turn_until_root_runs(&self) {
        self.running.set(None);
        loop {
            if self.poll_is_due() {
                self.poll();
            }
            let Some(task) = self.next_runnable() else {
                self.poll();
                continue;
            };
            debug_assert_eq!(task.get().local().state.get(), State::Runnable);
            if self.events.are_heard() {
                self.tell_switched(task);
            }
            task.get().local().state.set(State::Running);
            self.running.set(Some(task));
            self.turn.begin_run();
            if self.is_root(task) {
                return;
            }
            self.counters.switches.add(1);
            let ended = switch::resume(task);
            sys::ending::look();
            self.running.set(None);
            if ended {
                self.bury(task);
            }
        }
    }

    #[inline]
    fn poll_is_due(&self) -> bool {
        let turn = &self.turn;
        let resumes = turn.resumes.get() + 1;
        turn.resumes.set(resumes);
        let look = resumes >= turn.look_at.get() || turn.is_budget_spent();
        look && self.poll_is_due_by_the_clock(resumes)
    }

    #[inline(never)]
    fn poll_is_due_by_the_clock(&self, resumes: u32) -> bool {
        let turn = &self.turn;
        let spent_ns = self.fresh_now().saturating_sub(turn.polled_at.get());
        if resumes >= RESUMES_MAX || spent_ns >= BETWEEN_POLLS_MAX_NS {
            return true;
        }
        let left_ns = BETWEEN_POLLS_MAX_NS - spent_ns;
        let more = u64::from(resumes) * left_ns / (4 * spent_ns.max(1));
        let more = more.clamp(1, RESUMES_PER_CLOCK_MAX) as u32;
        turn.look_at.set((resumes + more).min(RESUMES_MAX));
        false
    }

    fn next_runnable(&self) -> Option<TaskPtr> {
        let mut queue = self.run_queue.borrow_mut();
        let sim = self.world.sim();
        if let Some(sim) = sim
            && queue.len() > 1
        {
            let chosen = sim.choose(queue.len());
            queue.swap(0, chosen);
        }
        let next = queue.pop_front();
        // With many greenlets, memory is what a switch waits for: a third of it is saved here.
        if let Some(soon) = queue.get(STACK_AHEAD) {
            switch::prefetch_stack(*soon);
            if let Some(later) = queue.get(TASK_AHEAD) {
                switch::prefetch_task(*later);
            }
        }
        if let (Some(sim), Some(task)) = (sim, next) {
            sim.note_choice(task);
        }
        next
    }

    /// A task's body has returned: its stack can be used again.
    fn bury(&self, task: TaskPtr) {
        if self.forks != sys::fork::generation() {
            // The greenlet forked, and this is the child: the stack below is the parent's.
            sys::fork::exit_child();
        }
        let (at, task) = (task, task.get());
        task.local().state.set(State::Done);
        drop(task.local().spare.take());
        let stack = switch::retire(task);
        self.counters.note_depth(&stack);
        self.stacks.borrow_mut().give(stack);
        let slot = task.slot().expect("what has run was launched");
        let removed = self.tasks.borrow_mut().remove(slot);
        debug_assert_eq!(removed, Some(at));
        let id = task.greenlet_id();
        switch::let_go(at, self);
        self.tell_who_waits_for_others();
        if self.events.are_heard() {
            self.tell_finished(id);
        }
    }

    /// Wakes those who wait for the end of all others, to look again.
    pub(super) fn tell_who_waits_for_others(&self) {
        let waiters = self.outwaiters.borrow();
        waiters.iter().for_each(|task| self.wake(task.get()));
    }

    /// The rest of the turn: mail, descriptors, timers. Sleeps if nothing is runnable.
    fn poll(&self) {
        self.turn.resumes.set(0);
        #[cfg(feature = "monkey")]
        self.turn.steps_aside.set(0);
        self.turn.look_at.set(RESUMES_PER_CLOCK);
        self.receive_mail();
        if self.run_queue.borrow().is_empty() {
            self.sleep();
        } else if self.poller.borrow().len() > 0 {
            self.collect(Some(0));
        }
        self.now.set(self.fresh_now());
        self.turn.polled_at.set(self.now());
        self.shared.note_turn(self.now());
        self.fire_timers();
        self.receive_mail();
    }

    /// Waits for descriptors and wakes who waits for them.
    pub(super) fn collect(&self, timeout_ns: Option<u64>) {
        self.counters.polls.add(1);
        let polled = self
            .poller
            .borrow_mut()
            .poll(timeout_ns, |task| self.wake(task.get()));
        if let Err(error) = polled {
            // Somebody closed our descriptor. Timers and mail go on; say it and don't spin.
            report!(
                Error,
                "greenroom: epoll_wait failed, descriptors are not served: {error}"
            );
            let _ = sys::fd::poll(None, false, false, Some(timeout_ns.unwrap_or(10_000_000)));
        }
    }

    pub(super) fn fire_timers(&self) {
        let now = self.now();
        loop {
            let due = self.timers.borrow_mut().pop_due(now);
            let Some(task) = due else { break };
            self.wake_or_start(task.get());
        }
    }

    pub(super) fn receive_mail(&self) {
        // The look is a plain load, the attempt to take something a fence.
        if !self.shared.has_mail() {
            return;
        }
        for _ in 0..MAIL_MAX {
            match self.shared.receive() {
                None => break,
                Some(Message::Wake(task)) => self.wake(&task),
                Some(Message::Run(job)) => job(self),
                Some(Message::Return(task)) => drop(task),
                Some(Message::Forget(key)) => {
                    let orphans = self.poller.borrow_mut().registry().remove(key);
                    orphans.iter().for_each(|task| self.wake(task.get()));
                }
            }
        }
    }

    /// Nothing is runnable: wait for a descriptor, a timer, or mail.
    fn sleep(&self) {
        let next_timer = self.timers.borrow().next_deadline();
        if next_timer.is_some() {
            self.now.set(self.fresh_now());
        }
        if !self.idlers.borrow().is_empty() || self.world.sim().is_some() {
            self.collect(Some(0));
            let due = next_timer.is_some_and(|deadline| deadline <= self.now());
            if due || !self.run_queue.borrow().is_empty() {
                return;
            }
            if self.wake_idlers() || self.jump(next_timer) {
                return;
            }
        }
        let timeout = match next_timer {
            Some(deadline) => Some(deadline.saturating_sub(self.now())),
            None => match self.outlook() {
                Outlook::Stuck if self.tell_root_that_all_is_stuck() => return,
                Outlook::Company { again_in } => Some(again_in),
                Outlook::Stuck | Outlook::Open => None,
            },
        };
        self.trim_stacks(timeout);
        if self.shared.fall_asleep() {
            self.counters.sleeps.add(1);
            if self.events.are_heard() {
                self.shared.pulse.rest();
            }
            self.collect(timeout);
            self.shared.wake_up();
        }
    }

    fn wake_idlers(&self) -> bool {
        let idlers = std::mem::take(&mut *self.idlers.borrow_mut());
        idlers.iter().for_each(|task| self.wake(task.get()));
        !self.run_queue.borrow().is_empty()
    }

    /// Virtual time: all are parked, so the next timer is due.
    fn jump(&self, next_timer: Option<u64>) -> bool {
        match (self.world.sim(), next_timer) {
            (Some(sim), Some(deadline)) if self.helped.get() == 0 => {
                sim.advance_to(deadline);
                true
            }
            _ => false,
        }
    }

    fn trim_stacks(&self, timeout: Option<u64>) {
        let long = timeout.is_none_or(|ns| ns >= BETWEEN_POLLS_MAX_NS);
        let turn = &self.turn;
        if long && self.now().saturating_sub(turn.trimmed_at.get()) >= TRIM_EVERY_NS {
            turn.trimmed_at.set(self.now());
            self.stacks.borrow_mut().trim();
        }
    }

    /// False when it can't be told: below C frames there is nobody to whom a panic could go.
    fn tell_root_that_all_is_stuck(&self) -> bool {
        if self.root.local().foreign.get() > 0 {
            self.tell_that_all_is_stuck();
            return false;
        }
        if self.root.local().why.get() != Why::Others {
            *self.stuck.borrow_mut() = Some(self.stuck_report());
        }
        self.wake(&self.root);
        true
    }
}
