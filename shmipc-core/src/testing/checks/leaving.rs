//! Going away: every stream is served or was certainly not seen, and nothing of it is left behind.

use std::task::Poll;

use proptest::collection::vec;
use proptest::prelude::*;

use super::pair::Pair;
use crate::error::{OpenError, PeerMisbehaved, SendError, SessionError};
use crate::layout::{FINAL_AT, LEAVING_AT};
use crate::mem::MemoryMut;
use crate::queue::Flags;
use crate::session::{Ask, End, Next, StreamId};
use crate::testing::{Script, small_limits, symmetric};

/// The opener, and the side that leaves.
const OPENER: usize = 0;
const LEAVER: usize = 1;

/// What both applications know of their streams.
#[derive(Default)]
struct Known {
    /// Opened, and something published on each.
    opened: Vec<(usize, StreamId)>,
    accepted: Vec<(usize, StreamId)>,
}

impl Known {
    fn step(&mut self, pair: &mut Pair, script: &Script) {
        let opener = &mut pair.actors[OPENER].side;
        match script.byte() % 16 {
            0..=3 => {
                let Some((key, id)) = opener.open() else { return };
                self.opened.push((key, id));
                self.send(pair, key, script);
            }
            4..=6 if !self.opened.is_empty() => {
                let (key, _) = self.opened[script.below(self.opened.len())];
                self.send(pair, key, script);
            }
            7 if !self.opened.is_empty() => {
                // May have been finished before.
                opener.finish(self.opened[script.below(self.opened.len())].0);
            }
            8 | 9 => {
                let _ = opener.drain();
            }
            10..=12 => {
                let _ = pair.actors[LEAVER].side.drain();
            }
            13 => self.accept(pair),
            14 if script.one_in(4) => pair.actors[LEAVER].side.leave(),
            _ => pair.actors[LEAVER].side.rest(),
        }
        pair.carry();
        pair.expect_peace();
    }

    /// Publishes something on a stream: its opening alone, a message, a large one, or its end.
    fn send(&self, pair: &mut Pair, key: usize, script: &Script) {
        let side = &mut pair.actors[OPENER].side;
        let len = script.below(240);
        match script.byte() % 8 {
            0 => {
                if let Ok(Some(grant)) = side.reserve(key, Ask::Open) {
                    side.announce(key, grant);
                }
            }
            1 => side.finish(key),
            2 => {
                if let Ok(Some(grant)) = side.reserve(key, Ask::Data(2000)) {
                    let _ = side.commit(key, grant, &[2; 2000], Flags::none());
                }
            }
            _ => drop(side.put_inline(key, &vec![1; len], Flags::none())),
        }
    }

    /// The leaver takes a stream and answers it at once.
    fn accept(&mut self, pair: &mut Pair) {
        let side = &mut pair.actors[LEAVER].side;
        if let Some((key, id)) = side.rx.accept() {
            assert!(side.put_inline(key, b"served", Flags::none()));
            side.finish(key);
            self.accepted.push((key, id));
        }
    }
}

