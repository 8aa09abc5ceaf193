//! A1 to A4: who may have a path.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{Directory, bind};
use crate::config::Config;
use crate::error::ListenError;
use crate::handshake::connect;
use crate::link::{self, Address};
use crate::listen::{Acceptor, Binding, ListenOptions};

const IN_TIME: Duration = Duration::from_secs(60);

pub(super) fn in_use(path: &Path) -> ListenError {
    ListenError::InUse { path: path.display().to_string() }
}

#[test]
fn the_socket_and_its_lock_go_with_the_listener() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    assert_eq!(directory.list(), ["s", "s.lock"]);
    UnixStream::connect(directory.socket()).unwrap();
    drop(acceptor);
    assert!(directory.list().is_empty());
    let again = bind(directory.socket()).unwrap();
    again.close();
    assert!(directory.list().is_empty());
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
    assert_eq!(directory.list(), ["s"]);
}

#[test]
fn a_stale_socket_is_replaced() {
    let directory = Directory::new();
    // The standard library leaves the file behind, as a crash does.
    drop(UnixListener::bind(directory.socket()).unwrap());
    let _acceptor = bind(directory.socket()).unwrap();
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
    assert_eq!(directory.list(), ["s"]);
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

/// Paths up to the longest part that has room for `.upgrade.lock` behind it, of which some fit into an address, some do in
/// their directory, and some nowhere.
#[test]
fn a_path_of_any_length_is_bound_and_found() {
    let directory = Directory::new();
    let prefix = directory.0.display().to_string().len() + 1;
    for length in (99..=111).chain([prefix + 85, prefix + 95, prefix + 107, prefix + 242]) {
        let path = directory.0.join("p".repeat(length.saturating_sub(prefix).clamp(1, 242)));
        let acceptor = Binding::new(&path, ListenOptions::new(), Config::default(), IN_TIME)
            .unwrap()
            .complete()
            .unwrap();
        drop(link::try_connect(&Address::parse(&path).unwrap()).unwrap());
        assert_eq!(bind(&path).unwrap_err(), in_use(&path));
        let door = path.display().to_string() + ".upgrade";
        drop(link::try_connect(&Address::parse(door).unwrap()).unwrap());
        assert_eq!(directory.list().len(), 4);
        drop(acceptor);
        assert!(directory.list().is_empty(), "{:?}", directory.list());
    }
}

#[test]
fn a_path_below_a_long_directory_is_bound_and_found() {
    let directory = Directory::new();
    let deep = directory.0.join("d".repeat(200)).join("e".repeat(200));
    fs::create_dir_all(&deep).unwrap();
    let path = deep.join("s");
    let acceptor = bind(&path).unwrap();
    thread::scope(|scope| {
        let client = scope.spawn(|| connect(&path, &Config::default()));
        acceptor.accept(None).unwrap().unwrap();
        client.join().unwrap().unwrap();
    });
    drop(acceptor);
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
}

#[test]
fn a_path_that_the_kernel_takes_nowhere_is_refused_by_name() {
    let path = "p".repeat(4096);
    assert_eq!(bind(&path).unwrap_err(), ListenError::BadPath { path });
    assert!(matches!(bind(""), Err(ListenError::BadPath { .. })));
    let directory = Directory::new();
    let error = bind(directory.0.join("p".repeat(251))).unwrap_err().to_string();
    assert!(error.contains("its last part at most 242 bytes"), "{error}");
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
