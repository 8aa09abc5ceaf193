//! Letting go in any order and from any thread, and every call after the end.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use shmipc_sync::{
    AcceptError, Delivery, DrainError, ListenError, Listener, Message, OpenError, RecvError,
    RecvStream, SendError, SendStream, Session, SessionError,
};
use tests::child::Peer;
use tests::deadline::{start, within};
use tests::payload::{check, pattern};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// Two ends in this process.
fn pair() -> (Session, Session) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = Listener::bind(&path).unwrap();
    let connecting = start("connect", move || Session::connect(path).unwrap());
    let server = listener.accept().unwrap();
    (connecting.join(), server)
}

/// All orders of so many things.
fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for next in 0..count {
        let insert = |order: Vec<usize>| {
            (0..=order.len()).map(move |at| [&order[..at], &[next], &order[at..]].concat())
        };
        all = all.into_iter().flat_map(insert).collect();
    }
    all
}

/// How the session stands when its parts are let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Open,
    ClosedByUs,
    ClosedByPeer,
}

/// Session, both halves, a message in shared memory and a reservation, in every order: on one thread, and
/// each on a thread of its own. The peer learns of it as it must, and whatever is left
/// works until it goes.
#[test]
fn in_every_order_from_every_thread() {
    type Part = Box<dyn FnOnce() + Send>;
    let standings = [Standing::Open, Standing::ClosedByUs, Standing::ClosedByPeer];
    let orders = permutations(5);
    for (number, order) in orders.iter().cycle().take(3 * orders.len()).cloned().enumerate() {
        let standing = standings[number / orders.len()];
        let elsewhere = number.is_multiple_of(2);
        within(&format!("{order:?} {standing:?}"), move || {
            let (ours, theirs) = pair();
            let (mut sender, mut receiver) = ours.open().unwrap().into_split();
            sender.send(b"hello").unwrap();
            let mut peer = theirs.accept().unwrap();
            assert_eq!(peer.recv().unwrap().unwrap().to_vec(), b"hello");
            peer.send(&pattern(1, 50_000)).unwrap();
            let message = receiver.recv().unwrap().unwrap();
            let reservation = sender.reserve(20_000).unwrap();
            match standing {
                Standing::Open => {}
                Standing::ClosedByUs => ours.close(3),
                Standing::ClosedByPeer => {
                    theirs.close(4);
                    assert_eq!(ours.closed(), SessionError::ClosedByPeer(4));
                }
            }
            let mut parts: Vec<Option<Part>> = vec![
                Some(Box::new(move || drop(ours))),
                Some(Box::new(move || drop(sender))),
                Some(Box::new(move || drop(receiver))),
                Some(Box::new(move || check(&message, 1, 50_000))),
                Some(Box::new(move || drop(reservation))),
            ];
            for index in order {
                let part = parts[index].take().expect("each once");
                if elsewhere {
                    thread::spawn(part).join().unwrap();
                } else {
                    part();
                }
            }
            match standing {
                Standing::Open => {
                    assert_eq!(peer.recv().unwrap_err(), RecvError::Reset(0));
                    assert_eq!(theirs.closed(), SessionError::ClosedByPeer(0));
                }
                Standing::ClosedByUs => {
                    assert_eq!(theirs.closed(), SessionError::ClosedByPeer(3));
                }
                Standing::ClosedByPeer => assert_eq!(theirs.closed(), SessionError::Closed),
            }
        });
    }
}

