//! The less common ways to send and to receive, and one after the other on the same stream.

use std::io::{IoSlice, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use shmipc_core::error::{RecvError, SendError, SessionError, TryError};

use super::End;
use super::echo::echo_in_turn;
use crate::deadline::until;
use crate::flavour::{Receiver, Sender, Session, Stream};
use crate::payload::{check, fill, pattern};

/// The buffers of a vectored write are one record as far as a piece goes; what is left over is written by
/// the next.
pub(super) fn vectored_writes<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_in_turn(&session),
        End::Here(session) => session,
    };
    let (piece, inline) = (64 << 10, session.geometry().inline_max as usize);
    let lengths: [&[usize]; 8] = [
        &[3, 0, 5, 1],
        &[inline - 1, 1],
        &[inline, 1],
        &[1, inline],
        &[100; 300],
        &[piece - 1, 1, 1],
        &[piece, piece],
        &[10, 3 * piece, 10],
    ];
    let mut stream = session.open().unwrap();
    for lengths in lengths {
        let total = lengths.iter().sum::<usize>();
        let whole = pattern(total as u64, total);
        let mut rest = &whole[..];
        let parts = lengths.iter().map(|&len| rest.split_off(..len).expect("the sum of all"));
        let mut buffers: Vec<_> = parts.map(IoSlice::new).collect();
        let mut buffers = &mut buffers[..];
        let sent = session.stats().records_sent;
        let mut records = 0;
        while !buffers.is_empty() {
            let left = buffers.iter().map(|buffer| buffer.len()).sum::<usize>();
            let written = stream.write_vectored(buffers).unwrap();
            assert_eq!(written, left.min(piece).min(stream.sender().max_message()));
            IoSlice::advance_slices(&mut buffers, written);
            records += 1;
        }
        assert_eq!(session.stats().records_sent, sent + records, "one record a write");
        stream.flush().unwrap();
        check(&stream.expect(), total as u64, total);
    }
    // Nothing to write is no record, and no message is open.
    let sent = session.stats().records_sent;
    assert_eq!(stream.write_vectored(&[]).unwrap(), 0);
    assert_eq!(stream.write_vectored(&[IoSlice::new(b""), IoSlice::new(b"")]).unwrap(), 0);
    stream.flush().unwrap();
    assert_eq!(session.stats().records_sent, sent);
}

/// What was begun by `write` is ended by a message sent in any other way, which is its last part; a flush
/// after it has nothing to end.
pub(super) fn message_begun_by_write<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_in_turn(&session),
        End::Here(session) => session,
    };
    let mut stream = session.open().unwrap();
    for way in 0..5 {
        let early = stream.sender().reserve(4).unwrap();
        let mut large = stream.sender().reserve(10_000).unwrap();
        stream.write_all(b"begun, ").unwrap();
        let mut last = b"done".to_vec();
        match way {
            0 => stream.send(b"done").unwrap(),
            1 => {
                let mut early = early;
                early.copy_from_slice(b"done");
                early.commit().unwrap();
            }
            2 => {
                large.copy_from_slice(&pattern(1, 10_000));
                large.commit().unwrap();
                last = pattern(1, 10_000);
            }
            3 => {
                large[..4].copy_from_slice(b"done");
                large.commit_len(4).unwrap();
            }
            _ => stream.sender().send_batch(&[b"done"]).unwrap(),
        }
        stream.flush().unwrap();
        stream.send(b"next").unwrap();
        assert_eq!(stream.expect(), [b"begun, ", &last[..]].concat(), "way {way}");
        assert_eq!(stream.expect(), b"next", "way {way}");
    }
    // A reservation that is dropped ends nothing.
    stream.write_all(b"begun, ").unwrap();
    drop(stream.sender().reserve(10).unwrap());
    stream.flush().unwrap();
    assert_eq!(stream.expect(), b"begun, ");
}

/// A message that `read` has consumed is gone, in whatever way it was sent: what `recv` gives next is the
/// next one.
pub(super) fn recv_after_a_read_of_everything<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            for len in [1, 100, 6000, 100_000] {
                for body in [&b"body"[..], b""] {
                    stream.write_all(&pattern(1, len)).unwrap();
                    stream.flush().unwrap();
                    stream.send(body).unwrap();
                    stream.send(&pattern(2, len)).unwrap();
                    stream.send(b"next").unwrap();
                }
            }
            stream.finish().unwrap();
            assert!(stream.recv().unwrap().is_none());
        }
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            for len in [1, 100, 6000, 100_000] {
                let mut bytes = vec![0; len];
                for body in [&b"body"[..], b""] {
                    stream.read_exact(&mut bytes).unwrap();
                    check(&bytes, 1, len);
                    assert_eq!(stream.expect(), body);
                    stream.read_exact(&mut bytes).unwrap();
                    check(&bytes, 2, len);
                    assert_eq!(stream.expect(), b"next");
                }
            }
            assert!(stream.recv().unwrap().is_none());
            stream.finish().unwrap();
        }
    }
}

