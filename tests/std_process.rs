//! What std's own tests ask of `std::process`, re-written in our words, not copied, and asked of
//! `greenroom::process`, from a greenlet and from a plain thread. In the second half the order is
//! that of std's tests for Unix, and of those programs of its that end in one way or another.
mod net_support;

use greenroom::io::{Read, Write};
use greenroom::os::unix::process::{CommandExt, ExitStatusExt};
use greenroom::process::{self, Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use net_support::{bounded, kind};
use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Runs `test` in a greenlet, and on a thread without a hub.
fn everywhere(test: fn()) {
    let _bound = bounded();
    greenroom::spawn(test).join().unwrap();
    std::thread::spawn(test).join().unwrap();
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap().trim_end()
}

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout).to_owned()
}

#[test]
fn success_is_told() {
    let _bound = bounded();
    everywhere(|| {
        assert!(Command::new("true").status().unwrap().success());
        let mut child = Command::new("true").spawn().unwrap();
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let _bound = bounded();
    everywhere(|| {
        assert_eq!(
            kind(Command::new("if-this-is-a-binary").spawn()),
            ErrorKind::NotFound
        );
        assert_eq!(
            kind(Command::new("/").output()),
            ErrorKind::PermissionDenied
        );
        assert_eq!(
            kind(Command::new("true").current_dir("/none").status()),
            ErrorKind::NotFound
        );
    });
}

#[test]
fn the_code_and_the_signal_of_an_end_are_told() {
    let _bound = bounded();
    everywhere(|| {
        assert_eq!(sh("exit 1").status().unwrap().code(), Some(1));
        let killed = sh("kill -9 $$").status().unwrap();
        assert_eq!((killed.code(), killed.signal()), (None, Some(9)));
        assert!(!killed.success());
    });
}

#[test]
fn the_output_can_be_read_from_a_pipe() {
    let _bound = bounded();
    everywhere(|| {
        let mut child = sh("echo foobar").stdout(Stdio::piped()).spawn().unwrap();
        let mut output = String::new();
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_to_string(&mut output)
            .unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(output, "foobar\n");
    });
}

#[test]
fn a_slice_is_filled_piece_by_piece() {
    let _bound = bounded();
    everywhere(|| {
        let mut child = sh("echo abc").stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut pieces = [[0; 1], [0; 1]];
        let [one, two] = &mut pieces;
        let slices = &mut [std::io::IoSliceMut::new(one), std::io::IoSliceMut::new(two)];
        assert_eq!(stdout.read_vectored(slices).unwrap(), 2);
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).unwrap();
        assert_eq!((pieces.concat(), rest), (b"ab".to_vec(), b"c\n".to_vec()));
        child.wait().unwrap();
    });
}

#[test]
fn the_directory_is_set() {
    let _bound = bounded();
    everywhere(|| {
        let mut command = Command::new("pwd");
        assert_eq!(printed(command.current_dir("/")), "/");
        assert_eq!(command.get_current_dir(), Some(Path::new("/")));
    });
}

#[test]
fn the_input_can_be_written_to_a_pipe() {
    let _bound = bounded();
    everywhere(|| {
        let mut command = sh("read line; echo $line");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        (&child.stdin.take().unwrap()).write_all(b"foobar").unwrap();
        assert_eq!(child.wait_with_output().unwrap().stdout, b"foobar\n");
    });
}

#[test]
fn output_reads_nothing_and_status_inherits() {
    let _bound = bounded();
    everywhere(|| {
        assert_eq!(printed(&mut Command::new("cat")), "", "its input is empty");
        let mut command = sh("echo x");
        assert_eq!(printed(&mut command), "x");
        let child = command.spawn().unwrap();
        assert!(child.stdout.is_none() && child.stderr.is_none() && child.stdin.is_none());
        drop(child.wait_with_output().unwrap());
        assert_eq!(printed(&mut command), "x", "collected again");
    });
}

#[test]
fn what_was_chosen_for_a_stream_holds_for_output_too() {
    let _bound = bounded();
    everywhere(|| {
        let output = sh("echo x; echo y >&2; cat")
            .stdout(Stdio::null())
            .output()
            .unwrap();
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("", "y"));
        let file = File::open("/proc/self/comm").unwrap();
        assert_ne!(printed(sh("cat").stdin(file)), "");
    });
}

#[test]
fn both_outputs_are_collected() {
    let _bound = bounded();
    everywhere(|| {
        let output = sh("echo out; echo err >&2; exit 3").output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("out", "err"));
        assert_eq!(
            kind(Command::new("/no-binary-by-this-name").output()),
            ErrorKind::NotFound
        );
    });
}

#[test]
fn a_second_wait_gives_the_same_status() {
    let _bound = bounded();
    everywhere(|| {
        let mut child = sh("exit 1").spawn().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(1));
    });
}

