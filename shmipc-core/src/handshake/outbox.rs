//! Making our outbox, and checking the peer's.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{FileStat, fstat};

use super::machine::Transmit;
use super::terms::Terms;
use crate::config::BellKind;
use crate::error::{HandshakeError, OsError, PeerMisbehaved};
use crate::layout::{
    EVENT_HEAD_AT, EVENT_RETURNED_AT, EVENT_TAIL_AT, MAGIC, MAGIC_AT, VERSION, VERSION_AT,
};
use crate::link::{WaitParts, eventfd};
use crate::mem::{self, Memory, MemoryMut, OwnMapping, Passed, PeerMapping};
use crate::steps::{self, Step};
use crate::wire;

/// Event word: "rings never".
const NEVER: u64 = u64::MAX;

/// Our side, made.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) mapping: Arc<OwnMapping>,
    pub(super) file: FileStat,
    /// What we wait on, if the bell is an eventfd.
    pub(super) eventfd: Option<OwnedFd>,
    /// What our threads will sleep on (H7).
    pub(super) wait: WaitParts,
}

/// The peer's side, checked.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) mapping: Arc<PeerMapping>,
    pub(super) pidfd: Option<OwnedFd>,
    /// What the peer waits on, if the bell is an eventfd.
    pub(super) eventfd: Option<OwnedFd>,
}

/// Makes segment 0 and everything else that our Outbox frame carries.
pub(super) fn make(terms: &Terms) -> Result<(Own, Transmit), HandshakeError> {
    let (mapping, segment) = mem::create(c"shmipc-0", terms.own_bytes())?;
    mapping.store64(MAGIC_AT, MAGIC);
    mapping.store64(VERSION_AT, VERSION);
    [EVENT_TAIL_AT, EVENT_HEAD_AT, EVENT_RETURNED_AT]
        .iter()
        .for_each(|event| mapping.store64(*event, NEVER));
    // H4. The system call that passes the segment orders these stores for the peer.
    let file = fstat(&segment).map_err(|errno| OsError::new("fstat", errno))?;
    let pidfd = mem::pidfd_of_self()?;
    let wait = WaitParts::new()?;
    let bell = (terms.bell == BellKind::Eventfd).then(eventfd).transpose()?;
    let passed = bell.as_ref().map(OwnedFd::try_clone).transpose();
    let passed = passed.map_err(|error| OsError::from_io("dup", &error))?;
    let bytes = wire::outbox(pidfd.is_some(), passed.is_some());
    let fds = [Some(segment), pidfd, passed].into_iter().flatten().collect();
    Ok((Own { mapping, file, eventfd: bell, wait }, Transmit { bytes, fds }))
}

/// Checks what the peer's Outbox frame carried, and maps its segment 0 (H4).
pub(super) fn adopt(
    outbox: wire::Outbox,
    terms: &Terms,
    own: mem::Own<'_>,
) -> Result<Peer, HandshakeError> {
    if outbox.eventfd.is_some() != (terms.bell == BellKind::Eventfd) {
        return Err(PeerMisbehaved::Descriptors.into());
    }
    if outbox.eventfd.as_ref().is_some_and(blocks) {
        return Err(PeerMisbehaved::Descriptors.into());
    }
    let pidfd = outbox.pidfd.map(Passed::into_pidfd).transpose()?;
    let mapping = mem::adopt(outbox.segment, terms.peer_bytes(), own)?;
    let right = mapping.load64(MAGIC_AT) == MAGIC && mapping.load64(VERSION_AT) == VERSION;
    if !right {
        return Err(PeerMisbehaved::WrongMemory.into());
    }
    steps::reach(Step::OutboxMapped);
    // H5: of a peer that is trusted.
    let eventfd = outbox.eventfd.map(Passed::into_trusted);
    Ok(Peer { mapping, pidfd, eventfd })
}

/// Whether writing to a descriptor can block.
fn blocks(fd: &Passed) -> bool {
    let flags = fcntl(fd, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
    !flags.is_ok_and(|flags| flags.contains(OFlag::O_NONBLOCK))
}
