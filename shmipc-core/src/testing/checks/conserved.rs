//! Credit is conserved: what a sender was charged and has not had back is held by a reservation, lies in
//! the ring, or in an inbox. Of the session, and of each stream.

use super::pair::Pair;
use crate::layout::{RING_AT, TAIL_AT};
use crate::mem::Memory;
use crate::queue::{Flags, Kind};
use crate::session::{StreamId, charge, footprint};
use crate::testing::actor::Actor;
use crate::testing::side::Own;

/// Checks both directions.
pub(super) fn check(pair: &Pair) {
    let [one, two] = &pair.actors;
    for (from, to) in [(one, two), (two, one)] {
        let ring = in_ring(from, to);
        check_session(from, to, &ring);
        check_streams(from, to, &ring);
    }
}

/// A record in the ring, of which only this matters.
struct Unread {
    stream: StreamId,
    opens: bool,
    /// Bytes of payload, if it carries any.
    len: Option<u32>,
}

/// The records of `from` that `to` has not drained.
fn in_ring(from: &Actor<Own>, to: &Actor<Own>) -> Vec<Unread> {
    let (own, ring) = (&from.side.own, u64::from(from.geometry.ring_bytes));
    let (mut at, mut records) = (to.side.rx.drained(), Vec::new());
    while at < own.load64(TAIL_AT) {
        let place = RING_AT + (at & (ring - 1)) as usize;
        let (word, stream) = (own.load64(place), StreamId::from_word(own.load64(place + 8)));
        let (kind, value) = ((word & 0xff) as u8, (word >> 32) as u32);
        let open = Flags::none().with_if(Flags::OPEN, word >> 8 & 1 == 1);
        let is = |other: Kind| kind == other as u8;
        at += match kind {
            _ if is(Kind::Pad) || is(Kind::Inline) => 16 + u64::from(value).next_multiple_of(16),
            _ if is(Kind::Extent) => 32,
            _ => 16,
        };
        let len = match kind {
            _ if is(Kind::Inline) => Some(value),
            _ if is(Kind::Extent) => Some((own.load64(place + 24) >> 32) as u32),
            _ => None,
        };
        records.push(Unread { stream, opens: open.contains(Flags::OPEN), len });
    }
    records
}

fn check_session(from: &Actor<Own>, to: &Actor<Own>, ring: &[Unread]) {
    let (drained, taken) = to.side.rx.test_sums();
    let held: u64 = from.held().map(|(_, grant)| grant.footprint()).sum();
    let tx = from.side.tx();
    let unread = to.side.rx.test_unread();
    assert_eq!(drained - taken, unread, "what inboxes hold");
    let ring: u64 = ring.iter().filter_map(|record| record.len).map(footprint).sum();
    assert_eq!(tx.test_charged() - taken, held + tx.test_granted() + ring + unread);
}

/// The same for each stream that the reader knows, or has not heard of.
fn check_streams(from: &Actor<Own>, to: &Actor<Own>, ring: &[Unread]) {
    let tx = from.side.tx();
    for stream in tx.test_streams() {
        let mine = || ring.iter().filter(|record| record.stream == stream.id);
        let unheard = !stream.announced || mine().any(|record| record.opens);
        let (drained, taken, unread) = match to.side.rx.test_stream(stream.id) {
            Some(sums) => sums,
            None if unheard => (0, 0, 0),
            // It has forgotten a stream that is over for it.
            None => continue,
        };
        assert_eq!(drained - taken, unread, "what the inbox of {:?} holds", stream.id);
        let held = from.held().filter(|(key, grant)| stream.owns(*key, grant));
        let held: u64 = held.map(|(_, grant)| grant.charge()).sum();
        let window = from.geometry.stream_window;
        let ring: u64 = mine().filter_map(|record| record.len).map(|len| charge(len, window)).sum();
        assert_eq!(
            stream.charged - taken,
            held + stream.granted + ring + unread,
            "{:?}",
            stream.id
        );
    }
}
