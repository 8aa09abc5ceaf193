//! Records that cannot be, and streams that are not.

use shmipc_core::error::PeerMisbehaved::*;
use shmipc_core::handshake::Role;
use shmipc_core::queue::{Flags, Kind};
use shmipc_core::session::StreamId;

use super::Attack;
use crate::hostile::by_hand::{ByHand, stream};

/// The first word of a record.
const fn word(kind: u64, flags: u64, value: u64) -> u64 {
    kind | flags << 8 | value << 32
}

const PAD: u64 = Kind::Pad as u64;
const INLINE: u64 = Kind::Inline as u64;
const OPEN: u64 = 1;
const MORE: u64 = 2;
const FIN: u64 = 4;

pub(super) const ATTACKS: &[Attack] = &[
    Attack::new("a record longer than what is published", RecordLength, |peer| {
        peer.write([word(INLINE, OPEN, 1000), stream(0)], 16);
    }),
    Attack::new("a record longer than any may be", RecordLength, |peer| {
        peer.write([word(INLINE, OPEN, 8000), stream(0)], 8016);
    }),
    Attack::new("a record longer than the ring", RecordLength, |peer| {
        peer.write([word(INLINE, OPEN, u32::MAX as u64), stream(0)], 1 << 16);
    }),
    Attack::new("padding in the middle of the ring", RecordLength, |peer| {
        peer.write([word(PAD, 0, 48), 0], 64);
    }),
    Attack::new("a record of kind 0", RecordKind, |peer| peer.write([0, stream(0)], 16)),
    Attack::new("a record of kind 11", RecordKind, |peer| peer.write([11, stream(0)], 16)),
    Attack::new("a record of kind 255", RecordKind, |peer| peer.write([255, stream(0)], 16)),
    Attack::new("a message that goes on after the end", RecordFlags, |peer| {
        peer.write([word(INLINE, OPEN | MORE | FIN, 0), stream(0)], 16);
    }),
    Attack::new("an end that carries more", RecordFlags, |peer| {
        peer.write([word(Kind::Finish as u64, MORE, 0), stream(0)], 16);
    }),
    Attack::new("flags that nobody knows", RecordFlags, |peer| {
        peer.write([word(INLINE, OPEN | 8, 0), stream(0)], 16);
    }),
    Attack::new("bytes that are to be zero", RecordFlags, |peer| {
        peer.write([word(INLINE, OPEN, 0) | 1 << 16, stream(0)], 16);
    }),
    Attack::new("data of a stream that was never opened", UnknownStream, |peer| {
        peer.say(Kind::Inline, Flags::none(), stream(0), 100);
    }),
    Attack::new("credit for a stream that was never opened", UnknownStream, |peer| {
        peer.say(Kind::Window, Flags::none(), stream(0), 1);
    }),
    Attack::new("an end of a stream that was never opened", UnknownStream, |peer| {
        peer.say(Kind::Reset, Flags::none(), stream(0), 1);
    }),
    Attack::new("data of a stream that the server is to open", UnknownStream, |peer| {
        peer.say(Kind::Inline, Flags::none(), id(Role::Server, 0, 1), 100);
    }),
    Attack::new("data of a stream that is to come", UnknownStream, |peer| {
        peer.exchange(Flags::OPEN, stream(0), 100);
        peer.say(Kind::Inline, Flags::none(), id(Role::Client, 0, 2), 100);
    }),
    Attack::new("a place that is in use", StreamPlace, |peer| {
        peer.exchange(Flags::OPEN, stream(0), 100);
        peer.say(Kind::Open, Flags::OPEN, id(Role::Client, 0, 2), 0);
    }),
    Attack::new("a stream that is opened again", StreamPlace, |peer| {
        peer.exchange(Flags::OPEN, stream(0), 100);
        peer.say(Kind::Open, Flags::OPEN, stream(0), 0);
    }),
    Attack::new("more streams than agreed", StreamPlace, |peer| {
        peer.say(Kind::Open, Flags::OPEN, id(Role::Client, peer.out.writer_streams, 1), 0);
    }),
    Attack::new("a use of a place that is left out", StreamPlace, |peer| {
        peer.say(Kind::Open, Flags::OPEN, id(Role::Client, 0, 2), 0);
    }),
    Attack::new("a stream opened in the server's name", StreamPlace, |peer| {
        peer.say(Kind::Open, Flags::OPEN, id(Role::Server, 0, 1), 0);
    }),
    Attack::new("data after the end", AfterEnd, |peer| {
        peer.put(Kind::Inline, Flags::OPEN.with_if(Flags::FIN, true), stream(0), 100);
        peer.say(Kind::Inline, Flags::none(), stream(0), 100);
    }),
    Attack::new("an end after the end", AfterEnd, |peer| {
        peer.put(Kind::Inline, Flags::OPEN.with_if(Flags::FIN, true), stream(0), 100);
        peer.say(Kind::Reset, Flags::none(), stream(0), 0);
    }),
    Attack::legal("pleas without end", |peer| flood(peer, Kind::Need, 0)),
    Attack::legal("requests to stop without end", |peer| {
        peer.exchange(Flags::OPEN, stream(0), 100);
        flood(peer, Kind::Stop, stream(0));
    }),
    Attack::legal("empty messages that nobody reads", |peer| {
        // The server sends nothing while its queue is full, so it reads nothing either.
        super::jam(peer, Flags::OPEN, stream(0));
        (0..1000).for_each(|_| peer.put(Kind::Inline, Flags::none(), stream(0), 0));
        peer.publish();
        (0..super::JAM + 1000).for_each(|_| _ = peer.reply().expect("a reply"));
    }),
];

fn id(opener: Role, place: u32, generation: u32) -> u64 {
    StreamId::new(opener, place, generation).word()
}

fn flood(peer: &mut ByHand, kind: Kind, stream: u64) {
    (0..20_000).for_each(|_| peer.put(kind, Flags::none(), stream, 0));
    peer.publish();
}
