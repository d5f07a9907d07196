//! An open file.
//!
//! ```text
//!   read --> in the page cache? --yes--> moved at once (RWF_NOWAIT)
//!               | no, or unknown
//!               v
//!            job: [own buffer] --worker reads--> greenlet copies it out
//!               |
//!               +-- the greenlet was killed meanwhile: the buffer goes with the job
//! ```
//!
//! The kernel locks the position of a file while a read or a write moves it: so nothing that needs
//! the position is tried at once while a job has it, or the hub would wait for that job.

use std::fmt;
use std::fs::{self, FileTimes};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use super::{FileType, Metadata, OpenOptions, Permissions, job};
use crate::hub::{Hub, with_hub};
use crate::io::{Source, write_by_reference};
use crate::poller::Interest;
use crate::sys;
use crate::sys::fd_traits::fd_traits;
use crate::{cancel, threadpool};

/// Bytes that one read moves at most, and so the size of a job's buffer.
const READ_MAX: usize = 1 << 20;
/// Bytes that one write moves at most.
const WRITE_MAX: usize = 4 << 20;

/// An open file. As [`std::fs::File`]; `std::os::unix::fs::FileExt` is there as well.
///
/// Dropping it closes it, unless a clone or a job that was left behind has it.
///
/// Greenlets that use the same file at the same time are like threads that do: each call is done as
/// a whole, in any order, and they share one position.
///
/// # Examples
/// ```
/// use greenroom::fs::File;
/// use std::io::{Read, Seek, Write};
///
/// let dir = tempfile::tempdir()?;
/// let mut file = File::create_new(dir.path().join("notes"))?;
/// file.write_all(b"first, second")?;
/// file.rewind()?;
/// let mut word = [0; 5];
/// file.read_exact(&mut word)?;
/// assert_eq!(&word, b"first");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Parks
/// Whatever touches the file does, until it is done; reads of what is in memory don't. A kill or a
/// timeout unwinds; the work goes on, and may move the position.
pub struct File {
    pub(super) source: Arc<fs::File>,
    /// Jobs that may hold the position, of all clones.
    moving: Arc<AtomicUsize>,
    /// For what can keep one waiting; made when it is first known whether the file is such.
    waiting: OnceLock<Option<Source>>,
    /// The file system knows nothing of RWF_NOWAIT.
    never_at_once: AtomicBool,
}

fd_traits!(File, fs::File);

impl File {
    pub(super) fn opened(file: fs::File, waits: bool) -> File {
        let file = File::adopt(file.into());
        if !waits {
            let _ = file.waiting.set(None);
        }
        file
    }

    fn adopt(fd: OwnedFd) -> File {
        File {
            source: Arc::new(fd.into()),
            moving: Arc::default(),
            waiting: OnceLock::new(),
            never_at_once: AtomicBool::new(false),
        }
    }

    /// The descriptor; a duplicate where a job that was left behind still has it.
    fn release(self) -> OwnedFd {
        if let Some(source) = self.waiting.into_inner().flatten() {
            // Gives the user's mode back to the kernel.
            drop(source.into_owned_fd());
        }
        match Arc::try_unwrap(self.source) {
            Ok(file) => file.into(),
            Err(shared) => {
                let duplicate = shared.try_clone();
                duplicate
                    .expect("a file that a job still uses has to be duplicated")
                    .into()
            }
        }
    }

