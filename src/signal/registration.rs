//! A listener, and the descriptor that its greenlets wait for.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Signal;
use crate::io::Source;
use crate::poller::Interest;
use crate::sys::signal::Listener;

/// See the head of this file. To be shared by those who wait and those who end it.
#[derive(Debug)]
pub(super) struct Registration {
    bell: Source,
    listener: Listener,
    ended: AtomicBool,
}

impl Registration {
    pub(super) fn new(signals: &[Signal]) -> io::Result<Registration> {
        if signals.is_empty() {
            let why = "no signal to listen for";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let numbers: Vec<i32> = signals.iter().map(|signal| signal.number()).collect();
        let listener = Listener::new(&numbers)?;
        Ok(Registration {
            bell: Source::new(listener.bell().try_clone_to_owned()?),
            listener,
            ended: AtomicBool::new(false),
        })
    }

    pub(super) fn take(&self) -> Option<Signal> {
        if !self.listener.is_from_here() {
            return None;
        }
        self.listener.take().map(Signal::of_listener)
    }

    pub(super) fn pending(&self) -> usize {
        if self.listener.is_from_here() {
            self.listener.pending()
        } else {
            0
        }
    }

    /// Whoever waits is told that nothing comes any more. What has come can still be taken.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.listener.mute();
        self.listener.ring();
    }

    /// Parks until `look` finds something, which it may when a signal has come; `None` at the
    /// limit, and after the end.
    pub(super) fn wait<T>(
        &self,
        limit: Option<Duration>,
        look: impl Fn() -> Option<T>,
    ) -> io::Result<Option<T>> {
        let waited = self.bell.retry_within(limit, Interest::Read, |_| {
            if !self.listener.is_from_here() {
                let why = "these signals were listened for before a fork, by the parent process";
                return Err(io::Error::other(why));
            }
            if let Some(found) = look() {
                return Ok(Some(found));
            }
            if self.ended.load(Ordering::Acquire) {
                return Ok(None);
            }
            self.listener.hush();
            // Once more: what has come before the hush does not ring again.
            let found = look();
            if found.is_none() && !self.ended.load(Ordering::Acquire) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(found)
        });
        match waited {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            waited => waited,
        }
    }
}
