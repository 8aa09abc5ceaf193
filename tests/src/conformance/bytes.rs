//! Streams of bytes, and messages written in parts.

use std::io::{Read, Write};
use std::thread;

use shmipc_core::error::RecvError;

use super::End;
use crate::flavour::{Receiver, Sender, Session, Stream};
use crate::payload::{Random, check, pattern};

/// `write_all; read_exact` without a flush works: `write` publishes before it returns.
pub(super) fn request_and_reply_without_flush<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            for round in 0..1000u32 {
                stream.write_all(&round.to_le_bytes()).unwrap();
                let mut reply = [0; 4];
                stream.read_exact(&mut reply).unwrap();
                assert_eq!(u32::from_le_bytes(reply), round + 1);
            }
            stream.finish().unwrap();
            assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
        }
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            let mut request = [0; 4];
            while stream.read_exact(&mut request).is_ok() {
                let reply = u32::from_le_bytes(request) + 1;
                stream.write_all(&reply.to_le_bytes()).unwrap();
            }
            stream.finish().unwrap();
        }
    }
}

/// Megabytes in both directions, in pieces that differ at both ends.
pub(super) fn bytes_both_ways<S: Session>(end: End<S>) {
    const TOTAL: usize = 3 << 20;
    let (stream, seed) = match end {
        End::Here(session) => (session.open().unwrap(), 1),
        End::There(session) => (session.accept().unwrap(), 2),
    };
    let (mut sender, mut receiver) = stream.into_split();
    thread::scope(|scope| {
        scope.spawn(move || {
            let bytes = pattern(7, TOTAL);
            let (mut random, mut at) = (Random::new(seed), 0);
            while at < TOTAL {
                let piece = random.size(200_000).min(TOTAL - at);
                sender.write_all(&bytes[at..at + piece]).unwrap();
                at += piece;
            }
            sender.finish().unwrap();
        });
        let mut bytes = Vec::new();
        let mut random = Random::new(seed + 10);
        loop {
            let mut piece = vec![0; 1 + random.size(100_000)];
            let count = receiver.read(&mut piece).unwrap();
            if count == 0 {
                break;
            }
            bytes.extend_from_slice(&piece[..count]);
        }
        check(&bytes, 7, TOTAL);
    });
}

/// What was written up to a flush, or to the finish, is one message of several parts.
pub(super) fn written_parts_are_one_message<S: Session>(end: End<S>) {
    let parts = [1, 64, 3000, 5000, 0, 17];
    let whole: Vec<u8> = parts.iter().flat_map(|&len| pattern(5, len)).collect();
    match end {
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            for _ in 0..2 {
                parts.iter().for_each(|&len| stream.write_all(&pattern(5, len)).unwrap());
                stream.flush().unwrap();
                // A second flush has nothing to end.
                stream.flush().unwrap();
            }
            stream.send(b"sent").unwrap();
            parts.iter().for_each(|&len| stream.write_all(&pattern(5, len)).unwrap());
            stream.finish().unwrap();
            assert_eq!(stream.expect(), b"all");
        }
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            assert_eq!(stream.expect(), whole, "ended by flush");
            assert_eq!(stream.expect(), whole, "ended by flush again");
            assert_eq!(stream.expect(), b"sent");
            assert_eq!(stream.expect(), whole, "ended by finish");
            assert!(stream.recv().unwrap().is_none());
            assert!(stream.recv().unwrap().is_none());
            stream.send(b"all").unwrap();
        }
    }
}

/// A message in parts may exceed the window: while `recv` waits for the rest, its parts count as
/// taken.
pub(super) fn written_message_beyond_the_window<S: Session>(end: End<S>) {
    const LEN: usize = 1 << 20;
    match end {
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            stream.write_all(&pattern(1, LEN)).unwrap();
            stream.flush().unwrap();
            assert_eq!(stream.expect(), b"got it");
        }
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            check(&stream.expect(), 1, LEN);
            stream.send(b"got it").unwrap();
        }
    }
}

/// A message in parts beyond `max_message` is an error of `recv` that names the limit, and can still
/// be read as bytes.
pub(super) fn written_message_too_large_to_receive<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            let len = stream.sender().max_message() + 100_000;
            stream.write_all(&pattern(1, len)).unwrap();
            stream.finish().unwrap();
            assert_eq!(stream.expect(), b"read");
        }
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            let max = stream.sender().max_message();
            assert_eq!(stream.recv().unwrap_err(), RecvError::TooLarge { max });
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            check(&bytes, 1, max + 100_000);
            stream.send(b"read").unwrap();
        }
    }
}

/// Empty messages are messages; `Read` skips them and does not take them for the end.
pub(super) fn empty_messages<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            for _ in 0..3 {
                stream.send(b"").unwrap();
            }
            stream.send(b"x").unwrap();
            for _ in 0..3 {
                stream.send(b"").unwrap();
            }
            stream.send(b"y").unwrap();
            stream.finish().unwrap();
            assert_eq!(stream.expect(), b"");
        }
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            for _ in 0..3 {
                let message = stream.recv().unwrap().unwrap();
                assert!(message.is_empty());
            }
            let mut bytes = Vec::new();
            assert_eq!(stream.read(&mut []).unwrap(), 0);
            stream.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, b"xy");
            stream.send(b"").unwrap();
        }
    }
}

/// What a read left of a message is a message of its own, not the beginning of the next.
pub(super) fn read_in_the_middle_of_a_message<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            for len in [10, 6000] {
                stream.send(&pattern(1, len)).unwrap();
                assert_eq!(stream.expect(), b"rest seen");
                stream.send(b"next").unwrap();
            }
            stream.finish().unwrap();
            stream.recv().unwrap();
        }
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            for len in [10, 6000] {
                let mut first = [0; 4];
                stream.read_exact(&mut first).unwrap();
                let message = pattern(1, len);
                assert_eq!(first, message[..4]);
                assert_eq!(stream.expect(), message[4..]);
                stream.send(b"rest seen").unwrap();
                assert_eq!(stream.expect(), b"next");
            }
            assert!(stream.recv().unwrap().is_none());
            stream.finish().unwrap();
        }
    }
}

/// `recv` and `read` in turn see the parts of a message in order.
pub(super) fn read_in_the_middle_of_parts<S: Session>(end: End<S>) {
    use std::time::Duration;
    match end {
        End::Here(session) => {
            let mut stream = session.open().unwrap();
            stream.write_all(b"one, ").unwrap();
            stream.write_all(b"two, ").unwrap();
            assert_eq!(stream.expect(), b"two parts came");
            stream.write_all(b"three").unwrap();
            stream.flush().unwrap();
            stream.send(b"next").unwrap();
            stream.finish().unwrap();
            assert!(stream.recv().unwrap().is_none());
        }
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            // Both parts are taken over by the receive that then runs out of time.
            while session.stats().bytes_received < 10 {
                let timeout = Duration::from_millis(1);
                let early = stream.receiver().recv_timeout(timeout).unwrap_err();
                assert_eq!(early, RecvError::TimedOut);
            }
            let mut first = [0; 2];
            stream.read_exact(&mut first).unwrap();
            assert_eq!(&first, b"on");
            stream.send(b"two parts came").unwrap();
            assert_eq!(String::from_utf8(stream.expect()).unwrap(), "e, two, three");
            assert_eq!(stream.expect(), b"next");
            assert!(stream.recv().unwrap().is_none());
            stream.finish().unwrap();
        }
    }
}