#[test]
fn a_child_can_be_waited_for_with_its_output() {
    let _bound = bounded();
    everywhere(|| {
        let child = sh("echo hello").stdout(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("hello", ""));
    });
}

#[test]
fn a_wait_closes_the_input_first() {
    let _bound = bounded();
    everywhere(|| {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(child.wait().unwrap().success());
        assert!(child.stdin.is_none());
    });
}

#[test]
fn the_environment_is_changed_as_was_said() {
    let _bound = bounded();
    everywhere(|| {
        assert_eq!(
            printed(Command::new("env").env_clear().env("A", "1")),
            "A=1"
        );
        let inherited = printed(&mut Command::new("env"));
        let added = printed(Command::new("env").env("RUN_TEST_NEW_ENV", "123"));
        assert!(inherited.contains("PATH="), "{inherited}");
        assert!(
            added.contains("PATH=") && added.contains("RUN_TEST_NEW_ENV=123"),
            "{added}"
        );
        let mut without = Command::new("/usr/bin/env");
        let without = printed(without.env_remove("PATH"));
        assert!(!without.lines().any(|line| line.starts_with("PATH=")));
        let several = printed(
            Command::new("env")
                .env_clear()
                .envs([("A", "1"), ("B", "2")]),
        );
        assert_eq!(several.lines().count(), 2);
        assert_eq!(printed(Command::new("/usr/bin/env").env_clear()), "");
    });
}

#[test]
fn zero_bytes_are_errors_wherever_they_stand() {
    let _bound = bounded();
    everywhere(|| {
        let with_arg = |arg: &str| Command::new("true").arg(arg).spawn();
        let with_env = |key: &str, value: &str| Command::new("true").env(key, value).spawn();
        assert_eq!(kind(Command::new("no\0t").spawn()), ErrorKind::InvalidInput);
        assert_eq!(kind(with_arg("no\0t")), ErrorKind::InvalidInput);
        assert_eq!(kind(with_env("no\0t", "v")), ErrorKind::InvalidInput);
        assert_eq!(kind(with_env("KEY", "no\0t")), ErrorKind::InvalidInput);
        assert_eq!(
            kind(Command::new("true").current_dir("no\0t").spawn()),
            ErrorKind::InvalidInput
        );
    });
}

#[test]
fn a_command_tells_what_it_holds() {
    let _bound = bounded();
    let mut command = Command::new("prog");
    command.args(["one", "two"]).env("A", "1").env_remove("B");
    assert_eq!(command.get_program(), "prog");
    assert!(command.get_args().eq(["one", "two"]));
    let envs: Vec<_> = command.get_envs().collect();
    assert_eq!(
        envs,
        [
            (OsStr::new("A"), Some(OsStr::new("1"))),
            (OsStr::new("B"), None)
        ]
    );
    assert_eq!(command.get_current_dir(), None);
    let theirs = {
        let mut command = std::process::Command::new("prog");
        command.args(["one", "two"]).env("A", "1").env_remove("B");
        format!("{command:?}")
    };
    assert_eq!(format!("{command:?}"), theirs);
}

#[test]
fn a_command_and_a_child_may_go_to_other_threads() {
    let _bound = bounded();
    fn free<T: Send + Sync>() {}
    free::<Command>();
    free::<Child>();
    free::<ChildStdin>();
    free::<ChildStdout>();
    free::<ChildStderr>();
}

#[test]
fn to_kill_what_has_ended_is_fine() {
    let _bound = bounded();
    everywhere(|| {
        let mut child = Command::new("true").spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            greenroom::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        let mut zombie = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(zombie.stdout.take().unwrap().read(&mut [0]).unwrap(), 0);
        zombie.kill().unwrap();
        zombie.wait().unwrap();
    });
}

#[test]
fn a_process_group_is_made_and_killed_as_one() {
    let _bound = bounded();
    everywhere(|| {
        let mut child = Command::new("cat")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let group = child.id() as libc::pid_t;
        // SIGKILL, for the others may be ignored: a child inherits that.
        // SAFETY: numbers are passed; the group is that of the child alone.
        assert_eq!(unsafe { libc::kill(-group, libc::SIGKILL) }, 0);
        let mut rest = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    });
}

#[test]
fn pre_exec_runs_in_the_child_and_its_error_is_ours() {
    let _bound = bounded();
    everywhere(|| {
        let mut command = sh("cat /proc/self/comm; umask");
        // SAFETY: umask is async-signal-safe.
        let command = unsafe {
            command.pre_exec(|| {
                libc::umask(0o77);
                Ok(())
            })
        };
        assert!(printed(command).ends_with("0077"));
        let mut refused = Command::new("true");
        // SAFETY: nothing is done but to make an error of a number.
        let refused = unsafe { refused.pre_exec(|| Err(std::io::Error::from_raw_os_error(42))) };
        assert_eq!(refused.spawn().unwrap_err().raw_os_error(), Some(42));
    });
}

