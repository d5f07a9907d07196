//! What std's own tests ask of `std::fs`, re-written in our words, not copied, and asked of
//! `greenroom::fs`, from a greenlet and from a plain thread. What only ours can be asked stands in
//! `fs_jobs.rs`.
mod net_support;

use greenroom::fs::{self, DirBuilder, File, FileTimes, OpenOptions, TryLockError};
use greenroom::os::unix::fs::{
    DirEntryExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink,
};
use greenroom::spawn;
use net_support::{bounded, kind};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Runs `test` in a greenlet, and on a thread without a hub, each time in a folder of its own.
fn everywhere(test: fn(&Path)) {
    let _bound = bounded();
    let run = move || test(tempfile::tempdir().unwrap().path());
    spawn(run).join().unwrap();
    std::thread::spawn(run).join().unwrap();
}

#[test]
fn what_is_written_is_read_again() {
    let _bound = bounded();
    everywhere(|dir| {
        let path = dir.join("file");
        File::create(&path)
            .unwrap()
            .write_all(b"it's alright")
            .unwrap();
        let mut text = String::new();
        File::open(&path)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "it's alright");
        assert_eq!(fs::read(&path).unwrap(), b"it's alright");
        assert_eq!(fs::read_to_string(&path).unwrap(), "it's alright");
        fs::write(&path, "new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        fs::remove_file(&path).unwrap();
        assert!(!fs::exists(&path).unwrap());
    });
}

#[test]
fn what_is_not_there_is_an_error() {
    let _bound = bounded();
    everywhere(|dir| {
        let none = dir.join("none");
        assert_eq!(kind(File::open(&none)), ErrorKind::NotFound);
        assert_eq!(kind(fs::remove_file(&none)), ErrorKind::NotFound);
        assert_eq!(kind(fs::read(&none)), ErrorKind::NotFound);
        assert_eq!(kind(fs::read_dir(&none)), ErrorKind::NotFound);
        assert_eq!(kind(fs::metadata(&none)), ErrorKind::NotFound);
        assert_eq!(kind(fs::canonicalize(&none)), ErrorKind::NotFound);
        assert_eq!(kind(fs::copy(&none, dir.join("x"))), ErrorKind::NotFound);
        assert_eq!(kind(fs::write(dir.join("none/x"), "")), ErrorKind::NotFound);
        assert_eq!(kind(fs::rename(&none, dir.join("x"))), ErrorKind::NotFound);
        assert_eq!(kind(File::open("a\0b")), ErrorKind::InvalidInput);
    });
}

