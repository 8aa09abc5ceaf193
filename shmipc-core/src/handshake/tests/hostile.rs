//! Peers that speak another language, out of turn, or nonsense.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::eventfd_config;
use super::puppet::{Puppet, good_hello, good_segment};
use crate::error::{HandshakeError, PeerMisbehaved, Refusal};
use crate::link;
use crate::mem;
use crate::wire::{self, BELL, Frame, Hello, Refuse, SegmentClass};

const MALFORMED: HandshakeError = HandshakeError::Misbehaved(PeerMisbehaved::Frame);
const DESCRIPTORS: HandshakeError = HandshakeError::Misbehaved(PeerMisbehaved::Descriptors);

/// The puppet keeps the rules, so that the other tests know it is the lie that fails.
#[test]
fn a_well_behaved_puppet_client_succeeds() {
    let mut puppet = Puppet::greeted_client();
    let (segment, pidfd) = (good_segment(), mem::pidfd_of_self().unwrap().unwrap());
    puppet.send(&wire::outbox(true, false), &[segment.as_fd(), pidfd.as_fd()]);
    assert_eq!(puppet.answer(), Ok(false));
    assert!(matches!(puppet.hear(), Some(Frame::Outbox(_))));
    puppet.send(&wire::ready(), &[]);
    assert_eq!(puppet.answer(), Ok(true));
}

#[test]
fn a_well_behaved_puppet_server_succeeds() {
    let (mut puppet, theirs) = Puppet::greeted_server();
    assert!(theirs.pidfd.is_some() && theirs.eventfd.is_none());
    puppet.send(&wire::outbox(false, false), &[good_segment().as_fd()]);
    assert_eq!(puppet.answer(), Ok(true));
    assert!(matches!(puppet.hear(), Some(Frame::Ready)));
}

#[test]
fn older_dialects_are_recognised_and_told() {
    for version in [2, 3, 4] {
        let mut old = BELL;
        old[6] = version;
        old[7] = 0;
        let mut puppet = Puppet::client();
        let error = puppet.fails_on(&old, &[]);
        assert_eq!(error, HandshakeError::Dialect(version));
        assert!(error.to_string().contains(&format!("version {version}")), "{error}");
        match puppet.hear() {
            Some(Frame::Refuse(Refuse { reason: 2, number: 16, .. })) => {}
            other => panic!("{other:?}"),
        }
        let mut puppet = Puppet::server();
        assert_eq!(puppet.fails_on(&old, &[]), HandshakeError::Dialect(version));
    }
}

#[test]
fn unknown_versions_are_refused_with_both_numbers() {
    for version in [0, 1, 5, 15, 17, 255] {
        let mut other = BELL;
        other[6] = version;
        let refusal = Refusal::Version { theirs: version.into(), ours: 16 };
        let error = Puppet::client().fails_on(&other, &[]);
        assert_eq!(error, HandshakeError::RefusedPeer(refusal));
    }
}

#[test]
fn another_architecture_is_refused() {
    let strange = [
        Hello { word_bits: 32, ..good_hello() },
        Hello { little_endian: !good_hello().little_endian, ..good_hello() },
    ];
    for hello in strange {
        let mut puppet = Puppet::client();
        let error = puppet.fails_on(&hello.encode(), &[]);
        assert_eq!(error, HandshakeError::RefusedPeer(Refusal::Architecture));
        assert!(matches!(puppet.hear(), Some(Frame::Refuse(_))));
    }
}

