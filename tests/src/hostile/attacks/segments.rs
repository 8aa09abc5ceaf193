//! Memory that is not what it should be, and extents that are not in it.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use shmipc_core::error::PeerMisbehaved::*;
use shmipc_core::mem;
use shmipc_core::queue::{ExtentRef, Flags};
use shmipc_core::wire::{SegmentClass, add_segment, retire_segment};

use super::Attack;
use crate::hostile::by_hand::{ByHand, stream};
use crate::hostile::lingering::lingering;

const PAGE: u32 = 4096;
const MIB: u32 = 1 << 20;
/// All that a segment must have: SEAL, SHRINK, GROW, FUTURE_WRITE.
const SEALS: i32 = 0x17;

pub(super) const ATTACKS: &[Attack] = &[
    Attack::new("memory without seals", NotSealed, |peer| {
        announce(peer, 1, MIB, written(MIB, 0));
    }),
    Attack::new("memory that could shrink", NotSealed, |peer| {
        announce(peer, 1, MIB, written(MIB, SEALS & !0x2));
    }),
    Attack::new("memory that could grow", NotSealed, |peer| {
        announce(peer, 1, MIB, written(MIB, SEALS & !0x4));
    }),
    Attack::new("memory that the server could write", NotSealed, |peer| {
        announce(peer, 1, MIB, written(MIB, SEALS & !0x10));
    }),
    Attack::new("memory that could be unsealed", NotSealed, |peer| {
        announce(peer, 1, MIB, written(MIB, SEALS & !0x1));
    }),
    Attack::new("a device", NotSealed, |peer| {
        announce(peer, 1, MIB, File::open("/dev/zero").expect("it is there").into());
    }),
    Attack::new("a directory", NotSealed, |peer| {
        announce(peer, 1, MIB, File::open("/").expect("it is there").into());
    }),
    Attack::new("a socket that lingers", NotSealed, |peer| {
        peer.frame_with_last(&add_segment(1, MIB, SegmentClass::Small), lingering());
    }),
    Attack::new("memory shorter than announced", WrongMemory, |peer| {
        announce(peer, 1, MIB, written(MIB - PAGE, SEALS));
    }),
    Attack::new("memory longer than announced", WrongMemory, |peer| {
        announce(peer, 1, MIB, written(MIB + PAGE, SEALS));
    }),
    Attack::new("memory full of holes", SegmentNotPresent, |peer| {
        announce(peer, 1, MIB, empty(MIB, SEALS));
    }),
    Attack::new("memory with a hole at its end", SegmentNotPresent, |peer| {
        let file = File::from(written(MIB - PAGE, 0));
        file.set_len(MIB.into()).expect("no seal");
        announce(peer, 1, MIB, sealed(file.into(), SEALS));
    }),
    Attack::new("a segment of no bytes", SegmentLimits, |peer| {
        announce(peer, 1, 0, written(PAGE, SEALS));
    }),
    Attack::new("half a page", SegmentLimits, |peer| announce(peer, 1, 2048, written(PAGE, SEALS))),
    Attack::new("a huge segment", SegmentLimits, |peer| {
        announce(peer, 1, 1 << 31, written(PAGE, SEALS));
    }),
    Attack::new("a segment more than the arena", SegmentLimits, |peer| {
        let all = peer.out.arena_max;
        peer.segment(1, all);
        announce(peer, 2, PAGE, written(PAGE, SEALS));
    })
    .with(|builder| builder.arena_max(8 << 20).max_message(1 << 20)),
    Attack::new("more segments than agreed", SegmentLimits, |peer| {
        (1..=peer.out.max_segments() + 1).for_each(|id| peer.segment(id, PAGE));
    }),
    Attack::new("a segment that is left out", SegmentLimits, |peer| peer.segment(2, PAGE)),
    Attack::new("a segment that was there", SegmentLimits, |peer| {
        peer.segment(1, PAGE);
        peer.segment(1, PAGE);
    }),
    Attack::new("the last of all segments", SegmentLimits, |peer| peer.segment(u32::MAX, PAGE)),
    Attack::new("an extent in a segment that was never announced", UnknownSegment, |peer| {
        name(peer, 1, 0, 5000);
    }),
    Attack::new("an extent in a segment that was given up", UnknownSegment, |peer| {
        peer.segment(1, MIB);
        peer.frame(&retire_segment(1), &[]);
        // A record may come before what was sent before it on the socket.
        peer.segment(2, PAGE);
        peer.until_acknowledged(2);
        name(peer, 1, 0, 5000);
    }),
    Attack::new("an extent that reaches beyond its segment", ExtentBounds, |peer| {
        peer.segment(1, MIB);
        name(peer, 1, u64::from(MIB) - 4096, 5000);
    }),
    Attack::new("an extent far from its segment", ExtentBounds, |peer| {
        peer.segment(1, MIB);
        name(peer, 1, u64::from(u32::MAX) << 6, 5000);
    }),
    Attack::new("an extent of no bytes", ExtentBounds, |peer| {
        peer.segment(1, MIB);
        name(peer, 1, 0, 0);
    }),
    Attack::new("an extent longer than a message may be", ExtentBounds, |peer| {
        peer.segment(1, 8 * MIB);
        name(peer, 1, 0, peer.out.max_message + 1);
    }),
    Attack::new("an extent of almost all lengths", ExtentBounds, |peer| {
        peer.segment(1, MIB);
        name(peer, 1, 0, u32::MAX);
    }),
    Attack::new("more extents than may be lent", LentTooMany, |peer| {
        peer.segment(1, MIB);
        for id in 0..=peer.out.max_lent {
            let flags = Flags::none().with_if(Flags::OPEN, id == 0);
            let extent = ExtentRef { segment: 1, id, offset: 64 * u64::from(id), len: 1 };
            peer.put_extent(flags, stream(0), extent);
        }
        peer.publish();
    })
    .with(|builder| builder.max_lent(256)),
    Attack::new("a segment given up that never was", UnknownSegment, |peer| {
        peer.frame(&retire_segment(1), &[]);
    }),
    Attack::new("a segment given up twice", UnknownSegment, |peer| {
        peer.segment(1, PAGE);
        peer.frame(&retire_segment(1), &[]);
        peer.frame(&retire_segment(1), &[]);
    }),
    Attack::new("segment 0 given up", UnknownSegment, |peer| {
        peer.frame(&retire_segment(0), &[]);
    }),
    Attack::new("a segment given up that is lent", RetiredWhileLent, |peer| {
        peer.segment(1, MIB);
        // Nobody reads it: the answers before it do not get out.
        super::jam(peer, Flags::OPEN, stream(0));
        let extent = ExtentRef { segment: 1, id: 0, offset: 0, len: 5000 };
        peer.put_extent(Flags::none(), stream(0), extent);
        peer.publish();
        peer.until_read();
        peer.frame(&retire_segment(1), &[]);
    }),
    Attack::legal("segments that come and go", |peer| {
        for id in 1..=60 {
            peer.segment(id, PAGE);
            peer.frame(&retire_segment(id), &[]);
        }
    }),
    Attack::new("the same memory over and over, without end", SegmentFlood, |peer| {
        let bytes = peer.out.arena_max;
        let (_, file) = mem::create_arena(c"shmipc-test", bytes as usize).expect("memory");
        for id in (1..).take_while(|_| !peer.is_over()) {
            peer.frame(&add_segment(id, bytes, SegmentClass::Dedicated), &[file.as_fd()]);
            peer.frame(&retire_segment(id), &[]);
        }
    }),
    Attack::legal("the same extent over and over", |peer| {
        peer.segment(1, MIB);
        for number in 0..50 {
            let flags = Flags::none().with_if(Flags::OPEN, number == 0);
            let extent = ExtentRef { segment: 1, id: 0, offset: 0, len: 5000 };
            peer.put_extent(flags, stream(0), extent);
        }
        peer.publish();
        (0..50).for_each(|_| _ = peer.reply().expect("a reply"));
    }),
];

fn announce(peer: &ByHand, id: u32, bytes: u32, file: OwnedFd) {
    peer.frame(&add_segment(id, bytes, SegmentClass::Small), &[file.as_fd()]);
}

/// A message in a segment of ours.
fn name(peer: &mut ByHand, segment: u32, offset: u64, len: u32) {
    peer.put_extent(Flags::OPEN, stream(0), ExtentRef { segment, id: 0, offset, len });
    peer.publish();
}

/// A file with all its pages.
fn written(bytes: u32, seals: i32) -> OwnedFd {
    let file = File::from(empty(0, 0));
    std::io::Write::write_all(&mut &file, &vec![0; bytes as usize]).expect("memory");
    sealed(file.into(), seals)
}

/// A file with none of them.
fn empty(bytes: u32, seals: i32) -> OwnedFd {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = File::from(memfd_create(c"shmipc-test", flags).expect("a file"));
    file.set_len(bytes.into()).expect("no seal");
    sealed(file.into(), seals)
}

fn sealed(file: OwnedFd, seals: i32) -> OwnedFd {
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::from_bits_retain(seals))).expect("sealable");
    file
}
