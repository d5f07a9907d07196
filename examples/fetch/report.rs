//! What the user sees: lines as things happen, a bar on a terminal, a table at the end.
//!
//! Servers choose part of what is printed here (the target of a redirect, a broken status
//! line), so everything goes through [`visible`]: a terminal gets no control bytes of theirs.

use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::session::Outcome;

/// How much is said, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Lines and table on standard output, failures on standard error.
    Lines,
    /// The same, but failures are part of the show.
    Show,
    /// One document on standard output at the end; failures on standard error as well.
    Json,
    /// Failures only.
    Quiet,
}

/// Told of every event, by every greenlet.
#[derive(Debug)]
pub(crate) struct Report {
    style: Style,
    bar: ProgressBar,
}

impl Report {
    /// A report on `total` URLs; the bar shows only on a terminal.
    pub(crate) fn new(style: Style, total: usize) -> Report {
        let wanted = style != Style::Quiet && io::stderr().is_terminal();
        let bar = if wanted {
            ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr())
        } else {
            ProgressBar::hidden()
        };
        let look = ProgressStyle::with_template("{wide_bar} {pos}/{len} {elapsed}");
        bar.set_style(look.expect("the template is fixed"));
        Report { style, bar }
    }

    /// A request is about to be sent.
    pub(crate) fn started(&self, url: &str) {
        self.line(format_args!("GET: {url}"));
    }

    /// It has come to an end.
    pub(crate) fn finished(&self, outcome: &Outcome) {
        let url = &outcome.url;
        match &outcome.result {
            Ok(page) => self.line(format_args!("{} bytes received from {url}.", page.bytes)),
            Err(_) => self.failure(outcome),
        }
        if let Some(path) = &outcome.saved {
            self.line(format_args!(
                "saved in {}",
                visible(&path.display().to_string())
            ));
        }
        self.bar.inc(1);
    }

    /// One line for one failure.
    pub(crate) fn failure(&self, outcome: &Outcome) {
        let Err(why) = &outcome.result else { return };
        let (url, why) = (visible(&outcome.url), visible(&why.to_string()));
        if self.style == Style::Show {
            self.line(format_args!("failed: {url}: {why}"));
        } else {
            self.bar
                .suspend(|| say(io::stderr().lock(), format_args!("failed: {url}: {why}")));
        }
    }

    /// Something worth knowing that is no failure.
    pub(crate) fn note(&self, text: fmt::Arguments<'_>) {
        if self.style != Style::Quiet {
            self.bar
                .suspend(|| say(io::stderr().lock(), format_args!("note: {text}")));
        }
    }

    /// A line on standard output, for people.
    pub(crate) fn line(&self, text: fmt::Arguments<'_>) {
        if matches!(self.style, Style::Lines | Style::Show) {
            self.bar.suspend(|| say(io::stdout().lock(), text));
        }
    }

    /// Takes the bar away.
    pub(crate) fn close(&self) {
        self.bar.finish_and_clear();
    }

    /// All that was done, in the order of the list.
    pub(crate) fn summary(&self, outcomes: &[Outcome], duplicates: usize, took: Duration) {
        self.close();
        if self.style == Style::Json {
            let document = document(outcomes, duplicates, took);
            say(io::stdout().lock(), format_args!("{document:#}"));
            return;
        }
        self.line(format_args!(""));
        self.line(format_args!("status       bytes   seconds  url"));
        for outcome in outcomes {
            let (status, bytes) = columns(outcome);
            let (seconds, url) = (outcome.took.as_secs_f64(), visible(&outcome.url));
            self.line(format_args!(
                "{status:>6} {bytes:>11} {seconds:>9.3}  {url}"
            ));
        }
        let (good, bytes) = totals(outcomes);
        let (all, bad, seconds) = (outcomes.len(), outcomes.len() - good, took.as_secs_f64());
        self.line(format_args!(
            "{good} of {all} fetched, {bad} failed, {bytes} bytes, {seconds:.3} s"
        ));
    }
}

/// The first two columns of the table.
fn columns(outcome: &Outcome) -> (String, String) {
    match &outcome.result {
        Ok(page) => (page.status.to_string(), page.bytes.to_string()),
        Err(why) => match why.status() {
            Some(status) => (status.to_string(), "-".into()),
            None => ("failed".into(), "-".into()),
        },
    }
}

/// How many came, and how much.
fn totals(outcomes: &[Outcome]) -> (usize, u64) {
    let pages = outcomes
        .iter()
        .filter_map(|outcome| outcome.result.as_ref().ok());
    pages.fold((0, 0), |(good, bytes), page| (good + 1, bytes + page.bytes))
}

/// The results for a program.
fn document(outcomes: &[Outcome], duplicates: usize, took: Duration) -> Value {
    let (good, bytes) = totals(outcomes);
    let urls: Vec<Value> = outcomes.iter().map(entry).collect();
    json!({
        "urls": urls,
        "ok": good,
        "failed": outcomes.len() - good,
        "duplicates": duplicates,
        "bytes": bytes,
        "seconds": took.as_secs_f64(),
    })
}

fn entry(outcome: &Outcome) -> Value {
    let page = outcome.result.as_ref().ok();
    let why = outcome.result.as_ref().err();
    json!({
        "url": outcome.url,
        "ok": page.is_some(),
        "status": page.map(|page| page.status).or(why.and_then(|why| why.status())),
        "bytes": page.map(|page| page.bytes),
        "seconds": outcome.took.as_secs_f64(),
        "moved_to": page.and_then(|page| page.moved_to.as_ref()).map(|url| url.as_str()),
        "saved": outcome.saved.as_ref().map(|path| path.display().to_string()),
        "error": why.map(|why| visible(&why.to_string())),
    })
}

/// Prints a line; when nobody reads on (`fetch | head`), the fetching still goes on. What can't be
/// written for another reason, a full disk say, must not pass for a success.
fn say(mut out: impl Write, text: fmt::Arguments<'_>) {
    match writeln!(out, "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "cannot write the results: {error}");
            std::process::exit(1);
        }
        _ => {}
    }
}

/// The text with every control character spelled out.
pub(crate) fn visible(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        // The second range turns the direction of writing around.
        if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}