/// Batches larger than the queue arrive whole and in order; one with a message too long sends nothing.
pub(super) fn batches<S: Session>(end: End<S>) {
    const MESSAGES: u64 = 4000;
    match end {
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            let messages: Vec<_> =
                (0..MESSAGES).map(|number| pattern(number, number as usize % 90)).collect();
            let mut messages: Vec<_> = messages.iter().map(Vec::as_slice).collect();
            stream.sender().send_batch(&messages).unwrap();
            let max = session.geometry().inline_max as usize;
            let long = vec![1; max + 1];
            messages.push(&long);
            let error = stream.sender().send_batch(&messages).unwrap_err();
            assert_eq!(error, SendError::TooLarge { len: max + 1, max });
            stream.sender().send_batch(&[]).unwrap();
            stream.finish().unwrap();
            assert_eq!(stream.sender().send_batch(&[b"x"]), Err(SendError::Ended));
            assert!(stream.recv().unwrap().is_none());
        }
        End::There(session) => {
            let (mut sender, mut receiver) = session.accept().unwrap().into_split();
            let mut count = 0;
            for message in receiver.messages() {
                check(&message.unwrap(), count, count as usize % 90);
                count += 1;
            }
            assert_eq!(count, MESSAGES);
            assert!(receiver.messages().next().is_none());
            sender.finish().unwrap();
            // The peer tries what fails after a finish while the session is there.
            assert_eq!(session.closed(), SessionError::ClosedByPeer(0));
        }
    }
}

/// `messages` ends with the error of a reset, not silently.
pub(super) fn messages_until_a_reset<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            (0..3).for_each(|number| stream.send(&pattern(number, 3000)).unwrap());
            stream.sender().reset(8);
            assert!(stream.recv().unwrap().is_none());
        }
        End::There(session) => {
            let (mut sender, mut receiver) = session.accept().unwrap().into_split();
            let results: Vec<_> =
                receiver.messages().map(|message| message.map(|m| m.len())).take(5).collect();
            let reset = Err(RecvError::Reset(8));
            assert_eq!(results, [Ok(3000), Ok(3000), Ok(3000), reset, reset]);
            sender.finish().unwrap();
        }
    }
}

