//! Where threads that are greenlets were spawned, for reports.
//!
//! `pthread_create` is not told by its caller. A backtrace tells, and costs several microseconds:
//! so one is taken only where std takes them too, with `RUST_BACKTRACE=1`, and looked into only
//! when a report is written.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::threads;
use crate::greenlet::GreenletId;
use crate::hub::{Task, with_hub};
use crate::sys::lock::lock;

/// By the id of the greenlet, as long as it lives.
static SITES: Mutex<BTreeMap<GreenletId, Backtrace>> = Mutex::new(BTreeMap::new());

static ANY: AtomicBool = AtomicBool::new(false);

/// To be taken in the call of pthread_create; `None` unless backtraces are wanted.
pub(super) fn capture() -> Option<Backtrace> {
    let site = Backtrace::capture();
    (site.status() == BacktraceStatus::Captured).then_some(site)
}

pub(super) fn note(thread: GreenletId, site: Backtrace) {
    lock(&SITES).insert(thread, site);
    ANY.store(true, Ordering::Release);
}

/// The greenlet that runs has ended, if it is a thread.
pub(super) fn forget() {
    if ANY.load(Ordering::Acquire) {
        let own = with_hub(|hub| Some(hub?.running()?.get().greenlet_id()));
        let site = own.and_then(|own| lock(&SITES).remove(&own));
        drop(site);
    }
}

/// Where in the source `task` was spawned, if that is a thread.
pub(super) fn tell(task: &Task) -> Option<String> {
    if task.spawned_at.file() != threads::FILE {
        return None;
    }
    let text = lock(&SITES)
        .get(&task.greenlet_id())
        .map(Backtrace::to_string);
    Some(match text.as_deref().map(site_in) {
        None => "a call of pthread_create (RUST_BACKTRACE=1 tells where)".to_owned(),
        Some(None) => "a call of pthread_create".to_owned(),
        Some(Some(site)) => site.to_owned(),
    })
}

/// The place of the first caller of pthread_create that is not in the standard library.
fn site_in(backtrace: &str) -> Option<&str> {
    let lines = backtrace.lines().map(str::trim);
    let callers = lines.skip_while(|line| !line.ends_with(": pthread_create"));
    let mut sites = callers.skip(2).filter_map(|line| line.strip_prefix("at "));
    sites.find(|site| !site.starts_with("/rustc/") && !site.contains("/library/std/"))
}
