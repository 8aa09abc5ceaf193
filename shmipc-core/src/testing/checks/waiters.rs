//! Reservations that wait: what they may hold meanwhile, and what they are rung for. Each rule with its
//! twin.

use std::sync::Arc;

use super::pair::Pair;
use crate::layout::Geometry;
use crate::notify::event::{self, passes};
use crate::queue::{Flags, Header, Kind, RecordReader, RecordWriter};
use crate::session::{Ask, SendCredit, TicketId};
use crate::testing::actor::Actor;
use crate::testing::side::Own;
use crate::testing::{WatchedMemory, outbox, small_limits, symmetric};

// --- all or nothing (C3) ---------------------------------------------------------------------------

/// What a reservation needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    StreamCredit,
    SessionCredit,
    Place,
}

/// How a reservation that cannot have everything goes about it.
#[derive(Clone, Copy)]
enum Rule {
    AllOrNothing,
    /// It takes what there is, in this order, and keeps it.
    Piecewise([Part; 3]),
}

/// A reservation in the model: of which stream, and whether it needs an extent.
struct Wish {
    stream: usize,
    large: bool,
    has: Vec<Part>,
}

/// What one direction has left, in units of one large message.
struct Desk {
    places: u32,
    session: SendCredit,
    streams: Vec<SendCredit>,
}

impl Desk {
    fn has(&self, part: Part, stream: usize) -> bool {
        match part {
            Part::StreamCredit => self.streams[stream].left() > 0,
            Part::SessionCredit => self.session.left() > 0,
            Part::Place => self.places > 0,
        }
    }

    fn take(&mut self, part: Part, stream: usize) {
        match part {
            Part::StreamCredit => self.streams[stream].take(1),
            Part::SessionCredit => self.session.take(1),
            Part::Place => self.places -= 1,
        }
    }

    /// One look at a reservation; true if it is granted.
    fn look(&mut self, rule: Rule, wish: &mut Wish) -> bool {
        let order = match rule {
            Rule::AllOrNothing => [Part::StreamCredit, Part::SessionCredit, Part::Place],
            Rule::Piecewise(order) => order,
        };
        let missing = order
            .into_iter()
            .filter(|part| !wish.has.contains(part) && (wish.large || *part != Part::Place));
        let missing: Vec<_> = missing.collect();
        if matches!(rule, Rule::AllOrNothing) {
            let all = missing.iter().all(|part| self.has(*part, wish.stream));
            if all {
                missing.iter().for_each(|part| self.take(*part, wish.stream));
            }
            return all;
        }
        for part in missing {
            if !self.has(part, wish.stream) {
                return false;
            }
            self.take(part, wish.stream);
            wish.has.push(part);
        }
        true
    }
}

/// Which of these reservations, oldest first, are granted by the model.
fn granted(rule: Rule, mut desk: Desk, wishes: &[(usize, bool)]) -> Vec<bool> {
    let wish = |&(stream, large)| Wish { stream, large, has: Vec::new() };
    wishes.iter().map(wish).map(|mut wish| desk.look(rule, &mut wish)).collect()
}

/// Which are granted by the real thing: the first of these streams of `pair` is number 0.
fn really_granted(pair: &mut Pair, streams: &[usize], wishes: &[(usize, bool)]) -> Vec<bool> {
    let side = &mut pair.actors[0].side;
    let ask = |large| if large { Ask::Data(1000) } else { Ask::Data(0) };
    let join = |&(stream, large): &(usize, bool)| side.join(streams[stream], ask(large));
    let tickets: Vec<TicketId> = wishes.iter().map(join).collect();
    // The first look may create a segment.
    tickets
        .iter()
        .map(|ticket| side.poll(*ticket).or_else(|| side.poll(*ticket)).is_some())
        .collect()
}

/// Two sides with four lent places, and streams of the first.
fn sides(streams: usize) -> (Pair, Vec<usize>) {
    let geometry = Geometry { max_lent: 4, ..symmetric(&small_limits()) };
    let mut pair = Pair::new(&geometry, true);
    let side = &mut pair.actors[0].side;
    let keys = (0..streams).map(|_| side.open().expect("a free place").0).collect();
    (pair, keys)
}

/// Uses so much credit of a stream up, which nobody reads.
fn stall(actor: &mut Actor<Own>, key: usize, credit: u32) {
    for _ in 0..credit / 64 {
        assert!(actor.side.put_inline(key, &[], Flags::none()));
    }
}

const EXTENT_FIRST: [Part; 3] = [Part::Place, Part::StreamCredit, Part::SessionCredit];
const CREDIT_FIRST: [Part; 3] = [Part::SessionCredit, Part::StreamCredit, Part::Place];