#[test]
fn small_reads_go_on_where_the_last_has_ended() {
    let _bound = bounded();
    everywhere(|dir| {
        let path = dir.join("file");
        fs::write(&path, "ten-four").unwrap();
        let mut file = File::open(&path).unwrap();
        let mut half = [0; 4];
        file.read_exact(&mut half).unwrap();
        assert_eq!(&half, b"ten-");
        assert_eq!((&file).read(&mut half).unwrap(), 4);
        assert_eq!(&half, b"four");
        assert_eq!(file.read(&mut half).unwrap(), 0);
        assert_eq!(kind(file.read_exact(&mut half)), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn the_position_is_told_and_set() {
    let _bound = bounded();
    everywhere(|dir| {
        let path = dir.join("file");
        fs::write(&path, "ten-four").unwrap();
        let mut file = File::options().read(true).write(true).open(&path).unwrap();
        assert_eq!(file.seek(SeekFrom::Start(4)).unwrap(), 4);
        let mut text = String::new();
        assert_eq!(file.read_to_string(&mut text).unwrap(), 4);
        assert_eq!(text, "four");
        assert_eq!(file.seek(SeekFrom::Current(-8)).unwrap(), 0);
        assert_eq!(file.seek(SeekFrom::End(-4)).unwrap(), 4);
        file.write_all(b"five").unwrap();
        assert_eq!(file.stream_position().unwrap(), 8);
        file.rewind().unwrap();
        text.clear();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "ten-five");
        assert_eq!(
            kind(file.seek(SeekFrom::Current(-9))),
            ErrorKind::InvalidInput
        );
    });
}

#[test]
fn reads_and_writes_at_a_place_leave_the_position_alone() {
    let _bound = bounded();
    everywhere(|dir| {
        let path = dir.join("file");
        let mut options = OpenOptions::new();
        let mut file = options
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        file.write_all_at(b"asdf", 0).unwrap();
        assert_eq!(file.write_at(b"sd", 6).unwrap(), 2);
        assert_eq!(file.stream_position().unwrap(), 0);
        let mut part = [0; 5];
        assert_eq!(file.read_at(&mut part, 3).unwrap(), 5);
        assert_eq!(&part, b"f\0\0sd");
        assert_eq!(file.read_at(&mut part, 100).unwrap(), 0);
        assert_eq!(
            kind(file.read_exact_at(&mut part, 4)),
            ErrorKind::UnexpectedEof
        );
        assert_eq!(
            kind(file.read_at(&mut part, u64::MAX)),
            ErrorKind::InvalidInput
        );
        assert_eq!(file.stream_position().unwrap(), 0);
    });
}

#[test]
fn slices_are_read_and_written_piece_by_piece() {
    let _bound = bounded();
    everywhere(|dir| {
        let path = dir.join("file");
        let mut file = File::create(&path).unwrap();
        let pieces = [
            IoSlice::new(b"one "),
            IoSlice::new(b""),
            IoSlice::new(b"two"),
        ];
        assert_eq!(file.write_vectored(&pieces).unwrap(), 7);
        let (mut head, mut tail) = ([0; 2], [0; 8]);
        let mut slices = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)];
        let mut file = File::open(&path).unwrap();
        assert_eq!(file.read_vectored(&mut slices).unwrap(), 7);
        assert_eq!((&head, &tail), (b"on", b"e two\0\0\0"));
    });
}

#[test]
fn more_is_appended_to_what_a_buffer_holds() {
    let _bound = bounded();
    everywhere(|dir| {
        let path = dir.join("file");
        fs::write(&path, "more").unwrap();
        let mut bytes = b"some, ".to_vec();
        File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"some, more");
        fs::write(&path, b"\xff").unwrap();
        let mut text = String::from("untouched");
        let invalid = File::open(&path).unwrap().read_to_string(&mut text);
        assert_eq!(kind(invalid), ErrorKind::InvalidData);
        assert_eq!(text, "untouched");
    });
}

#[test]
fn megabytes_are_moved_whole() {
    let _bound = bounded();
    everywhere(|dir| {
        let path = dir.join("file");
        let bytes: Vec<u8> = (0..9_000_001_u32).map(|n| (n % 251) as u8).collect();
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        let mut read = vec![0; bytes.len()];
        File::open(&path).unwrap().read_exact(&mut read).unwrap();
        assert!(read == bytes);
        let mut copied = File::create(dir.join("copy")).unwrap();
        let count = io::copy(&mut File::open(&path).unwrap(), &mut copied).unwrap();
        assert_eq!(count, 9_000_001);
        assert!(fs::read(dir.join("copy")).unwrap() == bytes);
    });
}

#[test]
fn each_way_of_opening_does_what_it_says() {
    let _bound = bounded();
    everywhere(|dir| {
        let (path, new) = (dir.join("file"), dir.join("new"));
        let options = |set: fn(&mut OpenOptions) -> &mut OpenOptions| {
            let mut options = File::options();
            set(&mut options);
            options
        };
        assert_eq!(kind(options(|o| o).open(&path)), ErrorKind::InvalidInput);
        assert_eq!(
            kind(options(|o| o.read(true).truncate(true)).open(&path)),
            ErrorKind::InvalidInput
        );
        assert_eq!(
            kind(options(|o| o.write(true)).open(&path)),
            ErrorKind::NotFound
        );
        options(|o| o.write(true).create(true))
            .open(&path)
            .unwrap()
            .write_all(b"foobar")
            .unwrap();
        options(|o| o.append(true))
            .open(&path)
            .unwrap()
            .write_all(b"baz")
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"foobarbaz");
        options(|o| o.write(true))
            .open(&path)
            .unwrap()
            .write_all(b"B")
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"Boobarbaz");
        options(|o| o.write(true).truncate(true))
            .open(&path)
            .unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        File::create_new(&new).unwrap();
        assert_eq!(kind(File::create_new(&new)), ErrorKind::AlreadyExists);
        assert_eq!(
            kind(options(|o| o.write(true).create_new(true)).open(&new)),
            ErrorKind::AlreadyExists
        );
        let mut read_only = File::open(&path).unwrap();
        assert!(read_only.write(b"x").is_err());
        assert!(File::create(&path).unwrap().read(&mut [0]).is_err());
        assert_eq!(kind(File::create(dir)), ErrorKind::IsADirectory);
        assert_eq!(
            kind(File::open(dir).unwrap().read(&mut [0])),
            ErrorKind::IsADirectory
        );
    });
}

