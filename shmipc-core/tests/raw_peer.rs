//! A session whose peer is played by hand, over a real socket and real memory: what the peer does wrong
//! ends the session in the very call that finds it, by name.

mod raw;

use std::os::fd::AsFd;
use std::task::{Poll, Waker};
use std::time::Duration;

use raw::{Raw, session, session_with};
use shmipc_core::config::Config;
use shmipc_core::error::PeerMisbehaved::{self, BellFlood, HeadJumped, UnknownStream};
use shmipc_core::error::{OpenError, RecvError, SendError, SessionError};
use shmipc_core::handle::{RecvHalf, SendHalf, Session};
use shmipc_core::handshake::Role;
use shmipc_core::layout::{HEAD_AT, TAIL_AT};
use shmipc_core::link::{self, Sent, wait_ready};
use shmipc_core::mem::{Memory, MemoryMut};
use shmipc_core::queue::{Flags, Header, Kind};
use shmipc_core::session::{StreamId, footprint};
use shmipc_core::wire::BELL;

/// The peer says something about a stream, with so many bytes of payload or that value.
fn put(raw: &mut Raw, kind: Kind, stream: StreamId, value: u32) {
    let payload = vec![7; if kind == Kind::Inline { value as usize } else { 0 }];
    let header = Header { kind, flags: Flags::none(), value, stream: stream.word() };
    if kind == Kind::Inline {
        assert!(raw.records.grant(header.size()).unwrap());
    }
    raw.records.put(header, &payload);
    raw.records.publish();
}

/// The peer claims to have read what was never written.
fn jump(raw: &Raw) {
    raw.own.publish64(HEAD_AT, 1 << 40);
}

const MESSAGE: &[u8] = &[1; 1000];

/// A stream, with the queue so full that the next message needs room.
fn full(session: &Session) -> (SendHalf, RecvHalf) {
    let (send, recv) = session.open().unwrap();
    while send.try_send(MESSAGE, Flags::none()).unwrap() {}
    (send, recv)
}

fn misbehaved(misdeed: PeerMisbehaved) -> SessionError {
    SessionError::Misbehaved(misdeed)
}

const JUMPED: SendError = SendError::Session(SessionError::Misbehaved(HeadJumped));

#[test]
fn a_lie_found_while_sending_ends_the_session() {
    let (session, raw) = session();
    let (send, _recv) = full(&session);
    jump(&raw);
    assert_eq!(send.try_send(MESSAGE, Flags::none()), Err(JUMPED));
    assert!(session.is_over());
    assert_eq!(session.poll_closed(None), Poll::Ready(misbehaved(HeadJumped)));
}

#[test]
fn a_lie_found_while_sending_many_ends_the_session() {
    let (session, raw) = session();
    let (send, _recv) = full(&session);
    jump(&raw);
    assert_eq!(send.try_send_all([MESSAGE; 2].into_iter()), Err(JUMPED));
    assert!(session.is_over());
}

#[test]
fn a_lie_found_while_reserving_ends_the_session() {
    let (session, raw) = session();
    let (send, _recv) = full(&session);
    jump(&raw);
    let mut reserving = send.reserve(MESSAGE.len()).unwrap();
    assert!(matches!(reserving.poll(None), Poll::Ready(Err(JUMPED))));
    assert!(session.is_over());
}

/// A large reservation that is committed short asks for room as well. What is granted already is sent.
#[test]
fn a_lie_found_while_committing_ends_the_session() {
    let (session, raw) = session();
    let (send, _recv) = session.open().unwrap();
    let Poll::Ready(large) = send.reserve(send.inline_max() + 1).unwrap().poll(None) else {
        panic!("nothing else is sent");
    };
    while send.try_send(MESSAGE, Flags::none()).unwrap() {}
    jump(&raw);
    large.unwrap().commit_len(MESSAGE.len()).unwrap();
    assert!(session.is_over());
    assert_eq!(session.poll_closed(None), Poll::Ready(misbehaved(HeadJumped)));
}

