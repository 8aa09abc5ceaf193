//! A reader that leaves large messages unread: the sender gets its memory back all the same.

use proptest::collection::vec;
use proptest::prelude::*;

use super::pair::Pair;
use crate::config::Limits;
use crate::layout::Geometry;
use crate::queue::Flags;
use crate::session::{Ask, TicketId};
use crate::testing::actor::Actor;
use crate::testing::side::Own;
use crate::testing::{Script, small_limits, symmetric};

/// Memory is scarce, credit is not.
fn geometry() -> Geometry {
    symmetric(&Limits { stream_window: 16 << 20, unread_max: 32 << 20, ..small_limits() })
}

/// One side that sends, and the streams of the other on which it receives.
struct Scene {
    pair: Pair,
    /// Keys of each stream: the sender's, the receiver's.
    streams: Vec<(usize, usize)>,
    /// Messages sent and not taken, by stream: first byte and length.
    unread: Vec<Vec<(u8, usize)>>,
    waiting: Vec<(usize, usize, TicketId)>,
    next: u8,
}

impl Scene {
    fn new(streams: usize) -> Self {
        let mut pair = Pair::new(&geometry(), true);
        let keys: Vec<_> = (0..streams)
            .map(|_| {
                let [one, two] = &mut pair.actors;
                let (ours, _) = one.side.open().unwrap();
                assert!(one.side.put_inline(ours, b"", Flags::none()));
                two.side.drain().unwrap();
                let (theirs, _) = two.side.rx.accept().unwrap();
                two.side.take(theirs).unwrap();
                (ours, theirs)
            })
            .collect();
        let unread = vec![Vec::new(); streams];
        Self { pair, streams: keys, unread, waiting: Vec::new(), next: 0 }
    }

    fn sender(&mut self) -> &mut Actor<Own> {
        &mut self.pair.actors[0]
    }

    fn receiver(&mut self) -> &mut Actor<Own> {
        &mut self.pair.actors[1]
    }

    /// Sends, or queues up for it.
    fn send(&mut self, stream: usize, len: usize) {
        let key = self.streams[stream].0;
        let ask = Ask::Data(len as u32);
        match self.sender().side.reserve(key, ask).unwrap() {
            Some(grant) => self.commit(stream, len, grant),
            None => {
                let ticket = self.sender().side.join(key, ask);
                self.waiting.push((stream, len, ticket));
            }
        }
    }

    fn commit(&mut self, stream: usize, len: usize, grant: crate::session::Grant) {
        self.next = self.next.wrapping_add(1);
        let (key, byte) = (self.streams[stream].0, self.next);
        self.sender().side.commit(key, grant, &vec![byte; len], Flags::none()).unwrap();
        self.unread[stream].push((byte, len));
    }

    fn take(&mut self, stream: usize) {
        let key = self.streams[stream].1;
        let taken = self.receiver().side.take(key).unwrap();
        if let Some(taken) = taken {
            let (byte, len) = self.unread[stream].remove(0);
            assert_eq!(taken.len(), len);
            assert!(taken.iter().all(|&b| b == byte), "a message was mixed up");
        }
    }

    /// Both sides run until nothing moves; tickets that were granted are used. One that is asked for a segment
    /// has it at the next turn.
    fn quiesce(&mut self) {
        let mut idle = 0;
        while idle < 3 {
            self.pair.quiesce();
            let mut granted = false;
            for (stream, len, ticket) in std::mem::take(&mut self.waiting) {
                match self.sender().side.poll(ticket) {
                    Some(grant) => {
                        granted = true;
                        self.commit(stream, len, grant.unwrap());
                    }
                    None => self.waiting.push((stream, len, ticket)),
                }
                self.pair.carry();
            }
            idle = if granted { 0 } else { idle + 1 };
        }
    }

    fn pleas(&mut self) -> u64 {
        self.sender().side.tx().pleas
    }

    fn evicted(&mut self) -> u64 {
        self.receiver().side.rx.evicted
    }
}

