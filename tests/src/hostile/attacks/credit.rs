//! More than there is credit for, and credit that cannot be.

use shmipc_core::error::PeerMisbehaved::*;
use shmipc_core::queue::{Flags, Kind};

use super::{Attack, jam};
use crate::hostile::by_hand::{ByHand, stream};

pub(super) const ATTACKS: &[Attack] = &[
    Attack::new("more on a stream than it has credit for", CreditOverrun, |peer| {
        // Nobody reads the stream, because its answers do not get out.
        jam(peer, Flags::OPEN, stream(0));
        while !peer.is_over() {
            peer.say(Kind::Inline, Flags::none(), stream(0), 1000);
        }
    }),
    Attack::new("more on a session than it has credit for", CreditOverrun, |peer| {
        jam(peer, Flags::OPEN, stream(0));
        for place in 1.. {
            // Just what the stream has credit for.
            let messages = peer.out.stream_window / (64 + 4032);
            for message in 0..messages {
                let flags = Flags::none().with_if(Flags::OPEN, message == 0);
                peer.put(Kind::Inline, flags, stream(place), 4000);
            }
            peer.publish();
            if peer.is_over() {
                break;
            }
        }
    }),
    Attack::new("credit of a stream is taken back", WindowUpdate, |peer| {
        window(peer, (1 << 30) / 64 - 1);
    }),
    Attack::new("more credit for a stream than a window", WindowUpdate, |peer| {
        window(peer, (1 << 30) / 64 + 1000);
    }),
    Attack::new("credit of a stream that adds nothing", WindowUpdate, |peer| {
        window(peer, (1 << 30) / 64);
    }),
    Attack::new("credit of a stream in crumbs", WindowUpdate, |peer| {
        window(peer, (1 << 30) / 64 + 1);
    }),
    Attack::new("credit of the session is taken back", WindowUpdate, |peer| {
        peer.say(Kind::SessionWindow, Flags::none(), (1 << 30) - 64, 0);
    }),
    Attack::new("more credit for the session than its window", WindowUpdate, |peer| {
        peer.say(Kind::SessionWindow, Flags::none(), u64::MAX, 0);
    }),
    Attack::new("credit of the session that adds nothing", WindowUpdate, |peer| {
        peer.say(Kind::SessionWindow, Flags::none(), 1 << 30, 0);
    }),
    Attack::new("credit of the session in crumbs", WindowUpdate, |peer| {
        peer.exchange(Flags::OPEN, stream(0), 100);
        peer.say(Kind::SessionWindow, Flags::none(), (1 << 30) + 64, 0);
    }),
    Attack::legal("requests to stop while answers wait for credit", |peer| {
        // The credit of a stream suffices for so many answers of 100 bytes; one more waits, on each stream.
        let answers = peer.incoming.stream_window / 192;
        for place in 0..STALLED {
            for message in 0..=answers {
                let flags = Flags::none().with_if(Flags::OPEN, message == 0);
                peer.put(Kind::Inline, flags, stream(place), 100);
            }
            peer.publish();
            (0..answers).for_each(|_| _ = peer.reply().expect("a reply"));
        }
        (0..20_000).for_each(|_| peer.put(Kind::Stop, Flags::none(), stream(0), 7));
        (1..STALLED).for_each(|place| peer.put(Kind::Stop, Flags::none(), stream(place), 7));
        peer.publish();
    })
    .with(|builder| builder.stream_window(1024).unread_max(1 << 20)),
];

/// Streams of which each has an answer that waits.
const STALLED: u32 = 64;

fn window(peer: &mut ByHand, units: u32) {
    peer.exchange(Flags::OPEN, stream(0), 100);
    peer.say(Kind::Window, Flags::none(), stream(0), units);
}
