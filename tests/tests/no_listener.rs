//! Sessions without a listener: both ends in one process, and one end over a socket that a child has inherited.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use shmipc_sync::{Config, HandshakeError, PeerMisbehaved, Refusal, Role, Session, SessionError};
use tests::child::Peer;
use tests::deadline::within;
use tests::payload::{check, pattern};
use tests::tokio::{CurrentThread, Kind};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// A child that answers each message of each stream, and our end of the session with it.
fn child(flavour: &str) -> (Peer, Session) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let peer = Peer::inheriting(PEER, &["over-stdin", flavour], OwnedFd::from(theirs));
    (peer, Session::from_stream(ours, Role::Server, &Config::default()).unwrap())
}

#[test]
fn pair_is_a_session() {
    let (client, server) = Session::pair().unwrap();
    for (one, other) in [(&client, &server), (&server, &client)] {
        let mut stream = one.open().unwrap();
        for (seed, len) in [0, 100, 5000, 1 << 20].into_iter().enumerate() {
            stream.send(&pattern(seed as u64, len)).unwrap();
        }
        let mut there = other.accept().unwrap();
        for (seed, len) in [0, 100, 5000, 1 << 20].into_iter().enumerate() {
            check(&there.recv().unwrap().unwrap(), seed as u64, len);
        }
    }
    assert_eq!(client.peer().pid, std::process::id() as i32);
    client.close(7);
    assert_eq!(server.closed(), SessionError::ClosedByPeer(7));
}

#[test]
fn pair_that_does_not_fit_is_an_error() {
    let application = |version| Config::builder().application(version, 1).build().unwrap();
    let error = Session::pair_with(&application("one"), &application("two")).unwrap_err();
    assert!(
        matches!(
            &error,
            HandshakeError::RefusedPeer(Refusal::Application { .. })
                | HandshakeError::Refused(Refusal::Application { .. })
        ),
        "{error:?}"
    );
}

#[test]
fn pair_on_a_runtime() {
    let runtime = CurrentThread::start().unwrap();
    runtime.block_on(async {
        let (client, server) = shmipc_async::Session::pair().unwrap();
        let mut stream = client.open().unwrap();
        stream.send(&pattern(1, 50_000)).await.unwrap();
        let mut there = server.accept().await.unwrap();
        check(&there.recv().await.unwrap().unwrap(), 1, 50_000);
        drop((stream, client));
        assert_eq!(server.closed().await, SessionError::ClosedByPeer(0));
    });
}

#[test]
fn child_answers_over_an_inherited_socket() {
    for flavour in ["blocking", CurrentThread::NAME] {
        within(flavour, move || {
            let (mut peer, session) = child(flavour);
            let mut stream = session.open().unwrap();
            for (seed, len) in [0, 100, 5000, 1 << 20].into_iter().enumerate() {
                stream.send(&pattern(seed as u64, len)).unwrap();
                check(&stream.recv().unwrap().unwrap(), seed as u64, len);
            }
            session.close(3);
            assert_eq!(peer.line("closed"), "3");
            peer.succeed();
        });
    }
}

/// The kernel names us as the maker of both ends; the death is the child's all the same.
#[test]
fn death_of_the_child_is_noticed() {
    within("a child dies", || {
        let (mut peer, session) = child("blocking");
        let mut stream = session.open().unwrap();
        stream.send(b"hello").unwrap();
        assert_eq!(stream.recv().unwrap().unwrap()[..], *b"hello");
        peer.kill();
        assert_eq!(session.closed(), SessionError::PeerDied);
    });
}

#[test]
fn peer_that_does_not_shake_hands_is_not_waited_for() {
    let config = Config::builder().handshake_timeout(Duration::from_millis(50)).build().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let error = Session::from_stream(ours, Role::Server, &config).unwrap_err();
    assert_eq!(error, HandshakeError::TimedOut);
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let error = Session::from_stream(ours, Role::Client, &config).unwrap_err();
    assert_eq!(error, HandshakeError::Closed);
}

/// A peer that is known to be another process cannot pass memory of ours as its own: so both ends in one process are a
/// mistake, which is named.
#[test]
fn both_ends_of_a_socket_in_one_process() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let config = Config::default();
    std::thread::scope(|scope| {
        let one = scope.spawn(|| Session::from_stream(ours, Role::Server, &config));
        let other = Session::from_stream(theirs, Role::Client, &config);
        let errors = [one.join().unwrap().unwrap_err(), other.unwrap_err()];
        let own = HandshakeError::Misbehaved(PeerMisbehaved::WrongMemory);
        assert!(errors.contains(&own), "{errors:?}");
    });
}
