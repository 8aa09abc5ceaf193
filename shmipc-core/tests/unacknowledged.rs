//! A peer that never reads its socket: of the descriptors that are on their way to it there are few, however much it
//! is sent, since they count against the limit of the user, also for other sessions and processes.

mod raw;

use std::os::fd::AsFd;
use std::task::Poll;

use raw::session;
use shmipc_core::link::{self, Receive};
use shmipc_core::wire::{Decoder, Frame};

/// A session sends as much as it is let, and the peer is told of two segments at most.
#[test]
fn a_peer_that_reads_nothing_has_two_descriptors_on_their_way() {
    let (session, raw) = session();
    let (mut sent, mut streams) = (0, Vec::new());
    loop {
        let Ok((stream, receiver)) = session.open() else { break };
        let before = sent;
        // Sizes of both regions.
        for len in [5_000, 100_000, 600_000] {
            let mut reserving = stream.reserve(len).unwrap();
            match reserving.poll(None) {
                Poll::Ready(reservation) => {
                    reservation.unwrap().commit().unwrap();
                    sent += len;
                }
                Poll::Pending => {}
            }
        }
        streams.push((stream, receiver));
        if sent == before {
            break;
        }
    }
    assert!(sent > 100_000, "{sent} bytes");
    let (mut decoder, mut segments) = (Decoder::new(), 0);
    while link::receive(raw.socket.as_fd(), &mut decoder) == Ok(Receive::Bytes) {
        while let Some(frame) = decoder.next_frame().unwrap() {
            segments += usize::from(matches!(frame, Frame::AddSegment(_)));
        }
    }
    assert!((1..=2).contains(&segments), "{segments} segments are announced");
}
