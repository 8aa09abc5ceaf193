//! Messages of all sizes.

use std::collections::BTreeSet;
use std::io::Write;
use std::thread;

use shmipc_core::error::SendError;
use shmipc_core::layout::{FIRST_DEDICATED, FIRST_SEGMENT, Geometry};

use super::End;
use super::echo::echo_in_turn;
use crate::flavour::{Receiver, Sender, Session, Stream};
use crate::payload::{Random, check, fill, pattern};

/// Sizes beside every internal bound of what was agreed: words and lines of a record, the copying loops,
/// the inline limit, pieces of a write, the regions and segments of the arena, windows, messages.
fn sizes(geometry: &Geometry) -> Vec<usize> {
    let max = geometry.max_message as usize;
    let lines = (1..=16).map(|line| 16 * line).chain([512, 1024, 4096, 64 << 10]);
    let records = [geometry.inline_max, geometry.max_record() as u32];
    let windows = [geometry.stream_window / 2 - 64, geometry.stream_window / 2];
    let more = [geometry.stream_window, geometry.unread_max / 8, geometry.unread_max];
    let small = [FIRST_SEGMENT / 8, FIRST_SEGMENT / 4, FIRST_SEGMENT];
    let dedicated = (0..5).map(|power| FIRST_DEDICATED << power);
    let of_the_session =
        records.into_iter().chain(windows).chain(more).chain(small).chain(dedicated);
    let bounds = lines.chain(of_the_session.map(|bound| bound as usize)).chain([max]);
    let around = bounds.flat_map(|bound| [bound - 1, bound, bound + 1]);
    let sizes: BTreeSet<_> = [0, 1].into_iter().chain(around).filter(|&size| size <= max).collect();
    sizes.into_iter().collect()
}

/// Messages of every size come back whole, by every way to send; one byte more than `max_message` fails at
/// once and harms nothing.
pub(super) fn messages_of_every_size<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_in_turn(&session),
        End::Here(session) => session,
    };
    let mut stream = session.open().unwrap();
    let geometry = session.geometry();
    let max = stream.sender().max_message();
    assert_eq!(max, geometry.max_message as usize);
    for (seed, size) in sizes(&geometry).into_iter().enumerate() {
        let seed = seed as u64;
        stream.send(&pattern(seed, size)).unwrap();
        check(&stream.expect(), seed, size);

        let mut reservation = stream.sender().reserve(size).unwrap();
        assert_eq!(reservation.len(), size);
        fill(&mut reservation, seed + 1);
        reservation.commit().unwrap();
        let message = stream.recv().unwrap().unwrap();
        assert_eq!(message.len(), size);
        check(&message, seed + 1, size);
        let mut bytes = vec![0; size];

        stream.write_all(&pattern(seed + 2, size)).unwrap();
        stream.flush().unwrap();
        if size > 0 {
            assert_eq!(stream.receiver().recv_into(&mut bytes), Ok(Some(size)));
            check(&bytes, seed + 2, size);
        }

        let batch = stream.sender().send_batch(&[b"before", &pattern(seed + 3, size)]);
        if size <= geometry.inline_max as usize {
            batch.unwrap();
            assert_eq!(stream.expect(), b"before");
            check(&stream.expect(), seed + 3, size);
        } else {
            let max = geometry.inline_max as usize;
            assert_eq!(batch, Err(SendError::TooLarge { len: size, max }));
        }
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
