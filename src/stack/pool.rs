//! The pool of one hub: LIFO free lists by size class, filled from slabs that grow.
//!
//! ```text
//!   free list of one class
//!   bottom                                              top: take pops here, give pushes here
//!   | trimmed: holds no memory |  used since  | hot set (64) |
//!   0 ------------------ clean -^--------------^--------- len ^
//!                               '--- trim ----'
//! ```
//!
//! The list is LIFO, so what lies low has not been used for longest, and one number per class
//! (`clean`) says what need not be trimmed again. Recycling costs a push and a pop, no syscall: a
//! stack that is unmapped and mapped anew costs 5,000 ns, one given to MADV_DONTNEED 4,500.

use super::guard::{self, GuardKind};
use super::size::{self, Layout};
use super::slab::Slab;
use super::{Stack, advise};
use crate::sys::report::report;
use std::io;

/// Slots in a class's first slab; each further one has twice as many.
const SLOTS_FIRST: usize = 64;

/// Slots in the largest slab. 1,000,000 stacks are then 25 slabs: 11 on the way up, 14 of these.
const SLOTS_MAX: usize = 65_536;

/// Address space of the largest slab, for classes of large stacks: 64 GiB of 128 TiB.
const SLAB_BYTES_MAX: usize = 64 << 30;

/// Stacks of a class that trim leaves alone, those that are taken next.
const HOT_STACKS: usize = 64;

/// Stacks that one call of trim looks at: some 1.5 ms. The hub is idle, not dead.
const TRIM_STACKS_MAX: usize = 4_096;

/// The stacks of one hub. Not shared between threads.
#[derive(Debug)]
pub(crate) struct Pool {
    classes: Vec<Class>,
    slabs: Vec<Slab>,
    /// The size asked for last, and its class.
    last: (Option<usize>, usize),
    scratch: Vec<libc::iovec>,
}

/// What is kept for each size class.
#[derive(Debug)]
struct Class {
    layout: Layout,
    free: Vec<Stack>,
    /// How many stacks, from the bottom of `free`, were not used since they were trimmed.
    clean: usize,
    /// Stacks ever handed out.
    fresh: usize,
    /// The slab that has slots left, if any has.
    open: Option<usize>,
    /// How many slots the next slab is to have.
    slots_next: usize,
}

/// What a pool holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolStats {
    /// Stacks taken and not given back, those dropped included.
    pub(crate) live: usize,
    /// Stacks given back, waiting to be taken again.
    pub(crate) pooled: usize,
    /// Address space of all slabs; how much of it is memory only the kernel knows.
    pub(crate) bytes_reserved: usize,
    /// Mappings.
    pub(crate) slabs: usize,
    /// How the stacks are guarded.
    pub(crate) guard: GuardKind,
}

impl Pool {
    /// An empty pool: maps nothing yet.
    pub(crate) fn new() -> Pool {
        Pool {
            classes: Vec::new(),
            slabs: Vec::new(),
            last: (None, usize::MAX),
            scratch: Vec::new(),
        }
    }

    /// A stack of at least `size` usable bytes, or of the default size: the one given back last
    /// if there is one, as it was left; else a new one, zeroed.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, naming size and limits, for a size out of range. `OutOfMemory`, naming the
    /// limit, when the process can or should have no more.
    #[inline]
    pub(crate) fn take(&mut self, size: Option<usize>) -> io::Result<Stack> {
        let size = size.or_else(size::named_default);
        if self.last.0 == size
            && let Some(class) = self.classes.get_mut(self.last.1)
            && let Some(stack) = class.pop()
        {
            return Ok(stack);
        }
        self.take_slow(size)
    }

    /// Takes a stack back. Nobody may run on it or point into it any more.
    #[inline]
    pub(crate) fn give(&mut self, stack: Stack) {
        match self.slabs.get(stack.slab as usize) {
            // Room for it was reserved when it was first handed out.
            Some(slab) if slab.owns(&stack) => {
                self.classes[usize::from(stack.class)].free.push(stack);
            }
            _ => report!(
                Error,
                "a stack was given to a pool it is not from, and is leaked"
            ),
        }
    }

    /// Gives the memory of stacks that lie idle back to the kernel; all but the few that are
    /// taken next, and at most 4,096 at a time. Returns the address space it emptied, an upper
    /// bound of the memory; 0 means there is nothing left to do.
    pub(crate) fn trim(&mut self) -> usize {
        self.trim_but(HOT_STACKS)
    }

    fn trim_but(&mut self, hot: usize) -> usize {
        let mut budget = TRIM_STACKS_MAX;
        let mut bytes = 0;
        for class in &mut self.classes {
            let idle = class.free.len().saturating_sub(hot);
            let end = idle.min(class.clean + budget);
            if class.clean >= end {
                continue;
            }
            budget -= end - class.clean;
            for stacks in class.free[class.clean..end].chunks(advise::RANGES_MAX) {
                bytes += forget(stacks, &mut self.scratch);
            }
            class.clean = end;
        }
        bytes
    }

