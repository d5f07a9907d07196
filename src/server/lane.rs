//! Lanes: the hubs that a server runs on, that of who starts it or some of its own.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use std::thread;

use super::acceptor::{Lanes, Post, accept_all, message};
use super::core::{Core, Phase};
use super::door::Kind;
use super::endpoint::sealed::Endpoint;
use crate::greenlet::{Builder, try_run};
use crate::hub::sim::World;
use crate::hub::{HubHandle, try_current};
use crate::sys::lock::lock;
use crate::sys::lock::natively;
use std::sync::atomic::Ordering;

/// What the OS threads of a start report: one answer each.
type Reports = Arc<Mutex<Vec<io::Result<HubHandle>>>>;

/// See [`StreamServer::start`](super::StreamServer::start).
pub(super) fn start<K: Kind>(
    core: &Arc<Core<K>>,
    address: &<K::Endpoint as Endpoint>::Address,
    is_ready: bool,
) -> io::Result<()> {
    /// A start that fails or is killed leaves nothing behind.
    struct Undo<'a, K: Kind>(&'a Core<K>);
    impl<K: Kind> Drop for Undo<'_, K> {
        fn drop(&mut self) {
            self.0.close();
        }
    }
    if !core.begin_start()? {
        return Ok(());
    }
    let undo = Undo(core);
    core.open_doors(address, is_ready)?;
    let lanes = match core.settings.hubs {
        None => vec![try_current()?],
        Some(count) => open_lanes(core, count)?,
    };
    core.change(|state| {
        if state.phase != Phase::Starting {
            let what = "the server was closed while it started";
            return Err(io::Error::new(io::ErrorKind::Interrupted, what));
        }
        state.phase = Phase::Started;
        state.lanes = lanes;
        Ok(())
    })?;
    start_accepting(core)?;
    std::mem::forget(undo);
    Ok(())
}

/// Sends an acceptor to each lane, unless they are there already.
pub(super) fn start_accepting<K: Kind>(core: &Arc<Core<K>>) -> io::Result<()> {
    let mut state = core.lock();
    if state.phase != Phase::Started {
        let what = "the server has not been started, or is closed";
        return Err(io::Error::new(io::ErrorKind::NotConnected, what));
    }
    let epoch = core.epoch.load(Ordering::Acquire);
    if epoch % 2 == 1 {
        return Ok(());
    }
    let epoch = core.epoch.fetch_add(1, Ordering::AcqRel) + 1;
    state.acceptors_due += state.lanes.len();
    let (lanes, doors) = (state.lanes.clone(), state.doors.clone());
    drop(state);
    let all: Arc<[HubHandle]> = lanes.into();
    for ((own, lane), door) in all.iter().enumerate().zip(doors.iter().cycle()) {
        let (post, door) = (Post::new(core, epoch), Arc::clone(door));
        let name = format!("{} accepts", core.settings.name);
        let all = Arc::clone(&all);
        let accept = move || accept_all(post, door, Lanes { all, own });
        drop(Builder::new().name(name).spawn_on(lane, accept));
    }
    Ok(())
}

/// One OS thread with a hub for each lane.
fn open_lanes<K: Kind>(core: &Arc<Core<K>>, count: usize) -> io::Result<Vec<HubHandle>> {
    let reports = Reports::default();
    for number in 0..count {
        let lane = Lane {
            core: Arc::clone(core),
            reports: Arc::clone(&reports),
            number,
        };
        let name = format!("{}-{number}", core.settings.name);
        core.change(|state| state.threads_alive += 1);
        let builder = thread::Builder::new().name(name);
        let thread = natively(|| builder.spawn(move || lane.run()));
        let thread = thread.map_err(|error| {
            let what = format!("OS thread {number} of {count} could not be made: {error}");
            io::Error::new(error.kind(), what)
        })?;
        core.lock().threads.push(thread);
    }
    let lock = || lock(&reports);
    core.wait_until("the hubs of a server to start", None, |_| {
        lock().len() == count
    });
    let reports = lock().split_off(0);
    reports.into_iter().collect()
}

/// The OS thread of one lane. Dropped it is gone, or has never come to be.
struct Lane<K: Kind> {
    core: Arc<Core<K>>,
    reports: Reports,
    number: usize,
}

impl<K: Kind> Lane<K> {
    fn run(self) {
        let serve = || try_run(World::Real, |_| self.serve());
        let told = match panic::catch_unwind(AssertUnwindSafe(serve)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                let what = format!("no hub on OS thread {}: {error}", self.number);
                io::Error::new(error.kind(), what)
            }
            Err(payload) => {
                let what = message(&*payload);
                let told = format!("OS thread {} has panicked: {what}", self.number);
                std::mem::forget(payload);
                io::Error::other(told)
            }
        };
        if self.core.phase() == Phase::Starting {
            self.report(Err(told));
        } else {
            self.core.fail(told);
        }
    }

    /// The root of the hub has nothing to do but to be there.
    fn serve(&self) {
        self.report(try_current());
        let over = |state: &_| self.core.is_over(state);
        self.core.wait_until("its server to end", None, over);
    }

    fn report(&self, report: io::Result<HubHandle>) {
        let mut reports = lock(&self.reports);
        reports.push(report);
        drop(reports);
        self.core.change(|_| ());
    }
}

impl<K: Kind> Drop for Lane<K> {
    fn drop(&mut self) {
        self.core.change(|state| state.threads_alive -= 1);
    }
}
