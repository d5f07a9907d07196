//! The functions of `std::fs`, each a job.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Metadata, Permissions, job};

/// The path without symbolic links and dots, as [`std::fs::canonicalize`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn canonicalize<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    let path = path.as_ref().to_path_buf();
    job(move || fs::canonicalize(path))
}

/// Copies the contents and the permissions of a file, and returns the number of bytes, as
/// [`std::fs::copy`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn copy<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<u64> {
    let from = from.as_ref().to_path_buf();
    let to = to.as_ref().to_path_buf();
    job(move || fs::copy(from, to))
}

/// Makes a folder, as [`std::fs::create_dir`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn create_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref().to_path_buf();
    job(move || fs::create_dir(path))
}

/// Makes a folder and those above it that are missing, as [`std::fs::create_dir_all`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn create_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref().to_path_buf();
    job(move || fs::create_dir_all(path))
}

/// Whether there is something at the path, as [`std::fs::exists`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn exists<P: AsRef<Path>>(path: P) -> io::Result<bool> {
    let path = path.as_ref().to_path_buf();
    job(move || fs::exists(path))
}

/// Gives a file a second name, as [`std::fs::hard_link`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn hard_link<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let original = original.as_ref().to_path_buf();
    let link = link.as_ref().to_path_buf();
    job(move || fs::hard_link(original, link))
}

/// What is known about a file, links followed, as [`std::fs::metadata`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    let path = path.as_ref().to_path_buf();
    job(move || fs::metadata(path))
}

/// All bytes of a file, as [`std::fs::read`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn read<P: AsRef<Path>>(path: P) -> io::Result<Vec<u8>> {
    let path = path.as_ref().to_path_buf();
    job(move || fs::read(path))
}

/// Where a symbolic link points to, as [`std::fs::read_link`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn read_link<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    let path = path.as_ref().to_path_buf();
    job(move || fs::read_link(path))
}

/// All text of a file, as [`std::fs::read_to_string`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn read_to_string<P: AsRef<Path>>(path: P) -> io::Result<String> {
    let path = path.as_ref().to_path_buf();
    job(move || fs::read_to_string(path))
}

/// Removes an empty folder, as [`std::fs::remove_dir`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn remove_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref().to_path_buf();
    job(move || fs::remove_dir(path))
}

/// Removes a folder with all that is in it, as [`std::fs::remove_dir_all`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn remove_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref().to_path_buf();
    job(move || fs::remove_dir_all(path))
}

/// Removes a file, as [`std::fs::remove_file`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn remove_file<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref().to_path_buf();
    job(move || fs::remove_file(path))
}

/// Gives a file another name, in place of what had it, as [`std::fs::rename`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn rename<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<()> {
    let from = from.as_ref().to_path_buf();
    let to = to.as_ref().to_path_buf();
    job(move || fs::rename(from, to))
}

/// What is known about a file, or about the symbolic link itself, as
/// [`std::fs::symlink_metadata`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn symlink_metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    let path = path.as_ref().to_path_buf();
    job(move || fs::symlink_metadata(path))
}

/// Sets the permissions of a file, as [`std::fs::set_permissions`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn set_permissions<P: AsRef<Path>>(path: P, perm: Permissions) -> io::Result<()> {
    let path = path.as_ref().to_path_buf();
    job(move || fs::set_permissions(path, perm))
}

/// Makes a symbolic link, as [`std::fs::soft_link`].
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
#[deprecated(note = "replaced with greenroom::os::unix::fs::symlink")]
pub fn soft_link<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let original = original.as_ref().to_path_buf();
    let link = link.as_ref().to_path_buf();
    job(move || std::os::unix::fs::symlink(original, link))
}

/// Makes a file of these bytes, in place of what it held, as [`std::fs::write`]. The bytes are
/// copied.
///
/// # Errors
/// Those of std's, and want of a thread: see [`threadpool::call`](crate::threadpool::call()).
///
/// # Parks
/// Until it is done. A kill or a timeout unwinds; the work goes on.
pub fn write<P: AsRef<Path>, C: AsRef<[u8]>>(path: P, contents: C) -> io::Result<()> {
    let path = path.as_ref().to_path_buf();
    let contents = contents.as_ref().to_vec();
    job(move || fs::write(path, contents))
}