    /// Opens a file to read from it.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub fn open<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file to write to it; makes it, or makes it empty.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub fn create<P: AsRef<Path>>(path: P) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).open(path)
    }

    /// Makes a file, to read and write; fails if it is there.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub fn create_new<P: AsRef<Path>>(path: P) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).open(path)
    }

    /// As [`OpenOptions::new`].
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Has all that was written, and what is known about the file, stored for good.
    ///
    /// # Errors
    /// Those of fsync(2), and want of a thread.
    pub fn sync_all(&self) -> io::Result<()> {
        self.job(fs::File::sync_all)
    }

    /// Has all that was written stored for good.
    ///
    /// # Errors
    /// Those of fdatasync(2), and want of a thread.
    pub fn sync_data(&self) -> io::Result<()> {
        self.job(fs::File::sync_data)
    }

    /// Cuts the file, or fills it with zeros.
    ///
    /// # Errors
    /// Those of ftruncate(2), and want of a thread.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        self.job(move |file| file.set_len(size))
    }

    /// What is known about the file.
    ///
    /// # Errors
    /// Those of fstat(2), and want of a thread.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.job(fs::File::metadata)
    }

    /// A second handle of the same open file: they share the position.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    ///
    /// # Parks
    /// Never.
    pub fn try_clone(&self) -> io::Result<File> {
        let waiting = match self.waiting()? {
            None => None,
            Some(source) => Some(source.try_clone()?),
        };
        Ok(File {
            source: Arc::new(self.source.try_clone()?),
            moving: Arc::clone(&self.moving),
            waiting: OnceLock::from(waiting),
            never_at_once: AtomicBool::new(self.never_at_once.load(Ordering::Relaxed)),
        })
    }

    /// Sets the permissions.
    ///
    /// # Errors
    /// Those of fchmod(2), and want of a thread.
    pub fn set_permissions(&self, perm: Permissions) -> io::Result<()> {
        self.job(move |file| file.set_permissions(perm))
    }

    /// Sets the times of the last access and the last change.
    ///
    /// # Errors
    /// Those of futimens(3), and want of a thread.
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        self.job(move |file| file.set_times(times))
    }

    /// Sets the time of the last change.
    ///
    /// # Errors
    /// Those of futimens(3), and want of a thread.
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.job(move |file| file.set_modified(time))
    }

    /// Runs `f`, which does not need the position, on the thread pool.
    pub(super) fn job<T: Send + 'static>(
        &self,
        f: impl FnOnce(&fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let file = Arc::clone(&self.source);
        job(move || f(&file))
    }

    /// Runs `f`, which moves the position, on the thread pool.
    fn moving_job<T: Send + 'static>(
        &self,
        f: impl FnOnce(&fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let moving = Moving::begin(&self.moving);
        self.job(move |file| {
            let _moving = moving;
            f(file)
        })
    }

    fn is_moving(&self) -> bool {
        self.moving.load(Ordering::Acquire) > 0
    }

    /// For what can keep one waiting, a source to wait with.
    fn waiting(&self) -> io::Result<Option<&Source>> {
        if self.waiting.get().is_none() {
            let waits = waits(self.source.metadata()?.file_type());
            // It has a descriptor of its own, for it is to be closed before the file is given away.
            let source = || Source::adopt(self.source.as_fd().try_clone_to_owned()?);
            let source = waits.then(source).transpose()?;
            // Another thread may have been first.
            let _ = self.waiting.set(source);
        }
        Ok(self.waiting.get().and_then(Option::as_ref))
    }

    fn read_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(source) = self.waiting()? {
            return source.retry(Interest::Read, |fd| sys::fd::read(fd, buffer));
        }
        if !threadpool::is_green() {
            return (&*self.source).read(buffer);
        }
        let now = || sys::fd::read_nowait(self.as_fd(), buffer);
        if !self.is_moving()
            && let Some(count) = self.at_once(now)?
        {
            return Ok(count);
        }
        let want = buffer.len().min(READ_MAX);
        let bytes = self.moving_job(move |mut file| filled(want, |bytes| file.read(bytes)))?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(source) = self.waiting()? {
            return source.retry(Interest::Write, |fd| sys::fd::write(fd, bytes));
        }
        if !threadpool::is_green() {
            return (&*self.source).write(bytes);
        }
        let bytes = bytes[..bytes.len().min(WRITE_MAX)].to_vec();
        self.moving_job(move |mut file| file.write(&bytes))
    }

    /// What can be had without waiting, if anything; in between the others have their turn.
    ///
    /// Nothing at all is no answer: some kernels (5.9, 5.10) say so before the end of a file.
    fn at_once(&self, read: impl FnOnce() -> io::Result<usize>) -> io::Result<Option<usize>> {
        if self.never_at_once.load(Ordering::Relaxed) {
            return Ok(None);
        }
        take_turns()?;
        match read() {
            Ok(0) => Ok(None),
            Ok(count) => Ok(Some(count)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                io::ErrorKind::Unsupported => {
                    self.never_at_once.store(true, Ordering::Relaxed);
                    Ok(None)
                }
                _ => Err(error),
            },
        }
    }

    /// All that is left, in one job; what came before an error stays.
    fn read_rest(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        let (bytes, done) = self.moving_job(|mut file| {
            let mut bytes = Vec::new();
            let done = file.read_to_end(&mut bytes);
            Ok((bytes, done))
        })?;
        if into.is_empty() {
            *into = bytes;
        } else {
            into.try_reserve(bytes.len())?;
            into.extend_from_slice(&bytes);
        }
        done
    }
}

