//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::client::Limits;

/// Shown below the options.
const AFTER: &str = "\
Examples:
  fetch
      Show: serves itself some slow pages, fetches them serially, then in parallel.
  fetch https://www.python.org/ https://www.yahoo.com/ https://github.com/
      Fetch three pages at once.
  fetch --file urls.txt --concurrency 500 --timeout 2.5 --output pages/
      Fetch a list, at most 500 at a time, 2.5 s for each, and keep the bodies.
  fetch --json --cacert ca.pem https://localhost:8443/ | jq '.urls[].status'
      Trust one more authority; results for a program.

Every URL that fails is named on standard error with its reason; the others go on.
A URL given twice is fetched once. Redirects are followed, but never from https to
http. Bodies are taken as they come: nothing is decompressed, no proxy is used.

Exit status:
  0  every URL was fetched: status 2xx after redirects
  1  at least one was not
  2  the command line makes no sense";

/// Fetch many URLs at once, each in a greenlet of its own.
///
/// With no argument at all, a demonstration that needs no network.
#[derive(Debug, Parser)]
#[command(name = "fetch", version, after_help = AFTER)]
pub(crate) struct Args {
    /// What to fetch, http or https
    #[arg(value_name = "URL")]
    pub(crate) urls: Vec<String>,

    /// Read URLs from FILE, one per line; lines that start with # and blank ones are skipped
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,

    /// Fetch at most N at the same time
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000),
          allow_negative_numbers = true)]
    pub(crate) concurrency: u32,

    /// Limit for each URL, over lookup, connecting, TLS, redirects and body; fractions allowed
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds,
          allow_negative_numbers = true)]
    pub(crate) timeout: Duration,

    /// Fetch one after the other
    #[arg(long)]
    pub(crate) serial: bool,

    /// Save the bodies in DIR, under names made from their URLs; earlier ones are replaced
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,

    /// Print the results as one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    /// Print nothing but failures
    #[arg(long, conflicts_with = "json")]
    pub(crate) quiet: bool,

    /// Trust the certificates in this PEM file as well
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,

    /// Give up on a body longer than N bytes
    #[arg(long, value_name = "N", default_value_t = 64 << 20, allow_negative_numbers = true)]
    pub(crate) max_bytes: u64,

    /// Follow at most N redirects for each URL
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10,
        allow_negative_numbers = true
    )]
    pub(crate) max_redirects: u32,
}

impl Args {
    /// The limits each request gets.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            timeout: self.timeout,
            body_max: self.max_bytes,
            redirects_max: self.max_redirects,
        }
    }
}

/// Reads a time limit; ten years are as good as for ever, and can be added to a clock.
fn seconds(text: &str) -> Result<Duration, String> {
    const SECONDS_MAX: f64 = 3600.0 * 24.0 * 3650.0;
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= SECONDS_MAX => Ok(Duration::from_secs_f64(s)),
        Ok(_) => Err(format!("must be more than 0 and at most {SECONDS_MAX}")),
        Err(e) => Err(e.to_string()),
    }
}
