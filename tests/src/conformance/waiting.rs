//! Waits that run out of time, and who wakes whom.

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
                assert!(sent > 2, "only {sent} messages fit into the window");
                control.send(&sent.to_le_bytes()).unwrap();
                // Now it must come, and without being asked for again.
                let mut reservation = stream.sender().reserve(size).unwrap();
                reservation.copy_from_slice(&pattern(sent, size));
                reservation.commit().unwrap();
                assert_eq!(control.expect(), b"all");
            }
        }
        End::There(session) => {
            let mut control = session.accept().unwrap();
            for size in [1000, 50_000] {
                let sent = u64::from_le_bytes(control.expect().try_into().unwrap());
                let mut stream = None;
                let stream = match size {
                    1000 => FIRST.with_stream(&mut stream, || session.accept().unwrap()),
                    _ => stream.as_mut().unwrap(),
                };
                for number in 0..=sent {
                    check(&stream.expect(), number, size);
                }
                control.send(b"all").unwrap();
            }
        }
    }
}