/// `try_send` and `try_reserve` never wait for a reader that does not read, lose nothing of what they have accepted, and
/// go on when it has read.
pub(super) fn sending_without_waiting<S: Session>(end: End<S>) {
    const SIZES: [usize; 4] = [0, 100, 5000, 20_000];
    match end {
        End::Here(session) => {
            let (mut sender, mut receiver) = session.open().unwrap().into_split();
            let max = sender.max_message();
            let too_large = SendError::TooLarge { len: max + 1, max };
            assert_eq!(sender.try_reserve(max + 1).err(), Some(too_large.into()));
            for size in SIZES {
                let (mut count, mut blocked) = (0, 0);
                while blocked < 3 {
                    let sent = match count % 2 {
                        0 => sender.try_send(&pattern(count, size)),
                        _ => sender.try_reserve(size).and_then(|mut reservation| {
                            fill(&mut reservation, count);
                            Ok(reservation.commit()?)
                        }),
                    };
                    match sent {
                        Ok(()) => count += 1,
                        Err(TryError::WouldBlock) => {
                            // The peer learns how many there were, and reads only then.
                            blocked += 1;
                            let mut control = session.open().unwrap();
                            control.send(&count.to_ne_bytes()).unwrap();
                            control.finish().unwrap();
                            assert!(receiver.expect().is_empty());
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                assert!(count >= 3, "{size} bytes");
            }
            sender.finish().unwrap();
            assert_eq!(sender.try_send(b"late"), Err(SendError::Ended.into()));
            assert!(receiver.recv().unwrap().is_none());
        }
        End::There(session) => {
            let (mut sender, mut receiver) = session.accept().unwrap().into_split();
            for size in SIZES {
                let mut read = 0;
                for _ in 0..3 {
                    let count = session.accept().unwrap().expect();
                    let count = u64::from_ne_bytes(count.try_into().unwrap());
                    for number in read..count {
                        check(&receiver.expect(), number, size);
                    }
                    read = count;
                    sender.send(b"").unwrap();
                }
            }
            assert!(receiver.recv().unwrap().is_none());
            sender.finish().unwrap();
            assert_eq!(session.closed(), SessionError::ClosedByPeer(0));
        }
    }
}

/// `try_recv` never waits, loses nothing, and learns of the end; `recv_deadline` keeps to its deadline.
pub(super) fn receiving_without_waiting<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            assert_eq!(stream.receiver().try_recv().err(), Some(TryError::WouldBlock));
            for round in 0..50 {
                let past = Instant::now() - Duration::from_secs(1);
                let early = stream.receiver().recv_deadline(past).unwrap_err();
                assert_eq!(early, RecvError::TimedOut);
                stream.send(b"go on").unwrap();
                for (number, len) in [0, 10, 5000, 20_000].into_iter().enumerate() {
                    let mut polled = Err(TryError::WouldBlock);
                    until("the next message", || {
                        polled = stream.receiver().try_recv();
                        !matches!(polled, Err(TryError::WouldBlock))
                    });
                    let Ok(Some(message)) = polled else { panic!("{polled:?}") };
                    check(&message, round * 4 + number as u64, len);
                }
                assert_eq!(stream.receiver().try_recv().err(), Some(TryError::WouldBlock));
            }
            stream.finish().unwrap();
            let mut polled = Err(TryError::WouldBlock);
            until("the end", || {
                polled = stream.receiver().try_recv();
                !matches!(polled, Err(TryError::WouldBlock))
            });
            assert!(matches!(polled, Ok(None)), "{polled:?}");
        }
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            let late = Instant::now() + crate::deadline::patience();
            let mut round = 0;
            while let Some(word) = stream.receiver().recv_deadline(late).unwrap() {
                assert_eq!(word.to_vec(), b"go on");
                for (number, len) in [0, 10, 5000, 20_000].into_iter().enumerate() {
                    stream.send(&pattern(round * 4 + number as u64, len)).unwrap();
                }
                round += 1;
            }
            assert_eq!(round, 50);
            stream.finish().unwrap();
            // Only then the session may go.
            assert!(stream.recv().unwrap().is_none());
        }
    }
}

/// A message that is longer than the buffer is an error and stays the next message, however it was sent and
/// whatever receives it then.
pub(super) fn buffers_that_are_too_short<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_in_turn(&session),
        End::Here(session) => session,
    };
    let mut stream = session.open().unwrap();
    let inline = session.geometry().inline_max as usize;
    for (seed, len) in [1, 100, inline, inline + 1, 100_000].into_iter().enumerate() {
        for way in 0..3 {
            stream.send(&pattern(seed as u64, len)).unwrap();
            let mut buffer = vec![0; len];
            for max in [0, len / 2, len - 1] {
                let short = stream.receiver().recv_into(&mut buffer[..max]);
                assert_eq!(short, Err(RecvError::BufferTooSmall { len, room: max }));
            }
            match way {
                0 => assert_eq!(stream.receiver().recv_into(&mut buffer), Ok(Some(len))),
                1 => buffer = stream.expect(),
                _ => stream.read_exact(&mut buffer).unwrap(),
            }
            check(&buffer, seed as u64, len);
        }
    }
    stream.finish().unwrap();
    assert_eq!(stream.receiver().recv_into(&mut []), Ok(None));
}

/// `closed` waits for the end of the session and says why, on both sides.
pub(super) fn whoever_waits_for_the_end_is_told<S: Session>(end: End<S>) {
    use shmipc_core::error::SessionError;
    match end {
        End::Here(session) => {
            thread::scope(|scope| {
                let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| session.closed())).collect();
                let mut control = session.open().unwrap();
                control.send(b"waiting").unwrap();
                for waiting in waiting {
                    assert_eq!(waiting.join().unwrap(), SessionError::ClosedByPeer(12));
                }
            });
            assert_eq!(session.closed(), SessionError::ClosedByPeer(12));
        }
        End::There(session) => {
            let mut control = session.accept().unwrap();
            assert_eq!(control.expect(), b"waiting");
            thread::scope(|scope| {
                let waiting = scope.spawn(|| session.closed());
                session.close(12);
                assert_eq!(waiting.join().unwrap(), SessionError::Closed);
            });
        }
    }
}