#[test]
fn a_spawn_that_fails_leaves_no_zombie() {
    let _bound = bounded();
    let marker = 42_424_242.to_string();
    let mut command = Command::new("/does/not/exist");
    // SAFETY: nothing is done in the child.
    unsafe { command.arg(marker).pre_exec(|| Ok(())) };
    for _ in 0..10 {
        assert!(command.spawn().is_err());
    }
    let children = format!("/proc/self/task/{}/children", std::process::id());
    let zombies = std::fs::read_to_string(children).unwrap_or_default();
    let state = |id: &str| std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    assert!(
        zombies
            .split_whitespace()
            .all(|id| !state(id).starts_with("std_process"))
    );
}

#[test]
fn the_first_argument_can_be_another_than_the_program() {
    let _bound = bounded();
    everywhere(|| assert_eq!(printed(sh("echo $0").arg0("other")), "other"));
}

#[test]
fn our_own_ids_may_be_set() {
    let _bound = bounded();
    everywhere(|| {
        // SAFETY: both take nothing and always succeed.
        let (user, group) = unsafe { (libc::getuid(), libc::getgid()) };
        let ids = printed(sh("id -u; id -g").uid(user).gid(group));
        assert_eq!(ids, format!("{user}\n{group}"));
    });
}

#[test]
fn exec_becomes_the_program_or_says_why_not() {
    let _bound = bounded();
    if std::env::var_os("EXEC").is_some() {
        panic!("{}", sh("echo became; exit 9").exec());
    }
    let error = Command::new("/does/not/exist").exec();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["exec_becomes", "--nocapture"]).env("EXEC", "1");
    let output = again.output().unwrap();
    assert_eq!(output.status.code(), Some(9));
    assert!(String::from_utf8_lossy(&output.stdout).contains("became"));
}

#[test]
fn a_program_starts_with_no_signal_blocked_and_sigpipe_as_usual() {
    let _bound = bounded();
    everywhere(|| {
        let status = printed(sh("grep -E 'SigBlk|SigIgn' /proc/self/status").env("LC_ALL", "C"));
        let bits = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        assert_eq!(bits("SigBlk") & (1 << (libc::SIGINT - 1)), 0, "{status}");
        assert_eq!(bits("SigIgn") & (1 << (libc::SIGPIPE - 1)), 0, "{status}");
    });
}

#[test]
fn the_ends_of_pipes_become_descriptors_and_come_back() {
    let _bound = bounded();
    everywhere(|| {
        let mut command = Command::new("cat");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let number = stdin.as_raw_fd();
        assert_eq!(stdin.as_fd().as_raw_fd(), number);
        let fd = OwnedFd::from(stdin);
        assert_eq!(fd.as_raw_fd(), number);
        // SAFETY: F_GETFL takes no argument.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0, "blocking for others");
        let mut stdin = ChildStdin::from(fd);
        stdin.write_all(b"round").unwrap();
        let stdin = std::process::ChildStdin::from(stdin);
        drop(ChildStdin::from(stdin));
        let mut stdout = ChildStdout::from(OwnedFd::from(stdout));
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        assert_eq!(text, "round");
        assert!(stdout.into_raw_fd() > 2);
        child.wait().unwrap();
    });
}

#[test]
fn a_child_of_std_can_be_taken_over() {
    let _bound = bounded();
    everywhere(|| {
        let theirs = std::process::Command::new("echo")
            .arg("x")
            .stdout(Stdio::piped())
            .spawn();
        let child = Child::try_from(theirs.unwrap()).unwrap();
        assert_eq!(child.wait_with_output().unwrap().stdout, b"x\n");
    });
}

#[test]
fn a_dropped_child_lives_on() {
    let _bound = bounded();
    everywhere(|| {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        drop(
            sh("sleep 0.02; echo > $MARK")
                .env("MARK", &mark)
                .spawn()
                .unwrap(),
        );
        while !mark.exists() {
            greenroom::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn the_debug_forms_name_the_types() {
    let _bound = bounded();
    let child = Command::new("true").stdin(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let text = format!("{child:?}");
    assert!(
        text.starts_with("Child { id: ") && text.contains("ChildStdin { fd: "),
        "{text}"
    );
    child.wait().unwrap();
}

#[test]
fn the_rest_is_std_s_own() {
    let _bound = bounded();
    assert_eq!(process::id(), std::process::id());
    let _: fn() -> ! = process::abort;
    let _: fn(i32) -> ! = process::exit;
    let _ = process::ExitCode::SUCCESS;
    assert_eq!(
        greenroom::os::unix::process::parent_id(),
        std::os::unix::process::parent_id()
    );
}
