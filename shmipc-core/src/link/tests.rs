//! Sockets, bells and the wait set. Nothing here sleeps: what is waited for has happened, or is about to
//! happen because of another thread.

use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::wait::{through_signals, whole_millis};
use super::*;
use crate::wire::{self, BELL, Frame, SegmentClass};

const NOW: Option<Duration> = Some(Duration::ZERO);

fn sockets() -> (OwnedFd, OwnedFd) {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap()
}

/// An abstract name of this test alone.
fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("@shmipc-link-{}-{next}", std::process::id())
}

fn listener(address: &str) -> UnixListener {
    let address = SocketAddr::from_abstract_name(address.strip_prefix('@').unwrap()).unwrap();
    UnixListener::bind_addr(&address).unwrap()
}

fn woken() -> Woken {
    Woken::default()
}

fn parts() -> WaitParts {
    WaitParts::new().unwrap()
}

#[test]
fn frames_arrive_with_their_descriptors() {
    let (a, b) = sockets();
    let (reader, _writer) = nix::unistd::pipe().unwrap();
    let frame = wire::add_segment(3, 4096, SegmentClass::Small);
    assert_eq!(send(a.as_fd(), &frame, &[reader.as_fd()]), Ok(Sent::Whole));
    let mut decoder = Decoder::new();
    assert_eq!(receive(b.as_fd(), &mut decoder), Ok(Receive::Bytes));
    assert!(matches!(decoder.next_frame(), Ok(Some(Frame::AddSegment(_)))));
    assert_eq!(receive(b.as_fd(), &mut decoder), Ok(Receive::Empty));
}

/// A read may end in the middle of a frame whose descriptor it has brought, and the next one bring another.
#[test]
fn reads_end_anywhere() {
    let (reader, _writer) = nix::unistd::pipe().unwrap();
    for bells in 0..200 {
        let (a, b) = sockets();
        let send =
            |frame: &[u8], fds: &[_]| assert_eq!(send(a.as_fd(), frame, fds), Ok(Sent::Whole));
        (0..bells).for_each(|_| send(&BELL, &[]));
        for id in 1..4 {
            send(&wire::add_segment(id, 4096, SegmentClass::Small), &[reader.as_fd()]);
        }
        let mut decoder = Decoder::new();
        decoder.expect(1);
        let mut segments = 0;
        while receive(b.as_fd(), &mut decoder) == Ok(Receive::Bytes) {
            while let Some(frame) = decoder.next_frame().unwrap() {
                segments += u32::from(matches!(frame, Frame::AddSegment(_)));
            }
        }
        assert_eq!(segments, 3, "after {bells} bells");
    }
}

/// What the handshake left in the decoder is not forgotten, and a flood is not hoarded.
#[test]
fn frames_that_wait_come_before_a_read() {
    let (a, b) = sockets();
    let mut decoder = Decoder::new();
    decoder.feed(&[BELL, BELL].concat(), []);
    drop(a);
    for _ in 0..2 {
        assert_eq!(receive(b.as_fd(), &mut decoder), Ok(Receive::Bytes));
        assert!(matches!(decoder.next_frame(), Ok(Some(Frame::Bell))));
    }
    assert_eq!(receive(b.as_fd(), &mut decoder), Ok(Receive::End));
    decoder.feed(&BELL[..7], []);
    assert_eq!(receive(b.as_fd(), &mut decoder), Ok(Receive::End));
    decoder.feed(b"x", []);
    assert_eq!(receive(b.as_fd(), &mut decoder), Ok(Receive::Bytes));
    assert!(decoder.next_frame().is_err());
    assert_eq!(receive(b.as_fd(), &mut decoder), Ok(Receive::Bytes));
}

