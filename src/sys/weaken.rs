//! The memory orders that models meet, and how to weaken one: for `.ci/loom`, which does so with
//! each of them, one after the other. A model must fail then, or the order is not needed.
//!
//! `GREENROOM_WEAKEN=src/hub/inbox.rs:42:9#0=Relaxed` leaves out the fence in that line.
//!
//! What it says of the present code, with a model that fails:
//!
//! | place | weakened to | model |
//! |---|---|---|
//! | `Count::evict`: `housed.store(Release)` | `Relaxed` | a task that its hub lets go of |
//! | `Count::drop_abroad`: `housed.load(Acquire)` | `Relaxed` | a task that its hub lets go of |
//! | `Count::drop_abroad`: `refs` exchange, `Release` | `Relaxed` | a task that is at home last |
//! | `Count::take_off_one`: `refs.load(Acquire)` | `Relaxed` | a task that is at home last |
//! | `Count::take_off_one`: `refs.fetch_sub(AcqRel)` | `Acquire` | a task that is at home last |
//! | | `Release` | a task that is at home last |
//! | `Inbox::push`: fence | `AcqRel`, none | a hub that sleeps is rung |
//! | `Inbox::fall_asleep`: fence | `AcqRel`, none | a hub that sleeps is rung |
//! | `Inbox::close`: fence | `AcqRel`, none | a message to a hub that ends |
//! | `Inbox::close`: `closed.store(Release)` | `Relaxed` | a task that is at home last |
//! | `Inbox::is_closed`: `closed.load(Acquire)` | `Relaxed` | a task that is at home last |
//! | `Brief::take_if_free`: exchange, `Acquire` | `Relaxed` | two threads have it |
//! | `Held::drop`: `held.store(Release)` | `Relaxed` | two threads have it |
//! | `Sleeper::wake`: `swap(Release)` | `Relaxed` | a look after a token |
//! | `Sleeper::sleep`: `swap(Acquire)` | `Relaxed` | a look after a token |
//! | `RawMutex::lock_if_free`: exchange, `Acquire` | `Relaxed` | a mutex hands on |
//! | `RawMutex::lock_slowly`: `swap(Acquire)` | `Relaxed` | a mutex hands on |
//! | `RawMutex::unlock`: exchange, `Release` | `Relaxed` | a mutex hands on |
//! | `RawMutex::hand_over`: `store(Release)` | `Relaxed` | a mutex outlives a thread |
//! | `RawRwLock::lock_if_free`: exchange, `Acquire` | `Relaxed` | a rwlock hands on |
//! | `RawRwLock::lock_slowly`: `fetch_add(Acquire)` | `Relaxed` | a rwlock hands on |
//! | `RawRwLock::admit_first`: `fetch_add(Acquire)` | `Relaxed` | a rwlock hands on |
//! | `RawRwLock::unlock`: `fetch_sub(Release)` | `Relaxed` | a rwlock hands on |
//! | `RawRwLock::downgrade`: `fetch_add(Release)` | `Relaxed` | a writer that becomes a reader |
//! | `RawSemaphore::take_if_free`: exchange, `Acquire` | `Relaxed` | a permit hands on |
//! | `RawSemaphore`, to wait: `fetch_or(Acquire)` | `Relaxed` | a permit hands on |
//! | `RawSemaphore::give`: exchange, `Release` | `Relaxed` | a permit hands on |
//! | `RawSemaphore::permits`: `load(Acquire)` | `Relaxed` | a permit that is seen |
//! | `Event`: `flag.load(Acquire)` | `Relaxed` | an event shows what was done |
//! | `Event::set`: `flag.store(Release)` | `Relaxed` | an event shows what was done |
//! | `Event::clear`: `flag.store(Release)` | `Relaxed` | an event shows what was done |
//! | `Once::is_done`: `state.load(Acquire)` | `Relaxed` | what is done once |
//! | `Once::settle`: `state.store(Release)` | `Relaxed` | what is done once |
//!
//! The latch of the thread pool has no atomics of its own: its model checks the wait.
//!
//! loom lets a load return what an exchange wrote before a store that overwrites it, where the
//! thread of that store did not see the exchange. So a `swap` that changes nothing can look like
//! an unlock that is lost; the modelled code compares first, which costs the same.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::env;
use std::panic::Location;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

/// A place, and the order that it is to have.
static WEAKENED: LazyLock<Option<(String, Ordering)>> = LazyLock::new(|| {
    let said = env::var("GREENROOM_WEAKEN").ok()?;
    let (place, order) = said.split_once('=').expect("place=order");
    let all = [
        Ordering::Relaxed,
        Ordering::Acquire,
        Ordering::Release,
        Ordering::AcqRel,
    ];
    let order = all.into_iter().find(|one| format!("{one:?}") == order);
    Some((place.to_owned(), order.expect("an order")))
});

thread_local! {
    /// The places that the present model has met, each with its order.
    static MET: RefCell<BTreeSet<(String, &'static str)>> = RefCell::default();
}

/// `order`, or a weaker one if that is to be tried: of the call `at`, for the order argument
/// `which`.
pub(super) fn weak(at: &Location<'_>, which: u8, order: Ordering) -> Ordering {
    let name = match order {
        Ordering::Relaxed => return order,
        Ordering::Acquire => "Acquire",
        Ordering::Release => "Release",
        Ordering::AcqRel => "AcqRel",
        _ => "SeqCst",
    };
    let place = format!("{at}#{which}");
    match &*WEAKENED {
        Some((weakened, weaker)) if *weakened == place => *weaker,
        Some(_) => order,
        None => {
            MET.with_borrow_mut(|met| met.insert((place, name)));
            order
        }
    }
}

/// Prints what `model` has met, if `.ci/loom` asks for it.
pub(super) fn print_met(model: &str) {
    let met = MET.take();
    if env::var_os("GREENROOM_ORDERS").is_some() {
        for (place, order) in met {
            println!("order {order} {place} {model}");
        }
    }
}
