//! Going away: what was opened before is served to its end, what comes later was certainly not seen.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use shmipc_core::error::{AcceptError, Delivery, DrainError, OpenError, RecvError, SendError};

use super::End;
use super::echo::accept;
use crate::deadline::{patience, until};
use crate::flavour::{Sender, Session, Stream};
use crate::payload::{check, pattern};

const SHORT: Duration = Duration::from_millis(5);

/// Streams opened before the peer leaves, accepted or not, go on for as long as both like; no others
/// can be opened, by either side.
pub(super) fn streams_opened_before_leaving_are_served<S: Session>(end: End<S>) {
    const STREAMS: u64 = 4;
    const ROUNDS: u64 = 20;
    match end {
        End::Here(session) => {
            let mut theirs = session.accept().unwrap();
            assert_eq!(theirs.expect(), b"hello");
            let mut ours: Vec<_> = (0..STREAMS).map(|_| session.open().unwrap()).collect();
            for (number, stream) in ours.iter_mut().enumerate() {
                stream.send(&pattern(number as u64, 100)).unwrap();
            }
            theirs.send(b"leave").unwrap();
            until("the peer leaves", || session.is_peer_leaving());
            assert_eq!(session.open().err(), Some(OpenError::GoingAway));
            for round in 0..ROUNDS {
                for (number, stream) in ours.iter_mut().enumerate() {
                    check(&stream.expect(), number as u64 + round, 100 + 700 * round as usize);
                    let next = round + 1;
                    let len = 100 + 700 * next as usize;
                    stream.send(&pattern(number as u64 + next, len)).unwrap();
                }
            }
            for stream in &mut ours {
                stream.finish().unwrap();
                stream.expect();
                assert!(stream.recv().unwrap().is_none());
            }
            // Its own stream goes on as well.
            theirs.send(b"thanks").unwrap();
            assert!(theirs.recv().unwrap().is_none());
            assert!(accept(&session).is_none());
        }
        End::There(session) => {
            let mut ours = session.open().unwrap();
            ours.send(b"hello").unwrap();
            let mut first = session.accept().unwrap();
            assert_eq!(ours.expect(), b"leave");
            session.leave();
            assert_eq!(session.open().err(), Some(OpenError::Leaving));
            assert_eq!(session.drained_timeout(SHORT), Err(DrainError::TimedOut));
            let serve = |stream: &mut S::Stream| {
                while let Some(message) = stream.recv().unwrap() {
                    stream.send(&message).unwrap();
                }
                stream.finish().unwrap();
            };
            thread::scope(|scope| {
                scope.spawn(|| serve(&mut first));
                for _ in 1..STREAMS {
                    let mut stream = session.accept().unwrap();
                    scope.spawn(move || serve(&mut stream));
                }
                assert_eq!(session.accept().err(), Some(AcceptError::Leaving));
                assert_eq!(session.drained_timeout(patience()), Ok(()));
            });
            assert_eq!(ours.expect(), b"thanks");
            ours.finish().unwrap();
            session.leave();
            assert_eq!(session.accept_timeout(SHORT).err(), Some(AcceptError::Leaving));
            session.close(0);
        }
    }
}

/// Streams of which the leaver has not heard fail in every call, and say that nothing was sent; the
/// leaver hears of none of them.
pub(super) fn streams_opened_after_leaving_are_not_sent<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let mut control = session.open().unwrap();
            let mut streams: Vec<_> = (0..3).map(|_| session.open().unwrap()).collect();
            let reservation = streams[0].sender().reserve(5000).unwrap();
            control.send(b"leave").unwrap();
            assert_eq!(control.expect(), b"left");
            assert!(session.is_peer_leaving());
            assert_eq!(session.open().err(), Some(OpenError::GoingAway));
            let not_sent = |error: SendError| {
                assert_eq!((error, error.delivery()), (SendError::GoingAway, Delivery::NotSent));
            };
            // Who has published it looks whether the peer leaves, and knows in the next call.
            reservation.commit().unwrap_or_else(not_sent);
            for stream in &mut streams {
                not_sent(stream.send(b"late").unwrap_err());
                not_sent(stream.sender().reserve(100_000).unwrap_err());
                let error = stream.recv().unwrap_err();
                assert_eq!((error, error.delivery()), (RecvError::GoingAway, Delivery::NotSent));
                not_sent(stream.finish().unwrap_err());
            }
            let (sender, receiver) = streams.pop().unwrap().into_split();
            drop((receiver, sender));
            drop(streams);
            control.finish().unwrap();
            assert!(control.recv().unwrap().is_none());
        }
        End::There(session) => {
            let mut control = session.accept().unwrap();
            assert_eq!(control.expect(), b"leave");
            session.leave();
            control.send(b"left").unwrap();
            assert_eq!(session.accept().err(), Some(AcceptError::Leaving));
            assert!(control.recv().unwrap().is_none());
            control.finish().unwrap();
            assert_eq!(session.drained_timeout(patience()), Ok(()));
        }
    }
}