/// All parts at the same time, each on its own thread.
#[test]
fn all_at_once() {
    for _ in 0..100 {
        within("all at once", || {
            let (ours, theirs) = pair();
            let (mut sender, mut receiver) = ours.open().unwrap().into_split();
            sender.send(b"hello").unwrap();
            let mut peer = theirs.accept().unwrap();
            peer.send(&pattern(1, 50_000)).unwrap();
            let message = receiver.recv().unwrap().unwrap();
            let reservation = sender.reserve(20_000).unwrap();
            thread::scope(|scope| {
                scope.spawn(|| drop(ours));
                scope.spawn(|| drop(sender));
                scope.spawn(|| drop(receiver));
                scope.spawn(|| drop(message));
                scope.spawn(|| drop(reservation));
            });
            assert_eq!(peer.recv().unwrap().unwrap().to_vec(), b"hello");
            assert_eq!(peer.recv().unwrap_err(), RecvError::Reset(0));
            assert_eq!(theirs.closed(), SessionError::ClosedByPeer(0));
        });
    }
}

/// What was in hand when the session ended.
struct Left {
    session: Session,
    sender: SendStream,
    receiver: RecvStream,
    message: Message,
    reservations: Vec<shmipc_sync::Reservation>,
}

/// Of a session whose peer echoes.
fn left(session: Session) -> Left {
    let (mut sender, mut receiver) = session.open().unwrap().into_split();
    sender.send(&pattern(1, 50_000)).unwrap();
    let message = receiver.recv().unwrap().unwrap();
    let reservations = [0, 100, 20_000].map(|len| sender.reserve(len).unwrap()).into();
    Left { session, sender, receiver, message, reservations }
}

/// The error of ours behind one of `std::io`.
fn source<E: std::error::Error + Copy + 'static>(error: std::io::Error) -> E {
    *error.get_ref().unwrap().downcast_ref().unwrap()
}

/// Every call says that the session is over, and none waits; what is in hand can be read and dropped.
fn after_the_end(left: Left, over: SessionError) {
    let Left { session, mut sender, mut receiver, message, reservations } = left;
    assert_eq!(session.closed(), over);
    assert_eq!(session.closed_timeout(Duration::ZERO), Some(over));
    assert!(session.is_closed());
    assert_eq!(session.open().err(), Some(OpenError::Session(over)));
    assert_eq!(session.accept().err(), Some(AcceptError::Session(over)));
    assert_eq!(session.open_wait().err(), Some(OpenError::Session(over)));
    let opened = session.open_timeout(Duration::from_secs(1)).err();
    assert_eq!(opened, Some(OpenError::Session(over)));
    let accepted = session.accept_timeout(Duration::from_secs(1)).err();
    assert_eq!(accepted, Some(AcceptError::Session(over)));
    assert_eq!(session.try_accept().err(), Some(AcceptError::Session(over).into()));
    session.try_drive();
    let _ = session.arm();
    session.leave();
    assert_eq!(session.drained(), Err(DrainError::Session(over)));
    let drained = session.drained_timeout(Duration::from_secs(1));
    assert_eq!(drained, Err(DrainError::Session(over)));
    assert!(!session.is_peer_leaving());
    drop(session.spawn_driver());
    assert!(session.stats().records_sent > 0);
    let _ = (session.peer(), session.peer_app_version(), session.geometry());
    session.close(99);
    assert_eq!(session.clone().closed(), over, "the first end counts");

    let send = SendError::Session(over);
    for reservation in reservations {
        assert_eq!(reservation.commit(), Err(send));
    }
    for len in [0, 10, 20_000, 1 << 20] {
        assert_eq!(sender.send(&vec![0; len]), Err(send));
        let error = sender.reserve(len).unwrap_err();
        assert_eq!((error, error.delivery()), (send, Delivery::NotSent));
        assert_eq!(sender.reserve_timeout(len, Duration::from_secs(1)).unwrap_err(), send);
    }
    let max = sender.max_message();
    assert_eq!(sender.reserve(max + 1).unwrap_err(), SendError::TooLarge { len: max + 1, max });
    let mut batch = sender.batch();
    batch.push(b"x").unwrap();
    assert_eq!(batch.commit(), Err(send));
    assert_eq!(batch.len(), 1, "it was not sent");
    assert_eq!(sender.batch().commit(), Ok(()), "there was nothing to send");
    assert_eq!(source::<SendError>(sender.write(b"x").unwrap_err()), send);
    assert_eq!(
        source::<SendError>(sender.write_vectored(&[std::io::IoSlice::new(b"x")]).unwrap_err()),
        send
    );
    sender.flush().unwrap();
    assert_eq!(sender.finish(), Err(send));
    assert_eq!(sender.finish_with(b"x"), Err(send));
    let _ = (sender.stats(), receiver.stats());
    sender.reset(1);
    sender.set_timeout(None);
    assert_eq!(sender.finish(), Err(send));

    let recv = RecvError::Session(over);
    assert_eq!(receiver.recv().unwrap_err(), recv);
    assert_eq!(receiver.recv_timeout(Duration::from_secs(1)).unwrap_err(), recv);
    assert_eq!(receiver.recv_deadline(Instant::now()).unwrap_err(), recv);
    assert_eq!(receiver.recv_into(&mut [0; 10]).unwrap_err(), recv);
    assert_eq!(receiver.try_recv().err(), Some(recv.into()));
    assert_eq!(receiver.messages().next().unwrap().unwrap_err(), recv);
    assert_eq!(source::<RecvError>(receiver.read(&mut [0; 10]).unwrap_err()), recv);
    assert_eq!(receiver.read(&mut []).unwrap(), 0);
    receiver.stop(1);
    receiver.set_timeout(None);
    assert_eq!(receiver.recv().unwrap_err(), recv);
    assert_eq!(sender.id(), receiver.id());
    drop((sender, receiver, session));
    assert_eq!(message.len(), 50_000);
    check(&message, 1, 50_000);
    check(&message.into_bytes(), 1, 50_000);
}

