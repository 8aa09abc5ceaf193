//! Event words by hand.

use super::*;
use crate::config::Limits;
use crate::mem::HeapMemory;

fn outbox() -> HeapMemory {
    let memory = HeapMemory::new(4096, 4096);
    init(&memory);
    memory
}

#[test]
fn fresh_words_ask_for_nothing() {
    let peer = outbox();
    let checks = Checks::new();
    for cursor in Cursor::ALL {
        assert!(!checks.needs_ring(&peer, cursor, 1));
        assert!(!checks.needs_ring(&peer, cursor, u64::MAX));
    }
}

#[test]
fn one_ring_for_each_arming() {
    let peer = outbox();
    let checks = Checks::new();
    arm(&peer, Cursor::Tail, 32);
    assert!(!checks.needs_ring(&peer, Cursor::Tail, 32), "32 is reached, not passed");
    assert!(checks.needs_ring(&peer, Cursor::Tail, 48));
    assert!(checks.needs_ring(&peer, Cursor::Tail, 64), "the first ring is not yet made");
    checks.rung(Cursor::Tail, 64);
    checks.rung(Cursor::Tail, 48);
    assert!(!checks.needs_ring(&peer, Cursor::Tail, 80));
    arm(&peer, Cursor::Tail, 48);
    assert!(!checks.needs_ring(&peer, Cursor::Tail, 96), "who arms the past sees it at once");
    assert!(news(&peer, &peer, Cursor::Tail, 48));
    arm(&peer, Cursor::Tail, 96);
    assert!(checks.check(&peer, Cursor::Tail, 112));
    checks.rung(Cursor::Tail, 112);
    assert!(!checks.check(&peer, Cursor::Tail, 128));
    disarm(&peer, Cursor::Tail);
    assert!(!checks.check(&peer, Cursor::Tail, 144));
}

#[test]
fn settling_ends_with_the_word_of_the_front() {
    let (own, peer) = (outbox(), outbox());
    peer.publish64(layout::HEAD_AT, 5);
    let mut positions = vec![3, 5, 9, 7];
    let result: Result<(), ()> = settle(&own, [Cursor::Returned, Cursor::Head], || {
        let head = peer.load64(layout::HEAD_AT);
        while positions.first().is_some_and(|position| *position <= head) {
            positions.remove(0);
        }
        Ok([None, positions.first().map(|position| before(*position))])
    });
    assert_eq!(result, Ok(()));
    assert_eq!(positions, [9, 7]);
    assert_eq!(own.load64(layout::EVENT_HEAD_AT), 8);
    assert_eq!(own.load64(layout::EVENT_RETURNED_AT), NEVER);
    let failed = settle(&own, [Cursor::Head], || Err("jumped"));
    assert_eq!(failed, Err("jumped"));
}

#[test]
fn space_is_asked_for_in_quarters_and_never_in_vain() {
    let limits = Limits::default();
    let geometry = crate::layout::negotiate(&limits, &limits).unwrap();
    let (ring, limit) = (u64::from(geometry.ring_bytes), geometry.data_limit());
    let mut quarters = 0;
    for tail in [limit, limit + 4096, 1 << 20, (1 << 40) + 16] {
        for in_flight in (0..=limit).step_by(4096) {
            for held in (0..=limit - in_flight).step_by(4096) {
                for need in [16, 32, 4096, geometry.max_record()] {
                    let head = tail.saturating_sub(in_flight);
                    let fits = |head: u64| tail + held + need <= limit + head;
                    if fits(head) {
                        continue;
                    }
                    let position = space_event(&geometry, tail, held, need) + 1;
                    assert!(position > head, "not passed already");
                    assert!(fits(position), "a ring is enough");
                    // The reader drained all; its unpublished lag is less than an eighth.
                    let least = tail - (ring / 8 - 1).min(tail);
                    assert!(position <= least || !fits(position - 1), "certain, or at once");
                    quarters += u32::from(fits(position - 1));
                }
            }
        }
    }
    assert!(quarters > 0, "some waiters are spared early rings");
}
