//! The demonstration: the same pages serially and in parallel, and what each way costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::tls::RootCerts;
use url::Url;

use crate::client::{Client, Limits};
use crate::failure::Failure;
use crate::origin::{self, Kind, Page};
use crate::report::{Report, Style};
use crate::session::{Outcome, Session};

/// Good pages; three bad ones come on top.
const PAGES: usize = 57;
/// What the page that never answers costs; the slowest good one needs a fifth of it.
const LIMITS: Limits = Limits {
    timeout: Duration::from_millis(1500),
    body_max: 64 << 20,
    redirects_max: 10,
};

/// Runs it; `true` if everything went as designed, the three failures included.
pub(crate) fn run() -> std::io::Result<bool> {
    let pages = origin::pages(PAGES);
    let site = format!("http://{}", origin::serve(pages.clone())?);

    println!("{} pages at {site}, three of them bad\n", pages.len());
    let (serial, serial_cost) = time(&pages, &site, |session| session.serial());
    println!("serial cost {serial_cost:.3} s\n");
    let (parallel, parallel_cost) = time(&pages, &site, |session| session.parallel(PAGES + 3));
    println!("parallel cost {parallel_cost:.3} s");
    println!("ratio {:.1}", serial_cost / parallel_cost);

    let as_designed = |outcomes: &[Outcome]| {
        let pairs = pages.iter().zip(outcomes);
        pairs
            .filter(|(page, outcome)| !as_expected(page, outcome))
            .count()
            == 0
    };
    Ok(as_designed(&serial) && as_designed(&parallel))
}

/// Fetches all pages in one way, and takes the time in seconds.
fn time(
    pages: &[Page],
    site: &str,
    fetch_all: impl FnOnce(&Arc<Session>) -> Vec<Outcome>,
) -> (Vec<Outcome>, f64) {
    let url = |page: &Page| Url::parse(&format!("{site}{}", page.path));
    let urls: Vec<Url> = pages
        .iter()
        .map(url)
        .collect::<Result<_, _>>()
        .expect("our own URLs");
    let report = Report::new(Style::Show, urls.len());
    let session = Session::new(Client::new(LIMITS, RootCerts::WebPki), urls, None, report);
    let start = Instant::now();
    let outcomes = fetch_all(&session);
    let cost = start.elapsed().as_secs_f64();
    session.report.close();
    (outcomes, cost)
}

/// Did the page do what it is there for?
fn as_expected(page: &Page, outcome: &Outcome) -> bool {
    match (page.kind, &outcome.result) {
        (Kind::Good { bytes }, Ok(got)) => got.bytes == bytes as u64,
        (Kind::Missing, Err(Failure::Status(404))) => true,
        (Kind::Resets, Err(Failure::Reset)) => true,
        (Kind::Silent, Err(Failure::Deadline(_))) => true,
        (_, result) => {
            eprintln!("not as designed: {} was {result:?}", outcome.url);
            false
        }
    }
}