#[test]
fn a_lie_found_while_opening_ends_the_session() {
    let (session, mut raw) = session();
    let (mut send, recv) = session.open().unwrap();
    send.finish().unwrap();
    put(&mut raw, Kind::Finish, send.id(), 0);
    session.drive();
    drop((send, recv));
    jump(&raw);
    // Whether its place can be used again is asked of the head.
    let error = session.open().unwrap_err();
    assert_eq!(error, OpenError::Session(misbehaved(HeadJumped)));
    assert!(session.is_over());
}

/// The same by a call that waits for a place: it is found out at once, or in the section in which it leaves its
/// waker.
#[test]
fn a_lie_found_while_waiting_for_a_place_ends_the_session() {
    let (session, mut raw) = session_with(&Config::builder().max_streams(1).build().unwrap());
    let (mut send, recv) = session.open().unwrap();
    send.finish().unwrap();
    let waker = Waker::noop();
    assert!(session.opening().poll(Some(waker)).is_pending());
    put(&mut raw, Kind::Finish, send.id(), 0);
    session.drive();
    drop((send, recv));
    jump(&raw);
    let opened = session.opening().poll(Some(waker));
    let misbehaved = OpenError::Session(misbehaved(HeadJumped));
    assert!(matches!(opened, Poll::Ready(Err(error)) if error == misbehaved));
    assert!(session.is_over());
}

/// What the peer would end the session for is not sent to it.
#[test]
#[should_panic = "a message cannot both go on and end the stream"]
fn a_message_that_goes_on_and_ends_the_stream() {
    let (session, _raw) = session();
    let (send, _recv) = session.open().unwrap();
    let _ = send.try_send(MESSAGE, Flags::MORE.with_if(Flags::FIN, true));
}

/// The peer cannot know of a stream that we have opened and not announced.
#[test]
fn records_for_a_stream_that_was_never_announced() {
    for kind in [Kind::Inline, Kind::Finish, Kind::Reset, Kind::Stop, Kind::Window] {
        let (session, mut raw) = session();
        let (_send, mut recv) = session.open().unwrap();
        put(&mut raw, kind, recv.id(), 1);
        match recv.poll_recv(None) {
            Poll::Ready(Err(RecvError::Session(error))) => {
                assert_eq!(error, misbehaved(UnknownStream), "{kind:?}");
            }
            other => panic!("{kind:?}: {other:?}"),
        }
        assert!(session.is_over());
    }
    // It has been let go without a word.
    let (session, mut raw) = session();
    let (send, recv) = session.open().unwrap();
    let id = send.id();
    drop((send, recv));
    put(&mut raw, Kind::Inline, id, 1);
    session.drive();
    assert_eq!(session.poll_closed(None), Poll::Ready(misbehaved(UnknownStream)));
}

/// And it may answer as soon as it does.
#[test]
fn records_for_a_stream_that_was_announced() {
    let (session, mut raw) = session();
    let mut answered = |send: SendHalf, mut recv: RecvHalf| {
        put(&mut raw, Kind::Inline, send.id(), 5);
        match recv.poll_recv(None) {
            Poll::Ready(Ok(Some(message))) => assert_eq!(message.len(), 5),
            other => panic!("{other:?}"),
        }
    };
    let (send, recv) = session.open().unwrap();
    assert_eq!(send.try_send(b"hello", Flags::none()), Ok(true));
    answered(send, recv);
    // To wait on a stream announces it.
    let (send, mut recv) = session.open().unwrap();
    assert!(recv.poll_recv(None).is_pending());
    answered(send, recv);
    let (mut send, recv) = session.open().unwrap();
    send.finish().unwrap();
    answered(send, recv);
    assert!(!session.is_over());
}

