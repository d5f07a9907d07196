//! How a greenlet stands with kills and timeouts: what a coroutine must leave as it found it.

use std::ptr;

use crate::hub::task::{Frame, Local};
use crate::hub::{Hub, with_hub};

/// The timeouts, shields and foreign calls that whoever runs is inside of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// By id, and that of the greenlet; nobody in the hub itself, or without one.
    greenlet: Option<u64>,
    hub: Option<u64>,
    frames: *const Frame,
    alarm: u64,
    shields: u32,
    shield_floor: *const Frame,
    foreign: u32,
}

impl Standing {
    /// Of whoever runs.
    #[inline]
    pub(crate) fn now() -> Standing {
        with_hub(|hub| {
            let task = hub.and_then(Hub::running);
            let local = task.map(|task| task.get().local());
            Standing {
                greenlet: task.map(|task| task.get().id),
                hub: hub.map(|hub| hub.shared.number),
                frames: local.map_or(ptr::null(), |local| local.frames.get()),
                alarm: local.map_or(u64::MAX, |local| local.alarm.get()),
                shields: local.map_or(0, |local| local.shields.get()),
                shield_floor: local.map_or(ptr::null(), |local| local.shield_floor.get()),
                foreign: local.map_or(0, |local| local.foreign.get()),
            }
        })
    }

    /// Whether it is the same greenlet, on the same hub.
    #[inline]
    pub(crate) fn is_of_same_greenlet(&self, other: &Standing) -> bool {
        self.greenlet == other.greenlet && self.hub == other.hub
    }

    /// Whether it is inside of the same timeouts and shields.
    #[inline]
    pub(crate) fn has_same_limits(&self, other: &Standing) -> bool {
        ptr::eq(self.frames, other.frames) && self.shields == other.shields
    }

    /// Inside of how many foreign calls more than `other`.
    #[inline]
    pub(crate) fn foreign_beyond(&self, other: &Standing) -> u32 {
        self.foreign.saturating_sub(other.foreign)
    }

    /// Puts whoever runs, which is the same greenlet as then, back to this.
    pub(crate) fn restore(&self) {
        on_local(|local| {
            local.frames.set(self.frames);
            local.alarm.set(self.alarm);
            local.shields.set(self.shields);
            local.shield_floor.set(self.shield_floor);
            local.foreign.set(self.foreign);
        });
    }
}

/// Enters so many foreign calls at once.
pub(crate) fn add_foreign(count: u32) {
    on_local(|local| local.foreign.set(local.foreign.get() + count));
}

pub(super) fn on_local(f: impl FnOnce(&Local)) {
    with_hub(|hub| {
        if let Some(task) = hub.and_then(Hub::running) {
            f(task.get().local());
        }
    });
}
