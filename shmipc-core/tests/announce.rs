//! A peer that does not read its socket delays nobody beyond his time-out: a reservation that needs a
//! new segment waits like for anything else, and goes on when the peer reads.

use std::os::fd::AsFd;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use shmipc_core::config::Config;
use shmipc_core::error::SendError;
use shmipc_core::handle::{Reservation, SendHalf, Session};
use shmipc_core::handshake::connect;
use shmipc_core::link::{Sent, send};
use shmipc_core::listen::{Acceptor, ListenOptions};
use shmipc_core::wire::BELL;

/// Two ends of a session; nothing more fits into the socket from the first to the second.
fn clogged() -> (Session, Session) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let config = Config::default();
    let acceptor = Acceptor::bind(&path, &ListenOptions::default(), config.clone()).unwrap();
    thread::scope(|scope| {
        let accepted = scope.spawn(|| acceptor.accept(None).unwrap().unwrap());
        let one = connect(&path, &config).unwrap();
        let two = accepted.join().unwrap();
        while send(one.socket.as_fd(), &BELL, &[]).unwrap() == Sent::Whole {}
        (Session::new(one, &config).unwrap(), Session::new(two, &config).unwrap())
    })
}

/// Reserves until the deadline; `None` after it.
fn reserve(
    session: &Session,
    stream: &SendHalf,
    deadline: Instant,
) -> Option<Result<Reservation, SendError>> {
    let mut reserving = stream.reserve(1 << 20).unwrap();
    let waiting = session.wait_here();
    loop {
        if let Poll::Ready(reserved) = reserving.poll(Some(waiting.waker())) {
            return Some(reserved);
        }
        if !waiting.sleep(Some(deadline)) {
            return None;
        }
    }
}

#[test]
fn a_peer_that_does_not_read_its_socket_delays_nobody() {
    let (one, two) = clogged();
    let (sender, _receiver) = one.open().unwrap();
    for _ in 0..2 {
        let deadline = Instant::now() + Duration::from_millis(30);
        assert!(reserve(&one, &sender, deadline).is_none(), "the announcement cannot be sent");
    }
    let far = Instant::now() + Duration::from_secs(60);
    let reading = thread::spawn(move || {
        let mut waiting = Some(two.wait_here());
        // Reads the socket, then sleeps until there is a stream.
        loop {
            match two.poll_accept(waiting.as_ref().map(|waiting| waiting.waker())) {
                Poll::Ready(accepted) => return accepted.map(drop),
                Poll::Pending => assert!(waiting.as_mut().unwrap().sleep(Some(far))),
            }
        }
    });
    let reservation = reserve(&one, &sender, far).expect("there is room now").unwrap();
    reservation.commit().unwrap();
    reading.join().unwrap().unwrap();
}

/// The end of the session ends that wait too.
#[test]
fn a_peer_that_leaves_instead_ends_the_wait() {
    let (one, two) = clogged();
    let (sender, _receiver) = one.open().unwrap();
    let leaving = thread::spawn(move || drop(two));
    let far = Instant::now() + Duration::from_secs(60);
    let reserved = reserve(&one, &sender, far).expect("the session is over");
    assert!(matches!(reserved, Err(SendError::Session(_))), "{reserved:?}");
    leaving.join().unwrap();
}