#[test]
fn a_new_file_has_the_mode_that_was_asked_for() {
    let _bound = bounded();
    everywhere(|dir| {
        let path = dir.join("file");
        File::options()
            .mode(0o600)
            .write(true)
            .create(true)
            .open(&path)
            .unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let refused = File::options()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(&path);
        assert_eq!(kind(refused), ErrorKind::NotADirectory);
    });
}

#[test]
fn metadata_tells_files_folders_and_links_apart() {
    let _bound = bounded();
    everywhere(|dir| {
        let (path, link) = (dir.join("file"), dir.join("link"));
        fs::write(&path, "hello").unwrap();
        symlink(&path, &link).unwrap();
        let data = fs::metadata(&path).unwrap();
        assert!(data.is_file() && !data.is_dir() && data.len() == 5);
        assert_eq!(
            File::open(&path).unwrap().metadata().unwrap().ino(),
            data.ino()
        );
        assert!(fs::metadata(dir).unwrap().is_dir());
        assert!(fs::metadata(&link).unwrap().is_file());
        assert!(
            fs::symlink_metadata(&link)
                .unwrap()
                .file_type()
                .is_symlink()
        );
        assert!(!data.file_type().is_fifo());
        assert_eq!(fs::read_link(&link).unwrap(), path);
        assert_eq!(kind(fs::read_link(&path)), ErrorKind::InvalidInput);
        assert_eq!(
            fs::canonicalize(&link).unwrap(),
            fs::canonicalize(&path).unwrap()
        );
        symlink("nowhere", dir.join("dangling")).unwrap();
        assert_eq!(kind(File::open(dir.join("dangling"))), ErrorKind::NotFound);
    });
}

#[test]
fn folders_are_made_and_removed() {
    let _bound = bounded();
    everywhere(|dir| {
        let deep = dir.join("a/b/c");
        assert_eq!(kind(fs::create_dir(&deep)), ErrorKind::NotFound);
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir_all(&deep).unwrap();
        assert_eq!(kind(fs::create_dir(&deep)), ErrorKind::AlreadyExists);
        fs::create_dir_all(Path::new("")).unwrap();
        assert_eq!(
            kind(fs::remove_dir(dir.join("a"))),
            ErrorKind::DirectoryNotEmpty
        );
        fs::write(deep.join("file"), "").unwrap();
        assert_eq!(
            kind(fs::create_dir_all(deep.join("file/x"))),
            ErrorKind::NotADirectory
        );
        fs::write(dir.join("kept"), "").unwrap();
        symlink(dir.join("kept"), deep.join("link")).unwrap();
        fs::remove_dir_all(dir.join("a")).unwrap();
        assert!(!fs::exists(dir.join("a")).unwrap());
        assert!(
            fs::exists(dir.join("kept")).unwrap(),
            "links are not followed"
        );
        assert_eq!(
            kind(fs::remove_dir_all(dir.join("kept"))),
            ErrorKind::NotADirectory
        );
        DirBuilder::new()
            .mode(0o700)
            .create(dir.join("private"))
            .unwrap();
        assert_eq!(
            fs::metadata(dir.join("private")).unwrap().mode() & 0o777,
            0o700
        );
        DirBuilder::new()
            .recursive(true)
            .create(dir.join("x/y"))
            .unwrap();
        assert_eq!(
            kind(DirBuilder::new().create(dir.join("x/y"))),
            ErrorKind::AlreadyExists
        );
        fs::remove_dir(dir.join("x/y")).unwrap();
    });
}

