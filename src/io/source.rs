//! STAND-IN, with the signatures of the real one: waits block the OS thread in poll(2).
use crate::poller::Interest;
use crate::sys::socket::as_std;
use crate::sys::standin;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

#[derive(Debug, Default)]
struct Mode {
    nonblocking: AtomicBool,
    read_ns: AtomicU64,
    write_ns: AtomicU64,
}

/// A nonblocking descriptor with the mode that its user believes it to have.
#[derive(Debug)]
pub(crate) struct Source {
    fd: OwnedFd,
    mode: Arc<Mode>,
}

impl Source {
    pub(crate) fn new(fd: OwnedFd) -> Source {
        Source {
            fd,
            mode: Arc::default(),
        }
    }

    pub(crate) fn adopt(fd: OwnedFd) -> io::Result<Source> {
        let was = standin::set_nonblocking(fd.as_fd(), true)?;
        let source = Source::new(fd);
        source.mode.nonblocking.store(was, SeqCst);
        let (read, write) = {
            let socket = as_std::<std::net::TcpStream>(source.as_fd());
            (socket.read_timeout(), socket.write_timeout())
        };
        source.set_timeout(Interest::Read, read.unwrap_or(None))?;
        source.set_timeout(Interest::Write, write.unwrap_or(None))?;
        Ok(source)
    }

    pub(crate) fn into_owned_fd(self) -> OwnedFd {
        let _ = standin::set_nonblocking(self.as_fd(), self.is_nonblocking());
        {
            let socket = as_std::<std::net::TcpStream>(self.as_fd());
            let _ = socket.set_read_timeout(self.timeout(Interest::Read));
            let _ = socket.set_write_timeout(self.timeout(Interest::Write));
        }
        self.fd
    }

    pub(crate) fn try_clone(&self) -> io::Result<Source> {
        Ok(Source {
            fd: self.fd.try_clone()?,
            mode: self.mode.clone(),
        })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn retry<R>(
        &self,
        dir: Interest,
        mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            match op(self.as_fd()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && !self.is_nonblocking() => {
                    match self.wait(dir, self.timeout(dir)) {
                        Err(late) if late.kind() == io::ErrorKind::TimedOut => return Err(e),
                        other => other?,
                    }
                }
                done => return done,
            }
        }
    }

    pub(crate) fn transfer(
        &self,
        dir: Interest,
        _want: usize,
        op: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.retry(dir, op)
    }

    pub(crate) fn wait(&self, dir: Interest, limit: Option<Duration>) -> io::Result<()> {
        match standin::poll(self.as_fd(), dir == Interest::Write, limit) {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::ErrorKind::TimedOut.into()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(e),
        }
    }

    pub(crate) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.mode.nonblocking.store(on, SeqCst);
        Ok(())
    }

    pub(crate) fn is_nonblocking(&self) -> bool {
        self.mode.nonblocking.load(SeqCst)
    }

    pub(crate) fn set_timeout(&self, dir: Interest, limit: Option<Duration>) -> io::Result<()> {
        if limit == Some(Duration::ZERO) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "cannot set a 0 duration timeout",
            ));
        }
        let ns = limit.map_or(0, |d| d.as_nanos().min(u128::from(u64::MAX)) as u64);
        self.cell(dir).store(ns, SeqCst);
        Ok(())
    }

    pub(crate) fn timeout(&self, dir: Interest) -> Option<Duration> {
        match self.cell(dir).load(SeqCst) {
            0 => None,
            ns => Some(Duration::from_nanos(ns)),
        }
    }

    fn cell(&self, dir: Interest) -> &AtomicU64 {
        match dir {
            Interest::Read => &self.mode.read_ns,
            Interest::Write => &self.mode.write_ns,
        }
    }
}
