//! The record queue, round and round.

use std::thread;

use super::End;
use crate::flavour::{Receiver, Sender, Session, Stream};
use crate::payload::{Random, check, pattern};

/// `count` messages of random sizes up to `max`, each way at the same time.
fn both_ways<S: Session>(end: End<S>, count: u64, max: usize) {
    let (stream, ours, theirs) = match end {
        End::Here(session) => (session.open().unwrap(), 1, 2),
        End::There(session) => (session.accept().unwrap(), 2, 1),
    };
    let (mut sender, mut receiver) = stream.into_split();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut random = Random::new(ours);
            for number in 0..count {
                sender.send(&pattern(number, random.below(max + 1))).unwrap();
            }
            sender.finish().unwrap();
        });
        let mut random = Random::new(theirs);
        for number in 0..count {
            check(&receiver.expect(), number, random.below(max + 1));
        }
        assert!(receiver.recv().unwrap().is_none());
    });
}

/// Records of all sizes meet the end of the ring in every way, hundreds of thousands of times.
pub(super) fn small_messages_of_odd_sizes<S: Session>(end: End<S>) {
    both_ways(end, 150_000, 45);
}

/// Records up to the largest; in the tiny setup every few of them fill the ring.
pub(super) fn ring_wraps_around<S: Session>(end: End<S>) {
    both_ways(end, 10_000, 5000);
}
