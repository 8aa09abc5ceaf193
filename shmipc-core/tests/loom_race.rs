//! `loom_memory` itself: it finds bytes that are used again too early.

mod loom_memory;

use std::sync::Arc;

use loom::thread;
use loom_memory::{LoomMemory, Weakened, Without};
use shmipc_core::layout::{HEAD_AT, RING_AT, TAIL_AT};
use shmipc_core::mem::{Memory, MemoryMut};

/// Two laps of a ring of eight bytes: the writer waits for the reader before it writes the second.
fn two_laps(writer: Without, reader: Without) {
    loom::model(move || {
        let a = Arc::new(LoomMemory::outbox(8, 0));
        let b = Arc::new(LoomMemory::outbox(0, 0));
        let (own, peer) = (Weakened(Arc::clone(&a), writer), Weakened(Arc::clone(&b), writer));
        let writing = thread::spawn(move || {
            own.write(RING_AT, b"one lap.");
            own.publish64(TAIL_AT, 8);
            if peer.load64(HEAD_AT) == 8 {
                peer.fence_acquire();
                own.write(RING_AT, b"another.");
                own.publish64(TAIL_AT, 16);
            }
        });
        let (own, peer) = (Weakened(b, reader), Weakened(a, reader));
        if peer.load64(TAIL_AT) >= 8 {
            peer.fence_acquire();
            let mut bytes = [0; 8];
            peer.read(RING_AT, &mut bytes);
            assert_eq!(&bytes, b"one lap.");
            own.publish64(HEAD_AT, 8);
        }
        writing.join().unwrap();
    });
}

#[test]
fn in_order() {
    two_laps(Without::Nothing, Without::Nothing);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn writer_forgets_to_release() {
    two_laps(Without::Release, Without::Nothing);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn reader_forgets_to_acquire() {
    two_laps(Without::Nothing, Without::AcquireFence);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn reader_forgets_to_release() {
    two_laps(Without::Nothing, Without::Release);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn writer_forgets_to_acquire() {
    two_laps(Without::AcquireFence, Without::Nothing);
}