/// Plays a script in which one side leaves, at the latest in the end.
fn play(script: &[u8]) {
    let mut pair = Pair::new(&symmetric(&small_limits()), true);
    let script = Script::new(script);
    let mut known = Known::default();
    while !script.is_over() {
        known.step(&mut pair, &script);
    }
    pair.actors[LEAVER].side.leave();
    pair.quiesce();
    for _ in 0..known.opened.len() {
        known.accept(&mut pair);
    }
    assert!(pair.actors[LEAVER].side.rx.accept().is_none());
    assert!(pair.actors[LEAVER].side.rx.has_all_streams());
    pair.quiesce();
    let opener = &mut pair.actors[OPENER].side;
    assert!(matches!(opener.try_open(), Err(OpenError::GoingAway)));
    for &(key, id) in &known.opened {
        let served = known.accepted.iter().any(|(_, accepted)| *accepted == id);
        let unseen = matches!(opener.rx.end_of(key), Next::End(End::Unseen));
        assert_ne!(served, unseen, "{id:?}");
        let sent = opener.reserve(key, Ask::Data(1)).map(|_| ());
        assert_eq!(sent == Err(SendError::GoingAway), unseen, "{id:?}");
        let reply = opener.take(key).unwrap();
        assert_eq!(reply.as_deref() == Some(b"served"), served, "{id:?}");
        opener.drop_sender(key);
        opener.drop_receiver(key);
    }
    pair.quiesce();
    assert_eq!(pair.actors[LEAVER].side.poll_drained(), Poll::Ready(()));
    for (key, _) in known.accepted {
        pair.actors[LEAVER].side.drop_sender(key);
        pair.actors[LEAVER].side.drop_receiver(key);
    }
    pair.quiesce();
    for actor in &mut pair.actors {
        assert_eq!(actor.side.rx.test_streams(), 0, "a stream is not forgotten");
        assert_eq!(actor.side.rx.unread(), 0, "credit of a stream nobody saw");
        assert_eq!(actor.side.tx().arena.returnable(), 0, "an extent did not come back");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn served_or_not_seen(script in vec(any::<u8>(), 0..1200)) {
        play(&script);
    }
}

/// A stream on which something was sent and drained, one that the leaver has not read about, and one
/// of which nothing was published.
#[test]
fn streams_before_and_after() {
    let mut pair = Pair::new(&symmetric(&small_limits()), false);
    let [opener, leaver] = pair.actors.each_mut().map(|actor| &mut actor.side);
    let keys: Vec<usize> = (0..3).map(|_| opener.open().unwrap().0).collect();
    assert!(opener.put_inline(keys[0], b"before", Flags::none()));
    leaver.leave();
    assert!(opener.put_inline(keys[1], b"after", Flags::none()));
    let ask = Ask::Data(240);
    let mut held: Vec<_> =
        (0..3).map(|_| opener.reserve(keys[2], ask).unwrap().expect("credit for three")).collect();
    let waiting = opener.join(keys[2], ask);
    assert!(opener.poll(waiting).is_none());
    leaver.drain().unwrap();
    let (key, _) = leaver.rx.accept().expect("the one before");
    assert!(leaver.rx.accept().is_none() && leaver.rx.has_all_streams());
    assert_eq!(leaver.poll_drained(), Poll::Pending);
    assert!(matches!(leaver.try_open(), Err(OpenError::Leaving)));
    opener.drain().unwrap();
    assert_eq!(opener.poll(waiting).unwrap().unwrap_err(), SendError::GoingAway);
    let late = opener.commit(keys[2], held.pop().unwrap(), b"late", Flags::none());
    assert_eq!(late, Err(SendError::GoingAway));
    held.into_iter().for_each(|grant| opener.ungrant(keys[2], grant));
    for _ in 0..3 {
        // The one before goes on for as long as it likes.
        assert_eq!(leaver.take(key).unwrap().unwrap(), b"before");
        assert!(leaver.put_inline(key, b"reply", Flags::none()));
        opener.drain().unwrap();
        assert_eq!(opener.take(keys[0]).unwrap().unwrap(), b"reply");
        assert!(opener.put_inline(keys[0], b"before", Flags::none()));
        leaver.drain().unwrap();
    }
    for &key in &keys[1..] {
        assert!(matches!(opener.rx.end_of(key), Next::End(End::Unseen)));
        assert!(matches!(opener.reserve(key, Ask::Data(1)), Err(SendError::GoingAway)));
        assert_eq!(opener.try_finish(key), Err(SendError::GoingAway));
    }
    opener.finish(keys[0]);
    leaver.drain().unwrap();
    assert_eq!(leaver.poll_drained(), Poll::Pending, "our own end is missing");
    leaver.finish(key);
    assert_eq!(leaver.poll_drained(), Poll::Ready(()), "a kept handle does not matter");
    pair.expect_peace();
}

/// The answer outlives the session, which a stream that may have been served does not get.
#[test]
fn after_the_end_of_the_session() {
    let mut pair = Pair::new(&symmetric(&small_limits()), false);
    let [opener, leaver] = pair.actors.each_mut().map(|actor| &mut actor.side);
    let (before, _) = opener.open().unwrap();
    assert!(opener.put_inline(before, b"before", Flags::none()));
    leaver.leave();
    let (after, _) = {
        // It has looked before the other left.
        leaver.own.store64(LEAVING_AT, 0);
        let opened = opener.open().unwrap();
        leaver.own.store64(LEAVING_AT, 1);
        opened
    };
    assert!(opener.put_inline(after, b"after", Flags::none()));
    opener.end(SessionError::PeerDied);
    assert!(matches!(opener.rx.end_of(before), Next::Nothing));
    assert!(matches!(opener.rx.end_of(after), Next::End(End::Unseen)));
    let died = SendError::Session(SessionError::PeerDied);
    assert_eq!(opener.reserve(before, Ask::Data(1)).unwrap_err(), died);
    assert_eq!(opener.reserve(after, Ask::Data(1)).unwrap_err(), SendError::GoingAway);
}

/// G6: it has answered what it says it has not seen.
#[test]
fn an_answer_contradicts_the_final_position() {
    for answer in [false, true] {
        let mut pair = Pair::new(&symmetric(&small_limits()), false);
        let [opener, leaver] = pair.actors.each_mut().map(|actor| &mut actor.side);
        let (key, _) = opener.open().unwrap();
        assert!(opener.put_inline(key, b"request", Flags::none()));
        leaver.drain().unwrap();
        let (theirs, _) = leaver.rx.accept().unwrap();
        assert!(!answer || leaver.put_inline(theirs, b"reply", Flags::none()));
        leaver.own.store64(LEAVING_AT, 1);
        leaver.own.publish64(FINAL_AT, 1);
        let expected = if answer { Err(PeerMisbehaved::FinalPosition) } else { Ok(false) };
        assert_eq!(opener.drain(), expected);
        if !answer {
            // The answer comes later.
            leaver.finish(theirs);
            assert_eq!(opener.drain(), Err(PeerMisbehaved::AfterEnd));
        }
    }
}
