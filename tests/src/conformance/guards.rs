//! Guards: messages and reservations, kept, dropped and committed in any order.

use std::thread;

use shmipc_core::error::{SendError, SessionError};
use shmipc_core::handle::Message;

use super::End;
use super::echo::{accept, echo_in_turn};
use crate::flavour::{Receiver, Sender, Session, Stream};
use crate::payload::{Random, check, fill, pattern};

/// Sends messages that do not fit into a record until the reader stops reading.
fn send_for_ever(mut stream: impl Stream) {
    let mut random = Random::new(1);
    for number in 0.. {
        if stream.send(&pattern(number, 4100 + random.below(60_000))).is_err() {
            return;
        }
    }
}

/// Messages are held, and dropped in any order by other threads, while more arrive; none changes
/// under its holder.
pub(super) fn messages_dropped_in_any_order<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => {
            while let Some(stream) = accept(&session) {
                send_for_ever(stream);
            }
            return;
        }
        End::Here(session) => session,
    };
    let (_sender, mut receiver) = session.open().unwrap().into_split();
    let (mut sizes, mut order) = (Random::new(1), Random::new(2));
    thread::scope(|scope| {
        let mut held: Vec<(u64, usize, Message)> = Vec::new();
        for number in 0..600 {
            let message = receiver.recv().unwrap().unwrap();
            held.push((number, 4100 + sizes.below(60_000), message));
            if held.len() >= 40 {
                let mut leaving = Vec::new();
                for _ in 0..20 {
                    leaving.push(held.swap_remove(order.below(held.len())));
                }
                scope.spawn(move || {
                    for (number, len, message) in leaving {
                        check(&message, number, len);
                    }
                });
            }
        }
    });
}

/// Messages taken before the session's end, and those still unread then, can be read after it.
pub(super) fn messages_readable_after_the_end<S: Session>(end: End<S>) {
    match end {
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            assert_eq!(stream.expect(), b"begin");
            for number in 0..8 {
                stream.send(&pattern(number, 20_000)).unwrap();
            }
            // The peer may have all, and have closed, before.
            let closed = SendError::Session(SessionError::ClosedByPeer(0));
            assert!(stream.finish().is_ok() || stream.finish() == Err(closed));
            assert!(stream.recv().is_err());
        }
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            stream.send(b"begin").unwrap();
            let mut messages: Vec<_> = (0..4).map(|_| stream.recv().unwrap().unwrap()).collect();
            let last = stream.recv().unwrap().unwrap();
            messages.extend((5..8).map(|_| stream.recv().unwrap().unwrap()));
            messages.insert(4, last);
            session.close(0);
            drop((stream, session));
            for (number, message) in messages.iter().enumerate() {
                check(message, number as u64, 20_000);
            }
        }
    }
}

/// A reader that keeps every message stops nobody: beyond a share of the memory it gets copies.
pub(super) fn messages_held_for_ever<S: Session>(end: End<S>) {
    const MESSAGES: u64 = 1200;
    match end {
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            for number in 0..MESSAGES {
                stream.send(&pattern(number, 20_000)).unwrap();
            }
            stream.finish().unwrap();
            assert!(stream.recv().unwrap().is_none());
        }
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            let messages: Vec<_> = (0..MESSAGES).map(|_| stream.recv().unwrap().unwrap()).collect();
            assert!(stream.recv().unwrap().is_none());
            let copies = messages.iter().filter(|message| !message.is_zero_copy()).count();
            let stats = session.stats();
            if session.is_trusted() {
                assert!(copies > 0 && copies < messages.len(), "{copies} copies");
                assert_eq!(stats.copies_forced + stats.evicted, copies as u64);
            } else {
                assert_eq!((copies, stats.copies_forced), (messages.len(), 0));
            }
            for (number, message) in messages.iter().enumerate() {
                check(message, number as u64, 20_000);
            }
            stream.finish().unwrap();
        }
    }
}

/// The order of messages is that of the commits, and reservations may be dropped in between.
pub(super) fn reservations_committed_in_any_order<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_in_turn(&session),
        End::Here(session) => session,
    };
    let mut stream = session.open().unwrap();
    let mut random = Random::new(4);
    for round in 0..200 {
        let mut reservations = Vec::new();
        for number in 0..6 {
            let mut reservation = stream.sender().reserve(random.size(20_000)).unwrap();
            fill(&mut reservation, round * 10 + number);
            reservations.push((round * 10 + number, reservation));
        }
        let mut sent = Vec::new();
        while !reservations.is_empty() {
            let (seed, reservation) = reservations.swap_remove(random.below(reservations.len()));
            let len = reservation.len();
            if random.below(3) > 0 {
                thread::spawn(|| reservation.commit()).join().unwrap().unwrap();
                sent.push((seed, len));
            }
        }
        for (seed, len) in sent {
            check(&stream.expect(), seed, len);
        }
    }
}

/// A reservation may outlive its stream, and the stream's place may be used again meanwhile: it can
/// then be dropped, and not sent.
pub(super) fn reservation_outlives_its_stream<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_in_turn(&session),
        End::Here(session) => session,
    };
    for len in [0, 100, 10_000] {
        for commit in [false, true] {
            let mut stream = session.open().unwrap();
            let unheard = session.open().map(|mut s| s.sender().reserve(len).unwrap()).unwrap();
            stream.send(b"hello").unwrap();
            assert_eq!(stream.expect(), b"hello");
            let reservation = stream.sender().reserve(len).unwrap();
            stream.finish().unwrap();
            assert!(stream.recv().unwrap().is_none());
            drop(stream);
            let mut next = session.open().unwrap();
            next.send(b"next").unwrap();
            if commit {
                assert_eq!(reservation.commit(), Err(SendError::Ended));
                assert_eq!(unheard.commit(), Err(SendError::Ended));
            } else {
                drop((reservation, unheard));
            }
            assert_eq!(next.expect(), b"next");
            for number in 0..100 {
                next.send(&pattern(number, 5000)).unwrap();
                check(&next.expect(), number, 5000);
            }
        }
    }
}
