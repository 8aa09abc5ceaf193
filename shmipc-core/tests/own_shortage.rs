//! A session that runs out of descriptors or of address space: that is our own shortage, and said so,
//! whoever is at the other end.
//!
//! Limits are those of the whole process, so this file holds a single test.

mod raw;

use std::fs;
use std::os::fd::AsFd;
use std::task::Poll;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use raw::{Raw, session};
use shmipc_core::error::{OsError, SessionError};
use shmipc_core::handle::Session;
use shmipc_core::handshake::Role;
use shmipc_core::layout::RETURNED_AT;
use shmipc_core::link::{self, Sent};
use shmipc_core::mem::{self, Memory};
use shmipc_core::queue::{ExtentRef, Flags, Header, Kind};
use shmipc_core::session::StreamId;
use shmipc_core::wire::{self, SegmentClass};

/// More than a process that is short of address space has left, less than an arena may have.
const SEGMENT: u32 = 32 << 20;

const NO_DESCRIPTOR: OsError = OsError { call: "recvmsg", code: libc::EMFILE };
const NO_ADDRESSES: OsError = OsError { call: "mmap", code: libc::ENOMEM };

#[test]
fn our_own_shortage_is_not_the_peers_fault() {
    // Without a shortage the same frames are fine, and so is what names the segment.
    let (session, mut raw) = session();
    announce(&raw);
    name(&mut raw);
    session.drive();
    assert!(!session.is_over() && raw.peer.load64(RETURNED_AT) > 0, "it has the segment");

    for (by_record, error) in [(false, NO_DESCRIPTOR), (true, NO_DESCRIPTOR)] {
        meets(error, by_record, |action| within(Resource::RLIMIT_NOFILE, 0, action));
    }
    let room = address_space() + (8 << 20);
    for (by_record, error) in [(false, NO_ADDRESSES), (true, NO_ADDRESSES)] {
        meets(error, by_record, |action| within(Resource::RLIMIT_AS, room, action));
    }
}

/// A session reads of a segment under some limit, by looking at its socket or because a record names
/// the segment, and ends for this reason.
fn meets(error: OsError, by_record: bool, limited: impl FnOnce(&dyn Fn())) {
    let (session, mut raw) = session();
    announce(&raw);
    if by_record {
        name(&mut raw);
    }
    limited(&|| match by_record {
        true => session.drive(),
        false => look(&session, &raw),
    });
    assert_eq!(session.poll_closed(None), Poll::Ready(SessionError::Os(error)), "{by_record}");
    assert!(session.is_over());
}

/// The peer announces its first segment.
fn announce(raw: &Raw) {
    let (_, segment) = mem::create_arena(c"shmipc-test", SEGMENT as usize).unwrap();
    let frame = wire::add_segment(1, SEGMENT, SegmentClass::Dedicated);
    let sent = link::send(raw.socket.as_fd(), &frame, &[segment.as_fd()]);
    assert_eq!(sent, Ok(Sent::Whole));
}

/// The peer sends a message that lies there.
fn name(raw: &mut Raw) {
    let stream = StreamId::new(Role::Server, 0, 1).word();
    let header = Header { kind: Kind::Extent, flags: Flags::OPEN, value: 0, stream };
    assert!(raw.records.grant(32).unwrap());
    raw.records.put_extent(header, ExtentRef { segment: 1, id: 0, offset: 0, len: 5000 });
    raw.records.publish();
}

/// Looks at the socket, at most once a millisecond, until it has found the segment or failed.
fn look(session: &Session, raw: &Raw) {
    while raw.peer.load64(RETURNED_AT) == 0 && !session.is_over() {
        session.glance();
    }
}

/// Runs `action` with a lower limit.
fn within(resource: Resource, limit: u64, action: &dyn Fn()) {
    let (soft, hard) = getrlimit(resource).unwrap();
    setrlimit(resource, limit, hard).unwrap();
    action();
    setrlimit(resource, soft, hard).unwrap();
}

/// Bytes of address space that this process uses.
fn address_space() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}
