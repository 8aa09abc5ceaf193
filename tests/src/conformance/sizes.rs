//! Messages of all sizes.

use std::thread;

use shmipc_core::config::Limits;
use shmipc_core::error::SendError;

use super::End;
use super::echo::echo_in_turn;
use crate::flavour::{Receiver, Sender, Session, Stream};
use crate::payload::{Random, check, fill, pattern};

/// Sizes beside every internal bound: records, lines, the inline limit, pages, segments, messages.
fn sizes(max: usize) -> Vec<usize> {
    let inline = Limits::default().inline_max as usize;
    let bounds = [16, 64, 128, 240, 256, 4096, inline, 64 << 10, 128 << 10, 256 << 10, 512 << 10];
    let around = bounds.into_iter().flat_map(|bound| [bound - 1, bound, bound + 1]);
    let all = [0, 1].into_iter().chain(around).chain([1 << 20, (1 << 20) + 1, max - 1, max]);
    all.filter(|&size| size <= max).collect()
}

/// Messages of every size come back whole, copied in and written in place; one byte more than
/// `max_message` fails at once and harms nothing.
pub(super) fn messages_of_every_size<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_in_turn(&session),
        End::Here(session) => session,
    };
    let mut stream = session.open().unwrap();
    let max = stream.sender().max_message();
    for (seed, size) in sizes(max).into_iter().enumerate() {
        let seed = seed as u64;
        stream.send(&pattern(seed, size)).unwrap();
        check(&stream.expect(), seed, size);

        let mut reservation = stream.sender().reserve(size).unwrap();
        assert_eq!(reservation.len(), size);
        fill(&mut reservation, seed + 1);
        reservation.commit().unwrap();
        let message = stream.recv().unwrap().unwrap();
        assert_eq!(message.len(), size);
        let mut bytes = vec![0; size];
        message.copy_to_slice(&mut bytes);
        check(&bytes, seed + 1, size);
    }
    let error = SendError::TooLarge { len: max + 1, max };
    assert_eq!(stream.sender().reserve(max + 1).unwrap_err(), error);
    assert_eq!(stream.send(&vec![0; max + 1]).unwrap_err(), error);
    stream.send(b"goes on").unwrap();
    assert_eq!(stream.expect(), b"goes on");
}

/// A reservation committed shorter than it was made is a message of that length.
pub(super) fn reservations_committed_short<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_in_turn(&session),
        End::Here(session) => session,
    };
    let mut stream = session.open().unwrap();
    let mut random = Random::new(3);
    let max = stream.sender().max_message();
    for round in 0..300 {
        let reserved = random.size(max.min(1 << 20));
        let len = if round % 3 == 0 { random.below(65) } else { random.below(reserved + 1) };
        let len = len.min(reserved);
        let mut reservation = stream.sender().reserve(reserved).unwrap();
        fill(&mut reservation[..len], round);
        reservation.commit_len(len).unwrap();
        check(&stream.expect(), round, len);
    }
}

/// Random sizes in both directions at the same time, all contents checked.
pub(super) fn random_messages_both_ways<S: Session>(end: End<S>) {
    const MESSAGES: u64 = 2000;
    let (stream, ours, theirs) = match end {
        End::Here(session) => (session.open().unwrap(), 1, 2),
        End::There(session) => (session.accept().unwrap(), 2, 1),
    };
    let (mut sender, mut receiver) = stream.into_split();
    let max = sender.max_message().min(1 << 20);
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut random = Random::new(ours);
            for number in 0..MESSAGES {
                sender.send(&pattern(number, random.size(max))).unwrap();
            }
            sender.finish().unwrap();
        });
        let mut random = Random::new(theirs);
        for number in 0..MESSAGES {
            check(&receiver.expect(), number, random.size(max));
        }
        assert!(receiver.recv().unwrap().is_none());
    });
}

/// Messages larger than a stream's window are charged half of it and flow.
pub(super) fn messages_beyond_the_window<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            let max = stream.sender().max_message();
            for (seed, size) in
                [max, max / 2, max, max / 4 + 1].into_iter().cycle().take(16).enumerate()
            {
                let mut reservation = stream.sender().reserve(size).unwrap();
                fill(&mut reservation, seed as u64);
                reservation.commit().unwrap();
            }
            stream.finish().unwrap();
            assert_eq!(stream.expect(), b"all");
        }
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            let max = stream.sender().max_message();
            for (seed, size) in
                [max, max / 2, max, max / 4 + 1].into_iter().cycle().take(16).enumerate()
            {
                check(&stream.expect(), seed as u64, size);
            }
            assert!(stream.recv().unwrap().is_none());
            stream.send(b"all").unwrap();
        }
    }
}