#[test]
fn refusals_arrive_with_their_reason() {
    let told = |reason, number, text: &str| {
        let refusal = Refuse { reason, number, text: text.to_owned() };
        match Puppet::server().fails_on(&wire::refuse(&refusal), &[]) {
            HandshakeError::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    };
    let (theirs, ours) = ("other".to_owned(), "test".to_owned());
    assert_eq!(told(1, 1000, ""), Refusal::Unauthorized { uid: 1000 });
    assert_eq!(told(2, 17, ""), Refusal::Version { theirs: 17, ours: 16 });
    assert_eq!(told(3, 0, "other"), Refusal::Application { theirs, ours });
    assert_eq!(told(4, 0, ""), Refusal::Limits);
    assert_eq!(told(5, 0, ""), Refusal::Busy);
    assert_eq!(told(6, 0, ""), Refusal::Architecture);
    let misdeed = Refusal::Misbehaved { rule: "its shared memory has holes".to_owned() };
    assert_eq!(told(8, 0, "its shared memory has holes"), misdeed);
    let system = Refusal::System { call: "memfd_create".to_owned(), code: 38 };
    assert_eq!(told(7, 38, "memfd_create"), system);
    assert_eq!(told(77, 0, ""), Refusal::Other(77));
}

#[test]
fn garbage_ends_the_handshake() {
    for garbage in [&[0u8; 8][..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 300]] {
        assert_eq!(Puppet::client().fails_on(garbage, &[]), MALFORMED);
        assert_eq!(Puppet::server().fails_on(garbage, &[]), MALFORMED);
    }
}

/// One frame of 8 bytes of every type and length, at every stage.
#[test]
fn hostile_frames_of_eight_bytes() {
    for kind in 0..=255u8 {
        for length in [0u32, 8, 9, 4097, u32::MAX] {
            let mut frame = BELL;
            frame[..4].copy_from_slice(&length.to_be_bytes());
            frame[7] = kind;
            for mut puppet in [Puppet::client(), Puppet::greeted_client()] {
                puppet.send(&frame, &[]);
                match puppet.answer() {
                    Err(error) => assert!(matches!(error, HandshakeError::Misbehaved(_))),
                    // A body of one byte that has not come yet.
                    Ok(done) => {
                        let known = matches!(kind, 1..=8 | 16..=20);
                        assert!(!done && length == 9 && known);
                    }
                }
            }
        }
    }
}

#[test]
fn frames_out_of_turn_end_the_handshake() {
    let hello = good_hello().encode();
    for early in [wire::ready(), BELL.to_vec(), wire::close(1), wire::retire_segment(1)] {
        assert_eq!(Puppet::client().fails_on(&early, &[]), MALFORMED);
        assert_eq!(Puppet::server().fails_on(&early, &[]), MALFORMED);
        assert_eq!(Puppet::greeted_client().fails_on(&early, &[]), MALFORMED);
        assert_eq!(Puppet::greeted_server().0.fails_on(&early, &[]), MALFORMED);
    }
    assert_eq!(Puppet::greeted_client().fails_on(&hello, &[]), MALFORMED);
    let segment = good_segment();
    let add = wire::add_segment(1, 4096, SegmentClass::Small);
    assert_eq!(Puppet::greeted_client().fails_on(&add, &[segment.as_fd()]), MALFORMED);
    let outbox = wire::outbox(false, false);
    // Before the greeting no frame carries a descriptor, so none is taken.
    let surplus = HandshakeError::Misbehaved(PeerMisbehaved::Descriptors);
    assert_eq!(Puppet::client().fails_on(&outbox, &[segment.as_fd()]), surplus);
    assert_eq!(Puppet::client().fails_on(&outbox, &[]), surplus);
}

#[test]
fn too_many_and_too_few_descriptors() {
    let segment = good_segment();
    let fd = segment.as_fd();
    let (one, two) = (wire::outbox(false, false), wire::outbox(true, false));
    assert_eq!(Puppet::greeted_client().fails_on(&one, &[]), DESCRIPTORS);
    assert_eq!(Puppet::greeted_client().fails_on(&two, &[fd]), DESCRIPTORS);
    assert_eq!(Puppet::greeted_client().fails_on(&one, &[fd, fd]), DESCRIPTORS);
    assert_eq!(Puppet::greeted_client().fails_on(&one, &[fd; 6]), DESCRIPTORS);
    assert_eq!(Puppet::greeted_client().fails_on(&one, &[fd; 253]), DESCRIPTORS);
    assert_eq!(Puppet::client().fails_on(&good_hello().encode(), &[fd]), DESCRIPTORS);
    assert_eq!(Puppet::client().fails_on(&good_hello().encode()[..1], &[fd; 6]), DESCRIPTORS);
}

/// H5: what was not agreed on is not taken, and what was has to be what it should be.
#[test]
fn the_eventfd_is_sent_if_and_only_if_it_was_agreed_on() {
    let segment = good_segment();
    let (good, pidfd) = (link::eventfd().unwrap(), mem::pidfd_of_self().unwrap().unwrap());
    let with = |eventfd: &OwnedFd| {
        [segment.as_fd(), pidfd.as_fd(), eventfd.as_fd()].map(|fd| fd.try_clone_to_owned().unwrap())
    };
    let send = |mut puppet: Puppet, frame: &[u8], fds: &[OwnedFd]| {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        puppet.send(frame, &fds);
        puppet.answer()
    };
    let (without, frame) = (wire::outbox(true, false), wire::outbox(true, true));
    let agreed = || Puppet::greeted_client_of(eventfd_config());
    assert_eq!(send(agreed(), &frame, &with(&good)), Ok(false));
    assert_eq!(send(agreed(), &without, &with(&good)[..2]), Err(DESCRIPTORS));
    assert_eq!(send(Puppet::greeted_client(), &frame, &with(&good)), Err(DESCRIPTORS));
    let blocking = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap().into();
    assert_eq!(send(agreed(), &frame, &with(&blocking)), Err(DESCRIPTORS));
}

/// A frame in single bytes is a frame.
#[test]
fn a_slow_peer_is_understood() {
    let mut puppet = Puppet::client();
    for byte in good_hello().encode() {
        puppet.send(&[byte], &[]);
        assert_eq!(puppet.answer(), Ok(false));
    }
    assert!(matches!(puppet.hear(), Some(Frame::Hello(_))));
}

/// A peer that does not read is waited for; meanwhile a client that only has its Ready left to send
/// reads nothing more (H6).
#[test]
fn a_peer_that_does_not_read_is_waited_for() {
    let mut puppet = Puppet::client();
    puppet.jam();
    puppet.send(&good_hello().encode(), &[]);
    let until = puppet.until();
    assert!(until.writable && until.readable);
    while let Some(Frame::Bell) = puppet.hear() {}
    assert!(puppet.until().readable);
    assert!(matches!(puppet.hear(), Some(Frame::Hello(_))));

    let (mut puppet, _theirs) = Puppet::greeted_server();
    let jammed = puppet.jam();
    puppet.send(&wire::outbox(false, false), &[good_segment().as_fd()]);
    let until = puppet.until();
    assert!(until.writable && !until.readable);
    puppet.send(&BELL, &[]);
    assert_eq!(puppet.until(), until);
    let bells = std::iter::repeat_with(|| puppet.hear()).take(jammed);
    assert!(bells.flatten().all(|frame| matches!(frame, Frame::Bell)));
    assert_eq!(puppet.answer(), Ok(true));
    assert!(matches!(puppet.hear(), Some(Frame::Ready)));
    assert!(puppet.hang_up().finish().unwrap().decoder.is_empty());
}

/// Such a client notices that the server has gone.
#[test]
fn a_server_that_goes_without_reading_ends_the_handshake() {
    let (mut puppet, _theirs) = Puppet::greeted_server();
    puppet.jam();
    puppet.send(&wire::outbox(false, false), &[good_segment().as_fd()]);
    assert!(!puppet.until().readable);
    let mut real = puppet.hang_up();
    assert_eq!(real.progress(), Err(HandshakeError::Closed));
}

#[test]
fn hanging_up_is_noticed_at_every_stage() {
    for puppet in
        [Puppet::client(), Puppet::greeted_client(), Puppet::server(), Puppet::greeted_server().0]
    {
        let mut real = puppet.hang_up();
        assert_eq!(real.progress(), Err(HandshakeError::Closed));
    }
}

/// H6: a server that floods behind its Outbox fills its own send buffer, not our memory.
#[test]
fn a_flood_behind_the_handshake_is_not_read() {
    let (mut puppet, _theirs) = Puppet::greeted_server();
    puppet.send(&wire::outbox(false, false), &[good_segment().as_fd()]);
    let mut bells = 0;
    while link::send(puppet.socket(), &BELL, &[]).unwrap() == link::Sent::Whole {
        bells += 1;
    }
    assert!(bells > 100);
    assert_eq!(puppet.answer(), Ok(true));
    let mut established = puppet.hang_up().finish().unwrap();
    let mut handed_on = 0;
    while let Some(frame) = established.decoder.next_frame().unwrap() {
        assert!(matches!(frame, Frame::Bell));
        handed_on += 1;
    }
    assert!(handed_on < bells);
}