    /// As [`trim`](Pool::trim), with no stack left alone: none is ever taken again.
    pub(crate) fn trim_all(&mut self) -> usize {
        self.trim_but(0)
    }

    /// What the pool holds now.
    pub(crate) fn stats(&self) -> PoolStats {
        let pooled = self.classes.iter().map(|class| class.free.len()).sum();
        let fresh: usize = self.classes.iter().map(|class| class.fresh).sum();
        PoolStats {
            live: fresh - pooled,
            pooled,
            bytes_reserved: self.slabs.iter().map(Slab::bytes).sum(),
            slabs: self.slabs.len(),
            guard: guard::kind(),
        }
    }

    #[cold]
    #[inline(never)]
    fn take_slow(&mut self, size: Option<usize>) -> io::Result<Stack> {
        let index = self.class(Layout::of(size)?)?;
        self.last = (size, index);
        match self.classes[index].pop() {
            Some(stack) => Ok(stack),
            None => self.take_fresh(index),
        }
    }

    /// The class with this layout, a new one if there is none yet.
    fn class(&mut self, layout: Layout) -> io::Result<usize> {
        if let Some(index) = self.classes.iter().position(|class| class.layout == layout) {
            return Ok(index);
        }
        self.classes.try_reserve(1)?;
        self.classes.push(Class {
            layout,
            free: Vec::new(),
            clean: 0,
            fresh: 0,
            open: None,
            slots_next: SLOTS_FIRST.min(slots_max(&layout)),
        });
        Ok(self.classes.len() - 1)
    }

    /// A slot that was never handed out.
    fn take_fresh(&mut self, index: usize) -> io::Result<Stack> {
        let class = &mut self.classes[index];
        // Room for all of the class's stacks to be given back at once: give never allocates.
        class.free.try_reserve(class.fresh + 1)?;
        if let Some(open) = class.open {
            let name = (open as u32, index as u16);
            if let Some(stack) = self.slabs[open].next(name, &mut self.scratch)? {
                class.fresh += 1;
                return Ok(stack);
            }
            class.open = None;
        }
        self.slabs.try_reserve(1)?;
        let slab = Slab::map(class.layout, class.slots_next)?;
        // A limit is near if it came out smaller: go on from what could be had.
        class.slots_next = (slab.slots() * 2).min(slots_max(&class.layout));
        class.open = Some(self.slabs.len());
        let name = (self.slabs.len() as u32, index as u16);
        self.slabs.push(slab);
        let slab = self.slabs.last_mut().expect("pushed above");
        let stack = slab
            .next(name, &mut self.scratch)?
            .expect("a new slab has slots");
        class.fresh += 1;
        Ok(stack)
    }
}

impl Class {
    #[inline]
    fn pop(&mut self) -> Option<Stack> {
        let stack = self.free.pop()?;
        // Whoever takes it is going to use it.
        self.clean = self.clean.min(self.free.len());
        Some(stack)
    }
}

/// Unmaps each slab all of whose stacks are back. Whatever is still out stays mapped for good:
/// see the invariants in [`super`].
impl Drop for Pool {
    fn drop(&mut self) {
        let mut back = vec![0_usize; self.slabs.len()];
        for stack in self.classes.iter().flat_map(|class| &class.free) {
            back[stack.slab as usize] += 1;
        }
        let (mut stacks, mut slabs) = (0, 0);
        for (slab, back) in self.slabs.drain(..).zip(back) {
            if slab.fresh() == back {
                // SAFETY: every stack of it was moved back into the free lists, which die here.
                unsafe { slab.unmap() };
            } else {
                stacks += slab.fresh() - back;
                slabs += 1;
            }
        }
        if stacks > 0 {
            report!(
                Info,
                "{stacks} stacks are still in use: their {slabs} slabs are leaked"
            );
        }
    }
}

fn slots_max(layout: &Layout) -> usize {
    (SLAB_BYTES_MAX / layout.slot).clamp(1, SLOTS_MAX)
}

/// Empties the stacks; returns the address space they take. `stacks` fits one batch.
fn forget(stacks: &[Stack], scratch: &mut Vec<libc::iovec>) -> usize {
    scratch.clear();
    if scratch.try_reserve(stacks.len()).is_err() {
        return 0;
    }
    scratch.extend(stacks.iter().map(Stack::usable_range));
    // SAFETY: the stacks lie in the free list: nobody runs on them, nor needs their content.
    // If it fails, for memory that was locked, say, they keep their memory: no harm.
    let (done, _) = unsafe { advise::all(scratch, advise::Advice::Forget) };
    stacks[..done].iter().map(Stack::usable).sum()
}
