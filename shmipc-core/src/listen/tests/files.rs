//! A1 to A4: who may have a path.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::{Directory, bind};
use crate::config::Config;
use crate::error::ListenError;
use crate::listen::{Acceptor, ListenOptions};

fn in_use(path: &Path) -> ListenError {
    ListenError::InUse { path: path.display().to_string() }
}

#[test]
fn the_socket_goes_and_the_lock_file_stays() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    assert_eq!(directory.list(), ["s", "s.lock"]);
    UnixStream::connect(directory.socket()).unwrap();
    drop(acceptor);
    assert_eq!(directory.list(), ["s.lock"]);
    let again = bind(directory.socket()).unwrap();
    again.close();
    assert_eq!(directory.list(), ["s.lock"]);
}

#[test]
fn a_live_socket_is_never_stolen() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    let inode = fs::metadata(directory.socket()).unwrap().ino();
    assert_eq!(bind(directory.socket()).unwrap_err(), in_use(&directory.socket()));
    assert_eq!(fs::metadata(directory.socket()).unwrap().ino(), inode);
    drop(acceptor);
    bind(directory.socket()).unwrap();
}

/// A1: the lock alone decides, also while there is no socket to be seen.
#[test]
fn whoever_holds_the_lock_has_the_path() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    fs::remove_file(directory.socket()).unwrap();
    assert_eq!(bind(directory.socket()).unwrap_err(), in_use(&directory.socket()));
    assert_eq!(directory.list(), ["s.lock"]);
    drop(acceptor);
    bind(directory.socket()).unwrap();
}

/// A2: also if its owner knows nothing of the lock.
#[test]
fn a_live_socket_without_a_lock_is_not_stolen_either() {
    let directory = Directory::new();
    let _other = UnixListener::bind(directory.socket()).unwrap();
    assert_eq!(bind(directory.socket()).unwrap_err(), in_use(&directory.socket()));
    UnixStream::connect(directory.socket()).unwrap();
    assert_eq!(directory.list(), ["s", "s.lock"]);
}

#[test]
fn a_stale_socket_is_replaced() {
    let directory = Directory::new();
    // The standard library leaves the file behind, as a crash does.
    drop(UnixListener::bind(directory.socket()).unwrap());
    drop(UnixListener::bind(directory.0.join("s.new")).unwrap());
    let stale = fs::metadata(directory.socket()).unwrap().ino();
    let _acceptor = bind(directory.socket()).unwrap();
    assert_ne!(fs::metadata(directory.socket()).unwrap().ino(), stale);
    assert_eq!(directory.list(), ["s", "s.lock"]);
    UnixStream::connect(directory.socket()).unwrap();
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let directory = Directory::new();
    fs::write(directory.socket(), "precious").unwrap();
    let path = directory.socket().display().to_string();
    assert_eq!(bind(directory.socket()).unwrap_err(), ListenError::Occupied { path });
    assert_eq!(fs::read(directory.socket()).unwrap(), b"precious");
    fs::remove_file(directory.socket()).unwrap();
    fs::write(directory.0.join("s.new"), "precious").unwrap();
    assert!(matches!(bind(directory.socket()), Err(ListenError::Path { .. })));
    assert_eq!(fs::read(directory.0.join("s.new")).unwrap(), b"precious");
    assert_eq!(directory.list(), ["s.lock", "s.new"]);
}

/// A4.
#[test]
fn only_our_own_inode_is_removed() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    fs::remove_file(directory.socket()).unwrap();
    let _other = UnixListener::bind(directory.socket()).unwrap();
    drop(acceptor);
    UnixStream::connect(directory.socket()).unwrap();
}

/// A4.
#[test]
fn a_listener_that_was_passed_is_never_removed() {
    let directory = Directory::new();
    let passed = UnixListener::bind(directory.socket()).unwrap();
    let ours = passed.try_clone().unwrap();
    let acceptor = Acceptor::from_listener(ours, Config::default()).unwrap();
    drop(acceptor);
    assert_eq!(directory.list(), ["s"]);
    UnixStream::connect(directory.socket()).unwrap();
}

#[test]
fn the_mode_is_set_before_anybody_can_connect() {
    let directory = Directory::new();
    let options = ListenOptions::new().mode(0o606).backlog(1);
    let _acceptor = Acceptor::bind(directory.socket(), &options, Config::default()).unwrap();
    let mode = fs::metadata(directory.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o606);
    let lock = fs::metadata(directory.0.join("s.lock")).unwrap().permissions().mode();
    assert_eq!(lock & 0o7777, 0o600);
}

/// As long as an address can be, although the temporary name is longer.
#[test]
fn the_longest_path_works() {
    let directory = Directory::new();
    let prefix = directory.0.display().to_string().len() + 1;
    let path = directory.0.join("p".repeat(107 - prefix));
    let acceptor = bind(&path).unwrap();
    UnixStream::connect(&path).unwrap();
    drop(acceptor);
    assert_eq!(directory.list().len(), 1);
    let path = directory.0.join("p".repeat(108 - prefix));
    assert_eq!(bind(&path).unwrap_err(), ListenError::BadPath { path: path.display().to_string() });
    assert!(matches!(bind(""), Err(ListenError::BadPath { .. })));
}

#[test]
fn abstract_names_leave_nothing_behind() {
    let name = format!("@shmipc-files-{}", std::process::id());
    let acceptor = bind(&name).unwrap();
    assert_eq!(bind(&name).unwrap_err(), in_use(Path::new(&name)));
    drop(acceptor);
    bind(&name).unwrap();
    assert!(!Path::new(&name).exists());
}

#[test]
fn a_directory_that_does_not_exist_is_an_error() {
    let error = bind("/nonexistent/s").unwrap_err();
    assert!(matches!(error, ListenError::Path { .. }), "{error:?}");
    assert!(error.to_string().contains("/nonexistent/s.lock"), "{error}");
}
