//! A list of URLs, fetched one after the other or many at once.
//!
//! This is the gevent program that everybody starts with: print `GET: url`, open it, read
//! it, print how much it was. The function is the same in both ways; only who calls it
//! differs.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use url::Url;

use crate::client::{Client, Page};
use crate::failure::Failure;
use crate::green;
use crate::report::Report;
use crate::save::Shelf;

/// What became of one URL.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// As fetched; or as given, if it never came to that.
    pub(crate) url: String,
    pub(crate) took: Duration,
    pub(crate) result: Result<Page, Failure>,
    pub(crate) saved: Option<PathBuf>,
}

impl Outcome {
    /// A failure without a fetch.
    pub(crate) fn failed(url: String, why: Failure) -> Outcome {
        Outcome {
            url,
            took: Duration::ZERO,
            result: Err(why),
            saved: None,
        }
    }
}

/// All that the greenlets share.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) urls: Vec<Url>,
    pub(crate) shelf: Option<Shelf>,
    pub(crate) report: Report,
    /// The first URL that nobody has taken yet.
    next: AtomicUsize,
}

impl Session {
    /// Nothing runs yet.
    pub(crate) fn new(
        client: Client,
        urls: Vec<Url>,
        shelf: Option<Shelf>,
        report: Report,
    ) -> Arc<Session> {
        Arc::new(Session {
            client,
            urls,
            shelf,
            report,
            next: AtomicUsize::new(0),
        })
    }

    /// One after the other.
    pub(crate) fn serial(&self) -> Vec<Outcome> {
        (0..self.urls.len())
            .map(|index| self.fetch(index))
            .collect()
    }

    /// At most `concurrency` at a time: that many greenlets, each of which takes the next URL
    /// until there is none. Whatever one of them waits for, the others go on.
    pub(crate) fn parallel(self: &Arc<Self>, concurrency: usize) -> Vec<Outcome> {
        let workers = concurrency.min(self.urls.len());
        let greenlets = (0..workers).map(|_| {
            let session = Arc::clone(self);
            green::spawn(move || session.work())
        });
        let done = green::joinall(greenlets);

        let mut outcomes: Vec<Option<Outcome>> = self.urls.iter().map(|_| None).collect();
        for (index, outcome) in done.into_iter().flatten().flatten() {
            outcomes[index] = Some(outcome);
        }
        // What is missing was lost with a greenlet that panicked.
        let lost = |url: &Url| Outcome::failed(url.to_string(), Failure::Panicked);
        let pairs = self.urls.iter().zip(outcomes);
        pairs
            .map(|(url, outcome)| outcome.unwrap_or_else(|| lost(url)))
            .collect()
    }

    /// What one greenlet does.
    fn work(&self) -> Vec<(usize, Outcome)> {
        let mut done = Vec::new();
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.urls.len() {
                return done;
            }
            done.push((index, self.fetch(index)));
        }
    }

    /// Fetches one URL, and says so before and after.
    fn fetch(&self, index: usize) -> Outcome {
        let url = &self.urls[index];
        self.report.started(url.as_str());
        let start = Instant::now();
        let result = match &self.shelf {
            None => self
                .client
                .get(url, &mut io::sink())
                .map(|page| (page, None)),
            Some(shelf) => shelf
                .store(index, |file| self.client.get(url, file))
                .map(|(page, path)| (page, Some(path))),
        };
        let (result, saved) = match result {
            Ok((page, saved)) => (Ok(page), saved),
            Err(failure) => (Err(failure), None),
        };
        let outcome = Outcome {
            url: url.to_string(),
            took: start.elapsed(),
            result,
            saved,
        };
        self.report.finished(&outcome);
        outcome
    }
}