#[test]
fn a_folder_is_listed_whole_however_large() {
    let _bound = bounded();
    everywhere(|dir| {
        assert!(fs::read_dir(dir).unwrap().next().is_none());
        for count in [1, 127, 128, 129, 500] {
            let folder = dir.join(count.to_string());
            fs::create_dir(&folder).unwrap();
            for n in 0..count {
                std::fs::write(folder.join(n.to_string()), n.to_string()).unwrap();
            }
            let mut names: Vec<u32> = fs::read_dir(&folder)
                .unwrap()
                .map(|entry| {
                    entry
                        .unwrap()
                        .file_name()
                        .into_string()
                        .unwrap()
                        .parse()
                        .unwrap()
                })
                .collect();
            names.sort_unstable();
            assert!(names.into_iter().eq(0..count));
        }
        assert_eq!(
            kind(fs::read_dir(dir.join("1/0"))),
            ErrorKind::NotADirectory
        );
    });
}

#[test]
fn an_entry_tells_what_it_is() {
    let _bound = bounded();
    everywhere(|dir| {
        fs::create_dir(dir.join("folder")).unwrap();
        fs::write(dir.join("file"), "hello").unwrap();
        symlink("file", dir.join("link")).unwrap();
        let listing = fs::read_dir(dir).unwrap();
        assert_eq!(format!("{listing:?}"), format!("ReadDir({dir:?})"));
        for entry in listing {
            let entry = entry.unwrap();
            let (name, kind) = (entry.file_name(), entry.file_type().unwrap());
            assert_eq!(entry.path(), dir.join(&name));
            assert_eq!(
                format!("{entry:?}"),
                format!("DirEntry({:?})", entry.path())
            );
            let data = entry.metadata().unwrap();
            assert_eq!(data.ino(), entry.ino());
            assert_eq!(data.file_type(), kind);
            match name.to_str().unwrap() {
                "folder" => assert!(kind.is_dir()),
                "file" => assert!(kind.is_file() && data.len() == 5),
                other => assert!(other == "link" && kind.is_symlink()),
            }
        }
    });
}

#[test]
fn files_are_copied_with_their_permissions() {
    let _bound = bounded();
    everywhere(|dir| {
        let (from, to) = (dir.join("from"), dir.join("to"));
        fs::write(&from, "hello").unwrap();
        fs::write(&to, "something longer").unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(fs::copy(&from, &to).unwrap(), 5);
        assert_eq!(fs::read(&to).unwrap(), b"hello");
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o777, 0o640);
        assert!(fs::copy(&from, dir).is_err());
        assert!(fs::copy(dir, dir.join("x")).is_err());
        assert!(fs::copy("/proc/self/comm", dir.join("comm")).unwrap() > 0);
    });
}

#[test]
fn names_are_given_and_taken() {
    let _bound = bounded();
    everywhere(|dir| {
        let (one, two) = (dir.join("one"), dir.join("two"));
        fs::write(&one, "hello").unwrap();
        fs::hard_link(&one, &two).unwrap();
        assert_eq!(fs::metadata(&one).unwrap().nlink(), 2);
        assert_eq!(kind(fs::hard_link(&one, &two)), ErrorKind::AlreadyExists);
        fs::remove_file(&one).unwrap();
        fs::rename(&two, &one).unwrap();
        assert_eq!(fs::read(&one).unwrap(), b"hello");
        assert!(!fs::exists(&two).unwrap());
        #[allow(deprecated)]
        fs::soft_link("one", &two).unwrap();
        assert_eq!(fs::read_link(&two).unwrap(), PathBuf::from("one"));
    });
}

#[test]
fn permissions_are_set_by_path_and_by_file() {
    let _bound = bounded();
    everywhere(|dir| {
        let path = dir.join("file");
        let file = File::create(&path).unwrap();
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions.clone()).unwrap();
        assert!(file.metadata().unwrap().permissions().readonly());
        permissions.set_mode(0o600);
        file.set_permissions(permissions).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let none = fs::Permissions::from_mode(0o600);
        assert_eq!(
            kind(fs::set_permissions(dir.join("none"), none)),
            ErrorKind::NotFound
        );
    });
}

#[test]
fn owners_are_set_to_those_that_they_are() {
    let _bound = bounded();
    use greenroom::os::unix::fs::{chown, fchown, lchown};
    everywhere(|dir| {
        let file = File::open(dir).unwrap();
        let data = file.metadata().unwrap();
        let (user, group) = (Some(data.uid()), Some(data.gid()));
        chown(dir, user, group).unwrap();
        lchown(dir, None, group).unwrap();
        fchown(&file, user, None).unwrap();
        assert_eq!(
            kind(chown(dir.join("none"), None, None)),
            ErrorKind::NotFound
        );
    });
}

