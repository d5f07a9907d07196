//! Moving code over is search and replace: one text, compiled against std's names and ours.
//!
//! It names every function and trait that `std::fs` and `std::os::unix::fs` have on stable (Rust
//! 1.88), with its signature. The locks of files are newer than the oldest Rust that we support,
//! and so named for ours only; `Read`, `Write` and `Seek` for `Arc<File>` only std can have.

macro_rules! surface {
    ($name:ident, $root:ident) => {
        mod $name {
            use std::ffi::OsString;
            use std::fmt::Debug;
            use std::io::{Read, Result, Seek, Write};
            use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
            use std::panic::{RefUnwindSafe, UnwindSafe};
            use std::path::{Path, PathBuf};
            use std::process::Stdio;
            use std::time::SystemTime;
            use $root::fs::*;
            use $root::os::unix::fs::{
                DirBuilderExt, DirEntryExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt,
                PermissionsExt, chown, chroot, fchown, lchown, symlink,
            };

            trait Free: Debug + Send + Sync + Unpin + UnwindSafe + RefUnwindSafe {}
            impl<T: Debug + Send + Sync + Unpin + UnwindSafe + RefUnwindSafe> Free for T {}

            fn free<T: Free>() {}
            fn stream<T: Read + Write + Seek>() {}
            fn owner<T>()
            where
                T: Free + AsFd + AsRawFd + FromRawFd + IntoRawFd + From<OwnedFd> + Into<OwnedFd>,
            {
            }

            fn file() {
                owner::<File>();
                stream::<File>();
                stream::<&File>();
                let _: fn(&'static str) -> Result<File> = File::open::<&str>;
                let _: fn(&'static Path) -> Result<File> = File::create::<&Path>;
                let _: fn(PathBuf) -> Result<File> = File::create_new::<PathBuf>;
                let _: fn() -> OpenOptions = File::options;
                let _: fn(&File) -> Result<()> = File::sync_all;
                let _: fn(&File) -> Result<()> = File::sync_data;
                let _: fn(&File, u64) -> Result<()> = File::set_len;
                let _: fn(&File) -> Result<Metadata> = File::metadata;
                let _: fn(&File) -> Result<File> = File::try_clone;
                let _: fn(&File, Permissions) -> Result<()> = File::set_permissions;
                let _: fn(&File, FileTimes) -> Result<()> = File::set_times;
                let _: fn(&File, SystemTime) -> Result<()> = File::set_modified;
                let _: fn(File) -> Stdio = Stdio::from;
                let _: fn(&File, &mut [u8], u64) -> Result<usize> = FileExt::read_at;
                let _: fn(&File, &mut [u8], u64) -> Result<()> = FileExt::read_exact_at;
                let _: fn(&File, &[u8], u64) -> Result<usize> = FileExt::write_at;
                let _: fn(&File, &[u8], u64) -> Result<()> = FileExt::write_all_at;
            }

            fn options() {
                free::<OpenOptions>();
                type O = OpenOptions;
                let _: fn() -> O = O::new;
                let _: fn(&O) -> O = O::clone;
                let _: for<'a> fn(&'a mut O, bool) -> &'a mut O = O::read;
                let _: for<'a> fn(&'a mut O, bool) -> &'a mut O = O::write;
                let _: for<'a> fn(&'a mut O, bool) -> &'a mut O = O::append;
                let _: for<'a> fn(&'a mut O, bool) -> &'a mut O = O::truncate;
                let _: for<'a> fn(&'a mut O, bool) -> &'a mut O = O::create;
                let _: for<'a> fn(&'a mut O, bool) -> &'a mut O = O::create_new;
                let _: fn(&O, &'static str) -> Result<File> = O::open::<&str>;
                let _: for<'a> fn(&'a mut O, u32) -> &'a mut O = OpenOptionsExt::mode;
                let _: for<'a> fn(&'a mut O, i32) -> &'a mut O = OpenOptionsExt::custom_flags;
            }

            fn folders() {
                free::<DirBuilder>();
                free::<DirEntry>();
                fn yields<T: Debug + Send + Sync + Iterator<Item = Result<DirEntry>>>() {}
                yields::<ReadDir>();
                let _: fn() -> DirBuilder = DirBuilder::new;
                let _: for<'a> fn(&'a mut DirBuilder, bool) -> &'a mut DirBuilder =
                    DirBuilder::recursive;
                let _: for<'a> fn(&'a mut DirBuilder, u32) -> &'a mut DirBuilder =
                    DirBuilderExt::mode;
                let _: fn(&DirBuilder, &'static str) -> Result<()> = DirBuilder::create::<&str>;
                let _: fn(&DirEntry) -> PathBuf = DirEntry::path;
                let _: fn(&DirEntry) -> OsString = DirEntry::file_name;
                let _: fn(&DirEntry) -> Result<Metadata> = DirEntry::metadata;
                let _: fn(&DirEntry) -> Result<FileType> = DirEntry::file_type;
                let _: fn(&DirEntry) -> u64 = DirEntryExt::ino;
                let _: fn(&'static str) -> Result<ReadDir> = read_dir::<&str>;
            }

            #[allow(deprecated)]
            fn functions() {
                type P = &'static Path;
                let _: fn(P) -> Result<PathBuf> = canonicalize::<P>;
                let _: fn(P, String) -> Result<u64> = copy::<P, String>;
                let _: fn(P) -> Result<()> = create_dir::<P>;
                let _: fn(P) -> Result<()> = create_dir_all::<P>;
                let _: fn(P) -> Result<bool> = exists::<P>;
                let _: fn(P, String) -> Result<()> = hard_link::<P, String>;
                let _: fn(P) -> Result<Metadata> = metadata::<P>;
                let _: fn(P) -> Result<Vec<u8>> = read::<P>;
                let _: fn(P) -> Result<PathBuf> = read_link::<P>;
                let _: fn(P) -> Result<String> = read_to_string::<P>;
                let _: fn(P) -> Result<()> = remove_dir::<P>;
                let _: fn(P) -> Result<()> = remove_dir_all::<P>;
                let _: fn(P) -> Result<()> = remove_file::<P>;
                let _: fn(P, String) -> Result<()> = rename::<P, String>;
                let _: fn(P, Permissions) -> Result<()> = set_permissions::<P>;
                let _: fn(P, String) -> Result<()> = soft_link::<P, String>;
                let _: fn(P) -> Result<Metadata> = symlink_metadata::<P>;
                let _: fn(P, String) -> Result<()> = write::<P, String>;
            }

            fn unix() {
                type P = &'static Path;
                let _: fn(P, String) -> Result<()> = symlink::<P, String>;
                let _: fn(P, Option<u32>, Option<u32>) -> Result<()> = chown::<P>;
                let _: fn(P, Option<u32>, Option<u32>) -> Result<()> = lchown::<P>;
                let _: fn(File, Option<u32>, Option<u32>) -> Result<()> = fchown::<File>;
                let _: fn(P) -> Result<()> = chroot::<P>;
                let _: fn(&Metadata) -> u64 = MetadataExt::ino;
                let _: fn(&FileType) -> bool = FileTypeExt::is_socket;
                let _: fn(u32) -> Permissions = PermissionsExt::from_mode;
            }

            pub(super) fn names() {
                file();
                options();
                folders();
                functions();
                unix();
            }
        }
    };
}

surface!(theirs, std);
surface!(ours, greenroom);

mod bounded;

use bounded::bounded;
#[test]
fn the_same_text_compiles_against_both() {
    let _bound = bounded();
    theirs::names();
    ours::names();
}

#[test]
fn what_std_has_since_1_89() {
    let _bound = bounded();
    use greenroom::fs::{File, TryLockError};
    use std::io::Result;
    let _: fn(&File) -> Result<()> = File::lock;
    let _: fn(&File) -> Result<()> = File::lock_shared;
    let _: fn(&File) -> std::result::Result<(), TryLockError> = File::try_lock;
    let _: fn(&File) -> std::result::Result<(), TryLockError> = File::try_lock_shared;
    let _: fn(&File) -> Result<()> = File::unlock;
}
