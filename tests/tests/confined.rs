//! The kernel refuses something to a server: it says so where it is made, and to its clients.

use std::time::Duration;

use nix::errno::Errno;
use shmipc_sync::{Config, ConnectError, HandshakeError, Refusal, Session};
use tests::child::Peer;
use tests::deadline::within;

const CONFINED: &str = env!("CARGO_BIN_EXE_confined");

/// Calls without which there is no shared memory, and what the library calls them.
const CALLS: [&str; 6] = ["memfd_create", "ftruncate", "madvise", "fcntl", "fstatfs", "lseek"];

fn code(errno: Errno) -> String {
    (errno as i32).to_string()
}

#[test]
fn a_server_that_may_not_make_shared_memory_cannot_bind() {
    for call in CALLS {
        for errno in [Errno::EPERM, Errno::ENOSYS] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("socket");
            let path = path.to_str().unwrap();
            let mut server = Peer::start(CONFINED, &["bind", path, call, &code(errno)]);
            let text = server.line("refused");
            assert!(text.contains(call), "{call}: {text}");
        }
    }
}

/// What a client of a server hears to which `call` is forbidden after it has begun to listen.
fn heard(flavour: &str, call: &str, errno: Errno) -> Result<Session, ConnectError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let name = path.to_str().unwrap().to_owned();
    let mut server = Peer::start(CONFINED, &["serve", flavour, &name, call, &code(errno)]);
    server.line("listening");
    within("the client", move || {
        let timed_out = ConnectError::Handshake(HandshakeError::TimedOut);
        let mut result = Err(timed_out.clone());
        // On a busy machine a client may have been told nothing yet.
        for millis in [100, 1_000, 10_000] {
            let config = Config::builder().connect_timeout(Duration::from_millis(millis));
            result = Session::connect_with(&path, &config.build().unwrap());
            if !matches!(&result, Err(error) if *error == timed_out) {
                break;
            }
        }
        result
    })
}

fn tells_its_clients_what_the_kernel_refuses(flavour: &str) {
    for call in CALLS.into_iter().chain(["eventfd", "epoll_create1"]) {
        match heard(flavour, call, Errno::EPERM) {
            Err(ConnectError::Handshake(HandshakeError::Refused(Refusal::System {
                call: named,
                code,
            }))) => {
                assert!(named.contains(call), "{call}: {named}");
                assert_eq!(code, Errno::EPERM as i32);
            }
            other => panic!("{call}: {other:?}"),
        }
    }
}

fn tells_its_clients_to_come_again_in_a_shortage(flavour: &str) {
    let shortages = [
        ("memfd_create", Errno::EMFILE),
        ("ftruncate", Errno::ENOSPC),
        ("madvise", Errno::ENOMEM),
        ("pidfd_open", Errno::EMFILE),
        ("eventfd", Errno::ENFILE),
        ("epoll_create1", Errno::EMFILE),
    ];
    let busy = ConnectError::Handshake(HandshakeError::Refused(Refusal::Busy));
    for (call, errno) in shortages {
        assert_eq!(heard(flavour, call, errno).unwrap_err(), busy, "{call}");
    }
}

#[test]
fn a_blocking_server_tells_its_clients_what_the_kernel_refuses() {
    tells_its_clients_what_the_kernel_refuses("blocking");
}

#[test]
fn a_tokio_server_tells_its_clients_what_the_kernel_refuses() {
    tells_its_clients_what_the_kernel_refuses("tokio-current");
}

#[test]
fn a_blocking_server_tells_its_clients_to_come_again_in_a_shortage() {
    tells_its_clients_to_come_again_in_a_shortage("blocking");
}

#[test]
fn a_tokio_server_tells_its_clients_to_come_again_in_a_shortage() {
    tells_its_clients_to_come_again_in_a_shortage("tokio-current");
}

/// As some system call filters of containers do: the session goes without.
#[test]
fn a_server_without_pidfds_serves() {
    assert!(heard("blocking", "pidfd_open", Errno::EPERM).is_ok());
}
