//! How a stream ends, and how its reader and its writer learn of it.

use std::io::{ErrorKind, Read, Write};
use std::thread;

use shmipc_core::error::{Delivery, RecvError, SendError};

use super::End;
use crate::deadline::until;
use crate::flavour::{Receiver, Sender, Session, Stream};
use crate::payload::{check, pattern};

/// Runs a case in which `Here` does something to each of several streams and `There` looks.
fn stream_by_stream<S: Session>(
    end: End<S>,
    count: usize,
    here: impl Fn(usize, S::Stream),
    there: impl Fn(usize, S::Stream),
) {
    match end {
        End::Here(session) => {
            let mut control = session.open().unwrap();
            control.send(b"begin").unwrap();
            for number in 0..count {
                here(number, session.open().unwrap());
                assert_eq!(control.expect(), b"seen");
            }
        }
        End::There(session) => {
            let mut control = session.accept().unwrap();
            assert_eq!(control.expect(), b"begin");
            for number in 0..count {
                there(number, session.accept().unwrap());
                control.send(b"seen").unwrap();
            }
            assert!(control.recv().is_err());
        }
    }
}

/// Sends `count` messages, some inside their record and some not.
fn send_some(stream: &mut impl Stream, count: usize) {
    for number in 0..count {
        stream.send(&pattern(number as u64, 3000 * number)).unwrap();
    }
}

fn expect_some(stream: &mut impl Stream, count: usize) {
    for number in 0..count {
        check(&stream.expect(), number as u64, 3000 * number);
    }
}

/// `None` and `Ok(0)` come after everything that was sent, after a finish, and then for ever.
pub(super) fn end_comes_only_after_finish<S: Session>(end: End<S>) {
    let here = |count, mut stream: S::Stream| {
        send_some(&mut stream, count);
        stream.finish().unwrap();
        assert_eq!(stream.finish(), Err(SendError::Ended));
        drop(stream);
    };
    let there = |count, mut stream: S::Stream| {
        expect_some(&mut stream, count);
        for _ in 0..3 {
            assert!(stream.recv().unwrap().is_none());
            assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
        }
    };
    stream_by_stream(end, 5, here, there);
}

fn assert_reset(stream: &mut impl Stream, code: u32) {
    for _ in 0..3 {
        assert_eq!(stream.recv().unwrap_err(), RecvError::Reset(code));
        let error = stream.read(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let source = error.get_ref().and_then(|source| source.downcast_ref::<RecvError>());
        assert_eq!(source, Some(&RecvError::Reset(code)));
    }
}

/// A writer that is dropped before its finish is a reset, not an end, also in the middle of a message.
pub(super) fn dropped_writer_is_a_reset<S: Session>(end: End<S>) {
    let here = |number, mut stream: S::Stream| {
        send_some(&mut stream, 1 + number % 3);
        if number >= 3 {
            stream.write_all(b"unfinished").unwrap();
        }
        drop(stream);
    };
    let there = |number, mut stream: S::Stream| {
        expect_some(&mut stream, 1 + number % 3);
        match number {
            0..3 => assert_reset(&mut stream, 0),
            3 => assert_eq!(stream.recv().unwrap_err(), RecvError::Reset(0)),
            _ => {
                let mut bytes = Vec::new();
                let error = stream.read_to_end(&mut bytes).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                assert_eq!(bytes, b"unfinished");
            }
        }
    };
    stream_by_stream(end, 6, here, there);
}

/// A writer that panics is a reset as well.
pub(super) fn panicking_writer_is_a_reset<S: Session>(end: End<S>) {
    let here = |_, mut stream: S::Stream| {
        let writing = thread::Builder::new().name("panics on purpose".into());
        let writing = writing.spawn(move || {
            stream.send(b"whole").unwrap();
            let mut reservation = stream.sender().reserve(10_000).unwrap();
            reservation[..5].copy_from_slice(b"half ");
            std::panic::resume_unwind(Box::new("half-way"));
        });
        assert!(writing.unwrap().join().is_err());
    };
    let there = |_, mut stream: S::Stream| {
        assert_eq!(stream.expect(), b"whole");
        assert_reset(&mut stream, 0);
    };
    stream_by_stream(end, 1, here, there);
}

/// `reset` tells its code, after what was sent.
pub(super) fn reset_carries_its_code<S: Session>(end: End<S>) {
    let here = |number: usize, mut stream: S::Stream| {
        send_some(&mut stream, number + 1);
        stream.sender().reset(100 + number as u32);
        assert_eq!(stream.send(b"more"), Err(SendError::Ended));
        assert_eq!(stream.finish(), Err(SendError::Ended));
    };
    let there = |number: usize, mut stream: S::Stream| {
        expect_some(&mut stream, number + 1);
        assert_reset(&mut stream, 100 + number as u32);
    };
    stream_by_stream(end, 4, here, there);
}

/// A reader that stops, or goes, makes the writer fail with its code.
pub(super) fn stop_reaches_the_writer<S: Session>(end: End<S>) {
    let here = |number: usize, mut stream: S::Stream| {
        stream.send(b"something").unwrap();
        let code = if number == 0 { 0 } else { 77 };
        let mut error = None;
        until("the stop arrives", || {
            error = stream.send(&[0; 100]).err();
            error.is_some()
        });
        assert_eq!(error, Some(SendError::Stopped(code)));
        assert_eq!(error.unwrap().delivery(), Delivery::Refused);
        assert_eq!(stream.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        // The other direction goes on.
        assert_eq!(stream.expect(), b"still");
        assert!(stream.recv().unwrap().is_none());
    };
    let there = |number: usize, stream: S::Stream| {
        let (mut sender, mut receiver) = stream.into_split();
        assert_eq!(receiver.expect(), b"something");
        if number == 0 {
            drop(receiver);
        } else {
            receiver.stop(77);
        }
        sender.send(b"still").unwrap();
        sender.finish().unwrap();
    };
    stream_by_stream(end, 2, here, there);
}

/// A stop wakes a writer that waits for room.
pub(super) fn stop_reaches_a_writer_who_waits<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let (mut control, mut stream) = (session.open().unwrap(), session.open().unwrap());
            control.send(b"begin").unwrap();
            let error = thread::scope(|scope| {
                let writer = scope.spawn(move || {
                    loop {
                        if let Err(error) = stream.send(&[7; 2000]) {
                            return error;
                        }
                    }
                });
                until("the writer waits", || session.stats().reserve_waits > 0);
                control.send(b"it waits").unwrap();
                writer.join().unwrap()
            });
            assert_eq!(error, SendError::Stopped(5));
        }
        End::There(session) => {
            let mut control = session.accept().unwrap();
            assert_eq!(control.expect(), b"begin");
            let mut stream = session.accept().unwrap();
            assert_eq!(control.expect(), b"it waits");
            stream.receiver().stop(5);
            assert!(control.recv().is_err());
        }
    }
}