/// Four threads open streams while the peer leaves: each request is answered, or was not seen.
pub(super) fn opening_while_the_peer_leaves<S: Session>(end: End<S>) {
    const OPENERS: u64 = 4;
    match end {
        End::Here(session) => {
            let mut control = session.open().unwrap();
            control.send(b"begin").unwrap();
            let open = |opener: u64| {
                let mut answered = Vec::new();
                for number in 0.. {
                    let request = (number * OPENERS + opener).to_le_bytes();
                    let asked = session.open().map(|mut stream| ask(&mut stream, &request));
                    match asked {
                        Ok(true) => answered.push(u64::from_le_bytes(request)),
                        // Whatever it asks again would be told the same.
                        Ok(false) | Err(OpenError::GoingAway) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                answered
            };
            let mut answered: Vec<u64> = thread::scope(|scope| {
                let openers: Vec<_> =
                    (0..OPENERS).map(|opener| scope.spawn(move || open(opener))).collect();
                openers.into_iter().flat_map(|opener| opener.join().unwrap()).collect()
            });
            control.finish().unwrap();
            let seen = control.expect();
            let mut seen: Vec<u64> =
                seen.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
            answered.sort_unstable();
            seen.sort_unstable();
            assert_eq!(answered, seen, "what was answered is what was seen");
            assert!(control.recv().unwrap().is_none());
        }
        End::There(session) => {
            let mut control = session.accept().unwrap();
            assert_eq!(control.expect(), b"begin");
            let seen = Mutex::new(Vec::new());
            let serve = || {
                loop {
                    match session.accept() {
                        Ok(mut stream) => {
                            let request = stream.expect();
                            let mut seen = seen.lock().unwrap();
                            seen.extend_from_slice(&request);
                            let enough = seen.len() == 8 * 200;
                            drop(seen);
                            if enough {
                                session.leave();
                            }
                            stream.send(&request).unwrap();
                            stream.finish().unwrap();
                        }
                        Err(AcceptError::Leaving) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            };
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(serve);
                }
            });
            assert!(control.recv().unwrap().is_none());
            control.send(&seen.into_inner().unwrap()).unwrap();
            control.finish().unwrap();
            assert_eq!(session.drained_timeout(patience()), Ok(()));
        }
    }
}

/// Asks, and waits for the answer; false if the request was certainly not seen.
fn ask(stream: &mut impl Stream, request: &[u8]) -> bool {
    match stream.send(request) {
        Ok(()) => {}
        Err(SendError::GoingAway) => return false,
        Err(error) => panic!("{error}"),
    }
    match stream.recv() {
        Ok(reply) => {
            assert_eq!(reply.expect("an answer").to_vec(), request);
            stream.finish().unwrap();
            assert!(stream.recv().unwrap().is_none());
            true
        }
        Err(RecvError::GoingAway) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Both leave at the same time, and each serves what the other had opened.
pub(super) fn both_sides_leave<S: Session>(end: End<S>) {
    let (End::Here(session) | End::There(session)) = end;
    let mut ours = session.open().unwrap();
    ours.send(b"before").unwrap();
    let mut theirs = session.accept().unwrap();
    session.leave();
    until("the peer leaves too", || session.is_peer_leaving());
    assert_eq!(session.open().err(), Some(OpenError::Leaving));
    assert_eq!(session.accept().err(), Some(AcceptError::Leaving));
    assert_eq!(theirs.expect(), b"before");
    theirs.send(b"served").unwrap();
    theirs.finish().unwrap();
    assert_eq!(ours.expect(), b"served");
    ours.finish().unwrap();
    assert!(ours.recv().unwrap().is_none());
    assert!(theirs.recv().unwrap().is_none());
    assert_eq!(session.drained_timeout(patience()), Ok(()));
}

/// Whoever waits for streams, or for their end, when this side leaves is told; so is who waits for a
/// place or for memory when the other does.
pub(super) fn leaving_wakes_all_who_wait<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let mut control = session.open().unwrap();
            let mut served = session.open().unwrap();
            control.send(b"begin").unwrap();
            served.send(b"request").unwrap();
            let mut late: Vec<_> = (0..2).map(|_| session.open().unwrap()).collect();
            let (mut waits_for_room, mut waits_for_nothing) =
                (late.pop().unwrap(), late.pop().unwrap());
            let large = waits_for_room.sender().max_message();
            let held = [(); 2].map(|()| waits_for_room.sender().reserve(large).unwrap());
            let waits = session.stats().reserve_waits;
            thread::scope(|scope| {
                let room = scope.spawn(|| waits_for_room.sender().reserve(large).map(|_| ()));
                until("a reservation waits", || session.stats().reserve_waits > waits);
                control.send(b"leave").unwrap();
                assert_eq!(room.join().unwrap(), Err(SendError::GoingAway));
                assert_eq!(waits_for_nothing.recv().unwrap_err(), RecvError::GoingAway);
            });
            for reservation in held {
                assert_eq!(reservation.commit(), Err(SendError::GoingAway));
            }
            assert_eq!(served.expect(), b"reply");
            served.finish().unwrap();
            assert!(served.recv().unwrap().is_none());
            control.finish().unwrap();
            assert!(control.recv().unwrap().is_none());
        }
        End::There(session) => {
            let (mut control, mut served) = (session.accept().unwrap(), session.accept().unwrap());
            thread::scope(|scope| {
                let accepting = scope.spawn(|| session.accept().err());
                let draining = scope.spawn(|| session.drained_timeout(patience()));
                assert_eq!(control.expect(), b"begin");
                assert_eq!(control.expect(), b"leave");
                session.leave();
                assert_eq!(accepting.join().unwrap(), Some(AcceptError::Leaving));
                assert_eq!(served.expect(), b"request");
                served.send(b"reply").unwrap();
                assert!(served.recv().unwrap().is_none());
                served.finish().unwrap();
                assert!(control.recv().unwrap().is_none());
                // Our end is the last.
                assert!(!draining.is_finished());
                control.finish().unwrap();
                assert_eq!(draining.join().unwrap(), Ok(()));
            });
        }
    }
}
