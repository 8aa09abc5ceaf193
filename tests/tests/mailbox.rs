//! A session is a mailbox: what a call owes the peer is published when the call returns, though the record
//! queue is full of data, the peer is inside no call, and our thread never comes back.

use std::time::Duration;

use shmipc_sync::{Config, Listener, SendError, Session, SessionError, Stream};
use tests::deadline::within;
use tests::payload::pattern;
use tests::scripted::Scripted;
use tests::setup::{Setup, Size};

const PEER: &str = env!("CARGO_BIN_EXE_peer");
/// The peer lets us send far more than the queue holds.
const SETUP: Setup = Setup::new(Size::SmallRing);

/// We let the peer send less than the queue holds, so that it waits for credit and nothing else.
fn ours(unread_max: u32) -> Config {
    let builder = Config::builder().ring_bytes(4 << 10).max_streams(4);
    builder.stream_window(1024).unread_max(unread_max).build().unwrap()
}

/// A peer that is told each call, and our end of its session.
fn meet() -> (Scripted, Session) {
    meet_with(4096)
}

fn meet_with(unread_max: u32) -> (Scripted, Session) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = Listener::builder().config(ours(unread_max)).bind(&path).unwrap();
    Scripted::start(PEER, SETUP, &listener, &path)
}

/// Streams that we have opened and the peer has accepted, as its numbers 0 to `count` - 1.
fn open(peer: &mut Scripted, session: &Session, count: usize) -> Vec<Stream> {
    let open = |number| {
        let mut stream = session.open().unwrap();
        stream.send(&pattern(number as u64, 10)).unwrap();
        peer.tell("accept");
        peer.tell(&format!("recv {number} {number} 10"));
        stream
    };
    (0..count).map(open).collect()
}

/// Fills the queue with messages that the peer does not read, and gives how many. There is credit left.
fn fill_queue(stream: &mut Stream) -> usize {
    let mut sent = 0;
    loop {
        match stream.sender().reserve_timeout(100, Duration::from_millis(20)) {
            Ok(reservation) => reservation.commit().unwrap(),
            Err(error) => {
                assert_eq!(error, SendError::TimedOut);
                break;
            }
        }
        sent += 1;
    }
    assert!((5..100).contains(&sent), "{sent} messages fill a queue of 4 KiB");
    sent
}

/// Does something that must not wait, and that is our last call ever.
fn last_call<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    within("a call that never waits", call)
}

/// Finish, on every stream there may be.
#[test]
fn a_finish() {
    let (mut peer, session) = meet();
    let mut streams = open(&mut peer, &session, 4);
    let sent = fill_queue(&mut streams[0]);
    let _streams = last_call(move || {
        streams.iter_mut().for_each(|stream| stream.finish().unwrap());
        streams
    });
    // The last first: it must not need anything of the others.
    for number in (1..4).rev() {
        assert_eq!(peer.ask(&format!("recv-all {number}")), "0 finished");
    }
    assert_eq!(peer.ask("recv-all 0"), format!("{sent} finished"));
}

/// Finish of a stream that the peer has not heard of.
#[test]
fn a_finish_that_opens() {
    let (mut peer, session) = meet();
    let mut first = open(&mut peer, &session, 1);
    let sent = fill_queue(&mut first[0]);
    let mut unheard = session.open().unwrap();
    let _unheard = last_call(move || {
        unheard.finish().unwrap();
        unheard
    });
    peer.tell("accept");
    assert_eq!(peer.ask("recv-all 1"), "0 finished");
    (0..sent).for_each(|_| peer.tell("hold 0"));
}

/// Reset, with its code.
#[test]
fn a_reset() {
    let (mut peer, session) = meet();
    let mut streams = open(&mut peer, &session, 4);
    let sent = fill_queue(&mut streams[0]);
    let _streams = last_call(move || {
        (30..).zip(&mut streams).for_each(|(code, stream)| stream.reset(code));
        streams
    });
    for number in (1..4).rev() {
        assert_eq!(peer.ask(&format!("recv-all {number}")), format!("0 Reset({})", 30 + number));
    }
    assert_eq!(peer.ask("recv-all 0"), format!("{sent} Reset(30)"));
}

/// Halves that are dropped: the sending one is a reset, the receiving one asks the peer to stop.
#[test]
fn dropped_halves() {
    let (mut peer, session) = meet();
    let mut streams = open(&mut peer, &session, 4);
    let sent = fill_queue(&mut streams[0]);
    let mut halves = streams.into_iter().map(Stream::into_split);
    let (whole, sending) = (halves.next().unwrap(), halves.next().unwrap());
    let (receiving, both) = (halves.next().unwrap(), halves.next().unwrap());
    let _left = last_call(move || {
        drop(whole);
        let (sender, receiver) = sending;
        drop(sender);
        let (left, gone) = receiving;
        drop(gone);
        drop(both);
        (receiver, left)
    });
    assert_eq!(peer.ask("recv-all 3"), "0 Reset(0)");
    assert_eq!(peer.ask("recv-all 1"), "0 Reset(0)");
    assert_eq!(peer.ask("recv-all 0"), format!("{sent} Reset(0)"));
    // The receiving half of 1 and the sending half of 2 are still there.
    peer.tell("send 1 1 10");
    for number in [0, 2, 3] {
        assert_eq!(peer.ask(&format!("send {number} 1 10")), "Stopped(0)");
    }
    drop(session);
}

