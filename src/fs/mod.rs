//! Use files and folders as with `std::fs`: name for name, with calls that park.
//!
//! To move code over, replace `std::fs` by `greenroom::fs`, and `std::os::unix::fs` by
//! [`greenroom::os::unix::fs`](crate::os::unix::fs). A disk has no readiness to wait for, so each
//! call is a job of the [default thread pool](crate::threadpool::default_pool), while the greenlet
//! parks; on a thread without a hub, where nobody else could run, it is done right there.
//!
//! What it costs: a job is two switches of threads, some 10 µs. A [`File`] therefore tries its
//! reads at once, with RWF_NOWAIT: what is in the page cache is had without a job. Bytes that a
//! job moves are copied once more, since a buffer of a greenlet that is killed meanwhile must not
//! be written to. [`read`], [`write()`] and [`File`]'s `read_to_end` are one job each, however
//! long the file is; a [`BufReader`](std::io::BufReader) or `BufWriter` saves jobs as it saves
//! system calls.
//!
//! What is different from std:
//!
//! * **A kill or a timeout** unwinds, and leaves the job behind: what it does is done or not, at
//!   some time, and the position of a [`File`] moves with it.
//! * A FIFO, a terminal or the like keeps no thread waiting: it is made non-blocking, as pipes
//!   are, until the [`File`] is given away or dropped. To open a FIFO does keep one.
//! * Two greenlets that use one [`File`] at the same time are two threads: see there.
//! * [`Path::exists`](std::path::Path::exists) and its like are std's, and block; there is
//!   [`exists`], [`metadata`].
//! * Std has `Read`, `Write` and `Seek` for `Arc<File>`, which only std can have; `&File` has
//!   them.
//! * To close a file, which dropping it does, blocks as ever: a moment, as a rule.
//!
//! # Examples
//! ```
//! use greenroom::fs::{self, File};
//! use std::io::{Read, Write};
//!
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("greeting");
//! File::create(&path)?.write_all(b"hello")?;
//! let mut text = String::new();
//! File::open(&path)?.read_to_string(&mut text)?;
//! assert_eq!(text, "hello");
//! assert_eq!(fs::metadata(&path)?.len(), 5);
//! fs::remove_file(&path)?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod dir;
mod file;
mod functions;
mod lock;
mod options;

pub use dir::{DirBuilder, DirEntry, ReadDir, read_dir};
pub use file::File;
#[allow(deprecated)]
pub use functions::{
    canonicalize, copy, create_dir, create_dir_all, exists, hard_link, metadata, read, read_link,
    read_to_string, remove_dir, remove_dir_all, remove_file, rename, set_permissions, soft_link,
    symlink_metadata, write,
};
pub use lock::TryLockError;
pub use options::OpenOptions;
pub use std::fs::{FileTimes, FileType, Metadata, Permissions};

use std::io;

use crate::threadpool;

/// Runs `f`, which blocks, on the thread pool.
pub(crate) fn job<T: Send + 'static>(
    f: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    threadpool::offload("the file system", f)?
}
