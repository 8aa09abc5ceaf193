//! What records of the peer cost the side that reads them: no more because many reservations wait.
//!
//! A reservation is looked at when something it lacks may have come. The peer decides how many records say so, and,
//! by granting no credit, how many reservations wait; the looks must not be the product of both.

use super::pair::Pair;
use crate::config::Limits;
use crate::queue::{Flags, Header, Kind};
use crate::session::{Ask, StreamId, TicketId};
use crate::testing::{small_limits, symmetric};

const STREAMS: usize = 64;

/// A sender that has used up the credit of all its streams, and one reservation that waits on each.
struct Scene {
    pair: Pair,
    streams: Vec<(usize, StreamId)>,
    tickets: Vec<TicketId>,
}

impl Scene {
    fn new() -> Self {
        let limits = Limits {
            ring_bytes: 64 << 10,
            max_streams: STREAMS as u32,
            unread_max: 1 << 20,
            ..small_limits()
        };
        let mut pair = Pair::new(&symmetric(&limits), true);
        let side = &mut pair.actors[0].side;
        let streams: Vec<_> = (0..STREAMS).map(|_| side.open().expect("a free place")).collect();
        for (key, _) in &streams {
            for _ in 0..limits.stream_window / 64 {
                assert!(side.put_inline(*key, &[], Flags::none()));
            }
        }
        let tickets = streams.iter().map(|(key, _)| side.join(*key, Ask::Data(0))).collect();
        let mut scene = Self { pair, streams, tickets };
        while scene.pair.actors[1].side.drain().expect("an honest peer") {}
        scene.pair.actors[1].side.rest();
        scene
    }

    /// Looks at reservations while the sender reads what its peer has published.
    fn looks(&mut self) -> u64 {
        let before = self.pair.actors[0].side.tx().attempts;
        while self.pair.actors[0].side.drain().expect("an honest peer") {}
        let after = self.pair.actors[0].side.tx().attempts;
        after - before
    }

    /// The peer asks to stop on a stream, whether it has or not.
    fn ask_to_stop(&mut self, stream: usize) {
        let header = Header::control(Kind::Stop, self.streams[stream].1.word(), 7);
        self.pair.actors[1].side.tx().test_say(header);
    }

    fn answered(&mut self) -> usize {
        let Self { pair, tickets, .. } = self;
        let answers = tickets.iter().map(|ticket| pair.actors[0].side.poll(*ticket));
        answers.filter(Option::is_some).count()
    }
}

#[test]
fn reservations_without_credit_of_their_stream_are_not_looked_at_for_other_streams() {
    let mut scene = Scene::new();
    // Each message taken is one more stream with credit, in the end.
    for stream in 0..STREAMS {
        let key = scene.pair.actors[1].side.rx.accept().expect("an open stream").0;
        while scene.pair.actors[1].side.take(key).expect("an honest peer").is_some() {}
        let looks = scene.looks();
        assert!(looks <= 1, "{looks} looks for stream {stream}, to which alone credit was granted");
    }
    assert_eq!(scene.answered(), STREAMS);
}

#[test]
fn a_batch_of_grants_costs_one_look_for_each_reservation() {
    let mut scene = Scene::new();
    for _ in 0..STREAMS {
        let key = scene.pair.actors[1].side.rx.accept().expect("an open stream").0;
        while scene.pair.actors[1].side.take(key).expect("an honest peer").is_some() {}
    }
    let looks = scene.looks();
    assert!(looks <= STREAMS as u64, "{looks} looks");
    assert_eq!(scene.answered(), STREAMS);
}

#[test]
fn requests_to_stop_that_are_repeated_cost_no_look() {
    let mut scene = Scene::new();
    for _ in 0..1000 {
        scene.ask_to_stop(0);
    }
    assert_eq!(scene.looks(), 0);
    assert_eq!(scene.answered(), 1, "the reservation of the stopped stream is told");
}

/// Reservations of one stream are served in the order in which they came, whatever they ask for.
#[test]
fn a_reservation_waits_behind_an_older_one_of_its_stream() {
    let geometry = symmetric(&small_limits());
    let mut pair = Pair::new(&geometry, true);
    let side = &mut pair.actors[0].side;
    let (key, _) = side.open().expect("a free place");
    // What is left suffices for an empty message, not for a long one.
    for _ in 0..geometry.stream_window / 64 - 1 {
        assert!(side.put_inline(key, &[], Flags::none()));
    }
    let long = side.join(key, Ask::Data(200));
    let empty = side.join(key, Ask::Data(0));
    assert!(side.poll(long).is_none() && side.poll(empty).is_none());
    assert!(!side.put_inline(key, &[], Flags::none()), "it would overtake them");
    side.cancel(long);
    assert!(side.poll(empty).is_some(), "nobody is before it now");
}

/// A reservation that another one of its stream was put ahead of, which then went.
#[test]
fn a_reservation_is_looked_at_when_the_one_that_was_to_have_the_credit_goes() {
    let mut scene = Scene::new();
    let key = scene.streams[0].0;
    let side = &mut scene.pair.actors[0].side;
    let half = Ask::Data(1000);
    side.cancel(scene.tickets[0]);
    let tickets = [side.join(key, half), side.join(key, half)];
    // The memory is being made by a call that never comes back.
    let accepted = scene.pair.actors[1].side.rx.accept().expect("an open stream").0;
    while scene.pair.actors[1].side.take(accepted).expect("an honest peer").is_some() {}
    scene.looks();
    let side = &mut scene.pair.actors[0].side;
    side.cancel(tickets[0]);
    let granted = side.poll(tickets[1]).or_else(|| side.poll(tickets[1]));
    assert!(granted.is_some_and(|granted| granted.is_ok()));
}