/// Q4: whatever a thread waits for, what it has drained before it sleeps is free for the peer.
#[test]
fn each_wait_publishes_the_head() {
    let (session, mut raw) = session();
    let (other, _unread) = session.open().unwrap();
    assert_eq!(other.try_send(b"hello", Flags::none()), Ok(true));
    let (send, mut recv) = full(&session);
    let waker = Some(Waker::noop());
    let mut reserving = send.reserve(MESSAGE.len()).unwrap();
    let mut check = |what, wait: &mut dyn FnMut() -> bool| {
        put(&mut raw, Kind::Inline, other.id(), 5);
        assert!(wait(), "{what}");
        assert_eq!(raw.records.load_head().unwrap(), raw.records.published(), "{what}");
    };
    check("room", &mut || reserving.poll(waker).is_pending());
    check("the end", &mut || session.poll_closed(waker).is_pending());
    check("a stream", &mut || session.poll_accept(waker).is_pending());
    check("a message", &mut || recv.poll_recv(waker).is_pending());
}

/// A direction that has ended gets no more credit, not even for the message that it ended with.
#[test]
fn no_credit_for_a_direction_that_is_over() {
    let (session, mut raw) = session();
    let (send, mut recv) = session.open().unwrap();
    assert_eq!(send.try_send(b"hello", Flags::none()), Ok(true));
    let stream = send.id().word();
    let value = send.inline_max() as u32;
    let payload = vec![7; value as usize];
    // An update is due when more than half of the window was taken.
    let due = session.geometry().stream_window / 2 / footprint(value) as u32 + 1;
    let mut published = raw.peer.load64(TAIL_AT);
    for (flags, updates) in [(Flags::none(), 1), (Flags::FIN, 0)] {
        for number in 1..=due {
            let flags = if number == due { flags } else { Flags::none() };
            let header = Header { kind: Kind::Inline, flags, value, stream };
            assert!(raw.records.grant(header.size()).unwrap());
            raw.records.put(header, &payload);
            raw.records.publish();
            assert!(matches!(recv.poll_recv(None), Poll::Ready(Ok(Some(_)))));
        }
        let tail = raw.peer.load64(TAIL_AT);
        assert_eq!((tail - published) / 16, updates, "{flags:?}");
        published = tail;
    }
    assert!(matches!(recv.poll_recv(None), Poll::Ready(Ok(None))));
}

/// An event loop that goes wakes those who stay for what has come, instead of driving until nothing comes:
/// a peer may publish without end.
#[test]
fn an_event_loop_that_goes() {
    let (session, mut raw) = session();
    let driver = session.driver();
    let readable = || wait_ready(driver.as_fd(), true, false, Some(Duration::ZERO)).unwrap();
    driver.try_drive();
    assert!(driver.arm());
    driver.leave();
    assert!(!readable(), "nothing has come");
    let opens = Header {
        kind: Kind::Open,
        flags: Flags::OPEN,
        value: 0,
        stream: StreamId::new(Role::Server, 0, 1).word(),
    };
    // As if the one that goes had taken the ring for it.
    assert!(raw.records.grant(opens.size()).unwrap());
    raw.records.put(opens, &[]);
    raw.records.publish();
    driver.leave();
    assert!(readable(), "a stream has come");
    driver.try_drive();
    assert!(driver.arm() && !readable());
    assert!(session.poll_accept(None).is_ready());
}

/// Rings that nobody asked for: a session that never sleeps bears a hundred thousand.
#[test]
fn a_flood_of_bells() {
    const BEARABLE: usize = 100_000;
    let (session, raw) = session();
    let ring = |bells: usize| {
        let mut left = bells;
        while left > 0 {
            let some = left.min(1000);
            match link::send(raw.socket.as_fd(), &BELL.repeat(some), &[]).unwrap() {
                Sent::Whole => left -= some,
                Sent::Full | Sent::Later | Sent::Gone => session.glance(),
            }
        }
        // Until all have been read, or the session has had enough.
        while session.stats().bells_received < bells as u64 && !session.is_over() {
            session.glance();
        }
    };
    ring(BEARABLE);
    assert!(!session.is_over());
    assert_eq!(session.poll_closed(None), Poll::Pending);
    ring(1);
    while !session.is_over() {
        session.glance();
    }
    assert_eq!(session.poll_closed(None), Poll::Ready(misbehaved(BellFlood)));
}
