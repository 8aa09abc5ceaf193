//! Memory for large messages: scarce, and given back.

use std::time::Duration;

use shmipc_core::error::RecvError;

use super::End;
use super::echo::echo_in_turn;
use crate::deadline::until;
use crate::flavour::{Receiver, Sender, Session, Stream};
use crate::payload::{check, pattern};

/// Streams with large messages that nobody reads keep no memory from the others, and lose nothing.
pub(super) fn unread_messages_keep_no_memory<S: Session>(end: End<S>) {
    const UNREAD: u64 = 12;
    const LEN: usize = 1 << 20;
    match end {
        End::There(session) => {
            let mut stalled = session.accept().unwrap();
            assert_eq!(stalled.expect(), b"stalled");
            let mut busy = session.accept().unwrap();
            for number in 0..UNREAD {
                // Unread, as much as its window lets through; the other one goes on.
                if number < stalls(&mut stalled) {
                    stalled.send(&pattern(number, LEN)).unwrap();
                    stalled.send(&pattern(number, 5000)).unwrap();
                }
                check(&busy.expect(), number, LEN);
                busy.send(&pattern(number, LEN)).unwrap();
            }
            stalled.finish().unwrap();
            assert!(busy.recv().unwrap().is_none());
            assert!(stalled.recv().unwrap().is_none());
        }
        End::Here(session) => {
            let mut stalled = session.open().unwrap();
            stalled.send(b"stalled").unwrap();
            let mut busy = session.open().unwrap();
            for number in 0..UNREAD {
                busy.send(&pattern(number, LEN)).unwrap();
                check(&busy.expect(), number, LEN);
            }
            busy.finish().unwrap();
            for number in 0..stalls(&mut stalled) {
                check(&stalled.expect(), number, LEN);
                check(&stalled.expect(), number, 5000);
            }
            assert!(stalled.recv().unwrap().is_none());
            stalled.finish().unwrap();
        }
    }
}

/// Payload memory that nobody uses goes back to the kernel while a thread waits, and comes again.
pub(super) fn idle_memory_goes_back<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_in_turn(&session),
        End::Here(session) => session,
    };
    let mut stream = session.open().unwrap();
    // The default keeps it for longer than a test wants to wait.
    let scarce = is_scarce(&mut stream);
    for round in 0..3 {
        let len = 700_000 + round as usize;
        for number in 0..4 {
            stream.send(&pattern(number, len)).unwrap();
            check(&stream.expect(), number, len);
        }
        // It may be given back by now.
        assert!(session.stats().arena_high_water >= 1 << 20);
        if scarce {
            until("the memory is given back", || {
                let waited = stream.receiver().recv_timeout(Duration::from_millis(5));
                assert_eq!(waited.err(), Some(RecvError::TimedOut));
                session.stats().arena_bytes == 0
            });
        }
    }
}

fn is_scarce(stream: &mut impl Stream) -> bool {
    stream.sender().max_message() <= 1 << 20
}

/// Pairs of messages that the window of a stalled stream lets through.
fn stalls(stream: &mut impl Stream) -> u64 {
    if is_scarce(stream) { 8 } else { 1 }
}
