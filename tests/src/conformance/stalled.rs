//! Streams that nobody reads, beside others that go on.

use std::time::Duration;

use shmipc_core::error::SendError;
use shmipc_core::layout::Geometry;
use shmipc_core::session::{charge, footprint};

use super::End;
use super::echo::echo_stream;
use crate::flavour::{Sender, Session, Stream};
use crate::payload::{check, pattern};

/// The lengths of messages, stream by stream, that are sent and not read: as many of `len` as the streams'
/// windows hold, and all of them together less than 7/8 of the session's.
fn stalls(geometry: &Geometry, len: usize) -> Vec<Vec<usize>> {
    let charge = charge(len as u32, geometry.stream_window);
    let a_stream = u64::from(geometry.stream_window) / charge;
    let below = u64::from(geometry.unread_max) / 8 * 7;
    let all = (below - 1) / footprint(len as u32);
    // Two places are for the streams that go on.
    let streams = u64::from(geometry.writer_streams - 2).min(all.div_ceil(a_stream));
    let count = |stream: u64| all.saturating_sub(stream * a_stream).min(a_stream);
    (0..streams).map(|stream| vec![len; count(stream) as usize]).collect()
}

/// While streams hold almost 7/8 of the session's window unread, in small messages or in the largest,
/// messages of all sizes go through on another, both ways; and those held are there when they are read.
pub(super) fn stalled_streams_disturb_nobody<S: Session>(end: End<S>) {
    let (End::Here(session) | End::There(session)) = &end;
    let geometry = session.geometry();
    let max = geometry.max_message as usize;
    let stalls: Vec<_> =
        [0, 200, 5000, max].into_iter().flat_map(|len| [stalls(&geometry, len)]).collect();
    match end {
        End::Here(session) => {
            let mut busy = session.open().unwrap();
            busy.send(b"busy").unwrap();
            assert_eq!(busy.expect(), b"busy");
            for stalls in &stalls {
                let mut stalled = Vec::new();
                for lengths in stalls {
                    let mut stream = session.open().unwrap();
                    for (seed, &len) in lengths.iter().enumerate() {
                        stream.send(&pattern(seed as u64, len)).unwrap();
                    }
                    stalled.push(stream);
                }
                for (seed, len) in [10, 3000, 100_000, max, 0, max, max / 2]
                    .into_iter()
                    .cycle()
                    .take(40)
                    .enumerate()
                {
                    busy.send(&pattern(seed as u64, len.min(max))).unwrap();
                    check(&busy.expect(), seed as u64, len.min(max));
                }
                busy.send(b"read them").unwrap();
                assert_eq!(busy.expect(), b"read them");
                for mut stream in stalled {
                    stream.finish().unwrap();
                    assert!(stream.recv().unwrap().is_none());
                }
            }
        }
        End::There(session) => {
            let mut busy = session.accept().unwrap();
            assert_eq!(busy.expect(), b"busy");
            busy.send(b"busy").unwrap();
            for stalls in &stalls {
                let mut streams: Vec<_> =
                    stalls.iter().map(|_| session.accept().unwrap()).collect();
                loop {
                    let message = busy.recv().unwrap().unwrap().to_vec();
                    busy.send(&message).unwrap();
                    if message == b"read them" {
                        break;
                    }
                }
                for (stream, lengths) in streams.iter_mut().zip(stalls) {
                    for (seed, &len) in lengths.iter().enumerate() {
                        check(&stream.expect(), seed as u64, len);
                    }
                    assert!(stream.recv().unwrap().is_none());
                    stream.finish().unwrap();
                }
            }
            assert!(busy.recv().is_err());
        }
    }
}

/// A stream whose reader does nothing holds what its window allows and then its own writer waits, with its
/// deadline; it costs the others nothing.
pub(super) fn window_of_a_stalled_stream_is_its_own<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let window = session.geometry().stream_window;
            for len in [0, 100, 3000] {
                let (mut stalled, mut other) = (session.open().unwrap(), session.open().unwrap());
                let charge = charge(len as u32, window);
                (0..u64::from(window) / charge).for_each(|_| stalled.send(&vec![0; len]).unwrap());
                let short = Duration::from_millis(1);
                let error = stalled.sender().reserve_timeout(len, short).unwrap_err();
                assert_eq!(error, SendError::TimedOut, "one more of {len} bytes");
                for seed in 0..200 {
                    other.send(&pattern(seed, 2000)).unwrap();
                    check(&other.expect(), seed, 2000);
                }
                // Nobody ever reads it.
                stalled.finish().unwrap();
                other.finish().unwrap();
                assert!(other.recv().unwrap().is_none());
                let error = stalled.recv().unwrap_err();
                assert_eq!(error, shmipc_core::error::RecvError::Reset(0));
            }
        }
        End::There(session) => {
            for _ in 0..3 {
                let stalled = session.accept().unwrap();
                echo_stream(session.accept().unwrap());
                drop(stalled);
            }
            while session.accept().is_ok() {}
        }
    }
}