/// Who lets the receiving half go before it has said anything does not let the peer wait for ever.
pub(super) fn receiver_dropped_before_the_first_message<S: Session>(end: End<S>) {
    let here = |_, stream: S::Stream| {
        let (mut sender, receiver) = stream.into_split();
        drop(receiver);
        sender.send(b"no answer, please").unwrap();
        sender.finish().unwrap();
    };
    let there = |_, mut stream: S::Stream| {
        assert_eq!(stream.expect(), b"no answer, please");
        assert!(stream.recv().unwrap().is_none());
        let error = loop {
            if let Err(error) = stream.send(&[0; 20_000]) {
                break error;
            }
        };
        assert_eq!(error, SendError::Stopped(0));
    };
    stream_by_stream(end, 1, here, there);
}

/// After finish or reset every call that sends fails, a reservation made before included.
pub(super) fn nothing_is_sent_after_the_end<S: Session>(end: End<S>) {
    let here = |number: usize, mut stream: S::Stream| {
        stream.send(b"first").unwrap();
        let reservations = [0, 10, 10_000].map(|len| stream.sender().reserve(len).unwrap());
        match number {
            0 => stream.finish().unwrap(),
            _ => stream.sender().reset(9),
        }
        for reservation in reservations {
            assert_eq!(reservation.commit(), Err(SendError::Ended));
        }
        assert_eq!(stream.send(b"late"), Err(SendError::Ended));
        assert_eq!(stream.sender().reserve(10).unwrap_err(), SendError::Ended);
        assert_eq!(stream.write(b"late").unwrap_err().kind(), ErrorKind::BrokenPipe);
    };
    let there = |number: usize, mut stream: S::Stream| {
        assert_eq!(stream.expect(), b"first");
        match number {
            0 => assert!(stream.recv().unwrap().is_none()),
            _ => assert_reset(&mut stream, 9),
        }
    };
    stream_by_stream(end, 2, here, there);
}

/// A stream that was reset before the peer heard of it has nobody to answer: receiving fails, again
/// and again.
pub(super) fn reset_before_the_first_message<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            stream.sender().reset(4);
            for _ in 0..3 {
                assert_eq!(stream.recv().unwrap_err(), RecvError::Open(SendError::Ended));
            }
            drop(stream);
            let mut stream = session.open().unwrap();
            stream.send(b"fine").unwrap();
            assert_eq!(stream.expect(), b"fine");
        }
        End::There(session) => super::echo::echo_in_turn(&session),
    }
}

/// Each direction ends by itself: after our finish the peer's messages still come, and it may go on
/// long after.
pub(super) fn one_direction_ends_before_the_other<S: Session>(end: End<S>) {
    let here = |_, mut stream: S::Stream| {
        stream.send(b"question").unwrap();
        stream.finish().unwrap();
        expect_some(&mut stream, 100);
        assert!(stream.recv().unwrap().is_none());
    };
    let there = |_, mut stream: S::Stream| {
        assert_eq!(stream.expect(), b"question");
        assert!(stream.recv().unwrap().is_none());
        send_some(&mut stream, 100);
        stream.finish().unwrap();
    };
    stream_by_stream(end, 2, here, there);
}
