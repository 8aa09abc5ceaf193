//! Both ends keep the rules.

use std::os::fd::AsFd;
use std::time::Duration;

use super::{config, eventfd_config, handshake, sockets, trust};
use crate::config::{BellKind, Config, WaitMode};
use crate::error::{HandshakeError, Refusal};
use crate::handshake::{Established, Exchange, Progress, Role, Terms, hello};
use crate::layout::{
    EVENT_HEAD_AT, EVENT_RETURNED_AT, EVENT_TAIL_AT, MAGIC, MAGIC_AT, RING_AT, VERSION, VERSION_AT,
};
use crate::link::{Bell, Link, Receive};
use crate::mem::{Memory, MemoryMut, Passed};
use crate::wire::{BELL, Frame};

fn established(client: &Config, server: &Config) -> (Established, Established) {
    let (client, server) = handshake(client, server);
    (client.unwrap(), server.unwrap())
}

#[test]
fn both_sides_get_the_same_session() {
    let client = config(|b| {
        b.ring_bytes(64 << 10)
            .inline_max(999)
            .max_streams(99)
            .application("test", 3)
            .wait(WaitMode::Spin)
    });
    let server = config(|b| b.max_streams(7).application("test", 4));
    let (a, b) = established(&client, &server);

    assert_eq!((a.role, b.role), (Role::Client, Role::Server));
    assert_eq!((a.out, a.incoming), (b.incoming, b.out));
    assert_eq!(a.out.ring_bytes, 64 << 10);
    assert_eq!((a.out.writer_streams, a.out.reader_streams), (7, 99));
    assert_eq!((a.peer_app_version, b.peer_app_version), (4, 3));
    assert_eq!((a.peer_wait, b.peer_wait), (WaitMode::Adaptive, WaitMode::Spin));
    assert_eq!(a.bell.kind(), BellKind::Socket);
    assert_eq!(a.peer_cred.uid, nix::unistd::geteuid().as_raw());
    assert_eq!(a.peer_cred.pid, nix::unistd::getpid().as_raw());
    assert!(a.decoder.is_empty() && b.decoder.is_empty());
}

#[test]
fn each_side_sees_what_the_other_writes() {
    let (a, b) = established(&config(|b| b), &config(|b| b.max_lent(1024)));
    for (writer, reader) in [(&a, &b), (&b, &a)] {
        assert_eq!(writer.own.size(), reader.peer.size());
        assert_eq!(reader.peer.load64(MAGIC_AT), MAGIC);
        assert_eq!(reader.peer.load64(VERSION_AT), VERSION);
        for event in [EVENT_TAIL_AT, EVENT_HEAD_AT, EVENT_RETURNED_AT] {
            assert_eq!(reader.peer.load64(event), u64::MAX);
        }
        let last = writer.own.size() - 8;
        for at in [RING_AT, last] {
            writer.own.publish64(at, 0x1234);
            assert_eq!(reader.peer.load64(at), 0x1234);
        }
    }
}

#[test]
fn each_side_gets_the_other_as_a_pidfd() {
    let (a, b) = established(&config(|b| b), &config(|b| b));
    for side in [&a, &b] {
        let pidfd = side.peer_pidfd.as_ref().unwrap();
        assert!(Passed::from(pidfd.try_clone().unwrap()).into_pidfd().is_ok());
        let now = Some(Duration::ZERO);
        assert!(!crate::link::wait_ready(pidfd.as_fd(), true, false, now).unwrap());
    }
}

/// H5, for all combinations of wishes and trust.
#[test]
fn the_eventfd_bell_needs_four_yeses() {
    for bits in 0..16 {
        let yes = |bit: u32| bits & (1 << bit) != 0;
        let side = |bell: bool, trusted: bool| {
            config(|mut b| {
                if bell {
                    b = b.bell(BellKind::Eventfd);
                }
                if trusted { b.trust(trust()) } else { b }
            })
        };
        let (a, b) = established(&side(yes(0), yes(1)), &side(yes(2), yes(3)));
        let expected = if bits == 15 { BellKind::Eventfd } else { BellKind::Socket };
        assert_eq!((a.bell.kind(), b.bell.kind()), (expected, expected), "{bits:04b}");
        assert_eq!((a.peer_trusts, b.peer_trusts), (yes(3), yes(1)));
    }
}

