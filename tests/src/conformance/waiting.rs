//! Waits that run out of time, and who wakes whom.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shmipc_core::error::{AcceptError, Delivery, RecvError, SendError};

use super::End;
use crate::deadline::until;
use crate::flavour::{Receiver, Sender, Session, Stream};
use crate::payload::{check, pattern};

const SHORT: Duration = Duration::from_millis(20);

/// A receive that times out says so, not too early, and the message that comes later is received.
pub(super) fn timed_out_receive_loses_nothing<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            for round in 0..10 {
                let start = Instant::now();
                let error = stream.receiver().recv_timeout(SHORT).unwrap_err();
                assert_eq!(error, RecvError::TimedOut);
                assert!(start.elapsed() >= SHORT, "timed out early");
                assert_eq!(session.accept_timeout(SHORT).err(), Some(AcceptError::TimedOut));
                stream.send(b"go on").unwrap();
                check(&stream.expect(), round, 5000);
            }
            // No time at all is a look.
            let error = stream.receiver().recv_timeout(Duration::ZERO).unwrap_err();
            assert_eq!(error, RecvError::TimedOut);
        }
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            for round in 0..10 {
                assert_eq!(stream.expect(), b"go on");
                stream.send(&pattern(round, 5000)).unwrap();
            }
            assert!(stream.recv().is_err());
        }
    }
}

/// A reservation that times out for want of credit has sent nothing and costs nothing.
pub(super) fn timed_out_reservation_loses_nothing<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let (mut control, mut stream) = (session.open().unwrap(), session.open().unwrap());
            for size in [1000, 50_000] {
                let mut sent = 0;
                for _ in 0..3 {
                    let error = loop {
                        match stream.sender().reserve_timeout(size, SHORT) {
                            Ok(mut reservation) => {
                                reservation.copy_from_slice(&pattern(sent, size));
                                reservation.commit().unwrap();
                                sent += 1;
                            }
                            Err(error) => break error,
                        }
                    };
                    assert_eq!(error, SendError::TimedOut);
                    assert_eq!(error.delivery(), Delivery::NotSent);
                }
                assert!(sent >= 2, "only {sent} messages fit into the window");
                control.send(&sent.to_le_bytes()).unwrap();
                // Now it must come, and without being asked for again.
                let mut reservation = stream.sender().reserve(size).unwrap();
                reservation.copy_from_slice(&pattern(sent, size));
                reservation.commit().unwrap();
                assert_eq!(control.expect(), b"all");
            }
        }
        End::There(session) => {
            // In the order in which the peer was told of them.
            let (mut stream, mut control) = (session.accept().unwrap(), session.accept().unwrap());
            let mut sent = control.expect();
            for size in [1000, 50_000] {
                for number in 0..=u64::from_le_bytes(sent[..].try_into().unwrap()) {
                    check(&stream.expect(), number, size);
                }
                control.send(b"all").unwrap();
                if size == 1000 {
                    sent = control.expect();
                }
            }
            assert!(control.recv().is_err());
        }
    }
}

/// Credit that a dropped reservation gives back lets the next one in, without the peer's doing
/// anything.
pub(super) fn dropped_reservation_lets_the_next_in<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            for _ in 0..20 {
                let (mut sender, mut receiver) = session.open().unwrap().into_split();
                // Each is charged half of the window.
                let large = sender.max_message();
                let held = [sender.reserve(large).unwrap(), sender.reserve(large).unwrap()];
                let waits = session.stats().reserve_waits;
                thread::scope(|scope| {
                    let next =
                        scope.spawn(|| sender.reserve(large).unwrap().commit_len(3).unwrap());
                    until("the third reservation waits", || session.stats().reserve_waits > waits);
                    drop(held);
                    next.join().unwrap();
                });
                assert_eq!(receiver.expect().len(), 3);
            }
        }
        End::There(session) => super::echo::echo_in_turn(&session),
    }
}

/// Each side begins to read when it has had to wait for room, or has sent everything: whoever waits for
/// room still drains, and what was sent is there when it is asked for.
pub(super) fn both_sides_wait_for_room<S: Session>(end: End<S>) {
    const MESSAGES: u64 = 300;
    let (End::Here(session) | End::There(session)) = end;
    let mut out = session.open().unwrap();
    out.send(b"hello").unwrap();
    let mut back = session.accept().unwrap();
    assert_eq!(back.expect(), b"hello");
    let sent_all = AtomicBool::new(false);
    thread::scope(|scope| {
        let (session, sent_all) = (&session, &sent_all);
        let receiver = scope.spawn(move || {
            until("the window is full", || {
                session.stats().reserve_waits > 0 || sent_all.load(Ordering::Relaxed)
            });
            for number in 0..MESSAGES {
                check(&back.expect(), number, 3000);
            }
            assert!(back.recv().unwrap().is_none());
            back.finish().unwrap();
        });
        for number in 0..MESSAGES {
            out.send(&pattern(number, 3000)).unwrap();
        }
        sent_all.store(true, Ordering::Relaxed);
        out.finish().unwrap();
        receiver.join().unwrap();
        assert!(out.recv().unwrap().is_none());
    });
}

/// Both sides write, and neither reads: each waits for as long as it likes, and when they read, all is there that
/// was sent, and nothing else.
pub(super) fn both_sides_write_and_nobody_reads<S: Session>(end: End<S>) {
    let (End::Here(session) | End::There(session)) = end;
    let (mut out, mut control) = (session.open().unwrap(), session.open().unwrap());
    out.send(b"out").unwrap();
    control.send(b"control").unwrap();
    let (mut back, mut told) = (session.accept().unwrap(), session.accept().unwrap());
    assert_eq!((back.expect(), told.expect()), (b"out".to_vec(), b"control".to_vec()));
    let size = |number: u64| if number.is_multiple_of(3) { 20_000 } else { 500 };
    let mut sent = 0;
    for _ in 0..3 {
        let error = loop {
            match out.sender().reserve_timeout(size(sent), SHORT) {
                Ok(mut reservation) => {
                    reservation.copy_from_slice(&pattern(sent, size(sent)));
                    reservation.commit().unwrap();
                    sent += 1;
                }
                Err(error) => break error,
            }
        };
        assert_eq!(error, SendError::TimedOut);
    }
    assert!(sent >= 2, "only {sent} messages fit into the window");
    out.finish().unwrap();
    control.send(&sent.to_le_bytes()).unwrap();
    let theirs = u64::from_le_bytes(told.expect()[..].try_into().unwrap());
    for number in 0..theirs {
        check(&back.expect(), number, size(number));
    }
    assert!(back.recv().unwrap().is_none());
    // Neither closes before the other has all.
    control.finish().unwrap();
    assert!(told.recv().unwrap().is_none());
    back.finish().unwrap();
    assert!(out.recv().unwrap().is_none());
}
