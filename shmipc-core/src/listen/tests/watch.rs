//! A3: what a listener does about files that are removed or replaced while it accepts.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{Duration, Instant};

use super::{Directory, bind};
use crate::config::Config;
use crate::error::ListenError;
use crate::handshake::connect;
use crate::listen::socket_file::LOOK;
use crate::listen::{Acceptor, Binding, ListenOptions};

/// Does what the listener does when its next look is due.
fn look(acceptor: &Acceptor) -> Result<(), ListenError> {
    let due = acceptor.next_deadline().expect("it comes by itself");
    acceptor.try_accept(due).map(|session| assert!(session.is_none()))
}

#[track_caller]
fn serves(directory: &Directory, acceptor: &Acceptor) {
    thread::scope(|scope| {
        let client = scope.spawn(|| connect(directory.socket(), &Config::default()));
        acceptor.accept(None).unwrap().unwrap();
        client.join().unwrap().unwrap();
    });
}

fn bind_upgradable(directory: &Directory) -> Result<Acceptor, ListenError> {
    let (options, config) = (ListenOptions::new(), Config::default());
    Binding::new(directory.socket(), options, config, Duration::from_secs(60))?.complete()
}

/// The name that the kernel shows is the one that clients use, so that programs which remove old files find it there.
#[test]
fn the_kernel_lists_the_sockets_by_their_paths() {
    let directory = Directory::new();
    drop(UnixListener::bind(directory.socket()).unwrap());
    let _acceptor = bind_upgradable(&directory).unwrap();
    let list = fs::read_to_string("/proc/net/unix").unwrap();
    for name in ["s", "s.upgrade"] {
        let path = directory.0.join(name).display().to_string();
        assert!(list.lines().any(|line| line.ends_with(&format!(" {path}"))), "{path}");
    }
}

#[test]
fn files_that_are_removed_are_made_again() {
    let directory = Directory::new();
    let acceptor = bind_upgradable(&directory).unwrap();
    assert!(acceptor.next_deadline() <= Some(Instant::now() + LOOK));
    let all = ["s", "s.lock", "s.upgrade", "s.upgrade.lock"];
    for name in all {
        fs::remove_file(directory.0.join(name)).unwrap();
    }
    look(&acceptor).unwrap();
    assert_eq!(directory.list(), all);
    serves(&directory, &acceptor);
    assert_eq!(bind(directory.socket()).unwrap_err(), super::files::in_use(&directory.socket()));
    drop(acceptor);
    assert!(directory.list().is_empty());
}

#[test]
fn an_upgrade_finds_a_server_whose_files_were_made_again() {
    let directory = Directory::new();
    let first = bind_upgradable(&directory).unwrap();
    for name in directory.list() {
        fs::remove_file(directory.0.join(name)).unwrap();
    }
    look(&first).unwrap();
    thread::scope(|scope| {
        let second = scope.spawn(|| {
            let second = bind_upgradable(&directory)?;
            second.ready().map(|()| second)
        });
        assert_eq!(first.accept(None).unwrap_err(), ListenError::HandedOver);
        let second = second.join().unwrap().unwrap();
        assert_eq!(second.generation(), 2);
        first.close();
        serves(&directory, &second);
    });
}

#[test]
fn a_lock_that_is_removed_is_made_again() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    fs::remove_file(directory.0.join("s.lock")).unwrap();
    assert_eq!(bind(directory.socket()).unwrap_err(), super::files::in_use(&directory.socket()));
    look(&acceptor).unwrap();
    assert_eq!(directory.list(), ["s", "s.lock"]);
    serves(&directory, &acceptor);
}

#[test]
fn a_dead_socket_in_the_place_of_ours_is_replaced() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    fs::remove_file(directory.socket()).unwrap();
    drop(UnixListener::bind(directory.socket()).unwrap());
    look(&acceptor).unwrap();
    serves(&directory, &acceptor);
}

#[test]
fn a_file_in_the_place_of_the_socket_is_left_alone_and_the_listener_goes_on() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    fs::remove_file(directory.socket()).unwrap();
    fs::write(directory.socket(), "precious").unwrap();
    look(&acceptor).unwrap();
    assert_eq!(fs::read(directory.socket()).unwrap(), b"precious");
    fs::remove_file(directory.socket()).unwrap();
    look(&acceptor).unwrap();
    serves(&directory, &acceptor);
}

#[test]
fn a_listener_ends_when_another_server_has_its_path() {
    let directory = Directory::new();
    let first = bind(directory.socket()).unwrap();
    for name in directory.list() {
        fs::remove_file(directory.0.join(name)).unwrap();
    }
    let second = bind(directory.socket()).unwrap();
    let replaced = ListenError::Replaced { path: directory.socket().display().to_string() };
    assert_eq!(look(&first), Err(replaced.clone()));
    assert_eq!(first.try_accept(Instant::now()).unwrap_err(), replaced, "for good");
    drop(first);
    assert_eq!(directory.list(), ["s", "s.lock"], "they are the other one's");
    serves(&directory, &second);
}

#[test]
fn files_are_touched_once_a_day() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    let long_ago = nix::sys::time::TimeSpec::new(1_000_000, 0);
    let age = |name: &str| {
        let (here, flags) = (nix::fcntl::AT_FDCWD, nix::sys::stat::UtimensatFlags::NoFollowSymlink);
        let path = directory.0.join(name);
        nix::sys::stat::utimensat(here, &path, &long_ago, &long_ago, flags).unwrap();
    };
    ["s", "s.lock"].into_iter().for_each(age);
    let times = || {
        ["s", "s.lock"].map(|name| fs::symlink_metadata(directory.0.join(name)).unwrap().mtime())
    };
    look(&acceptor).unwrap();
    assert_eq!(times(), [1_000_000; 2]);
    let tomorrow = Instant::now() + Duration::from_secs(25 * 3600);
    assert!(acceptor.try_accept(tomorrow).unwrap().is_none());
    assert!(times().into_iter().all(|time| time > 1_000_000), "{:?}", times());
}
