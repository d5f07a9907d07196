//! Use what files have on Unix systems only, as with `std::os::unix::fs`.
//!
//! The traits are std's own: greenroom's types have them as std's have.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

pub use std::os::unix::fs::{
    DirBuilderExt, DirEntryExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt,
};

use crate::fs::job;

/// Makes a symbolic link, as [`std::os::unix::fs::symlink`].
///
/// # Errors
/// Those of symlink(2), and want of a thread.
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn symlink<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let original = original.as_ref().to_path_buf();
    let link = link.as_ref().to_path_buf();
    job(move || std::os::unix::fs::symlink(original, link))
}

/// Gives a file to another user or group, as [`std::os::unix::fs::chown`].
///
/// # Errors
/// Those of chown(2), and want of a thread.
///
/// # Parks
/// As [`symlink`].
pub fn chown<P: AsRef<Path>>(dir: P, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let path = dir.as_ref().to_path_buf();
    job(move || std::os::unix::fs::chown(path, uid, gid))
}

/// As [`chown`], of an open file. It is duplicated for that.
///
/// # Errors
/// Those of fchown(2), EMFILE, and want of a thread.
///
/// # Parks
/// As [`symlink`].
pub fn fchown<F: AsFd>(fd: F, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let fd = fd.as_fd().try_clone_to_owned()?;
    job(move || std::os::unix::fs::fchown(fd, uid, gid))
}

/// As [`chown`], of a symbolic link itself.
///
/// # Errors
/// Those of lchown(2), and want of a thread.
///
/// # Parks
/// As [`symlink`].
pub fn lchown<P: AsRef<Path>>(dir: P, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let path = dir.as_ref().to_path_buf();
    job(move || std::os::unix::fs::lchown(path, uid, gid))
}

/// Makes a folder the root of this process, as [`std::os::unix::fs::chroot`].
///
/// # Errors
/// Those of chroot(2), and want of a thread.
///
/// # Parks
/// As [`symlink`].
pub fn chroot<P: AsRef<Path>>(dir: P) -> io::Result<()> {
    let path = dir.as_ref().to_path_buf();
    job(move || std::os::unix::fs::chroot(path))
}
