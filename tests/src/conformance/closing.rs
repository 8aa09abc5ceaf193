//! How a session ends.

use std::thread;
use std::time::Duration;

use shmipc_core::error::{AcceptError, Delivery, OpenError, RecvError, SendError, SessionError};

use super::End;
use super::echo::accept;
use crate::deadline::until;
use crate::flavour::{Sender, Session, Stream};
use crate::payload::{check, pattern};

/// A close with a code: the peer gets everything that was sent before, streams not yet accepted
/// included, and then the code from every call.
pub(super) fn close_carries_its_code<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let mut control = session.open().unwrap();
            control.send(b"begin").unwrap();
            let mut first = session.accept().unwrap();
            check(&first.expect(), 1, 100);
            let over = SessionError::ClosedByPeer(42);
            // The stream that came before the close is given out first, whenever we ask.
            let mut late = 0;
            until("the close arrives", || {
                late += u32::from(session.accept_timeout(Duration::ZERO).is_ok());
                session.is_closed()
            });
            late += u32::from(session.accept().is_ok());
            assert_eq!(late, 1);
            check(&first.expect(), 2, 10_000);
            check(&first.expect(), 3, 1 << 20);
            assert!(first.recv().unwrap().is_none());
            assert_eq!(control.recv().unwrap_err(), RecvError::Session(over));
            assert_eq!(control.send(b"x"), Err(SendError::Session(over)));
            assert_eq!(control.finish(), Err(SendError::Session(over)));
            let error = control.sender().reserve(1 << 20).unwrap_err();
            assert_eq!((error, error.delivery()), (SendError::Session(over), Delivery::NotSent));
            assert_eq!(session.open().err(), Some(OpenError::Session(over)));
            assert_eq!(session.accept().err(), Some(AcceptError::Session(over)));
            // Our own close comes too late.
            session.close(1);
            assert_eq!(session.accept().err(), Some(AcceptError::Session(over)));
        }
        End::There(session) => {
            let mut control = session.accept().unwrap();
            assert_eq!(control.expect(), b"begin");
            let mut stream = session.open().unwrap();
            stream.send(&pattern(1, 100)).unwrap();
            stream.send(&pattern(2, 10_000)).unwrap();
            stream.send(&pattern(3, 1 << 20)).unwrap();
            stream.finish().unwrap();
            let mut unaccepted = session.open().unwrap();
            unaccepted.send(b"late").unwrap();
            let reservation = control.sender().reserve(8000).unwrap();
            session.close(42);
            let over = SessionError::Closed;
            assert_eq!(reservation.commit(), Err(SendError::Session(over)));
            assert_eq!(control.recv().unwrap_err(), RecvError::Session(over));
            assert_eq!(control.send(b"x"), Err(SendError::Session(over)));
            assert_eq!(session.open().err(), Some(OpenError::Session(over)));
            assert_eq!(session.accept().err(), Some(AcceptError::Session(over)));
            assert!(session.is_closed());
        }
    }
}

/// A peer that sends, drops everything and ends its process: all of it arrives.
pub(super) fn everything_dropped_after_sending<S: Session>(end: End<S>) {
    const STREAMS: u64 = 20;
    match end {
        End::Here(session) => {
            for number in 0..STREAMS {
                let mut stream = session.accept().unwrap();
                check(&stream.expect(), number, 10);
                check(&stream.expect(), number, 5000);
                check(&stream.expect(), number, 40_000);
                assert!(stream.recv().unwrap().is_none());
                // The session may be over already.
                let _ = stream.send(b"thanks");
            }
            assert!(accept(&session).is_none());
        }
        End::There(session) => {
            for number in 0..STREAMS {
                let mut stream = session.open().unwrap();
                stream.send(&pattern(number, 10)).unwrap();
                stream.send(&pattern(number, 5000)).unwrap();
                stream.send(&pattern(number, 40_000)).unwrap();
                stream.finish().unwrap();
            }
        }
    }
}

/// A stream keeps its session; with the last handle the session closes.
pub(super) fn session_lives_as_long_as_a_stream<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let stream = session.open().unwrap();
            drop(session);
            let (mut sender, receiver) = stream.into_split();
            sender.send(b"alone").unwrap();
            sender.finish().unwrap();
            drop(sender);
            let mut receiver = receiver;
            assert_eq!(crate::flavour::Receiver::expect(&mut receiver), b"alone");
        }
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            let message = stream.expect();
            assert!(stream.recv().unwrap().is_none());
            stream.send(&message).unwrap();
            let over = AcceptError::Session(SessionError::ClosedByPeer(0));
            assert_eq!(session.accept().err(), Some(over));
        }
    }
}

/// Whoever waits in any call is woken by a close, of either side.
pub(super) fn closing_wakes_all_who_wait<S: Session>(end: End<S>) {
    let (session, closes) = match end {
        End::Here(session) => (session, true),
        End::There(session) => (session, false),
    };
    let mut control = if closes {
        let mut control = session.open().unwrap();
        control.send(b"begin").unwrap();
        control
    } else {
        let mut control = session.accept().unwrap();
        assert_eq!(control.expect(), b"begin");
        control
    };
    let over = if closes { SessionError::Closed } else { SessionError::ClosedByPeer(8) };
    thread::scope(|scope| {
        let accepting: Vec<_> = (0..3).map(|_| scope.spawn(|| session.accept().err())).collect();
        let receiving: Vec<_> = (0..3)
            .map(|_| {
                let (sender, mut receiver) = session.open().unwrap().into_split();
                scope.spawn(move || {
                    let _sender = sender;
                    crate::flavour::Receiver::recv(&mut receiver).err()
                })
            })
            .collect();
        let mut full = session.open().unwrap();
        let sending = scope.spawn(move || {
            loop {
                if let Err(error) = full.send(&[0; 3000]) {
                    return error;
                }
            }
        });
        // The peer may have accepted this stream, and dropped it.
        let waits = || session.stats().reserve_waits > 0 || sending.is_finished();
        until("the sender waits", waits);
        if closes {
            // The peer's threads wait too.
            assert_eq!(control.expect(), b"all wait");
            session.close(8);
        } else {
            control.send(b"all wait").unwrap();
        }
        // Streams of the peer may be accepted first, one by each.
        for accepting in accepting {
            let error = accepting.join().unwrap();
            assert!(error.is_none() || error == Some(AcceptError::Session(over)), "{error:?}");
        }
        for receiving in receiving {
            let error = receiving.join().unwrap();
            assert!(
                error == Some(RecvError::Session(over)) || error == Some(RecvError::Reset(0)),
                "{error:?}"
            );
        }
        let error = sending.join().unwrap();
        assert!(error == SendError::Session(over) || error == SendError::Stopped(0), "{error}");
    });
}
