//! Folders: their making, and what is in them.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{FileType, Metadata, job};
use crate::sys::lock::lock;

/// Entries that one job reads, if there are as many.
const BATCH: usize = 128;

/// Iterates over what is in a folder, as [`std::fs::read_dir`].
///
/// # Examples
/// ```
/// use greenroom::fs;
/// let dir = tempfile::tempdir()?;
/// fs::write(dir.path().join("a"), "")?;
/// let names: Result<Vec<_>, _> = fs::read_dir(&dir)?.map(|e| e.map(|e| e.file_name())).collect();
/// assert_eq!(names?, ["a"]);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is open. A kill or a timeout unwinds.
pub fn read_dir<P: AsRef<Path>>(path: P) -> io::Result<ReadDir> {
    let path = path.as_ref().to_path_buf();
    let theirs = path.clone();
    let inner = job(move || fs::read_dir(theirs))?;
    Ok(ReadDir {
        path,
        shared: Arc::new(Mutex::new(Reading {
            inner: Some(inner),
            found: VecDeque::new(),
        })),
    })
}

/// Iterator over the entries of a folder, made by [`read_dir`].
///
/// Entries are read ahead, 128 at a time.
///
/// # Parks
/// Now and then, to read more. A kill or a timeout unwinds, and loses no entry.
pub struct ReadDir {
    path: PathBuf,
    shared: Arc<Mutex<Reading>>,
}

/// Shared with the job that reads on, which may be left behind.
struct Reading {
    /// Gone when all has been read.
    inner: Option<fs::ReadDir>,
    found: VecDeque<io::Result<DirEntry>>,
}

impl Reading {
    fn read_on(&mut self) {
        let Some(inner) = &mut self.inner else { return };
        let batch = inner.by_ref().take(BATCH);
        self.found.extend(batch.map(|one| one.map(DirEntry::new)));
        if self.found.len() < BATCH {
            self.inner = None;
        }
    }
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        // Only this and its jobs lock it, and a job that was left behind may hold it for long:
        // then the next job waits for it, not we.
        if let Ok(mut reading) = self.shared.try_lock() {
            let next = reading.found.pop_front();
            if next.is_some() || reading.inner.is_none() {
                return next;
            }
        }
        let shared = Arc::clone(&self.shared);
        let next = job(move || {
            let mut reading = lock(&shared);
            if reading.found.is_empty() {
                reading.read_on();
            }
            Ok(())
        });
        if let Err(error) = next {
            return Some(Err(error));
        }
        let mut reading = lock(&self.shared);
        reading.found.pop_front()
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadDir").field(&self.path).finish()
    }
}

/// One entry of a folder. As [`std::fs::DirEntry`].
///
/// `std::os::unix::fs::DirEntryExt` is there as well.
pub struct DirEntry {
    inner: Arc<fs::DirEntry>,
    /// Found out with the entry, since not every file system tells it for nothing.
    file_type: Result<FileType, (io::ErrorKind, Option<i32>)>,
}

impl DirEntry {
    fn new(inner: fs::DirEntry) -> DirEntry {
        let file_type = inner.file_type();
        DirEntry {
            file_type: file_type.map_err(|error| (error.kind(), error.raw_os_error())),
            inner: Arc::new(inner),
        }
    }

    /// The path of the folder, and the name.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.inner.path()
    }

    /// The name alone.
    #[must_use]
    pub fn file_name(&self) -> OsString {
        self.inner.file_name()
    }

    /// What is known about the entry; of a symbolic link, about the link.
    ///
    /// # Errors
    /// Those of lstat(2), and want of a thread.
    ///
    /// # Parks
    /// Until it is known. A kill or a timeout unwinds.
    pub fn metadata(&self) -> io::Result<Metadata> {
        let inner = Arc::clone(&self.inner);
        job(move || inner.metadata())
    }

    /// What kind of entry it was when the folder was read.
    ///
    /// # Errors
    /// Those of lstat(2), which some file systems need for it.
    ///
    /// # Parks
    /// Never.
    pub fn file_type(&self) -> io::Result<FileType> {
        self.file_type.map_err(|(kind, errno)| {
            errno.map_or_else(|| kind.into(), io::Error::from_raw_os_error)
        })
    }
}

impl DirEntryExt for DirEntry {
    fn ino(&self) -> u64 {
        self.inner.ino()
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirEntry").field(&self.path()).finish()
    }
}

/// How a folder is to be made. As [`std::fs::DirBuilder`], and with
/// `std::os::unix::fs::DirBuilderExt`.
///
/// # Examples
/// ```
/// use greenroom::fs::DirBuilder;
/// let dir = tempfile::tempdir()?;
/// DirBuilder::new().recursive(true).create(dir.path().join("a/b/c"))?;
/// assert!(greenroom::fs::exists(dir.path().join("a/b/c"))?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct DirBuilder {
    recursive: bool,
    mode: Option<u32>,
}

impl DirBuilder {
    /// One folder, of mode 0o777, less the umask.
    #[allow(clippy::new_without_default, reason = "std's has none either")]
    #[must_use]
    pub fn new() -> DirBuilder {
        DirBuilder {
            recursive: false,
            mode: None,
        }
    }

    /// Those above it as well, as far as they are missing; it is no error then if it is there.
    pub fn recursive(&mut self, recursive: bool) -> &mut DirBuilder {
        self.recursive = recursive;
        self
    }

    /// Makes the folder.
    ///
    /// # Errors
    /// Those of mkdir(2), and want of a thread: see
    /// [`threadpool::call`](crate::threadpool::call()).
    ///
    /// # Parks
    /// Until it is made. A kill or a timeout unwinds; the work goes on.
    pub fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        let path = path.as_ref().to_path_buf();
        let mut builder = fs::DirBuilder::new();
        builder.recursive(self.recursive);
        if let Some(mode) = self.mode {
            builder.mode(mode);
        }
        job(move || builder.create(path))
    }
}

impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut DirBuilder {
        self.mode = Some(mode);
        self
    }
}
