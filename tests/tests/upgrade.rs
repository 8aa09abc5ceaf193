//! Servers that hand over to each other while clients go on.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use shmipc_sync::{Delivery, Listener, OpenError, Session, SessionError};
use tests::child::Peer;
use tests::deadline::start;
use tests::generations::{Asking, Place, exchange};
use tests::with_both_servers;

const GENERATION: &str = env!("CARGO_BIN_EXE_generation");
const PEER: &str = env!("CARGO_BIN_EXE_peer");

with_both_servers! {
    clients_follow_from_server_to_server
    there_is_always_a_listener
    open_streams_stay
    a_successor_that_is_closed_ends_the_service
    successors_that_do_not_fit
    a_row_of_servers_that_drain
}

/// Five servers in a row, while clients ask: nobody is refused, every question is answered once.
fn clients_follow_from_server_to_server(place: &Place) {
    let mut server = place.next(1);
    let clients: Vec<_> = (0..3).map(|_| Asking::start(&place.path())).collect();
    clients.iter().for_each(|client| client.is_served_by(1));
    for generation in 2..=5 {
        let next = place.next(generation);
        server.line("handed over");
        server.line("drained");
        server.succeed();
        clients.iter().for_each(|client| client.is_served_by(generation));
        server = next;
    }
    for client in clients {
        assert!(client.end() >= 5);
    }
    assert_eq!(place.files(), ["socket", "socket.lock", "socket.upgrade", "socket.upgrade.lock"]);
    server.hang_up();
    server.line("failed Closed");
    server.succeed();
    assert!(place.files().is_empty());
}

/// There is a listener at every moment: who does not repeat anything connects each time. And who connects is shown
/// the process that listens now.
fn there_is_always_a_listener(place: &Place) {
    let mut server = place.next(1);
    let upgrade = place.path().with_extension("upgrade");
    for socket in [&place.path(), &upgrade] {
        let mode = socket.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", socket.display());
    }
    let stop = Arc::<AtomicBool>::default();
    let (path, stopped) = (place.path(), Arc::clone(&stop));
    let connecting = start("somebody who connects", move || {
        let mut connected = 0_u64;
        while !stopped.load(Ordering::Relaxed) {
            UnixStream::connect(&path).expect("somebody listens");
            connected += 1;
        }
        connected
    });
    for generation in 2..=12 {
        let next = place.next(generation);
        server.line("drained");
        server.succeed();
        let session = Session::connect(place.path()).unwrap();
        assert_eq!(session.peer().pid, next.pid() as i32);
        server = next;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(connecting.join() > 0);
}

/// A stream that was opened before the upgrade goes on with the old server until it ends.
fn open_streams_stay(place: &Place) {
    let mut first = place.next(1);
    let (session, mut stream) = place.hold();
    let _second = place.next(2);
    first.line("handed over");
    for _ in 0..100 {
        assert_eq!(exchange(&mut stream), 1);
        place.is_served_by(2);
    }
    assert!(session.is_peer_leaving());
    assert_eq!(session.open().err(), Some(OpenError::GoingAway));
    stream.finish().unwrap();
    assert!(stream.recv().unwrap().is_none());
    first.line("drained");
    assert_eq!(session.closed(), SessionError::ClosedByPeer(0));
    first.succeed();
    place.is_served_by(2);
}

/// Clients that never end their streams are not waited for longer than the server likes.
#[test]
fn draining_has_an_end() {
    let place = Place::new(GENERATION);
    let mut first = place.server(&["drain=200"]);
    first.line("serving");
    let (session, mut stream) = place.hold();
    // One that does not even run, and one that does nothing.
    let path = place.path();
    let mut stopped = Peer::start(PEER, &["silent", path.to_str().unwrap()]);
    stopped.line("silent");
    stopped.signal(Signal::SIGSTOP);
    let idle = Session::connect(&path).unwrap();
    let _second = place.next(2);
    assert_eq!(first.line("timed out"), "2");
    first.succeed();
    assert_eq!(idle.closed(), SessionError::ClosedByPeer(0));
    assert_eq!(session.closed(), SessionError::PeerDied);
    assert_eq!(stream.recv().unwrap_err().delivery(), Delivery::Unknown);
    place.is_served_by(2);
}

/// A service that is ended is not taken up again by the server before.
fn a_successor_that_is_closed_ends_the_service(place: &Place) {
    let mut first = place.next(1);
    let (_session, mut stream) = place.hold();
    let mut second = place.next(2);
    first.line("handed over");
    second.hang_up();
    second.line("failed Closed");
    second.succeed();
    assert!(place.files().is_empty());
    assert_eq!(exchange(&mut stream), 1);
    stream.finish().unwrap();
    first.line("drained");
    assert!(place.files().is_empty());
}

fn successors_that_do_not_fit(place: &Place) {
    let _first = place.next(1);
    let mut other = place.server(&["application=other"]);
    assert_eq!(other.line("failed"), "UpgradeRefused(Application)");
    // A plain one does not know of upgrades.
    assert!(Listener::bind(place.path()).is_err());
    place.is_served_by(1);
    let mut second = place.holding(2);
    let mut third = place.server(&[]);
    assert_eq!(third.line("failed"), "UpgradeRefused(InProgress)");
    second.say("ready");
    second.line("serving");
    place.is_served_by(2);
}

/// Who drains for long does not hold up the upgrades after it, and does not come back after them.
fn a_row_of_servers_that_drain(place: &Place) {
    let mut servers = Vec::new();
    let mut held = Vec::new();
    for generation in 1..=6 {
        servers.push(place.next(generation));
        held.push(place.hold());
    }
    for (number, (_, stream)) in held.iter_mut().enumerate() {
        assert_eq!(exchange(stream), number as u64 + 1);
    }
    // The last but one stands in for the last, and nobody for the last but one.
    servers[5].kill();
    servers[4].line("resumed");
    place.is_served_by(5);
    servers[4].kill();
    assert_eq!(exchange(&mut held[3].1), 4);
    assert!(UnixStream::connect(place.path()).is_err());
    for (_, stream) in &mut held[..4] {
        stream.finish().unwrap();
    }
    for server in &mut servers[..4] {
        server.line("drained");
    }
    // What the killed ones have left is replaced.
    let _again = place.next(1);
    place.is_served_by(1);
}
