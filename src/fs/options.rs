//! How a file is to be opened.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::file::waits;
use super::{File, job};

/// Options for opening a file, with the names and the meaning of [`std::fs::OpenOptions`].
///
/// `std::os::unix::fs::OpenOptionsExt` is there as well.
///
/// # Examples
/// ```
/// use greenroom::fs::OpenOptions;
/// use std::io::Write;
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("log");
/// for line in ["one\n", "two\n"] {
///     OpenOptions::new().append(true).create(true).open(&path)?.write_all(line.as_bytes())?;
/// }
/// assert_eq!(greenroom::fs::read(&path)?, b"one\ntwo\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions(fs::OpenOptions);

impl OpenOptions {
    /// Nothing is chosen yet.
    #[allow(clippy::new_without_default, reason = "std's has none either")]
    #[must_use]
    pub fn new() -> OpenOptions {
        OpenOptions(fs::OpenOptions::new())
    }

    /// To read from it.
    pub fn read(&mut self, read: bool) -> &mut OpenOptions {
        self.0.read(read);
        self
    }

    /// To write to it.
    pub fn write(&mut self, write: bool) -> &mut OpenOptions {
        self.0.write(write);
        self
    }

    /// To write to its end, always.
    pub fn append(&mut self, append: bool) -> &mut OpenOptions {
        self.0.append(append);
        self
    }

    /// To make it empty.
    pub fn truncate(&mut self, truncate: bool) -> &mut OpenOptions {
        self.0.truncate(truncate);
        self
    }

    /// To make it if it is not there.
    pub fn create(&mut self, create: bool) -> &mut OpenOptions {
        self.0.create(create);
        self
    }

    /// To make it, and fail if it is there.
    pub fn create_new(&mut self, create_new: bool) -> &mut OpenOptions {
        self.0.create_new(create_new);
        self
    }

    /// Opens the file.
    ///
    /// # Errors
    /// As [`std::fs::OpenOptions::open`], and want of a thread: see
    /// [`threadpool::call`](crate::threadpool::call()).
    ///
    /// # Parks
    /// Until it is open. A kill or a timeout unwinds; it may be made or emptied all the same.
    pub fn open<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        let options = self.0.clone();
        let path = path.as_ref().to_path_buf();
        job(move || {
            let file = options.open(path)?;
            let waits = waits(file.metadata()?.file_type());
            Ok((file, waits))
        })
        .map(|(file, waits)| File::opened(file, waits))
    }
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.0.mode(mode);
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.0.custom_flags(flags);
        self
    }
}
