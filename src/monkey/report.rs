//! What is patched, and what became of the calls.

use std::fmt;
use std::time::Duration;

use super::gate;
use super::hooks::{self, Bypass, Hook};
use crate::greenlet::identity;

/// What the patch has done so far; see [`report`](super::report).
#[derive(Clone, Debug)]
pub struct Report {
    symbols: Vec<SymbolReport>,
    identity: Result<bool, String>,
}

/// What became of the calls of one function.
#[derive(Clone, Debug)]
pub struct SymbolReport {
    name: &'static str,
    patched: bool,
    calls: u64,
    parks: u64,
    bypassed: Vec<(Bypass, u64)>,
    blocked: Duration,
}

impl Report {
    pub(super) fn new() -> Report {
        let symbols = hooks::ALL.iter().map(|hook| SymbolReport::of(hook));
        Report {
            symbols: symbols.collect(),
            identity: identity::state(),
        }
    }

    /// Whether what `spawn` makes owns its thread-locals.
    ///
    /// # Errors
    /// Why it can't, as far as that was tried.
    pub fn identity(&self) -> Result<bool, &str> {
        self.identity.as_ref().copied().map_err(String::as_str)
    }

    /// One for each function, in the order of their families.
    pub fn symbols(&self) -> &[SymbolReport] {
        &self.symbols
    }

    /// That of one function; `None` if there is no such function to be patched.
    pub fn symbol(&self, name: &str) -> Option<&SymbolReport> {
        self.symbols.iter().find(|symbol| symbol.name == name)
    }
}

impl SymbolReport {
    fn of(hook: &Hook) -> SymbolReport {
        let bypassed = Bypass::ALL.map(|why| (why, hook.bypassed(why)));
        SymbolReport {
            name: hook.name,
            patched: gate::is_open(hook.parts),
            calls: hook.calls(),
            parks: hook.parks(),
            bypassed: bypassed
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .collect(),
            blocked: Duration::from_nanos(hook.blocked_ns()),
        }
    }

    /// The name of the function.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it is patched.
    pub fn is_patched(&self) -> bool {
        self.patched
    }

    /// Calls that came from a greenlet, or from the root of a hub, and could have parked. Calls
    /// of OS threads without a hub are not counted.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Parks in those calls.
    pub fn parks(&self) -> u64 {
        self.parks
    }

    /// Calls on threads with a hub that blocked the thread, whatever the reason.
    pub fn bypassed(&self) -> u64 {
        self.bypassed.iter().map(|(_, count)| count).sum()
    }

    /// For how long they did.
    pub fn blocked(&self) -> Duration {
        self.blocked
    }
}

impl fmt::Display for SymbolReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.patched {
            "patched"
        } else {
            "not patched"
        };
        write!(
            f,
            "{}: {state}, {} calls, {} parks",
            self.name, self.calls, self.parks
        )?;
        for (why, count) in &self.bypassed {
            write!(f, ", {count} blocked {why}")?;
        }
        if !self.blocked.is_zero() {
            write!(f, ", for {:.3?} in all", self.blocked)?;
        }
        Ok(())
    }
}

/// A line for each function that has been called.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = |symbol: &&SymbolReport| symbol.calls + symbol.bypassed() > 0;
        let patched = self.symbols.iter().filter(|symbol| symbol.patched).count();
        writeln!(
            f,
            "{patched} of {} functions are patched",
            self.symbols.len()
        )?;
        match &self.identity {
            Ok(true) => writeln!(f, "greenlets own their thread-locals")?,
            Ok(false) => writeln!(f, "greenlets share thread-locals: not asked for otherwise")?,
            Err(why) => writeln!(f, "greenlets share thread-locals: {why}")?,
        }
        self.symbols
            .iter()
            .filter(used)
            .try_for_each(|symbol| writeln!(f, "  {symbol}"))
    }
}