/// A peer process that echoes, and our session with it.
fn echo() -> (Peer, Session) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut peer = Peer::start(PEER, &["echo", path.to_str().unwrap()]);
    peer.line("listening");
    let session = Session::connect(&path).unwrap();
    (peer, session)
}

#[test]
fn every_call_after_our_close() {
    let (_peer, session) = echo();
    within("after our close", move || {
        let left = left(session);
        left.session.close(1);
        after_the_end(left, SessionError::Closed);
    });
}

#[test]
fn every_call_after_a_death() {
    let (mut peer, session) = echo();
    let left = within("before the death", move || left(session));
    peer.kill();
    within("after the death", move || after_the_end(left, SessionError::PeerDied));
}

#[test]
fn every_call_after_the_peers_close() {
    within("after the peer's close", || {
        let (ours, theirs) = pair();
        let closing = start("the peer", move || {
            let mut stream = theirs.accept().unwrap();
            let message = stream.recv().unwrap().unwrap().to_vec();
            stream.send(&message).unwrap();
            // Open until the other side has its reply in hand.
            (theirs, stream)
        });
        let left = left(ours);
        let (theirs, _stream) = closing.join();
        theirs.close(77);
        after_the_end(left, SessionError::ClosedByPeer(77));
    });
}

#[test]
fn every_call_of_a_listener_after_its_close() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = Listener::bind(&path).unwrap();
    let connecting = start("connect", {
        let path = path.clone();
        move || Session::connect(path).unwrap()
    });
    let mut server = listener.accept().unwrap().open().unwrap();
    let client = connecting.join();
    listener.close();
    listener.close();
    assert_eq!(listener.accept().unwrap_err(), ListenError::Closed);
    let late = listener.accept_timeout(Duration::from_secs(1));
    assert_eq!(late.unwrap_err(), ListenError::Closed);
    assert_eq!(listener.try_accept().unwrap_err(), ListenError::Closed.into());
    assert_eq!(listener.stats().established, 1);
    assert!(!path.exists());
    drop(listener);
    // Sessions live on.
    server.send(b"still here").unwrap();
    assert_eq!(client.accept().unwrap().recv().unwrap().unwrap().to_vec(), b"still here");
}