#[test]
fn lengths_and_times_are_set_and_all_is_synced() {
    let _bound = bounded();
    everywhere(|dir| {
        let mut file = File::create_new(dir.join("file")).unwrap();
        file.write_all(b"foobar").unwrap();
        file.sync_all().unwrap();
        file.sync_data().unwrap();
        file.set_len(10).unwrap();
        assert_eq!(fs::read(dir.join("file")).unwrap(), b"foobar\0\0\0\0");
        file.set_len(3).unwrap();
        assert_eq!(fs::read(dir.join("file")).unwrap(), b"foo");
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(12_345);
        file.set_modified(then).unwrap();
        assert_eq!(file.metadata().unwrap().modified().unwrap(), then);
        let later = then + Duration::from_secs(1);
        file.set_times(FileTimes::new().set_accessed(later))
            .unwrap();
        assert_eq!(file.metadata().unwrap().accessed().unwrap(), later);
        assert_eq!(file.metadata().unwrap().modified().unwrap(), then);
    });
}

#[test]
fn clones_share_a_position() {
    let _bound = bounded();
    everywhere(|dir| {
        let path = dir.join("file");
        fs::write(&path, "abcd").unwrap();
        let mut one = File::options().read(true).write(true).open(&path).unwrap();
        let mut two = one.try_clone().unwrap();
        let mut half = [0; 2];
        one.read_exact(&mut half).unwrap();
        two.read_exact(&mut half).unwrap();
        assert_eq!(&half, b"cd");
        one.write_all(b"ef").unwrap();
        assert_eq!(two.stream_position().unwrap(), 6);
        drop(one);
        two.write_all(b"gh").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abcdefgh");
    });
}

#[test]
fn locks_keep_those_away_who_lock_as_well() {
    let _bound = bounded();
    everywhere(|dir| {
        let path = dir.join("file");
        let [one, two, three] = [(); 3].map(|()| File::create(&path).unwrap());
        one.lock_shared().unwrap();
        two.lock_shared().unwrap();
        assert!(matches!(three.try_lock(), Err(TryLockError::WouldBlock)));
        three.try_lock_shared().unwrap();
        three.unlock().unwrap();
        one.unlock().unwrap();
        one.unlock().unwrap();
        drop(two);
        three.try_lock().unwrap();
        let busy = io::Error::from(one.try_lock().unwrap_err());
        assert_eq!(busy.kind(), ErrorKind::WouldBlock);
        drop(three);
        one.lock().unwrap();
    });
}

#[test]
fn files_become_descriptors_and_come_back() {
    let _bound = bounded();
    everywhere(|dir| {
        let path = dir.join("file");
        let file = File::create(&path).unwrap();
        let number = file.as_raw_fd();
        assert_eq!(file.as_fd().as_raw_fd(), number);
        let mut theirs = std::fs::File::from(file);
        assert_eq!(theirs.as_raw_fd(), number);
        theirs.write_all(b"theirs, ").unwrap();
        let mut ours = File::from(OwnedFd::from(File::from(theirs)));
        ours.write_all(b"ours").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"theirs, ours");
        let text = format!("{ours:?}");
        assert!(
            text.starts_with("File { fd: ") && text.contains("write: true"),
            "{text}"
        );
        let echo = greenroom::process::Command::new("echo")
            .arg("!")
            .stdout(ours)
            .status();
        assert!(echo.unwrap().success());
        assert_eq!(fs::read(&path).unwrap(), b"theirs, ours!\n");
    });
}

#[test]
fn special_files_work_as_well() {
    let _bound = bounded();
    everywhere(|_| {
        let mut zeros = [1; 100];
        File::open("/dev/zero")
            .unwrap()
            .read_exact(&mut zeros)
            .unwrap();
        assert_eq!(zeros, [0; 100]);
        File::create("/dev/null")
            .unwrap()
            .write_all(&zeros)
            .unwrap();
        let mut end = Vec::new();
        assert_eq!(
            File::open("/dev/null")
                .unwrap()
                .read_to_end(&mut end)
                .unwrap(),
            0
        );
        assert!(
            fs::read_to_string("/proc/self/status")
                .unwrap()
                .contains("Threads:")
        );
        let mut name = String::new();
        File::open("/proc/self/comm")
            .unwrap()
            .read_to_string(&mut name)
            .unwrap();
        assert!(name.ends_with('\n'));
    });
}
