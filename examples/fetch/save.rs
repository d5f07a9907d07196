//! Bodies on disk: every URL gets a safe name of its own, inside the directory and nowhere else.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use url::Url;

use crate::failure::Failure;

/// Longer names are cut; file systems end at 255.
const NAME_MAX: usize = 150;

/// A directory of saved bodies, and the name in it for each URL.
#[derive(Debug)]
pub(crate) struct Shelf {
    dir: PathBuf,
    names: Vec<String>,
}

impl Shelf {
    /// Makes the directory, if need be, and settles the names in the order of `urls`.
    pub(crate) fn new(dir: &Path, urls: &[Url]) -> io::Result<Shelf> {
        fs::create_dir_all(dir)?;
        Ok(Shelf {
            dir: dir.to_owned(),
            names: names(urls),
        })
    }

    /// Runs `fill` on a new file and puts it in the place of URL number `index`.
    ///
    /// The file is complete or not there at all: it gets its name last. Putting it in place
    /// by a rename also means that a link which lies there is replaced, not followed.
    pub(crate) fn store<T>(
        &self,
        index: usize,
        fill: impl FnOnce(&mut File) -> Result<T, Failure>,
    ) -> Result<(T, PathBuf), Failure> {
        let path = self.dir.join(&self.names[index]);
        let failed = |source| Failure::Save {
            path: path.clone(),
            source,
        };
        let mut draft = tempfile::Builder::new()
            .prefix(".fetch-")
            .permissions(Permissions::from_mode(0o666)) // less the umask
            .tempfile_in(&self.dir)
            .map_err(failed)?;
        let filled = fill(draft.as_file_mut())?;
        draft.persist(&path).map_err(|e| failed(e.error))?;
        Ok((filled, path))
    }
}

/// Distinct names for distinct URLs; the second of the same name ends in `-2`.
fn names(urls: &[Url]) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    let mut times: HashMap<String, usize> = HashMap::new();
    let mut names = Vec::with_capacity(urls.len());
    for url in urls {
        let plain = name(url);
        let count = times.entry(plain.clone()).or_insert(0);
        let free = loop {
            *count += 1;
            let candidate = if *count == 1 {
                plain.clone()
            } else {
                format!("{plain}-{count}")
            };
            if taken.insert(candidate.clone()) {
                break candidate;
            }
        };
        names.push(free);
    }
    names
}

/// `https://www.python.org/a/b.html?x=1` becomes `www.python.org_a_b.html_x_1`.
fn name(url: &Url) -> String {
    let text = &url[url::Position::BeforeHost..url::Position::AfterQuery];
    let mut name: String = text
        .trim_end_matches('/')
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-._".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    if name.starts_with('.') {
        name.replace_range(..1, "_"); // neither hidden, nor `..`
    }
    if name.len() > NAME_MAX {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        name.truncate(NAME_MAX);
        name += &format!("-{:016x}", hasher.finish());
    }
    name
}