/// K4.
#[test]
fn the_end_comes_after_everything_else() {
    let (a, b) = sockets();
    let mut decoder = Decoder::new();
    assert_eq!(send(a.as_fd(), &wire::close(7), &[]), Ok(Sent::Whole));
    // Unread bytes at its end make the kernel report a reset instead of a plain end.
    assert_eq!(send(b.as_fd(), &BELL, &[]), Ok(Sent::Whole));
    drop(a);
    assert_eq!(send(b.as_fd(), &BELL, &[]), Ok(Sent::Gone));
    assert_eq!(receive(b.as_fd(), &mut decoder), Ok(Receive::Bytes));
    assert!(matches!(decoder.next_frame(), Ok(Some(Frame::Close(7)))));
    assert_eq!(receive(b.as_fd(), &mut decoder), Ok(Receive::End));
    assert_eq!(receive(b.as_fd(), &mut decoder), Ok(Receive::End));
}

#[test]
fn a_full_socket_reports_when_it_has_room_again() {
    let (a, b) = sockets();
    let a = Link::new(a, Bell::Socket, None, parts()).unwrap();
    let mut sent = 0;
    while a.send_frame(&wire::close(1), &[]).unwrap() == Sent::Whole {
        sent += 1;
    }
    assert_eq!(a.send_frame(&BELL, &[]), Ok(Sent::Full));
    // K3.
    a.ring().unwrap();
    a.watch_writable(true).unwrap();
    assert!(a.wait(NOW).unwrap().timed_out());

    let mut decoder = Decoder::new();
    let mut received = 0;
    while receive(b.as_fd(), &mut decoder).unwrap() == Receive::Bytes {
        while decoder.next_frame().unwrap().is_some() {
            received += 1;
        }
    }
    assert_eq!(received, sent, "K1");
    assert_eq!(a.wait(None).unwrap(), Woken { writable: true, ..woken() });
    a.watch_writable(false).unwrap();
    assert!(a.wait(NOW).unwrap().timed_out());
}

#[test]
fn bells_on_the_socket_stay_until_they_are_read() {
    let (a, b) = sockets();
    let (a, b) =
        (Link::new(a, Bell::Socket, None, parts()), Link::new(b, Bell::Socket, None, parts()));
    let (a, b) = (a.unwrap(), b.unwrap());
    a.ring().unwrap();
    a.ring().unwrap();
    for _ in 0..2 {
        assert_eq!(b.wait(None).unwrap(), Woken { socket: true, ..woken() });
    }
    let mut decoder = Decoder::new();
    assert_eq!(b.receive(&mut decoder), Ok(Receive::Bytes));
    assert!(b.wait(NOW).unwrap().timed_out());
    for _ in 0..2 {
        assert!(matches!(decoder.next_frame(), Ok(Some(Frame::Bell))));
    }
    a.shutdown();
    assert!(b.wait(None).unwrap().socket);
    assert_eq!(b.receive(&mut decoder), Ok(Receive::End));
    b.ring().unwrap();
}

/// K2.
#[test]
fn eventfds_wake_once_per_write_without_being_read() {
    let ((a, b), (one, two)) = (sockets(), (eventfd().unwrap(), eventfd().unwrap()));
    let (one_too, two_too) = (one.try_clone().unwrap(), two.try_clone().unwrap());
    let a = Link::new(a, Bell::Eventfd { ours: one, theirs: two }, None, parts()).unwrap();
    let b = Link::new(b, Bell::Eventfd { ours: two_too, theirs: one_too }, None, parts()).unwrap();
    for _ in 0..3 {
        assert!(b.wait(NOW).unwrap().timed_out());
        a.ring().unwrap();
        assert_eq!(b.wait(None).unwrap(), Woken { bell: true, ..woken() });
        b.kick();
        b.kick();
        assert_eq!(b.wait(None).unwrap(), Woken { kick: true, ..woken() });
    }
    a.ring().unwrap();
    b.kick();
    assert_eq!(b.wait(None).unwrap(), Woken { bell: true, kick: true, ..woken() });
    assert!(a.wait(NOW).unwrap().timed_out());
}

#[test]
fn a_kick_ends_the_wait_of_another_thread() {
    let (a, _b) = sockets();
    let link = Link::new(a, Bell::Socket, None, parts()).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| link.wait(None).unwrap());
        link.kick();
        assert_eq!(waiter.join().unwrap(), Woken { kick: true, ..woken() });
    });
}

