//! Locks of whole files: flock(2).

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use super::File;
use crate::greenlet::sleep;
use crate::sys::fd::{self, Flock};

/// A lock that somebody else has is tried again no more often and no more rarely than this. It
/// can't be waited for in a job: threads of the pool would stand still for all others.
const TRY_EVERY_MIN: Duration = Duration::from_millis(1);
const TRY_EVERY_MAX: Duration = Duration::from_millis(32);

/// Why there is no lock: an error, or somebody else has one. As `std::fs::TryLockError`, which is
/// younger than the oldest Rust that greenroom supports.
pub enum TryLockError {
    /// The lock could not be asked for.
    Error(io::Error),
    /// Somebody else has one.
    WouldBlock,
}

impl fmt::Debug for TryLockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryLockError::Error(error) => fmt::Debug::fmt(error, f),
            TryLockError::WouldBlock => f.write_str("WouldBlock"),
        }
    }
}

impl fmt::Display for TryLockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryLockError::Error(_) => f.write_str("lock acquisition failed due to I/O error"),
            TryLockError::WouldBlock => {
                f.write_str("lock acquisition failed because the operation would block")
            }
        }
    }
}

impl std::error::Error for TryLockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TryLockError::Error(error) => Some(error),
            TryLockError::WouldBlock => None,
        }
    }
}

impl From<TryLockError> for io::Error {
    fn from(error: TryLockError) -> io::Error {
        match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
        }
    }
}

impl File {
    /// Locks the file for itself, until it is closed or [unlocked](File::unlock). It keeps away
    /// those who lock as well, and nobody else.
    ///
    /// While another has a lock, it is tried again every now and then, up to 32 ms apart; so it is
    /// not first come, first served.
    ///
    /// # Examples
    /// ```
    /// use greenroom::fs::{File, TryLockError};
    /// let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("lock");
    /// let file = File::create(&path)?;
    /// file.lock()?;
    /// let other = File::open(&path)?;
    /// assert!(matches!(other.try_lock_shared(), Err(TryLockError::WouldBlock)));
    /// file.unlock()?;
    /// other.try_lock_shared()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of flock(2), and want of a thread. ECANCELED or ETIMEDOUT where a kill or a timeout
    /// can't unwind.
    ///
    /// # Parks
    /// Until it has the lock. A kill or a timeout unwinds; the lock may be had all the same, until
    /// the file is closed.
    pub fn lock(&self) -> io::Result<()> {
        self.lock_patiently(Flock::Exclusive)
    }

    /// As [`lock`](File::lock), together with others who lock so.
    ///
    /// # Errors
    /// As `lock`.
    ///
    /// # Parks
    /// As `lock`.
    pub fn lock_shared(&self) -> io::Result<()> {
        self.lock_patiently(Flock::Shared)
    }

    /// As [`lock`](File::lock), if it can be had now.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] when another has a lock; otherwise as `lock`.
    ///
    /// # Parks
    /// Until that is known.
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        self.flock(Flock::Exclusive)
    }

    /// As [`lock_shared`](File::lock_shared), if it can be had now.
    ///
    /// # Errors
    /// As [`try_lock`](File::try_lock).
    ///
    /// # Parks
    /// Until that is known.
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        self.flock(Flock::Shared)
    }

    /// Gives the lock back; nothing if there is none.
    ///
    /// # Errors
    /// Those of flock(2), and want of a thread.
    ///
    /// # Parks
    /// Until it is done.
    pub fn unlock(&self) -> io::Result<()> {
        Ok(self.flock(Flock::Unlock)?)
    }

    fn lock_patiently(&self, how: Flock) -> io::Result<()> {
        let mut pause = TRY_EVERY_MIN;
        loop {
            match self.flock(how) {
                Err(TryLockError::WouldBlock) => sleep(pause),
                done => return Ok(done?),
            }
            pause = TRY_EVERY_MAX.min(2 * pause);
        }
    }

    fn flock(&self, how: Flock) -> Result<(), TryLockError> {
        let done = self.job(move |file| fd::flock(file.as_fd(), how));
        done.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => TryLockError::WouldBlock,
            _ => TryLockError::Error(error),
        })
    }
}
