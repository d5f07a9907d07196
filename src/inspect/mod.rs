//! What goes on in this process: all greenlets, who has spawned them, what they wait for; and a
//! watchdog for hubs that are blocked.
//!
//! | to | there is |
//! |---|---|
//! | see all greenlets of all OS threads, as a tree or as JSON | [`run_info`] |
//! | see those of this OS thread | [`run_info_here`] |
//! | be told who blocks a hub, while it does | [`Watchdog`] |
//! | prove in a test that something parks | [`hub::assert_switches`](crate::hub::assert_switches) |
//!
//! # Examples
//! ```
//! use std::time::Duration;
//!
//! let server = greenroom::Builder::new().name("server".into()).spawn(|| {
//!     let session = greenroom::spawn(|| greenroom::sleep(Duration::from_secs(60)));
//!     session.join()
//! })?;
//! greenroom::yield_now();
//! greenroom::yield_now();
//! let text = greenroom::inspect::run_info_here().to_string();
//! // hub 0: 2 greenlets
//! //   greenlet #0 'main': runs
//! //   `-- greenlet #1 'server': waits for greenlet #2 to finish, for 1.2ms now; ...
//! //       `-- greenlet #2: waits for the end of a sleep, for 1.1ms now; ...
//! assert!(text.contains("`-- greenlet #2: waits for the end of a sleep"), "{text}");
//! # server.kill();
//! # Ok::<(), std::io::Error>(())
//! ```

mod collect;
mod json;
mod text;
mod watchdog;

use std::time::Duration;

use crate::greenlet::GreenletId;

pub use collect::{run_info, run_info_here};
pub use watchdog::{Blocked, Watchdog};

/// All hubs of the process, as of one moment; made by [`run_info`].
///
/// Its `Display` draws, for each hub, the tree of its greenlets: who was spawned by whom. Of
/// more than 1,000 on one hub the number is told. `to_json` tells of all.
#[doc(alias("deadlock", "hang", "print_run_info", "task dump"))]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunInfo {
    /// In the order of their making.
    pub hubs: Vec<HubInfo>,
}

impl RunInfo {
    /// All of it as JSON: durations in nanoseconds, ids as strings, what is unknown as `null`.
    ///
    /// # Examples
    /// ```
    /// let hub = greenroom::hub::current();
    /// let text = greenroom::inspect::run_info_here().to_json();
    /// assert!(text.starts_with(r#"{"hubs":[{"number":"#));
    /// ```
    ///
    /// # Parks
    /// Never.
    pub fn to_json(&self) -> String {
        json::write(self)
    }

    /// All greenlets, roots included, of all hubs.
    pub fn greenlets(&self) -> impl Iterator<Item = &GreenletInfo> {
        self.hubs.iter().flat_map(|hub| &hub.greenlets)
    }
}

/// One hub: the scheduler of one OS thread.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HubInfo {
    /// No other of this process has or had it.
    pub number: u64,
    /// Whether it has answered in time. A hub that has not is blocked, or its root has not parked
    /// for a while: nothing more is known of it.
    pub answered: bool,
    /// Its root first, then its greenlets that have not ended, in the order of their spawning.
    pub greenlets: Vec<GreenletInfo>,
}

/// One greenlet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GreenletInfo {
    /// No other of this process has or had it.
    pub id: GreenletId,
    /// The name given to [`Builder::name`](crate::Builder::name); for a root that of its thread.
    pub name: Option<String>,
    /// Whether it is what runs on the OS thread's own stack.
    pub is_root: bool,
    /// Who has spawned it, if that was a greenlet or a root.
    pub spawner: Option<GreenletId>,
    /// Where in the source it was spawned; for a root where its hub was first needed.
    pub spawned_at: String,
    /// What it does.
    pub state: GreenletState,
    /// What it waits for, in words, if it waits.
    pub waits_for: Option<String>,
    /// For how long it has waited, if it waits.
    pub waits_since: Option<Duration>,
    /// Since when it has been there.
    pub age: Duration,
    /// It has been killed, and has not ended yet.
    pub killed: bool,
    /// How many `green_local!` values it has. Unknown for a root.
    pub locals: usize,
}

/// What a greenlet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GreenletState {
    /// It has yet to start, at a time that has been set.
    Unstarted,
    /// It could run, and waits for its turn.
    Runnable,
    /// It runs: on this OS thread it is the one who asks.
    Running,
    /// It waits.
    Parked,
    /// It has ended. Known only of those who have spawned others that live.
    Finished,
}