/// Any descriptor that becomes readable will do for a process here.
#[test]
fn the_death_of_the_peer_stays_visible() {
    let (a, _b) = sockets();
    let (peer, death) = nix::unistd::pipe().unwrap();
    let link = Link::new(a, Bell::Socket, Some(peer), parts()).unwrap();
    assert!(link.wait(NOW).unwrap().timed_out());
    nix::unistd::write(&death, b"x").unwrap();
    for _ in 0..2 {
        assert_eq!(link.wait(None).unwrap(), Woken { peer_died: true, ..woken() });
    }
    assert!(wait_ready(link.as_fd(), true, false, NOW).unwrap());
}

#[test]
fn waits_outlive_signals_and_round_up() {
    assert_eq!(whole_millis(Duration::ZERO), 0);
    assert_eq!(whole_millis(Duration::from_nanos(1)), 1);
    assert_eq!(whole_millis(Duration::from_micros(2001)), 3);
    assert_eq!(whole_millis(Duration::MAX), u32::MAX);

    let mut seen = Vec::new();
    let interrupted = through_signals("test", Some(Duration::from_secs(3600)), |ms| {
        seen.push(ms.unwrap());
        if seen.len() < 4 { Err(Errno::EINTR) } else { Ok(()) }
    });
    assert_eq!(interrupted, Ok(()));
    assert!(seen.is_sorted_by(|a, b| a >= b) && seen[3] > 3_500_000, "{seen:?}");
    let failed: Result<(), _> = through_signals("test", None, |_| Err(Errno::EBADF));
    assert_eq!(failed, Err(OsError::new("test", Errno::EBADF)));
}

#[test]
fn addresses() {
    assert_eq!(Address::parse("/a/b"), Ok(Address::Path("/a/b".into())));
    assert_eq!(Address::parse("@name"), Ok(Address::Abstract(b"name".to_vec())));
    assert_eq!(Address::parse("./@name"), Ok(Address::Path("./@name".into())));
    assert!(Address::parse(format!("@{}", "n".repeat(107))).is_ok());
    assert!(Address::parse("p".repeat(4095)).is_ok());
    let bad = ["", "@", "a\0b", &"p".repeat(4096), &format!("@{}", "n".repeat(108))];
    for bad in bad {
        assert_eq!(Address::parse(bad), Err(BadAddress), "{bad}");
    }
    assert_eq!(Address::parse("@name").unwrap().to_string(), "@name");
}

#[test]
fn connecting_tells_who_listens() {
    let address = name();
    let _listener = listener(&address);
    let socket = try_connect(&Address::parse(&address).unwrap()).unwrap();
    let cred = peer_cred(socket.as_fd()).unwrap();
    assert_eq!(cred.uid, nix::unistd::geteuid().as_raw());
    assert_eq!(cred.pid, nix::unistd::getpid().as_raw());
    let mut decoder = Decoder::new();
    assert_eq!(receive(socket.as_fd(), &mut decoder), Ok(Receive::Empty), "it never blocks");
}

/// An epoll over the wait set reports a kick until somebody takes it from there, and is quiet then.
#[test]
fn an_outer_epoll_reports_a_kick_until_it_is_taken() {
    let (socket, _peer) = sockets();
    let set = WaitSet::new(parts(), socket.as_fd(), None, None).unwrap();
    let poller = Poller::new().unwrap();
    poller.add(set.as_fd(), 5).unwrap();
    let mut keys = Vec::new();
    let mut reported = || {
        poller.wait(&mut keys, NOW).unwrap();
        keys.clone()
    };
    for _ in 0..3 {
        assert!(reported().is_empty());
        set.kick();
        set.kick();
        assert_eq!((reported(), reported()), (vec![5], vec![5]));
        assert!(set.wait(NOW).unwrap().kick);
        assert!(reported().is_empty() && set.wait(NOW).unwrap().timed_out());
    }
    poller.wake();
    poller.wait(&mut keys, None).unwrap();
    assert!(keys.is_empty(), "woken for nothing");
    poller.remove(set.as_fd());
    set.kick();
    poller.wait(&mut keys, NOW).unwrap();
    assert!(keys.is_empty(), "not watched any longer");
}