/// A FIFO, a terminal and the like keep one waiting for others, not for a disk. Such are made
/// non-blocking, as pipes are, and waited for without a thread.
pub(super) fn waits(kind: FileType) -> bool {
    kind.is_fifo() || kind.is_char_device() || kind.is_socket()
}

/// What is read from a file that keeps one waiting.
struct Waiting<'a>(&'a Source);

impl Read for Waiting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.retry(Interest::Read, |fd| sys::fd::read(fd, buffer))
    }
}

/// Counts as an operation that did not park: after many of them, others run.
fn take_turns() -> io::Result<()> {
    with_hub(|hub| {
        let Some((hub, task)) = hub.and_then(|hub| Some((hub, Hub::running(hub)?))) else {
            return Ok(());
        };
        if hub.is_budget_spent() {
            hub.yield_now();
            cancel::check(hub, task)?;
        }
        hub.count_operation();
        Ok(())
    })
}

/// A buffer of at most `want` bytes, filled by `read` as far as it goes.
fn filled(want: usize, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; want];
    let count = read(&mut bytes)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// While it lives, a job may hold the position.
struct Moving(Arc<AtomicUsize>);

impl Moving {
    fn begin(count: &Arc<AtomicUsize>) -> Moving {
        count.fetch_add(1, Ordering::AcqRel);
        Moving(Arc::clone(count))
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Read for &File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_some(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let want = buffers.iter().map(|buffer| buffer.len()).sum::<usize>();
        let bytes = filled(want.min(READ_MAX), |bytes| self.read_some(bytes))?;
        let mut rest = &bytes[..];
        for buffer in buffers {
            // Reading from a slice does not fail.
            rest.read(buffer)?;
        }
        Ok(bytes.len())
    }

    fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        if let Some(source) = self.waiting()? {
            return Waiting(source).read_to_end(bytes);
        }
        if !threadpool::is_green() {
            return (&*self.source).read_to_end(bytes);
        }
        self.read_rest(bytes)
    }

    fn read_to_string(&mut self, text: &mut String) -> io::Result<usize> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        let invalid = "stream did not contain valid UTF-8";
        let read = str::from_utf8(&bytes);
        let read = read.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, invalid))?;
        text.try_reserve(read.len())?;
        text.push_str(read);
        Ok(read.len())
    }
}

impl Write for &File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_some(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut bytes = Vec::new();
        for buffer in buffers {
            let room = WRITE_MAX - bytes.len();
            bytes.extend_from_slice(&buffer[..buffer.len().min(room)]);
        }
        self.write_some(&bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // To know the end, some file systems ask elsewhere.
        if matches!(to, SeekFrom::End(_)) || self.is_moving() {
            return self.moving_job(move |mut file| file.seek(to));
        }
        (&*self.source).seek(to)
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }

    fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(bytes)
    }

    fn read_to_string(&mut self, text: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(text)
    }
}

write_by_reference!(File);

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

impl FileExt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if !threadpool::is_green() {
            return self.source.read_at(buffer, offset);
        }
        let now = || sys::fd::pread_nowait(self.as_fd(), buffer, offset);
        if let Some(count) = self.at_once(now)? {
            return Ok(count);
        }
        let want = buffer.len().min(READ_MAX);
        let bytes = self.job(move |file| filled(want, |bytes| file.read_at(bytes, offset)))?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if !threadpool::is_green() {
            return self.source.write_at(bytes, offset);
        }
        let bytes = bytes[..bytes.len().min(WRITE_MAX)].to_vec();
        self.job(move |file| file.write_at(&bytes, offset))
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        OwnedFd::from(file).into()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}
