//! The memory orders that models meet, and how to weaken one: for `.ci/loom`, which does so with
//! each of them, one after the other. A model must fail then, or the order is not needed.
//!
//! `GREENROOM_WEAKEN=src/hub/inbox.rs:42:9#0=Relaxed` leaves out the fence in that line.

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

/// `order`, or a weaker one if that is to be tried: for the order argument `which` of the call `at`.
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
