//! The one loop in which everybody waits whose place is in a [`WaitList`].
//!
//! ```text
//!   lock; look; push -> Key; unlock        the caller: nothing is granted between look and push
//!   wait(home, key, ..)
//!      granted? ------------------> remove, return      what is ready wins over what is due
//!      too late? -----------------> remove, return
//!      has a hub ended? ------------> what its greenlets were granted is passed on; look again
//!      park, look again
//!      a kill, a timeout, a panic unwinds the park:
//!          remove; if there was a grant, `pass_on`      so that it is not lost
//! ```

use super::steps;
use super::waitlist::{Buried, Key, Left, Notice, WaitList};
use crate::cancel;
use crate::greenlet::{Ready, Subscription};
use crate::hub::{Help, Why, ended};

/// An object with a list of those who wait for it. One with two lists has two of these.
pub(crate) trait Home {
    /// What a waiter brings along.
    type Payload;

    /// Calls `f`, which is short, with the list, under the lock of the object.
    fn with_list<R>(&self, f: impl FnOnce(&mut WaitList<Self::Payload>) -> R) -> R;

    /// A waiter has been granted something and goes without using it: to be given to the next.
    /// Called without the lock.
    fn pass_on(&self, payload: Self::Payload);

    /// A waiter has gone before it was granted anything. Called without the lock; to be written
    /// only where others may go on because of it.
    fn gone_early(&self) {}
}

/// Parks whoever runs, whose notice stands under `key`, until it is granted what it waits for:
/// `Ok` then, `Err` if the deadline came first. A kill or a timeout unwinds from here.
pub(crate) fn wait<H: Home>(
    home: &H,
    key: Key,
    what: &'static str,
    deadline: Option<u64>,
) -> Result<H::Payload, H::Payload> {
    let mut place = Place {
        home,
        key: Some(key),
    };
    let _enlisted = ended::Enlisted::if_without_a_hub();
    let mut woken = false;
    loop {
        // First the clock, then the list.
        let late = deadline.is_some_and(|deadline| deadline <= cancel::now());
        if let Some(left) = place.leave_if_granted_or(late) {
            if left.granted {
                return Ok(left.payload);
            }
            home.gone_early();
            // A wait of no time that is begun again and again does not park.
            cancel::let_others_run();
            return Err(left.payload);
        }
        if !take_over(home, woken) {
            steps::park_on(Why::Shared(what), deadline);
        }
        woken = true;
    }
}

/// Takes those out of the list who never run again, and passes on what they were granted: false
/// if there are none. Whoever has just come looks only if something has been granted and not
/// taken yet; whoever was woken may have been for this.
#[inline]
pub(crate) fn take_over<H: Home>(home: &H, woken: bool) -> bool {
    ended::is_any() && take_over_from_the_dead(home, woken)
}

#[cold]
fn take_over_from_the_dead<H: Home>(home: &H, woken: bool) -> bool {
    let buried = home.with_list(|list| (woken || list.is_any_granted()).then(|| list.bury()));
    let Some(Buried { granted, ungranted }) = buried else {
        return false;
    };
    if ungranted {
        home.gone_early();
    }
    let taken_over = ungranted || !granted.is_empty();
    granted
        .into_iter()
        .for_each(|payload| home.pass_on(payload));
    taken_over
}

/// A place in the list of `home`, given up when the wait is unwound.
struct Place<'a, H: Home> {
    home: &'a H,
    key: Option<Key>,
}

impl<H: Home> Place<'_, H> {
    fn leave_if_granted_or(&mut self, late: bool) -> Option<Left<H::Payload>> {
        self.home.with_list(|list| {
            let key = self.key.take_if(|key| late || list.is_granted(key))?;
            Some(list.remove(key))
        })
    }
}

impl<H: Home> Drop for Place<'_, H> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let left = self.home.with_list(|list| list.remove(key));
            if left.granted {
                self.home.pass_on(left.payload);
            } else {
                self.home.gone_early();
            }
        }
    }
}

/// Somebody waits for `home` and for other things, and takes nothing: for [`Ready`]. Its place
/// in the list is given up when this is dropped.
pub(crate) struct Subscribed<'a, H: Home> {
    home: &'a H,
    key: Option<Key>,
    _help: Help,
}

impl<'a, H: Home> Subscribed<'a, H> {
    /// To be called with the object's lock held: the list is the caller's.
    pub(crate) fn new(
        home: &'a H,
        list: &mut WaitList<H::Payload>,
        payload: H::Payload,
        ready: Ready,
    ) -> Subscribed<'a, H> {
        Subscribed {
            home,
            key: Some(list.push(payload, Notice::Ready(Box::new(ready)))),
            _help: Help::is_possible(),
        }
    }
}

impl<H: Home> Subscription for Subscribed<'_, H> {}

impl<H: Home> Drop for Subscribed<'_, H> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let left = self.home.with_list(|list| list.remove(key));
            if !left.granted {
                self.home.gone_early();
            }
        }
    }
}