/// Two stalled streams with two large reservations each, and a lively one: four lent places.
#[test]
fn writers_of_stalled_streams_do_not_sit_on_the_memory() {
    let wishes = [(0, true), (0, true), (1, true), (1, true), (2, true)];
    let lively_alone = [false, false, false, false, true];
    let desk = || Desk {
        places: 4,
        session: SendCredit::session(4),
        streams: [0, 0, 4].map(SendCredit::stream).to_vec(),
    };
    assert_eq!(granted(Rule::AllOrNothing, desk(), &wishes), lively_alone);
    assert_eq!(granted(Rule::Piecewise(EXTENT_FIRST), desk(), &wishes), [false; 5]);

    let (mut pair, streams) = sides(3);
    let window = small_limits().stream_window;
    for key in &streams[..2] {
        stall(&mut pair.actors[0], *key, window);
    }
    assert_eq!(really_granted(&mut pair, &streams, &wishes), lively_alone);
}

/// All memory is out; a large reservation waits for it, a small one needs none.
#[test]
fn a_writer_that_waits_for_memory_does_not_sit_on_the_credit() {
    let wishes = [(0, true), (1, false)];
    let small_alone = [false, true];
    let desk = || Desk {
        places: 0,
        session: SendCredit::session(1),
        streams: [4, 4].map(SendCredit::stream).to_vec(),
    };
    assert_eq!(granted(Rule::AllOrNothing, desk(), &wishes), small_alone);
    assert_eq!(granted(Rule::Piecewise(CREDIT_FIRST), desk(), &wishes), [false; 2]);

    let (mut pair, streams) = sides(4);
    let mut held = Vec::new();
    for key in [2, 2, 2, 3] {
        held.push(pair.actors[0].side.reserve(streams[key], Ask::Data(241)).unwrap().unwrap());
        pair.carry();
        // The reader acknowledges the segment, whose place is free then.
        pair.actors[1].side.read_socket();
        pair.actors[0].side.take_returns();
    }
    let limits = small_limits();
    let (left, large, small) = (1024, crate::session::footprint(1000), 64);
    let used = 4 * crate::session::footprint(241) as u32;
    stall(&mut pair.actors[0], streams[3], 640);
    stall(&mut pair.actors[0], streams[0], 512);
    stall(&mut pair.actors[0], streams[1], limits.unread_max - left - used - 640 - 512);
    assert!(u64::from(left) < large && left > small, "a large one takes all that is left");
    assert_eq!(really_granted(&mut pair, &streams, &wishes), small_alone);
}

// --- what a waiter for space is rung for -----------------------------------------------------------

type SpaceEvent = fn(&Geometry, u64, u64, u64) -> u64;

/// A writer and its reader, two laps from the start.
struct Queue {
    writer: RecordWriter<Own, Own>,
    reader: RecordReader<Own, Own>,
}

impl Queue {
    fn new(geometry: &Geometry) -> Self {
        let memory = || Arc::new(WatchedMemory::new(outbox(geometry, geometry)));
        let (own, peer) = (memory(), memory());
        let writer = RecordWriter::new(Arc::clone(&own), Arc::clone(&peer), geometry);
        let mut queue = Self { writer, reader: RecordReader::new(peer, own, geometry) };
        while queue.writer.written() < 2 * u64::from(geometry.ring_bytes) {
            queue.send();
            queue.drain();
            queue.reader.publish_head();
        }
        queue
    }

    /// Sends an empty message.
    fn send(&mut self) {
        assert!(self.writer.grant(16).unwrap());
        let header = Header { kind: Kind::Inline, flags: Flags::none(), value: 0, stream: 0 };
        self.writer.put(header, &[]);
        self.writer.publish();
    }

    /// Reads everything, and publishes the head only as far as Q4 says while there is more to do.
    fn drain(&mut self) {
        self.reader.load_tail().unwrap();
        while self.reader.next_record().unwrap().is_some() {}
        self.reader.end_batch();
    }

    fn fits(&mut self, need: u64) -> bool {
        let fits = self.writer.grant(need).unwrap();
        if fits {
            self.writer.ungrant(need);
        }
        fits
    }
}

/// In how many of all cases a waiter for space sleeps on although there is room: others hold
/// reservations, and the reader drains everything and turns to its own work.
fn sleeps_on(event: SpaceEvent) -> usize {
    let geometry = symmetric(&small_limits());
    let cases = (0..geometry.data_limit()).step_by(16);
    let cases =
        cases.flat_map(|held| [16, 32, 128, geometry.max_record()].map(|need| (held, need)));
    cases
        .filter(|&(held, need)| {
            let mut queue = Queue::new(&geometry);
            assert!(queue.writer.grant(held).unwrap());
            while queue.fits(need) {
                queue.send();
            }
            let checked = queue.reader.head();
            let word = event(&geometry, queue.writer.written(), held, need);
            queue.drain();
            queue.fits(need) && !passes(checked, word, queue.reader.head())
        })
        .count()
}

#[test]
fn whoever_waits_for_space_is_rung_when_there_is_some() {
    assert_eq!(sleeps_on(event::space_event), 0);
}

#[test]
fn not_if_it_asked_for_a_quarter_whatever_others_hold() {
    let uncapped: SpaceEvent = |geometry, tail, held, need| {
        let bytes = need.max(u64::from(geometry.ring_bytes) / 4);
        event::before((tail + held + bytes).saturating_sub(geometry.data_limit()))
    };
    assert!(sleeps_on(uncapped) > 0);
}
