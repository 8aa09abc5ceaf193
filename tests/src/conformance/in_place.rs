//! What a message is: in place from a trusted peer, a copy from another, one slice in any case.

use bytes::{Buf, Bytes};
use shmipc_core::config::Limits;

use super::End;
use super::echo::echo_in_turn;
use crate::flavour::{Receiver, Sender, Session, Stream};
use crate::payload::{check, pattern};

/// A large message of a trusted peer is read where the peer wrote it; any other lies on our heap.
pub(super) fn trusted_reads_in_place<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_in_turn(&session),
        End::Here(session) => session,
    };
    let (mut sender, mut receiver) = session.open().unwrap().into_split();
    let inline = Limits::default().inline_max as usize;
    for (seed, len) in [0, 10, inline, inline + 1, 100_000, 1 << 20].into_iter().enumerate() {
        for way in 0..3 {
            sender.send(&pattern(seed as u64, len)).unwrap();
            let mut message = receiver.recv().unwrap().unwrap();
            check(&message, seed as u64, len);
            assert_eq!(message.is_zero_copy(), session.is_trusted() && len > inline);
            let consumed = len.min(way * 5);
            message.advance(consumed);
            assert_eq!(message[..], pattern(seed as u64, len)[consumed..]);
            match way {
                0 => check(&Bytes::from(message), seed as u64, len),
                1 => assert_eq!(message.into_vec(), pattern(seed as u64, len)[consumed..]),
                _ => assert_eq!(message.into_bytes(), pattern(seed as u64, len)[consumed..]),
            }
        }
    }
}

/// `Bytes` made of a message stay readable after message, stream and session are gone.
pub(super) fn bytes_outlive_the_session<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_in_turn(&session),
        End::Here(session) => session,
    };
    let (mut sender, mut receiver) = session.open().unwrap().into_split();
    let kept: Vec<Bytes> = (0..8)
        .map(|seed| {
            sender.send(&pattern(seed, 50_000)).unwrap();
            receiver.recv().unwrap().unwrap().into_bytes()
        })
        .collect();
    drop((sender, receiver));
    session.close(0);
    drop(session);
    for (seed, bytes) in kept.iter().enumerate() {
        check(bytes, seed as u64, 50_000);
    }
    let elsewhere = std::thread::spawn(move || drop(kept));
    elsewhere.join().unwrap();
}

/// A message that was written in parts is one slice.
pub(super) fn parts_in_place<S: Session>(end: End<S>) {
    use std::io::Write;
    let lengths = [5000, 10, 70_000];
    let whole: Vec<u8> = lengths.iter().flat_map(|&len| pattern(1, len)).collect();
    match end {
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            for _ in 0..3 {
                lengths.iter().for_each(|&len| stream.write_all(&pattern(1, len)).unwrap());
                stream.flush().unwrap();
            }
            assert!(stream.recv().is_err());
        }
        End::Here(session) => {
            let (_sender, mut receiver) = session.open().unwrap().into_split();
            let message = receiver.recv().unwrap().unwrap();
            assert_eq!(message[..], whole);
            assert!(!message.is_zero_copy(), "its parts were joined");

            let mut message = receiver.recv().unwrap().unwrap();
            let mut seen = Vec::new();
            while message.has_remaining() {
                let piece = message.chunk().len().min(3000);
                seen.extend_from_slice(&message.chunk()[..piece]);
                message.advance(piece);
                assert_eq!(message[..], whole[seen.len()..]);
            }
            assert_eq!(seen, whole);

            let mut out = vec![0; whole.len() + 1];
            assert_eq!(receiver.recv_into(&mut out).unwrap(), Some(whole.len()));
            assert_eq!(out[..whole.len()], whole);
        }
    }
}
