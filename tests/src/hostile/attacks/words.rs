//! Cursors and other words of the outbox's header.

use std::collections::BTreeSet;

use shmipc_core::error::PeerMisbehaved::*;
use shmipc_core::handshake::Role;
use shmipc_core::layout::{FINAL_AT, HEAD_AT, LEAVING_AT, RETURNED_AT, TAIL_AT};
use shmipc_core::mem::Memory;
use shmipc_core::queue::{Flags, Kind};
use shmipc_core::session::StreamId;

use super::{Attack, JAM, jam};
use crate::deadline::until;
use crate::hostile::by_hand::{ByHand, stream};

pub(super) const ATTACKS: &[Attack] = &[
    Attack::new("the tail runs back", TailJumped, |peer| {
        peer.set(TAIL_AT, 0);
    }),
    Attack::new("the tail jumps beyond the ring", TailJumped, |peer| {
        let tail = peer.own.load64(TAIL_AT);
        peer.set(TAIL_AT, tail + u64::from(peer.out.ring_bytes) + 16);
    }),
    Attack::new("the tail jumps to the end of numbers", TailJumped, |peer| {
        peer.set(TAIL_AT, u64::MAX - 15);
    }),
    Attack::new("the tail lies inside of a record", TailJumped, |peer| {
        let tail = peer.own.load64(TAIL_AT);
        peer.set(TAIL_AT, tail + 8);
    }),
    Attack::new("the head runs back", HeadJumped, |peer| {
        // More than the queue holds: the server has looked at the head to send the last of them.
        jam(peer, Flags::OPEN, stream(0));
        (0..JAM).for_each(|_| _ = peer.reply());
        peer.set(HEAD_AT, 0);
        jam(peer, Flags::none(), stream(0));
    }),
    Attack::new("the head jumps", HeadJumped, |peer| {
        peer.set(HEAD_AT, 1 << 40);
        jam(peer, Flags::OPEN, stream(0));
    }),
    Attack::new("the head stays, and what it reads is used", HeadWithheld, withhold),
    Attack::new("the return cursor runs back", ReturnedJumped, |peer| {
        let reply = peer.exchange(Flags::OPEN, stream(0), 20_000).expect("a reply");
        peer.returns.segment(1);
        peer.returns.extent(reply.extent.expect("an extent").id);
        peer.exchange(Flags::none(), stream(0), 20_000);
        peer.set(RETURNED_AT, 1);
        peer.exchange(Flags::none(), stream(0), 20_000);
    }),
    Attack::new("the return cursor jumps", ReturnedJumped, |peer| {
        peer.exchange(Flags::OPEN, stream(0), 20_000);
        peer.set(RETURNED_AT, 3);
        peer.exchange(Flags::none(), stream(0), 20_000);
    }),
    Attack::new("a return is replayed", ReturnedUnlent, |peer| {
        let reply = peer.exchange(Flags::OPEN, stream(0), 20_000).expect("a reply");
        let id = reply.extent.expect("an extent").id;
        // Two more are lent, so that the cursor is in order.
        peer.exchange(Flags::OPEN, stream(1), 20_000);
        peer.exchange(Flags::OPEN, stream(2), 20_000);
        peer.returns.extent(id);
        peer.returns.extent(id);
        peer.exchange(Flags::none(), stream(0), 20_000);
    }),
    Attack::new("a return is forged", ReturnedUnlent, |peer| {
        peer.exchange(Flags::OPEN, stream(0), 20_000);
        peer.returns.extent(123_456);
        peer.exchange(Flags::none(), stream(0), 20_000);
    }),
    Attack::new("an acknowledgement is forged", ReturnedUnlent, |peer| {
        peer.exchange(Flags::OPEN, stream(0), 20_000);
        peer.returns.segment(77);
        peer.exchange(Flags::none(), stream(0), 20_000);
    }),
    Attack::new("an acknowledgement is replayed", ReturnedUnlent, |peer| {
        peer.exchange(Flags::OPEN, stream(0), 20_000);
        peer.returns.segment(1);
        peer.returns.segment(1);
        peer.exchange(Flags::none(), stream(0), 20_000);
    }),
    Attack::new("it leaves beyond what it can have seen", FinalPosition, |peer| {
        leave(peer, 1 << 40);
    }),
    Attack::new("it leaves inside of a record", FinalPosition, |peer| leave(peer, 8)),
    Attack::new("it leaves twice", FinalPosition, |peer| {
        leave(peer, 0);
        peer.exchange(Flags::OPEN, stream(0), 100);
        leave(peer, 16);
    }),
    Attack::legal("it leaves, and goes on to open streams", |peer| {
        leave(peer, 0);
        for place in 0..100 {
            peer.exchange(Flags::OPEN, stream(place), 100);
        }
    }),
    Attack::legal("it never reads", |peer| {
        let before = peer.published_by_server();
        jam(peer, Flags::OPEN, stream(0));
        until("the server sends what it can", || peer.published_by_server() > before + 50_000);
        // What waits comes when it reads again, and nothing is lost.
        (0..JAM).for_each(|_| _ = peer.reply().expect("a reply"));
    }),
    Attack::legal("it returns nothing until it is asked to", |peer| {
        let (mut lent, mut flags) = (Vec::new(), Flags::OPEN);
        let mut known = BTreeSet::new();
        loop {
            peer.send(flags, stream(0), 200_000);
            let Some(reply) = peer.reply_or(|kind| kind == Kind::Need) else { return };
            let Some(extent) = reply.extent else { break };
            // Of segments that are not acknowledged there are two at most.
            if known.insert(extent.segment) {
                peer.returns.segment(extent.segment);
                peer.ring();
            }
            lent.push(extent);
            flags = Flags::none();
        }
        // What the server waits with comes now.
        lent.into_iter().for_each(|extent| _ = peer.returns.extent(extent.id));
        peer.ring();
        peer.reply().expect("a reply");
    })
    .with(|builder| builder.arena_max(8 << 20).max_message(1 << 20)),
];

/// Says that it leaves, and that it has read up to there.
fn leave(peer: &ByHand, position: u64) {
    peer.set(LEAVING_AT, 1);
    peer.set(FINAL_AT, position + 1);
}

/// Opens and ends streams without end, each of which costs the server a record; uses places again that only a
/// reader of these records knows to be free.
fn withhold(peer: &mut ByHand) {
    let (places, ring) = (200, u64::from(peer.incoming.ring_bytes));
    let begin = peer.published_by_server();
    for wave in 1..=ring / 16 / places + 1 {
        for place in 0..places {
            let id = StreamId::new(Role::Client, place as u32, wave as u32);
            peer.put(Kind::Finish, Flags::OPEN, id.word(), 0);
        }
        peer.publish();
        until("the server answers all", || {
            peer.published_by_server() >= begin + wave * places * 16 || peer.is_over()
        });
    }
}
