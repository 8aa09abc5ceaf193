//! Whole sessions: credit is conserved at every step, and what was let go comes back.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::conserved;
use super::pair::Pair;
use crate::error::PeerMisbehaved;
use crate::handshake::Role;
use crate::layout::{Geometry, TAIL_AT};
use crate::mem::Memory;
use crate::notify::leaving::is_leaving;
use crate::queue::{ExtentRef, Flags, Header, Kind, RecordWriter};
use crate::session::{Ask, StreamId};
use crate::testing::actor::Actor;
use crate::testing::side::{Own, Side};
use crate::testing::{Script, WatchedMemory, hostile, outbox, small_limits, symmetric};
use crate::wire::SegmentClass;

/// Plays a script, lets go of everything, and sees that everything is back.
fn play(script: &[u8], large: bool) {
    let geometry = symmetric(&small_limits());
    let mut pair = Pair::new(&geometry, large);
    let script = Script::new(script);
    while !script.is_over() {
        pair.act(&script);
        conserved::check(&pair);
    }
    let leaving = pair.actors.iter().any(|actor| is_leaving(&actor.side.own));
    pair.actors.iter_mut().for_each(Actor::let_go);
    pair.quiesce();
    // Streams that nobody has accepted are let go as well.
    for actor in &mut pair.actors {
        while let Some((key, _)) = actor.side.rx.accept() {
            actor.side.drop_sender(key);
            actor.side.drop_receiver(key);
        }
    }
    pair.quiesce();
    conserved::check(&pair);
    for actor in &mut pair.actors {
        assert_eq!(actor.side.rx.test_streams(), 0, "a stream is not forgotten");
        assert_eq!(actor.side.rx.unread(), 0);
        assert_eq!(actor.side.tx().arena.returnable(), 0, "an extent did not come back");
        if leaving {
            continue;
        }
        let places = (0..geometry.writer_streams).filter_map(|_| actor.side.open()).count();
        assert_eq!(places, geometry.writer_streams as usize, "a place did not come back");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn credit_is_conserved(script in vec(any::<u8>(), 0..3000)) {
        play(&script, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn credit_is_conserved_with_extents(script in vec(any::<u8>(), 0..3000)) {
        play(&script, true);
    }
}

/// Control records are all it writes: many times what the ring holds, one lap after the other.
#[test]
fn a_side_that_only_receives_goes_on() {
    let geometry = symmetric(&small_limits());
    let mut pair = Pair::new(&geometry, false);
    let [one, two] = &mut pair.actors;
    let (ours, _) = one.side.open().unwrap();
    let mut theirs = None;
    for _ in 0..5000 {
        let grant = one.side.reserve(ours, Ask::Data(240)).unwrap().expect("all was taken");
        one.side.commit(ours, grant, &[7; 240], Flags::none()).unwrap();
        two.side.drain().unwrap();
        theirs = theirs.or_else(|| two.side.rx.accept());
        let (key, _) = theirs.expect("the stream was announced");
        assert_eq!(two.side.take(key).unwrap().expect("a message").len(), 240);
        one.side.drain().unwrap();
    }
    pair.expect_peace();
    assert!(pair.actors[1].side.own.load64(TAIL_AT) > 4 * u64::from(geometry.ring_bytes));
}

/// No stream has more than its window, and yet all of them together have too much.
#[test]
fn what_all_streams_have_unread_is_bounded() {
    let geometry = Geometry { max_message: 2048, ..symmetric(&small_limits()) };
    let memory = || Arc::new(WatchedMemory::new(outbox(&geometry, &geometry)));
    let (own, peer) = (memory(), memory());
    let mut side = Side::new(Arc::clone(&own), &peer, Role::Client, &geometry, &geometry);
    side.announce_here((1, SegmentClass::Small, hostile::a_segment()));
    let mut writer = RecordWriter::new(peer, own, &geometry);
    let drained = (0..geometry.reader_streams).map(|place| {
        assert!(writer.grant(32).unwrap());
        let stream = StreamId::new(Role::Server, place, 1).word();
        let header = Header { kind: Kind::Extent, flags: Flags::OPEN, value: 0, stream };
        let extent = ExtentRef { segment: 1, id: place, offset: 0, len: 2048 };
        writer.put_extent(header, extent);
        writer.publish();
        side.drain()
    });
    // One largest message may come on top of the window, which two do not fill.
    let accused = PeerMisbehaved::CreditOverrun;
    assert_eq!(drained.collect::<Vec<_>>()[..3], [Ok(false), Ok(false), Err(accused)]);
}

/// C5, for places that come free in another order than their last records were sent.
#[test]
fn a_place_is_used_again_when_the_peer_has_read_about_it() {
    let geometry = symmetric(&small_limits());
    let mut pair = Pair::new(&geometry, false);
    let [one, two] = &mut pair.actors;
    let streams: Vec<_> = (0..4)
        .map(|_| {
            let (ours, id) = one.side.open().unwrap();
            let grant = one.side.reserve(ours, Ask::Open).unwrap().unwrap();
            one.side.announce(ours, grant);
            two.side.drain().unwrap();
            (ours, two.side.rx.accept().unwrap().0, id)
        })
        .collect();
    let (early, late) = (streams[0], streams[1]);
    let let_go = |actor: &mut Actor<Own>, key| {
        actor.side.drop_sender(key);
        actor.side.drop_receiver(key);
    };
    // The peer reads the end of the early one, and answers it last.
    one.side.finish(early.0);
    two.side.drain().unwrap();
    two.side.finish(late.1);
    one.side.drain().unwrap();
    let_go(one, late.0);
    assert!(one.side.open().is_none(), "the peer has not read that the late one is over");
    two.side.finish(early.1);
    one.side.drain().unwrap();
    let_go(one, early.0);
    let (_, id) = one.side.open().expect("the early one is free");
    assert_eq!((id.place(), id.generation()), (early.2.place(), 2));
    assert!(one.side.open().is_none());
    two.side.drain().unwrap();
    assert_eq!(one.side.open().expect("now the late one is free too").1.place(), late.2.place());
    pair.expect_peace();
}

/// C3: a reservation that cannot have everything has nothing, least of all an extent.
#[test]
fn a_waiter_holds_nothing() {
    let geometry = symmetric(&small_limits());
    let mut pair = Pair::new(&geometry, true);
    let side = &mut pair.actors[0].side;
    let (key, _) = side.open().unwrap();
    let (large, small) = (Ask::Data(1000), Ask::Data(240));
    let grant = side.reserve(key, large).unwrap().expect("credit for one");
    side.commit(key, grant, &[1; 1000], Flags::none()).unwrap();
    // Half of the window each: the second takes the rest of the stream's credit.
    let grant = side.reserve(key, large).unwrap().expect("credit for two");
    assert!(side.reserve(key, large).unwrap().is_none(), "nor for three");
    assert!(side.reserve(key, small).unwrap().is_none());
    let held = side.tx().arena.returnable();
    let ticket = side.join(key, large);
    assert!(side.poll(ticket).is_none());
    assert_eq!(side.tx().arena.returnable(), held);
    side.cancel(ticket);
    side.ungrant(key, grant);
    assert_eq!(side.tx().arena.returnable(), held - 1);
    assert!(side.reserve(key, small).unwrap().is_some());
}
