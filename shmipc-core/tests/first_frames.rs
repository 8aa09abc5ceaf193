//! Frames that come in one read with the last one of the handshake: the socket does not report them again, so they
//! are acted on when the session is made.

mod raw;

use std::os::fd::AsFd;

use raw::exchanges;
use shmipc_core::config::Config;
use shmipc_core::handle::Session;
use shmipc_core::handshake::Progress;
use shmipc_core::layout::RETURNED_AT;
use shmipc_core::link::{self, Sent};
use shmipc_core::mem::{self, Memory};
use shmipc_core::wire::{SegmentClass, add_segment};

#[test]
fn a_segment_announced_with_the_end_of_the_handshake_is_acknowledged_at_once() {
    let config = Config::default();
    let [mut first, mut last] = exchanges(&config);
    // The one that is through first has sent its last frame, which the other has not read.
    while first.progress().unwrap() != Progress::Done {
        assert_ne!(last.progress().unwrap(), Progress::Done, "the client is through first");
    }
    let peer = first.finish().unwrap();
    let (_segment, file) = mem::create_arena(c"shmipc-test", 1 << 20).unwrap();
    let frame = add_segment(1, 1 << 20, SegmentClass::Small);
    assert_eq!(link::send(peer.socket.as_fd(), &frame, &[file.as_fd()]), Ok(Sent::Whole));
    while last.progress().unwrap() != Progress::Done {}
    let session = Session::new(last.finish().unwrap(), &config).unwrap();
    session.try_drive();
    assert_eq!(peer.peer.load64(RETURNED_AT), 1, "the segment is not acknowledged");
}
