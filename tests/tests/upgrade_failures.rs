//! Servers that die or hang while they hand over: exactly one goes on.

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use shmipc_sync::SessionError;
use tests::child::Peer;
use tests::deadline::{start, until};
use tests::generations::{Asking, Place, ask, exchange};
use tests::proc::is_stopped;
use tests::with_both_servers;

const GENERATION: &str = env!("CARGO_BIN_EXE_generation");

/// A successor has 3 s to accept when its predecessor has made way.
const LONGER_THAN_A_TURN: Duration = Duration::from_millis(3500);

with_both_servers! {
    a_successor_that_dies_before_it_is_ready
    a_successor_that_dies_while_it_serves
    a_successor_that_dies_at_any_step
    a_successor_that_hangs
    a_successor_that_hangs_when_it_is_its_turn
    a_successor_that_hangs_when_it_is_to_say_so
    a_predecessor_that_dies_while_its_successor_makes_ready
    a_predecessor_that_dies_while_it_drains
    a_predecessor_that_dies_at_any_step
    a_predecessor_that_hangs
    a_predecessor_that_hangs_when_it_has_made_way
}

fn a_successor_that_dies_before_it_is_ready(place: &Place) {
    let mut first = place.next(1);
    let client = Asking::start(&place.path());
    client.is_served_by(1);
    for _ in 0..3 {
        place.holding(2).kill();
        place.is_served_by(1);
    }
    let _second = place.next(2);
    client.is_served_by(2);
    client.end();
    first.line("drained");
    first.succeed();
}

/// The old server comes back, as long as it lives.
fn a_successor_that_dies_while_it_serves(place: &Place) {
    let mut first = place.next(1);
    for _ in 0..3 {
        let held = place.hold();
        let mut second = place.next(2);
        first.line("handed over");
        place.is_served_by(2);
        second.kill();
        first.line("resumed");
        place.is_served_by(1);
        drop(held);
    }
    assert_eq!(place.files(), ["socket", "socket.lock", "socket.upgrade", "socket.upgrade.lock"]);
    first.hang_up();
    first.line("failed Closed");
    assert!(place.files().is_empty());
}

/// Whatever it was about to say, or has just said.
fn a_successor_that_dies_at_any_step(place: &Place) {
    let mut first = place.next(1);
    let client = Asking::start(&place.path());
    client.is_served_by(1);
    for step in
        ["ClaimUnsent", "ClaimSent", "ReadyUnsent", "ReadySent", "ServingUnsent", "ServingSent"]
    {
        let held = place.hold();
        let mut second = place.server(&[&format!("stop={step}")]);
        until("it stops", || second.has_stopped().expect("it lives"));
        if step == "ServingSent" {
            first.line("handed over");
            second.kill();
            first.line("resumed");
        }
        second.kill();
        place.is_served_by(1);
        drop(held);
    }
    let _second = place.next(2);
    client.is_served_by(2);
    client.end();
    first.line("drained");
    first.succeed();
}

fn a_successor_that_hangs(place: &Place) {
    let mut first = place.next(1);
    let mut second = place.server(&["told", "ready-within=200"]);
    second.line("bound");
    second.signal(Signal::SIGSTOP);
    place.is_served_by(1);
    // When it is given up, another one can follow.
    let mut third = place.server(&[]);
    until("the other one follows", || {
        let served = third.next_line().starts_with("bound 2");
        if !served {
            third = place.server(&[]);
        }
        served
    });
    third.line("serving");
    first.line("drained");
    second.signal(Signal::SIGCONT);
    second.say("ready");
    assert_eq!(second.line("failed"), "UpgradeRefused(TooSlow)");
    place.is_served_by(2);
}

/// The predecessor has made way, the turn is on its way, and nobody takes it.
fn a_successor_that_hangs_when_it_is_its_turn(place: &Place) {
    let first = place.next(1);
    let clients = [Asking::start(&place.path()), Asking::start(&place.path())];
    clients.iter().for_each(|client| client.is_served_by(1));
    let second = place.asking(2);
    second.signal(Signal::SIGSTOP);
    until("it is stopped", || is_stopped(second.pid()));
    is_given_up(place, first, second, clients, |second| second.say("go on"));
}

/// The same when it has taken the turn, and is about to accept.
fn a_successor_that_hangs_when_it_is_to_say_so(place: &Place) {
    let first = place.next(1);
    let clients = [Asking::start(&place.path()), Asking::start(&place.path())];
    clients.iter().for_each(|client| client.is_served_by(1));
    let second = place.server(&["stop=ServingUnsent"]);
    until("it stops", || second.has_stopped().expect("it lives"));
    is_given_up(place, first, second, clients, |_| {});
}

