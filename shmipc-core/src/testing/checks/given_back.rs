//! What is given back, and when: credit and places. Each rule with its twin.

use super::pair::Pair;
use crate::layout::Geometry;
use crate::queue::Flags;
use crate::session::footprint;
use crate::testing::actor::Actor;
use crate::testing::side::Own;
use crate::testing::{small_limits, symmetric};

fn pair() -> (Pair, Geometry) {
    let geometry = symmetric(&small_limits());
    (Pair::new(&geometry, false), geometry)
}

const PART: &[u8] = &[7; 240];

// --- a message of many records ---------------------------------------------------------------------

/// When the records of a message that is not complete count as taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// When they arrive, while somebody waits for the rest: the rule.
    OnArrival,
    /// When the message is complete.
    Together,
}

/// Whether a message of that many records arrives.
fn arrives(parts: usize, rule: Taken) -> bool {
    let (mut pair, _) = pair();
    let [one, two] = &mut pair.actors;
    let (ours, _) = one.side.open().unwrap();
    let (mut theirs, mut sent, mut received) = (None, 0, 0);
    loop {
        let before = (sent, received);
        while sent < parts {
            let more = Flags::none().with_if(Flags::MORE, sent + 1 < parts);
            if !one.side.put_inline(ours, PART, more) {
                break;
            }
            sent += 1;
        }
        two.side.drain().unwrap();
        theirs = theirs.or_else(|| two.side.rx.accept());
        let (key, _) = theirs.expect("the stream was announced");
        while (rule == Taken::OnArrival || sent == parts) && two.side.take(key).unwrap().is_some() {
            received += 1;
        }
        two.side.rest();
        one.side.drain().unwrap();
        if received == parts {
            return true;
        }
        if (sent, received) == before {
            return false;
        }
    }
}

#[test]
fn a_message_in_parts_may_exceed_the_window() {
    let window = u64::from(small_limits().stream_window);
    let beyond = (4 * window / footprint(240)) as usize;
    assert!(arrives(beyond, Taken::OnArrival));
    assert!(!arrives(beyond, Taken::Together), "it would never end");
    assert!(arrives(3, Taken::Together), "unless it fits");
}

// --- what nobody will read (C4) --------------------------------------------------------------------

/// What becomes of records of a stream that the application has let go, those on their way included.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unwanted {
    /// They count as taken: the rule.
    Counted,
    /// They lie in the inbox for ever.
    Kept,
}

/// How many messages get through on a stream of their own each, of which nobody reads one.
fn through(most: usize, rule: Unwanted) -> usize {
    let (mut pair, _) = pair();
    for sent in 0..most {
        let [one, two] = &mut pair.actors;
        let (ours, _) = one.side.open().expect("places come back");
        // The stream is let go when its first message has arrived and others are on their way.
        assert!(one.side.put_inline(ours, &[], Flags::none()) || rule == Unwanted::Kept);
        two.side.drain().unwrap();
        let Some((theirs, _)) = two.side.rx.accept() else { return sent };
        let all = (0..2).all(|_| one.side.put_inline(ours, PART, Flags::none()));
        if rule == Unwanted::Counted {
            two.side.drop_receiver(theirs);
        }
        two.side.finish(theirs);
        one.side.finish(ours);
        pair.quiesce();
        let [one, two] = &mut pair.actors;
        let_go(one, ours);
        two.side.drop_sender(theirs);
        pair.quiesce();
        if !all {
            return sent;
        }
    }
    most
}

fn let_go(actor: &mut Actor<Own>, key: usize) {
    actor.side.drop_sender(key);
    actor.side.drop_receiver(key);
}

#[test]
fn what_nobody_will_read_is_given_back() {
    assert_eq!(through(100, Unwanted::Counted), 100);
    let window = u64::from(small_limits().unread_max);
    let fits = through(100, Unwanted::Kept) as u64;
    assert!(fits * footprint(240) <= window, "else the session would be stuck after {fits}");
}

// --- places (C5) -----------------------------------------------------------------------------------

/// A place is not tied to the handle of the acceptor, which the opener cannot see.
#[test]
fn a_kept_handle_does_not_hold_the_place() {
    let (mut pair, geometry) = pair();
    let mut accused = 0;
    for _ in 0..3 * geometry.writer_streams {
        let [one, two] = &mut pair.actors;
        let (key, id) = one.side.open().expect("the place is free");
        one.side.finish(key);
        // What a reader would say that frees a place when its handle is dropped.
        accused += u32::from(two.side.rx.test_has_handle(id.place()));
        two.side.drain().unwrap();
        let (theirs, _) = two.side.rx.accept().expect("the stream was announced");
        two.side.finish(theirs);
        one.side.drain().unwrap();
        let_go(one, key);
        pair.expect_peace();
    }
    assert!(accused > 0, "a place that is tied to its handle accuses an honest peer");
}