/// A stop with its code.
#[test]
fn a_stop() {
    let (mut peer, session) = meet();
    let mut streams = open(&mut peer, &session, 4);
    fill_queue(&mut streams[0]);
    let _streams = last_call(move || {
        (50..).zip(&mut streams).for_each(|(code, stream)| stream.receiver().stop(code));
        streams
    });
    for number in 0..4 {
        // A sending call looks at what has come only if it would have to wait: let it.
        peer.ask(&format!("fill {number} 10"));
        assert_eq!(peer.ask(&format!("send {number} 1 10")), format!("Stopped({})", 50 + number));
    }
}

/// Credit of a stream: what was taken can be sent again, but for less than half of the window.
#[test]
fn a_window_update_of_a_stream() {
    let (mut peer, session) = meet();
    let mut streams = open(&mut peer, &session, 1);
    // A message of no bytes counts 64.
    assert_eq!(peer.ask("fill 0 0"), "16 TimedOut");
    let mut stream = streams.remove(0);
    fill_queue(&mut stream);
    let _stream = last_call(move || {
        (0..16).for_each(|_| assert!(stream.recv().unwrap().unwrap().is_empty()));
        stream
    });
    // The ninth gave more than half of the window back, which was announced; less than that was not.
    assert_eq!(peer.ask("fill 0 0"), "9 TimedOut");
    drop(session);
}

/// Credit of the session, which several streams have used up.
#[test]
fn a_window_update_of_the_session() {
    let (mut peer, session) = meet();
    let mut streams = open(&mut peer, &session, 4);
    for number in 0..4 {
        assert_eq!(peer.ask(&format!("fill {number} 0")), "16 TimedOut");
    }
    // Streams of its own have credit, and the session has none.
    peer.tell("open");
    assert_eq!(peer.ask("fill 4 0"), "0 TimedOut");
    fill_queue(&mut streams[0]);
    let _streams = last_call(move || {
        for stream in &mut streams {
            (0..16).for_each(|_| assert!(stream.recv().unwrap().unwrap().is_empty()));
        }
        streams
    });
    assert_eq!(peer.ask("fill 4 0"), "16 TimedOut");
    for number in 0..4 {
        assert_eq!(peer.ask(&format!("fill {number} 0")), "9 TimedOut");
    }
    drop(session);
}

/// Credit of unread messages whose receiving half is dropped comes back too.
#[test]
fn a_window_update_of_what_is_dropped() {
    let (mut peer, session) = meet();
    let mut streams = open(&mut peer, &session, 4);
    for number in 0..4 {
        assert_eq!(peer.ask(&format!("fill {number} 0")), "16 TimedOut");
    }
    peer.tell("open");
    assert_eq!(peer.ask("fill 4 0"), "0 TimedOut");
    fill_queue(&mut streams[0]);
    let waiting = session.clone();
    let _session = last_call(move || {
        // Drained by a call that waits for something else, read by nobody.
        assert!(waiting.accept_timeout(Duration::ZERO).is_err());
        drop(streams);
        waiting
    });
    assert_eq!(peer.ask("fill 4 0"), "16 TimedOut");
    drop(session);
}

/// Everything that can be owed at one time: of each of our streams and each of the peer's a window update,
/// a stop and an end, and updates of the session, behind a queue full of data.
#[test]
fn everything_at_once() {
    let (mut peer, session) = meet_with(8192);
    let mut streams = open(&mut peer, &session, 4);
    for number in 4..8 {
        peer.tell("open");
        peer.tell(&format!("send {number} 0 0"));
        let mut stream = session.accept().unwrap();
        assert!(stream.recv().unwrap().unwrap().is_empty());
        streams.push(stream);
    }
    // Half of each window and a little more: taking that much is answered by an update.
    for number in 0..8 {
        let more = if number < 4 { 9 } else { 8 };
        (0..more).for_each(|_| peer.tell(&format!("send {number} 0 0")));
    }
    let sent = fill_queue(&mut streams[0]);
    let _session = last_call(move || {
        for (number, stream) in streams.iter_mut().enumerate() {
            let more = if number < 4 { 9 } else { 8 };
            (0..more).for_each(|_| assert!(stream.recv().unwrap().unwrap().is_empty()));
        }
        for (code, mut stream) in (70..).zip(streams) {
            stream.receiver().stop(code);
            match code % 2 {
                0 => stream.finish().unwrap(),
                _ => stream.reset(code),
            }
        }
        session
    });
    for number in (0..8).rev() {
        let messages = if number == 0 { sent } else { 0 };
        let end = match number % 2 {
            0 => "finished".to_owned(),
            _ => format!("Reset({})", 70 + number),
        };
        assert_eq!(peer.ask(&format!("recv-all {number}")), format!("{messages} {end}"));
        assert_eq!(peer.ask(&format!("send {number} 0 0")), format!("Stopped({})", 70 + number));
    }
}

/// The close of the session, behind all of it.
#[test]
fn a_close() {
    let (mut peer, session) = meet();
    let mut streams = open(&mut peer, &session, 2);
    let sent = fill_queue(&mut streams[0]);
    let closing = session.clone();
    last_call(move || closing.close(6));
    assert_eq!(peer.ask("closed"), "ClosedByPeer(6)");
    assert_eq!(peer.ask("recv-all 0"), format!("{sent} Session(ClosedByPeer(6))"));
    assert_eq!(peer.ask("recv-all 1"), "0 Session(ClosedByPeer(6))");
    assert_eq!(session.closed(), SessionError::Closed);
}
