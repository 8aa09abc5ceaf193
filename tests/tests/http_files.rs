//! What `unix:PATH` finds at its path: it replaces a socket of a dead server, and nothing else.

use std::fs;
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use shmipc_async::ListenError;
use shmipc_http::{Address, BindError, Connector, Incoming};
use tempfile::TempDir;
use tests::needs::{not_tried, short_directory};
use tokio::io::AsyncWriteExt;

/// Binds `unix:PATH` and `shm:PATH`, which follow the same rules.
#[track_caller]
fn expect_occupied(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for address in [Address::Unix(path.to_owned()), Address::Shm(path.to_owned())] {
        let error = runtime.block_on(Incoming::bind(&address)).expect_err("the path is in use");
        let expected = ListenError::Occupied { path: path.display().to_string() };
        assert_eq!(error, BindError::Listen(expected), "{address}");
    }
}

fn place() -> (TempDir, PathBuf) {
    let directory = short_directory();
    let path = directory.path().join("data.db");
    (directory, path)
}

#[test]
fn unix_bind_at_a_regular_file_fails_and_leaves_its_contents() {
    let (_directory, path) = place();
    fs::write(&path, "precious").unwrap();
    expect_occupied(&path);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

/// What a client passes would be closed by the thread that serves, which a socket that lingers keeps for long.
#[test]
fn unix_connections_take_no_descriptors() {
    let (_directory, path) = place();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _incoming = runtime.block_on(Incoming::bind(&Address::Unix(path.clone()))).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    let rights = [ControlMessage::ScmRights(&[client.as_raw_fd()])];
    let (at, bytes) = (client.as_raw_fd(), [IoSlice::new(b"1")]);
    match sendmsg::<()>(at, &bytes, &rights, MsgFlags::empty(), None) {
        Err(error) => assert_eq!(error, Errno::EPERM),
        Ok(_) => {
            let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
            let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
            let version = (numbers.next(), numbers.next());
            assert!(version < (Some(6), Some(16)), "Linux {release} can refuse descriptors");
            not_tried("refusing descriptors, which needs Linux 6.16");
        }
    }
}

#[test]
fn unix_bind_at_a_fifo_fails_and_leaves_it() {
    let (_directory, path) = place();
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    expect_occupied(&path);
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
}

#[test]
fn unix_bind_at_a_dangling_symlink_fails_and_leaves_it() {
    let (directory, path) = place();
    let target = directory.path().join("target");
    symlink(&target, &path).unwrap();
    expect_occupied(&path);
    assert_eq!(fs::read_link(&path).unwrap(), target);
    assert!(!target.exists());
}

#[test]
fn unix_bind_at_a_symlink_to_a_file_fails_and_leaves_both() {
    let (directory, path) = place();
    let target = directory.path().join("target");
    fs::write(&target, "precious").unwrap();
    symlink(&target, &path).unwrap();
    expect_occupied(&path);
    assert_eq!(fs::read_link(&path).unwrap(), target);
    assert_eq!(fs::read(&target).unwrap(), b"precious");
}

#[test]
fn unix_bind_at_a_symlink_to_a_dead_socket_fails_and_leaves_both() {
    let (directory, path) = place();
    let target = directory.path().join("target");
    drop(UnixListener::bind(&target).unwrap());
    symlink(&target, &path).unwrap();
    expect_occupied(&path);
    assert!(fs::symlink_metadata(&target).unwrap().file_type().is_socket());
    assert_eq!(fs::read_link(&path).unwrap(), target);
}

#[test]
fn unix_bind_replaces_a_dead_socket_and_removes_its_own_at_the_end() {
    let (_directory, path) = place();
    drop(UnixListener::bind(&path).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = Address::Unix(path.clone());
    let incoming = runtime.block_on(Incoming::bind(&address)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let error = runtime.block_on(Incoming::bind(&address)).expect_err("a server listens");
    let expected = ListenError::InUse { path: path.display().to_string() };
    assert_eq!(error, BindError::Listen(expected));
    drop(incoming);
    assert!(!path.exists());
}

/// A socket address has room for 107 bytes.
#[test]
fn unix_and_shm_reach_a_path_of_any_length() {
    let directory = short_directory();
    let deep = directory.path().join("d".repeat(200));
    fs::create_dir(&deep).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for name in ["short".to_owned(), "n".repeat(200)] {
        let path = deep.join(name);
        for address in [Address::Unix(path.clone()), Address::Shm(path)] {
            runtime.block_on(async {
                let mut incoming = Incoming::bind(&address).await.unwrap();
                let connector = Connector::new(&address);
                let client = async {
                    let mut connection = connector.connect().await.unwrap();
                    connection.write_all(b"x").await.unwrap();
                    connection
                };
                let (accepted, _connection) = tokio::join!(incoming.accept(), client);
                accepted.unwrap();
            });
        }
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
    }
}
