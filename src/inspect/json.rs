//! Run information as JSON, by hand: it is little, and a library for it would be a dependency.

use std::fmt::Write;
use std::time::Duration;

use super::{GreenletInfo, GreenletState, HubInfo, RunInfo};

pub(super) fn write(info: &RunInfo) -> String {
    let mut out = String::from("{\"hubs\":");
    list(&mut out, &info.hubs, hub);
    out.push('}');
    out
}

fn hub(out: &mut String, hub: &HubInfo) {
    let _ = write!(
        out,
        "{{\"number\":{},\"answered\":{},\"greenlets\":",
        hub.number, hub.answered
    );
    list(out, &hub.greenlets, greenlet);
    out.push('}');
}

fn greenlet(out: &mut String, one: &GreenletInfo) {
    out.push('{');
    field(out, "id", Some(&one.id.to_string()));
    field(out, "name", one.name.as_deref());
    let spawner = one.spawner.map(|id| id.to_string());
    field(out, "spawner", spawner.as_deref());
    field(out, "state", Some(state_name(one.state)));
    field(out, "waits_for", one.waits_for.as_deref());
    let known = one.state != GreenletState::Finished;
    field(out, "spawned_at", known.then_some(&*one.spawned_at));
    let _ = write!(
        out,
        "\"waits_since_ns\":{},\"age_ns\":{},\"is_root\":{},\"killed\":{},\"locals\":{}}}",
        nanoseconds(one.waits_since),
        nanoseconds(known.then_some(one.age)),
        one.is_root,
        one.killed,
        one.locals
    );
}

fn state_name(state: GreenletState) -> &'static str {
    match state {
        GreenletState::Unstarted => "unstarted",
        GreenletState::Runnable => "runnable",
        GreenletState::Running => "running",
        GreenletState::Parked => "parked",
        GreenletState::Finished => "finished",
    }
}

fn nanoseconds(duration: Option<Duration>) -> String {
    duration.map_or_else(|| String::from("null"), |time| time.as_nanos().to_string())
}

fn list<T>(out: &mut String, items: &[T], each: impl Fn(&mut String, &T)) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(']');
}

/// A field and the comma after it.
fn field(out: &mut String, name: &str, value: Option<&str>) {
    let _ = write!(out, "\"{name}\":");
    match value {
        Some(value) => text(out, value),
        None => out.push_str("null"),
    }
    out.push(',');
}

/// Text in quotes, with what JSON does not allow in it written otherwise.
fn text(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c < ' ' || c == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