/// The first server takes the turn back from the second one, which is stopped, and clients see nothing but a pause.
/// That one does not serve when it goes on, and another one follows.
fn is_given_up(
    place: &Place,
    mut first: Peer,
    mut second: Peer,
    clients: [Asking; 2],
    go_on: impl FnOnce(&mut Peer),
) {
    // Who comes now waits; who is there is served.
    let (path, answered) = (place.path(), clients.each_ref().map(Asking::answered));
    let coming = [(); 5].map(|()| {
        let path = path.clone();
        start("a client", move || ask(&path, &mut None))
    });
    until("the clients that are there go on", || {
        clients.iter().zip(answered).all(|(client, before)| client.answered() > before + 10)
    });
    coming.into_iter().for_each(|client| assert_eq!(client.join(), 1));
    place.is_served_by(1);
    second.signal(Signal::SIGCONT);
    go_on(&mut second);
    assert_eq!(second.line("failed"), "UpgradeRefused(TooSlow)");
    second.succeed();
    place.is_served_by(1);
    assert_eq!(place.files(), ["socket", "socket.lock", "socket.upgrade", "socket.upgrade.lock"]);
    let _third = place.next(2);
    for client in clients {
        client.is_served_by(2);
        client.end();
    }
    first.line("drained");
    first.succeed();
}

/// Who has connected meanwhile waits in the backlog, and is served by the other one.
fn a_predecessor_that_dies_while_its_successor_makes_ready(place: &Place) {
    let mut first = place.next(1);
    let mut second = place.holding(2);
    first.kill();
    let path = place.path();
    let waiting = start("a client", move || ask(&path, &mut None));
    // A connection of somebody who says nothing stays open too.
    let mute = UnixStream::connect(place.path()).unwrap();
    second.say("ready");
    second.line("serving");
    assert_eq!(waiting.join(), 2);
    drop(mute);
    let _third = place.next(3);
    place.is_served_by(3);
}

fn a_predecessor_that_dies_while_it_drains(place: &Place) {
    let mut first = place.next(1);
    let (session, _stream) = place.hold();
    let mut second = place.next(2);
    first.line("handed over");
    first.kill();
    assert_eq!(session.closed(), SessionError::PeerDied);
    place.is_served_by(2);
    let _third = place.next(3);
    second.line("drained");
    place.is_served_by(3);
}

/// Its successor is one of its own making, or has all that it needs.
fn a_predecessor_that_dies_at_any_step(place: &Place) {
    let start = |step| place.server(&[&format!("stop={step}")]);
    let mut server = start("OfferUnsent");
    server.line("serving");
    // Where the next one will die.
    for (step, generation) in
        [("OfferSent", "1"), ("YieldUnsent", "2"), ("YieldSent", "3"), ("ReleaseUnsent", "4")]
    {
        let (session, _stream) = place.hold();
        let mut next = start(step);
        until("it stops", || server.has_stopped().expect("it lives"));
        server.kill();
        assert_eq!(next.line("serving"), generation);
        assert_eq!(session.closed(), SessionError::PeerDied);
        place.is_served_by(generation.parse().unwrap());
        server = next;
    }
}

/// It might go on when it wakes, so its successor does not serve.
fn a_predecessor_that_hangs(place: &Place) {
    let first = place.next(1);
    first.signal(Signal::SIGSTOP);
    let mut second = place.server(&[]);
    assert_eq!(second.line("failed"), "UpgradeTimedOut");
    second.succeed();
    first.signal(Signal::SIGCONT);
    place.is_served_by(1);
    let _second = place.next(2);
    place.is_served_by(2);
}

/// When it wakes the time of its successor is over, but that one has begun in time.
fn a_predecessor_that_hangs_when_it_has_made_way(place: &Place) {
    let mut first = place.next(1);
    let (_session, mut stream) = place.hold();
    let mut second = place.asking(2);
    first.signal(Signal::SIGSTOP);
    until("it is stopped", || is_stopped(first.pid()));
    second.say("go on");
    second.line("serving");
    thread::sleep(LONGER_THAN_A_TURN);
    first.signal(Signal::SIGCONT);
    first.line("handed over");
    for _ in 0..100 {
        place.is_served_by(2);
        assert_eq!(exchange(&mut stream), 1);
    }
    let _third = place.next(3);
    second.line("drained");
    stream.finish().unwrap();
    first.line("drained");
    place.is_served_by(3);
}
