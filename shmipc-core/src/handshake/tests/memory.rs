//! Peers whose memory is not what it should be (H4).

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::SealFlag;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::puppet::{Puppet, all_seals, good_segment, memfd, segment_bytes};
use crate::error::{HandshakeError, PeerMisbehaved};
use crate::layout::{MAGIC, VERSION};
use crate::mem::Passed;
use crate::wire::{self, Frame, Refuse};

const WORDS: [u64; 2] = [MAGIC, VERSION];

/// What the server says to a client with this segment, and what the client says to such a server.
fn judged(segment: &OwnedFd) -> PeerMisbehaved {
    let outbox = wire::outbox(false, false);
    let judged = |mut puppet: Puppet| {
        let error = puppet.fails_on(&outbox, &[segment.as_fd()]);
        let HandshakeError::Misbehaved(rule) = error else { panic!("{error:?}") };
        match puppet.hear() {
            Some(Frame::Refuse(refuse)) => {
                let told = Refuse { reason: 8, number: 0, text: rule.to_string() };
                assert_eq!(refuse, told, "the peer is told why");
            }
            other => panic!("{other:?}"),
        }
        rule
    };
    let (server, client) = (judged(Puppet::greeted_client()), judged(Puppet::greeted_server().0));
    assert_eq!(server, client);
    server
}

#[test]
fn every_seal_is_asked_for() {
    let size = segment_bytes();
    for missing in all_seals().iter() {
        let segment = memfd(WORDS, size, size, all_seals() & !missing);
        assert_eq!(judged(&segment), PeerMisbehaved::NotSealed, "{missing:?}");
    }
    let unsealed = memfd(WORDS, size, size, SealFlag::empty());
    assert_eq!(judged(&unsealed), PeerMisbehaved::NotSealed);
}

#[test]
fn files_without_seals_are_not_memory() {
    let dev_zero = File::open("/dev/zero").unwrap().into();
    let regular = File::open("/proc/self/exe").unwrap().into();
    let (pipe, _writer) = nix::unistd::pipe().unwrap();
    for file in [dev_zero, regular, pipe] {
        assert_eq!(judged(&file), PeerMisbehaved::NotSealed);
    }
}

#[test]
fn the_size_is_exact() {
    let size = segment_bytes();
    for wrong in [0, 4096, size - 4096, size - 1, size + 1, size + 4096] {
        let segment = memfd(WORDS, wrong.min(size), wrong, all_seals());
        assert_eq!(judged(&segment), PeerMisbehaved::WrongMemory, "{wrong}");
    }
}

#[test]
fn holes_are_refused() {
    let size = segment_bytes();
    let nothing = memfd(WORDS, 0, size, all_seals());
    assert_eq!(judged(&nothing), PeerMisbehaved::SegmentNotPresent);
    let all_but_one_page = memfd(WORDS, size - 4096, size, all_seals());
    assert_eq!(judged(&all_but_one_page), PeerMisbehaved::SegmentNotPresent);
}

#[test]
fn the_first_words_are_checked() {
    let size = segment_bytes();
    for words in [[0, VERSION], [MAGIC, 0], [MAGIC, VERSION + 1], [MAGIC.swap_bytes(), VERSION]] {
        let segment = memfd(words, size, size, all_seals());
        assert_eq!(judged(&segment), PeerMisbehaved::WrongMemory);
    }
}

#[test]
fn our_own_segment_handed_back_is_refused() {
    let (mut puppet, ours) = Puppet::greeted_server();
    let error = puppet.fails_on(&wire::outbox(false, false), &[ours.segment.as_fd()]);
    assert_eq!(error, HandshakeError::Misbehaved(PeerMisbehaved::WrongMemory));
}

#[test]
fn only_a_process_descriptor_is_one() {
    let not_a_pidfd = HandshakeError::Misbehaved(PeerMisbehaved::NotAPidfd);
    let segment = good_segment();
    let (pipe, _writer) = nix::unistd::pipe().unwrap();
    let eventfd: OwnedFd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap().into();
    let directory: OwnedFd = File::open("/proc/self").unwrap().into();
    let file: OwnedFd = File::open("/dev/null").unwrap().into();
    for impostor in [pipe, eventfd, directory, file] {
        let passed = Passed::from(impostor.try_clone().unwrap());
        assert_eq!(passed.into_pidfd().err(), Some(PeerMisbehaved::NotAPidfd));
        let fds = [segment.as_fd(), impostor.as_fd()];
        let error = Puppet::greeted_client().fails_on(&wire::outbox(true, false), &fds);
        assert_eq!(error, not_a_pidfd);
    }
}
