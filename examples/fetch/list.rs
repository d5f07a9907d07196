//! What to fetch: the URLs of the command line and of the files, checked, each one once.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use url::Url;

use crate::client::fetchable;
use crate::failure::Failure;

/// The list, in the order given.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// To be fetched.
    pub(crate) urls: Vec<Url>,
    /// Given again, and left out.
    pub(crate) duplicates: Vec<Url>,
    /// Entries that are not URLs, as the user wrote them.
    pub(crate) rejected: Vec<(String, Failure)>,
    seen: HashSet<Url>,
}

impl List {
    /// Gathers everything; trouble with one entry does not touch the others.
    ///
    /// # Errors
    /// A file can't be read: as with any other option, the command line makes no sense then.
    pub(crate) fn gather(urls: &[String], files: &[PathBuf]) -> Result<List, String> {
        let mut list = List::default();
        for text in urls {
            list.add(text);
        }
        for file in files {
            list.add_file(file)
                .map_err(|e| format!("--file {}: {e}", file.display()))?;
        }
        Ok(list)
    }

    fn add(&mut self, text: &str) {
        match parse(text) {
            Err(failure) => self.rejected.push((text.to_owned(), failure)),
            Ok(url) if self.seen.contains(&url) => self.duplicates.push(url),
            Ok(url) => {
                self.seen.insert(url.clone());
                self.urls.push(url);
            }
        }
    }

    fn add_file(&mut self, path: &Path) -> io::Result<()> {
        let content = std::fs::read(path)?;
        for line in content.split(|&byte| byte == b'\n') {
            let line = line.trim_ascii();
            match std::str::from_utf8(line) {
                Ok(text) if text.is_empty() || text.starts_with('#') => {}
                Ok(text) => self.add(text),
                Err(_) => {
                    let why = Failure::BadUrl("not UTF-8".into());
                    self.rejected
                        .push((String::from_utf8_lossy(line).into_owned(), why));
                }
            }
        }
        Ok(())
    }
}

/// One parser for all: what it makes of the text is what is looked up, asked for and printed.
fn parse(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).map_err(|e| e.to_string());
    let checked = url.and_then(|url| fetchable(url).map_err(str::to_owned));
    checked.map_err(|why| match text.contains("://") {
        true => Failure::BadUrl(why),
        false => Failure::BadUrl("is http:// or https:// missing?".to_owned()),
    })
}
