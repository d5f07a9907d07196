//! Asking hubs: this thread's own directly, the others through their inbox.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::{GreenletInfo, GreenletState, HubInfo, RunInfo};
use crate::cancel;
use crate::greenlet::GreenletId;
use crate::hub::waker::Waker;
use crate::hub::{Help, Hub, Known, Message, State, Task, Why, pulse, with_hub};
use crate::sys::lock::lock;

/// What is known of all hubs of this process. Those of other OS threads are asked, and are given
/// `limit` to answer: a blocked one can't.
///
/// In a simulation, other OS threads are not asked.
///
/// # Examples
/// ```
/// use greenroom::inspect::run_info;
/// use std::time::Duration;
/// let (sender, receiver) = std::sync::mpsc::channel();
/// let worker = std::thread::spawn(move || {
///     sender.send(greenroom::current()).unwrap();
///     greenroom::thread::park();
/// });
/// let root = receiver.recv().unwrap();
/// let info = run_info(Duration::from_secs(5));
/// let theirs = info.greenlets().find(|one| one.id == root.id()).unwrap();
/// assert_eq!(theirs.waits_for.as_deref(), Some("an unpark"));
/// root.unpark();
/// worker.join().unwrap();
/// ```
///
/// # Parks
/// Until all have answered, at most for `limit`. A kill or a timeout unwinds.
pub fn run_info(limit: Duration) -> RunInfo {
    if with_hub(|hub| hub.is_some_and(|hub| hub.world.sim().is_some())) {
        return run_info_here();
    }
    let answers = ask_all(cancel::deadline_in(limit));
    RunInfo { hubs: answers }
}

/// What is known of this OS thread's hub; nothing on a thread without one.
///
/// # Examples
/// See the [module](super).
///
/// # Parks
/// Never.
pub fn run_info_here() -> RunInfo {
    let here = with_hub(|hub| hub.map(look));
    RunInfo {
        hubs: here.into_iter().collect(),
    }
}

/// Who asks, and what has been answered.
struct Survey {
    answers: Mutex<Vec<HubInfo>>,
    asker: Waker,
}

impl Survey {
    fn answers(&self) -> MutexGuard<'_, Vec<HubInfo>> {
        lock(&self.answers)
    }
}

fn ask_all(deadline: Option<u64>) -> Vec<HubInfo> {
    let survey = Arc::new(Survey {
        answers: Mutex::default(),
        asker: Waker::current(),
    });
    let mut asked = BTreeSet::new();
    let own = with_hub(|hub| hub.map(|hub| hub.shared.number));
    for hub in pulse::hubs() {
        let number = hub.number;
        if Some(number) == own {
            survey.answers().extend(run_info_here().hubs);
            asked.insert(number);
            continue;
        }
        let answer = Arc::clone(&survey);
        let told = hub.send(Message::Run(Box::new(move |hub| {
            let info = look(hub);
            answer.answers().push(info);
            answer.asker.wake();
        })));
        // One that has been closed meanwhile is no hub any more.
        if told {
            asked.insert(number);
        }
    }
    let help = Help::expect();
    while survey.answers().len() < asked.len() {
        if deadline.is_some_and(|deadline| deadline <= cancel::now()) {
            break;
        }
        cancel::park_on(Why::Helper("other hubs to tell what they do"), deadline);
    }
    drop(help);
    let mut answers = std::mem::take(&mut *survey.answers());
    for answer in &answers {
        asked.remove(&answer.number);
    }
    // Gone since they were asked are those that are not there any more.
    let there: BTreeSet<u64> = pulse::hubs().iter().map(|hub| hub.number).collect();
    let silent = asked.intersection(&there).map(|number| HubInfo {
        number: *number,
        answered: false,
        greenlets: Vec::new(),
    });
    answers.extend(silent);
    answers.sort_by_key(|hub| hub.number);
    answers
}

/// On the hub's own thread.
fn look(hub: &Hub) -> HubInfo {
    let mut greenlets = vec![look_at(hub, hub.root(), true)];
    hub.each_task(|task| greenlets.push(look_at(hub, task, false)));
    greenlets[1..].sort_by(|a, b| b.age.cmp(&a.age).then(a.id.cmp(&b.id)));
    add_finished(&mut greenlets);
    HubInfo {
        number: hub.shared.number,
        answered: true,
        greenlets,
    }
}

fn look_at(hub: &Hub, task: &Task, is_root: bool) -> GreenletInfo {
    let local = task.local();
    let now = hub.fresh_now();
    let since = |then: u64| Duration::from_nanos(now.saturating_sub(then));
    let why = local.why.get();
    let state = match local.state.get() {
        State::Parked if why == Why::Start => GreenletState::Unstarted,
        State::Parked => GreenletState::Parked,
        State::Running => GreenletState::Running,
        State::New | State::Runnable => GreenletState::Runnable,
        State::Done => GreenletState::Finished,
    };
    let waits = state == GreenletState::Parked;
    let spawner = task.spawner.load(Ordering::Relaxed);
    GreenletInfo {
        id: task.greenlet_id(),
        name: Known(task).name(),
        is_root,
        spawner: (spawner != u64::MAX).then(|| GreenletId::new(spawner)),
        spawned_at: task.origin().to_string(),
        state,
        waits_for: waits.then(|| why.to_string()),
        waits_since: waits.then(|| since(local.since.get())),
        age: since(local.born.get()),
        killed: task.killed.load(Ordering::Relaxed),
        locals: if is_root { 0 } else { local.storage.len() },
    }
}

/// Those of this hub that have spawned others and are no longer there: all that is known of them
/// is that they were.
fn add_finished(greenlets: &mut Vec<GreenletInfo>) {
    let known: BTreeSet<GreenletId> = greenlets.iter().map(|one| one.id).collect();
    let home = greenlets[0].id;
    let spawners = greenlets.iter().filter_map(|one| one.spawner);
    let lost: BTreeSet<GreenletId> = spawners
        .filter(|id| !known.contains(id) && id.is_of_same_hub(home))
        .collect();
    greenlets.extend(lost.into_iter().map(|id| GreenletInfo {
        id,
        name: None,
        is_root: false,
        spawner: None,
        spawned_at: String::new(),
        state: GreenletState::Finished,
        waits_for: None,
        waits_since: None,
        age: Duration::ZERO,
        killed: false,
        locals: 0,
    }));
}
