//! Fetch many URLs at once: what every gevent tutorial does, as a tool.
//!
//! ```text
//! cargo run --release --example fetch                        # a show, without network
//! cargo run --release --example fetch -- --help
//! cargo run --release --example fetch -- https://www.python.org/ https://github.com/
//! ```
//!
//! The story is short. `list` says what to fetch. `session` spawns the greenlets; each one
//! calls `client`, which is ureq, a blocking HTTP client, and as unaware of greenlets as
//! when it was written. What makes it wait politely are the two modules below it:
//! `transport` gives it green sockets, `resolver` green name lookups. `report` prints,
//! `save` keeps the bodies, `failure` knows every reason why not. `show` and `origin` are
//! the demonstration.

mod args;
mod buffers;
mod client;
mod failure;
mod list;
mod origin;
mod report;
mod resolver;
mod save;
mod session;
mod show;
mod transport;

use greenroom as green;
use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use clap::{CommandFactory, Parser, error::ErrorKind};
use ureq::tls::RootCerts;

use args::Args;
use client::Client;
use list::List;
use report::{Report, Style};
use save::Shelf;
use session::{Outcome, Session};

fn main() -> ExitCode {
    let demonstration = std::env::args_os().len() == 1;
    let args = Args::parse();
    let all_well = if demonstration {
        show::run().map_err(Into::into)
    } else {
        fetch(&args)
    };
    match all_well {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => Args::command().error(ErrorKind::Io, e).exit(),
    }
}

/// Fetches what the command line asks for; `true` if all of it came.
fn fetch(args: &Args) -> Result<bool, Box<dyn Error>> {
    let List {
        urls,
        duplicates,
        rejected,
        ..
    } = List::gather(&args.urls, &args.file)?;
    if urls.is_empty() && rejected.is_empty() {
        return Err("no URL to fetch".into());
    }
    let client = Client::new(args.limits(), roots(args)?);
    let shelf = shelf(args, &urls)?;
    let report = Report::new(style(args), urls.len());

    for url in &duplicates {
        report.note(format_args!("given again, fetched once: {url}"));
    }
    let mut outcomes: Vec<Outcome> = rejected
        .into_iter()
        .map(|(text, why)| Outcome::failed(text, why))
        .collect();
    outcomes.iter().for_each(|outcome| report.failure(outcome));

    let session = Session::new(client, urls, shelf, report);
    let start = Instant::now();
    outcomes.extend(match args.serial {
        true => session.serial(),
        false => session.parallel(args.concurrency as usize),
    });
    session
        .report
        .summary(&outcomes, duplicates.len(), start.elapsed());
    Ok(outcomes.iter().all(|outcome| outcome.result.is_ok()))
}

/// Whom to trust: the roots that ship with the client, and those of `--cacert`.
fn roots(args: &Args) -> Result<RootCerts, String> {
    let Some(path) = &args.cacert else {
        return Ok(RootCerts::WebPki);
    };
    std::fs::read(path)
        .and_then(|pem| client::roots_with(&pem))
        .map_err(|e| format!("--cacert {}: {e}", path.display()))
}

/// Where to keep the bodies, if at all.
fn shelf(args: &Args, urls: &[url::Url]) -> Result<Option<Shelf>, String> {
    let Some(dir) = &args.output else {
        return Ok(None);
    };
    Shelf::new(dir, urls)
        .map(Some)
        .map_err(|e| format!("--output {}: {e}", dir.display()))
}

fn style(args: &Args) -> Style {
    match (args.json, args.quiet) {
        (true, _) => Style::Json,
        (_, true) => Style::Quiet,
        _ => Style::Lines,
    }
}