#[test]
fn the_agreed_bell_rings_on_the_other_side() {
    for config in [config(|b| b), eventfd_config()] {
        let (a, b) = established(&config, &config);
        let link = |e: Established| Link::new(e.socket, e.bell, e.peer_pidfd, e.wait).unwrap();
        let (a, b) = (link(a), link(b));
        for (ringer, sleeper) in [(&a, &b), (&b, &a)] {
            ringer.ring().unwrap();
            let woken = sleeper.wait(None).unwrap();
            let eventfd = matches!(sleeper.bell(), Bell::Eventfd { .. });
            assert_eq!((woken.bell, woken.socket), (eventfd, !eventfd));
            assert!(!woken.peer_died && !woken.kick);
        }
    }
}

/// H6: what the client says right behind its Ready reaches the session.
#[test]
fn what_follows_the_handshake_is_handed_on() {
    let config = config(|b| b);
    let (a, b) = sockets();
    let mut client = Exchange::new(Role::Client, a, &config).unwrap();
    let mut server = Exchange::new(Role::Server, b, &config).unwrap();
    while client.progress().unwrap() != Progress::Done {
        let _ = server.progress().unwrap();
    }
    let client = client.finish().unwrap();
    let ring = || crate::link::send(client.socket.as_fd(), &BELL, &[]).unwrap();
    assert_eq!(ring(), crate::link::Sent::Whole);
    assert_eq!(server.progress().unwrap(), Progress::Done);
    let mut server = server.finish().unwrap();
    assert!(!server.decoder.is_empty(), "the bell came with the last read");
    assert!(matches!(server.decoder.next_frame(), Ok(Some(Frame::Bell))));
    let received = crate::link::receive(server.socket.as_fd(), &mut server.decoder).unwrap();
    assert_eq!(received, Receive::Empty);
}

#[test]
fn different_applications_refuse_each_other() {
    let other = Config::builder().application("other", 1).build().unwrap();
    let (client, server) = handshake(&config(|b| b), &other);
    let refusal = |theirs: &str, ours: &str| Refusal::Application {
        theirs: theirs.to_owned(),
        ours: ours.to_owned(),
    };
    assert_eq!(client.unwrap_err(), HandshakeError::Refused(refusal("other", "test")));
    assert_eq!(server.unwrap_err(), HandshakeError::RefusedPeer(refusal("test", "other")));
}

#[test]
fn limits_that_cannot_meet_are_refused() {
    // Each is fine alone: many streams need a large ring, and the smaller ring wins.
    let many = config(|b| b.ring_bytes(64 << 20).max_streams(100_000));
    let small = config(|b| b.ring_bytes(4 << 10).inline_max(240).max_streams(4));
    let (client, server) = handshake(&many, &small);
    assert_eq!(client.unwrap_err(), HandshakeError::Refused(Refusal::Limits));
    assert_eq!(server.unwrap_err(), HandshakeError::RefusedPeer(Refusal::Limits));
}

#[test]
fn terms_are_the_same_from_both_sides() {
    let ours = hello(&config(|b| b.arena_max(128 << 20).unread_max(4096)));
    let theirs = hello(&config(|b| b.ring_bytes(1 << 20).inline_max(99).max_message(1000)));
    let (here, there) = (Terms::agree(&ours, &theirs), Terms::agree(&theirs, &ours));
    let (here, there) = (here.unwrap(), there.unwrap());
    assert_eq!((here.out, here.incoming), (there.incoming, there.out));
    assert_eq!(here.own_bytes(), there.peer_bytes());
    assert_eq!(here.peer_bytes(), there.own_bytes());
}
