//! Run information as a picture: one tree for each hub.
//!
//! ```text
//! hub 0: 3 greenlets
//!   greenlet #0 'main': runs
//!   |-- greenlet #1: waits for descriptor 5 to be readable, for 1.2s now; spawned at src/main.rs:7
//!   |   `-- greenlet #3: is runnable; spawned at src/main.rs:12:20
//!   `-- greenlet #2: has finished
//!       `-- greenlet #4: ...
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{GreenletInfo, GreenletState, HubInfo, RunInfo};
use crate::greenlet::GreenletId;

/// Greenlets drawn of one hub; of more, the number is told.
const DRAWN_MAX: usize = 1000;
/// Generations drawn further and further to the right.
const INDENTED_MAX: usize = 40;

impl fmt::Display for RunInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hubs.iter().try_for_each(|hub| draw(hub, f))
    }
}

fn draw(hub: &HubInfo, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if !hub.answered {
        return writeln!(f, "hub {}: no answer, its OS thread is busy", hub.number);
    }
    let ended = |one: &&GreenletInfo| one.state == GreenletState::Finished;
    let alive = hub.greenlets.len() - hub.greenlets.iter().filter(ended).count();
    let count = alive.saturating_sub(1);
    let plural = if count == 1 { "" } else { "s" };
    writeln!(f, "hub {}: {count} greenlet{plural}", hub.number)?;
    Tree::of(hub).draw(f)
}

struct Tree<'a> {
    children: BTreeMap<GreenletId, Vec<&'a GreenletInfo>>,
    /// Those whose spawner is not here.
    tops: Vec<&'a GreenletInfo>,
}

/// One line to be drawn.
struct Line<'a> {
    one: &'a GreenletInfo,
    /// What stands before its children.
    indent: String,
    /// What stands before it.
    branch: &'static str,
    depth: usize,
}

impl<'a> Tree<'a> {
    fn of(hub: &'a HubInfo) -> Tree<'a> {
        let here: BTreeSet<GreenletId> = hub.greenlets.iter().map(|one| one.id).collect();
        let mut tree = Tree {
            children: BTreeMap::new(),
            tops: Vec::new(),
        };
        for one in &hub.greenlets {
            match one.spawner.filter(|id| here.contains(id)) {
                Some(spawner) => tree.children.entry(spawner).or_default().push(one),
                None => tree.tops.push(one),
            }
        }
        tree
    }

    /// With a list instead of a recursion: chains of spawners may be long.
    fn draw(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let top = |one: &&'a GreenletInfo| Line {
            one,
            indent: String::from("  "),
            branch: "",
            depth: 0,
        };
        let mut left: Vec<Line<'a>> = self.tops.iter().rev().map(top).collect();
        let mut drawn = 0;
        while let Some(line) = left.pop() {
            if drawn == DRAWN_MAX {
                let more = left.iter().map(|line| self.size(line.one)).sum::<usize>();
                let more = more + self.size(line.one);
                return writeln!(f, "  ... and {more} more");
            }
            drawn += 1;
            writeln!(f, "{}{}{}", line.indent, line.branch, line.one)?;
            self.push_children(&line, &mut left);
        }
        Ok(())
    }

    fn push_children(&self, line: &Line<'a>, left: &mut Vec<Line<'a>>) {
        let indent = match line.branch {
            _ if line.depth >= INDENTED_MAX => line.indent.clone(),
            "" => line.indent.clone(),
            "|-- " => line.indent.clone() + "|   ",
            _ => line.indent.clone() + "    ",
        };
        let children = self.children.get(&line.one.id);
        let mut branch = "`-- ";
        for one in children.into_iter().flatten().rev() {
            left.push(Line {
                one,
                indent: indent.clone(),
                branch,
                depth: line.depth + 1,
            });
            branch = "|-- ";
        }
    }

    /// It, its children, theirs.
    fn size(&self, one: &GreenletInfo) -> usize {
        let mut size = 0;
        let mut left = vec![one];
        while let Some(one) = left.pop() {
            size += 1;
            left.extend(self.children.get(&one.id).into_iter().flatten());
        }
        size
    }
}

/// One line: who it is, what it does, where it comes from.
impl fmt::Display for GreenletInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "greenlet #{}", self.id)?;
        if let Some(name) = &self.name {
            write!(f, " '{name}'")?;
        }
        match (self.state, &self.waits_for, self.waits_since) {
            (GreenletState::Parked, Some(what), Some(since)) => {
                write!(f, ": waits for {what}, for {since:.3?} now")?;
            }
            (GreenletState::Parked, ..) => write!(f, ": waits")?,
            (GreenletState::Unstarted, ..) => write!(f, ": not started yet")?,
            (GreenletState::Runnable, ..) => write!(f, ": is runnable")?,
            (GreenletState::Running, ..) => write!(f, ": runs")?,
            (GreenletState::Finished, ..) => return write!(f, ": has finished"),
        }
        if self.killed {
            write!(f, "; killed")?;
        }
        if self.locals > 0 {
            write!(f, "; {} locals", self.locals)?;
        }
        if !self.is_root {
            write!(f, "; {:.3?} old; spawned at {}", self.age, self.spawned_at)?;
        }
        Ok(())
    }
}
