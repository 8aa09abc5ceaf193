//! A1: lock files of all kinds.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, chown, mkfifo};

use super::files::in_use;
use super::{Directory, bind};
use crate::error::ListenError;
use crate::listen::socket_file::judge_mode;

fn lock_of(directory: &Directory) -> std::path::PathBuf {
    directory.0.join("s.lock")
}

/// As a umask of 0277 has left it, and earlier versions of this library.
#[test]
fn a_lock_file_that_cannot_be_written_is_taken() {
    let directory = Directory::new();
    File::create(lock_of(&directory)).unwrap();
    fs::set_permissions(lock_of(&directory), Permissions::from_mode(0o400)).unwrap();
    let acceptor = bind(directory.socket()).unwrap();
    assert_eq!(bind(directory.socket()).unwrap_err(), in_use(&directory.socket()));
    drop(acceptor);
}

#[test]
fn a_lock_file_that_another_process_holds_keeps_the_path() {
    let directory = Directory::new();
    let lock = OpenOptions::new().create_new(true).write(true).open(lock_of(&directory)).unwrap();
    #[allow(deprecated)]
    nix::fcntl::flock(lock.as_raw_fd(), nix::fcntl::FlockArg::LockExclusive).unwrap();
    assert_eq!(bind(directory.socket()).unwrap_err(), in_use(&directory.socket()));
    drop(lock);
    bind(directory.socket()).unwrap();
}

#[test]
fn a_lock_file_that_is_a_link_or_a_fifo_is_named_and_left_alone() {
    let directory = Directory::new();
    let occupied = ListenError::Occupied { path: lock_of(&directory).display().to_string() };
    let target = directory.0.join("target");
    fs::write(&target, "precious").unwrap();
    symlink(&target, lock_of(&directory)).unwrap();
    assert_eq!(bind(directory.socket()).unwrap_err(), occupied);
    fs::remove_file(lock_of(&directory)).unwrap();
    mkfifo(&lock_of(&directory), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    assert_eq!(bind(directory.socket()).unwrap_err(), occupied);
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert_eq!(directory.list(), ["s.lock", "target"]);
}

/// In a directory with the sticky bit, as /tmp, `O_CREAT` on it fails even for root where `fs.protected_regular` is set.
#[test]
fn a_lock_file_of_another_user_is_taken_if_it_can_be_opened() {
    let directory = Directory::new();
    File::create(lock_of(&directory)).unwrap();
    if chown(&lock_of(&directory), Some(Uid::from_raw(12345)), Some(Gid::from_raw(12345))).is_err()
    {
        eprintln!("skipped: chown to another user (CAP_CHOWN)");
        return;
    }
    fs::set_permissions(&directory.0, Permissions::from_mode(0o1777)).unwrap();
    drop(bind(directory.socket()).unwrap());
}

#[test]
fn the_error_about_a_foreign_lock_names_file_owner_and_remedy() {
    let error = ListenError::ForeignLock { path: "/run/s.lock".into(), uid: 65534 }.to_string();
    assert_eq!(
        error,
        "/run/s.lock was left by uid 65534, and this user may not open it; if no server of that user runs, remove \
         the file, else choose another path"
    );
}

/// virtiofs, 9p and their like.
#[test]
fn a_file_system_that_keeps_its_own_mode_is_used_unless_that_is_more_open() {
    let directory = Directory::new();
    let refused = Err(nix::errno::Errno::EINVAL);
    judge_mode(&directory.socket(), 0o600, 0o600, refused).unwrap();
    judge_mode(&directory.socket(), 0o600, 0o660, refused).unwrap();
    let error = judge_mode(&directory.socket(), 0o777, 0o600, refused).unwrap_err();
    assert!(matches!(error, ListenError::TooOpen { mode: 0o777, asked: 0o600, .. }), "{error:?}");
    assert!(error.to_string().contains("has mode 777 instead of 600"), "{error}");
}

#[test]
fn a_lock_file_is_removed_only_by_its_holder() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    let inode = fs::metadata(lock_of(&directory)).unwrap().ino();
    bind(directory.socket()).unwrap_err();
    assert_eq!(fs::metadata(lock_of(&directory)).unwrap().ino(), inode);
    drop(acceptor);
    assert!(directory.list().is_empty());
}