/// One stream is never read; large messages go through it all the same, up to its credit, and arrive.
fn stall(evictions: u32) -> usize {
    const MESSAGES: usize = 14;
    let mut scene = Scene::new(2);
    scene.receiver().side.evictions_left = evictions;
    for _ in 0..MESSAGES {
        scene.send(0, 1 << 20);
        scene.quiesce();
    }
    let stuck = scene.waiting.len();
    if stuck == 0 {
        let pleas = scene.pleas();
        assert!((2..=MESSAGES as u64).contains(&pleas), "{pleas} pleas");
        (0..MESSAGES).for_each(|_| scene.take(0));
        assert!(scene.unread[0].is_empty());
    }
    stuck
}

#[test]
fn a_stream_that_nobody_reads_does_not_keep_the_memory() {
    assert_eq!(stall(u32::MAX), 0);
}

#[test]
fn without_eviction_it_does() {
    assert!(stall(0) > 0);
}

/// The second plea of a session is heard as well.
#[test]
fn with_one_plea_per_session_it_does() {
    assert!(stall(1) > 0);
}

/// V1: half of `max_lent` in number moves messages before anybody has to plead, however small they are.
#[test]
fn small_extents_count_by_number() {
    let mut scene = Scene::new(1);
    for _ in 0..200 {
        scene.send(0, 300);
        scene.quiesce();
    }
    assert_eq!((scene.pleas(), scene.waiting.len()), (0, 0));
    assert_eq!(scene.evicted(), 200 - 128);
    (0..200).for_each(|_| scene.take(0));
}

/// How often a reader that holds everything is asked for memory; `always`: whenever the last plea was read.
fn pleas_in_vain(always: bool) -> u64 {
    let mut scene = Scene::new(1);
    scene.receiver().side.evictions_left = 0;
    for _ in 0..5 {
        scene.send(0, 1 << 20);
        // Segments are acknowledged.
        scene.quiesce();
    }
    for _ in 0..50 {
        scene.pair.quiesce();
        if always {
            scene.sender().side.tx().test_may_plead();
            scene.sender().side.settle();
        }
    }
    scene.pleas()
}

/// No plea while nothing was lent since the last one: a reader that holds everything is not asked
/// again and again.
#[test]
fn no_plea_without_need() {
    assert_eq!(pleas_in_vain(false), 1, "only one was useful");
    assert!(pleas_in_vain(true) > 50, "without a limit it is a loop");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    /// Whatever is sent and whatever is left unread: a reservation never waits for memory once both
    /// sides have acted on everything, and every message arrives whole and in order.
    #[test]
    fn nobody_waits_for_memory_for_ever(script in vec(any::<u8>(), 0..600)) {
        let mut scene = Scene::new(3);
        let script = Script::new(&script);
        while !script.is_over() {
            let byte = script.byte();
            let stream = usize::from(byte) % 3;
            match byte / 3 % 8 {
                0..=4 if scene.waiting.len() < 8 => {
                    let len = match script.byte() % 4 {
                        0 => 241 + script.below(2000),
                        1 => script.below(100_000),
                        2 => script.below(600_000),
                        _ => (600_000 + script.below(500_000)).min(1 << 20),
                    };
                    scene.send(stream, len);
                }
                // The first stream is hardly ever read.
                5 | 6 if stream > 0 || script.one_in(16) => scene.take(stream),
                _ => scene.quiesce(),
            }
        }
        scene.quiesce();
        let waiting: Vec<_> = scene.waiting.iter().map(|(stream, len, _)| (*stream, *len)).collect();
        for (stream, len) in waiting {
            let key = scene.streams[stream].0;
            let mut tx = scene.pair.actors[0].side.tx();
            let lacks = tx.test_lacks_credit() || tx.test_stream_lacks_credit(key, len as u32);
            prop_assert!(lacks, "it waits for memory");
        }
        for stream in 0..3 {
            loop {
                scene.quiesce();
                if scene.unread[stream].is_empty() {
                    break;
                }
                scene.take(stream);
            }
        }
        scene.quiesce();
        prop_assert!(scene.waiting.is_empty());
    }
}
