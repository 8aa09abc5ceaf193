//! The upgrade socket: what a turn takes from it, and which users are dealt with.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Directory;
use crate::config::{Config, PeerCred};
use crate::error::{ListenError, UpgradeRefusal};
use crate::handshake::connect;
use crate::link::{self, Address};
use crate::listen::{Acceptor, Binding, ListenOptions};

fn bind_upgradable(directory: &Directory, options: ListenOptions) -> Result<Acceptor, ListenError> {
    let ready_within = Duration::from_secs(60);
    Binding::new(directory.socket(), options, Config::default(), ready_within)?.complete()
}

fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Each connection that the server looks at makes the next one: a loop without a budget never ends.
#[test]
fn try_accept_returns_while_the_upgrade_socket_is_fed_without_end() {
    let directory = Directory::new();
    let door = Address::parse(directory.0.join("s.upgrade")).unwrap();
    let (feeding, looks) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let feed = {
        let (door, feeding, looks) = (door.clone(), feeding.clone(), looks.clone());
        move |_: PeerCred| {
            looks.fetch_add(1, Ordering::Relaxed);
            if feeding.load(Ordering::Relaxed) {
                drop(link::try_connect(&door));
            }
            false
        }
    };
    let options = ListenOptions::new().upgrade_authorizer(feed);
    let acceptor = bind_upgradable(&directory, options).unwrap();
    drop(link::try_connect(&door).unwrap());
    assert!(acceptor.try_accept(Instant::now()).unwrap().is_none());
    assert!(looks.load(Ordering::Relaxed) > 1);
    assert!(link::wait_ready(acceptor.as_fd(), true, false, Some(Duration::ZERO)).unwrap());

    thread::scope(|scope| {
        let client = scope.spawn(|| connect(directory.socket(), &Config::default()));
        acceptor.accept(None).unwrap().unwrap();
        client.join().unwrap().unwrap();
    });
    feeding.store(false, Ordering::Relaxed);
    assert!(acceptor.try_accept(Instant::now()).unwrap().is_none());
    assert!(!link::wait_ready(acceptor.as_fd(), true, false, Some(Duration::ZERO)).unwrap());
}

/// What a successor is told that the server's `authorizer` judges.
fn succeed(authorizer: impl Fn(PeerCred) -> bool + Send + Sync + 'static) -> ListenError {
    let directory = Directory::new();
    let options = ListenOptions::new().upgrade_authorizer(authorizer);
    let server = bind_upgradable(&directory, options).unwrap();
    thread::scope(|scope| {
        let successor = scope.spawn(|| bind_upgradable(&directory, ListenOptions::new()));
        let error = loop {
            assert!(
                server.accept(Some(Instant::now() + Duration::from_millis(1))).unwrap().is_none()
            );
            if successor.is_finished() {
                break successor.join().unwrap().unwrap_err();
            }
        };
        server.close();
        error
    })
}

#[test]
fn a_successor_that_the_upgrade_authorizer_refuses_is_told_so() {
    let refused = ListenError::UpgradeRefused(UpgradeRefusal::Unauthorized(own_uid()));
    assert_eq!(succeed(|_| false), refused);
}

#[test]
fn an_upgrade_authorizer_that_panics_has_refused() {
    let refused = ListenError::UpgradeRefused(UpgradeRefusal::Unauthorized(own_uid()));
    assert_eq!(succeed(|_| panic!("on purpose")), refused);
}

/// The successor looks at the server as well.
#[test]
fn a_server_that_the_successors_authorizer_refuses_is_not_taken_over_from() {
    let directory = Directory::new();
    let _server = bind_upgradable(&directory, ListenOptions::new()).unwrap();
    let options = ListenOptions::new().upgrade_authorizer(|_: PeerCred| false);
    let error = bind_upgradable(&directory, options).unwrap_err();
    assert_eq!(error, ListenError::ForeignServer { uid: own_uid() });
}

#[test]
fn an_upgrade_socket_elsewhere_leaves_nothing_beside_the_socket() {
    let (directory, private) = (Directory::new(), Directory::new());
    let options = ListenOptions::new().upgrade_at(private.socket());
    let server = bind_upgradable(&directory, options).unwrap();
    assert_eq!(directory.list(), ["s", "s.lock"]);
    assert_eq!(private.list(), ["s", "s.lock"]);
    drop(server);
}
