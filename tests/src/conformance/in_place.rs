//! Reading in place from a trusted peer; copying from one that is not.

use bytes::{Buf, Bytes};
use shmipc_core::config::Limits;
use shmipc_core::handle::Trusted;

use super::End;
use super::echo::echo_in_turn;
use crate::flavour::{Receiver, Sender, Session, Stream};
use crate::payload::{check, pattern};

/// The trusting half of a stream, or `None` in a setup without trust, where the stream comes back.
fn trusting<T: Stream>(stream: T) -> Option<(T::Sender, T::InPlace)> {
    stream.into_trusted().ok()
}

/// A large message is read where the peer wrote it; a small one lies on our heap.
pub(super) fn trusted_reads_in_place<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_in_turn(&session),
        End::Here(session) => session,
    };
    let Some((mut sender, mut receiver)) = trusting(session.open().unwrap()) else { return };
    let inline = Limits::default().inline_max as usize;
    for (seed, len) in [0, 10, inline, inline + 1, 100_000, 1 << 20].into_iter().enumerate() {
        sender.send(&pattern(seed as u64, len)).unwrap();
        let message = receiver.recv().unwrap().unwrap();
        check(&message, seed as u64, len);
        assert_eq!(message.is_zero_copy(), len > inline);
        let bytes = Bytes::from(message);
        check(&bytes, seed as u64, len);
    }
}

/// `Bytes` made of a message stay readable after message, stream and session are gone.
pub(super) fn bytes_outlive_the_session<S: Session>(end: End<S>) {
    let session = match end {
        End::There(session) => return echo_in_turn(&session),
        End::Here(session) => session,
    };
    let Some((mut sender, mut receiver)) = trusting(session.open().unwrap()) else { return };
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

/// A message in parts is a chain of pieces to `Buf`, and one slice to whoever asks for one.
pub(super) fn parts_in_place<S: Session>(end: End<S>) {
    use std::io::Write;
    let lengths = [5000, 10, 70_000];
    let whole: Vec<u8> = lengths.iter().flat_map(|&len| pattern(1, len)).collect();
    match end {
        End::There(session) => {
            let mut stream = session.accept().unwrap();
            for _ in 0..2 {
                lengths.iter().for_each(|&len| stream.write_all(&pattern(1, len)).unwrap());
                stream.flush().unwrap();
            }
            assert!(stream.recv().is_err());
        }
        End::Here(session) => {
            let (_sender, mut receiver) = match session.open().unwrap().into_trusted() {
                Ok(halves) => halves,
                Err(mut stream) => {
                    assert_eq!(stream.expect(), whole);
                    assert_eq!(stream.expect(), whole);
                    return;
                }
            };
            let message = receiver.recv().unwrap().unwrap();
            assert_eq!(message[..], whole);
            assert_eq!(&message.to_vec(), &whole);

            let mut message: shmipc_core::handle::Message<Trusted> =
                receiver.recv().unwrap().unwrap();
            let mut seen = Vec::new();
            let mut pieces = 0;
            while message.has_remaining() {
                let piece = message.chunk().len().min(3000);
                seen.extend_from_slice(&message.chunk()[..piece]);
                message.advance(piece);
                pieces += 1;
                assert_eq!(message.to_vec(), whole[seen.len()..]);
            }
            assert_eq!(seen, whole);
            assert!(pieces > 3);
        }
    }
}
