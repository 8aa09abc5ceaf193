//! What may not come on the socket of a session.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use shmipc_core::config::Config;
use shmipc_core::error::PeerMisbehaved::*;
use shmipc_core::handshake::hello;
use shmipc_core::mem::pidfd_of_self;
use shmipc_core::wire::{
    self, BELL, Claim, Inode, Refuse, SegmentClass, add_segment, close, retire_segment,
};

use super::Attack;
use crate::deadline::until;
use crate::hostile::by_hand::ByHand;
use crate::hostile::lingering::{let_go, lingering};
use crate::needs::short_directory;

pub(super) const ATTACKS: &[Attack] = &[
    Attack::dying("half a frame, and gone", |peer| peer.frame(&BELL[..7], &[])),
    Attack::dying("most of a frame, and gone", |peer| peer.frame(&retire_segment(1)[..11], &[])),
    Attack::new("a frame shorter than its header", Frame, |peer| peer.frame(&bell(0, 7), &[])),
    Attack::new("a frame of no length", Frame, |peer| peer.frame(&bell(0, 0), &[])),
    Attack::new("an oversized frame", Frame, |peer| peer.frame(&bell(0, 4097), &[])),
    Attack::new("a frame of four gigabytes", Frame, |peer| peer.frame(&bell(0, u32::MAX), &[])),
    Attack::new("a bell with a body", Frame, |peer| {
        peer.frame(&[&bell(0, 12)[..], &[0; 4]].concat(), &[]);
    }),
    Attack::new("a goodbye cut short", Frame, |peer| {
        let mut frame = close(1)[..10].to_vec();
        frame[3] = 10;
        peer.frame(&frame, &[]);
    }),
    Attack::new("another magic", Frame, |peer| {
        let mut frame = BELL;
        frame[4] ^= 1;
        peer.frame(&frame, &[]);
    }),
    Attack::new("another version", Frame, |peer| {
        let mut frame = BELL;
        frame[6] = 3;
        peer.frame(&frame, &[]);
    }),
    Attack::new("a type that nobody knows", Frame, |peer| peer.frame(&bell(99, 8), &[])),
    Attack::new("a type that is reserved", Frame, |peer| peer.frame(&bell(9, 8), &[])),
    Attack::new("a greeting after the handshake", Frame, |peer| {
        peer.frame(&hello(&Config::default()).encode(), &[]);
    }),
    Attack::new("another outbox", Descriptors, |peer| {
        let (null, myself) = (null(), pidfd_of_self().ok().flatten());
        let other = myself.as_ref().map_or(null.as_fd(), AsFd::as_fd);
        peer.frame(&wire::outbox(true, false), &[null.as_fd(), other]);
    }),
    Attack::new("another outbox, of memory alone", Frame, |peer| {
        peer.frame(&wire::outbox(false, false), &[null().as_fd()]);
    }),
    Attack::new("ready again", Frame, |peer| peer.frame(&wire::ready(), &[])),
    Attack::new("a refusal after the handshake", Frame, |peer| {
        peer.frame(&wire::refuse(&Refuse { reason: 1, number: 0, text: String::new() }), &[]);
    }),
    Attack::new("a claim to succeed the server", Frame, |peer| claim(peer, false)),
    Attack::new("the same with a process", Frame, |peer| claim(peer, true)),
    Attack::new("an offer to succeed the peer", Descriptors, |peer| {
        let directory = short_directory();
        let bind = |name| UnixListener::bind(directory.path().join(name)).expect("a free path");
        let (one, two) = (bind("one"), bind("two"));
        let frame = wire::offer(2, [Inode::default(); 2], false, [false; 2]);
        peer.frame(&frame, &[one.as_fd(), two.as_fd()]);
    }),
    Attack::new("a predecessor's goodbye", Frame, |peer| peer.frame(&wire::yield_(), &[])),
    Attack::new("a successor's hello", Frame, |peer| peer.frame(&wire::serving(), &[])),
    Attack::new("a successor's goodbye", Frame, |peer| peer.frame(&wire::release(), &[])),
    Attack::new("a bell with a descriptor", Descriptors, |peer| with_fds(peer, &BELL, 1)),
    Attack::new("a goodbye with a descriptor", Descriptors, |peer| with_fds(peer, &close(0), 1)),
    Attack::new("a segment without a descriptor", Descriptors, |peer| {
        with_fds(peer, &add_segment(1, 4096, SegmentClass::Small), 0);
    }),
    Attack::new("a segment with two descriptors", Descriptors, |peer| {
        with_fds(peer, &add_segment(1, 4096, SegmentClass::Small), 2);
    }),
    Attack::new("six descriptors", Descriptors, |peer| {
        with_fds(peer, &add_segment(1, 4096, SegmentClass::Small), 6);
    }),
    Attack::new("as many descriptors as fit", Descriptors, |peer| {
        with_fds(peer, &add_segment(1, 4096, SegmentClass::Small), 253);
    }),
    Attack::new("a bell with a socket that lingers", Descriptors, |peer| {
        peer.frame_with_last(&BELL, lingering());
    }),
    Attack::new("a bell with many sockets that linger", Descriptors, |peer| {
        with_lingering(peer, &BELL, 200);
    }),
    Attack::new("a socket that lingers, out of band", Descriptors, |peer| {
        let socket = lingering();
        peer.out_of_band(BELL[0], socket.as_fd());
        let_go(socket);
        peer.frame(&BELL[1..], &[]);
    }),
    Attack::new("garbage, and a socket that lingers behind it", Frame, |peer| {
        peer.frame(&bell(99, 8), &[]);
        with_lingering(peer, &add_segment(1, 4096, SegmentClass::Small), 1);
    }),
    Attack::dying("half a segment with a socket that lingers, and gone", |peer| {
        let frame = add_segment(1, 4096, SegmentClass::Small);
        with_lingering(peer, &frame[..9], 1);
    }),
    Attack::legal("bells that nobody asked for", |peer| {
        (0..500).for_each(|_| peer.frame(&BELL.repeat(100), &[]));
    }),
    Attack::new("bells without end", BellFlood, |peer| {
        until("the server has enough", || {
            peer.frame(&BELL.repeat(100), &[]);
            peer.is_over()
        });
    })
    .of_who_never_sleeps(),
    Attack::legal("bells in single bytes", |peer| {
        BELL.repeat(50).iter().for_each(|byte| peer.frame(&[*byte], &[]));
    }),
];

/// A frame's header with another type, if it is not 0, and length.
fn bell(kind: u8, length: u32) -> [u8; 8] {
    let mut frame = BELL;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    if kind > 0 {
        frame[7] = kind;
    }
    frame
}

fn null() -> File {
    File::open("/dev/null").expect("it is there")
}

fn with_fds(peer: &ByHand, frame: &[u8], count: usize) {
    let null = null();
    peer.frame(frame, &vec![null.as_fd(); count]);
}

/// Only the server has the socket then.
fn with_lingering(peer: &ByHand, frame: &[u8], count: usize) {
    let socket = lingering();
    peer.frame(frame, &vec![socket.as_fd(); count]);
    let_go(socket);
}

fn claim(peer: &ByHand, with_process: bool) {
    let claim = Claim {
        version: 1,
        patience: Duration::from_secs(1),
        app_version: 0,
        app_name: String::new(),
        pidfd: None,
    };
    let myself = pidfd_of_self().ok().flatten().filter(|_| with_process);
    let fds: Vec<_> = myself.iter().map(AsFd::as_fd).collect();
    peer.frame(&claim.encode(!fds.is_empty()), &fds);
}
