//! Every interleaving of one side that leaves with an opener (see [`crate::notify::leaving`]).
//!
//! | file | purpose |
//! |---|---|
//! | `mod` | what a state is made of, who can take a step, what must hold |
//! | `leaver` | the side that leaves, around the real [`announce`](crate::notify::leaving::announce) and [`Limit`] |
//! | `opener` | the other side, around the real [`Final`] |
//! | `bystander` | a thread of the opener's that takes a bell |
//! | `cases` | what holds, and what breaks as soon as one rule is weakened |
//!
//! The opener has two threads. *A* opens a stream, looks at the word, and sends the body only if it is
//! not in doubt or the answer is "served"; *B* opens a stream and sends the body in one record, and
//! finishes in the next, whatever happens. A third
//! thread sends more records at any time on a stream that both sides have known for long. The leaver
//! reads and answers at any time, leaves, serves what it must, and closes; it may be killed before each
//! step. Waking for records is taken for granted here; a final position wakes by its ring alone. Whoever
//! sleeps has looked before, and in between a bystander of the opener's, who reads the socket now and then,
//! may take that ring.

mod bystander;
mod cases;
mod leaver;
mod opener;

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::layout::{FINAL_AT, LEAVING_AT};
use crate::mem::{Memory, MemoryMut};
use crate::testing::Mix;
use crate::testing::explore::Model;
use bystander::Bystander;
use leaver::Leaver;
use opener::Opener;

/// Threads that open streams.
const STREAMS: usize = 2;
/// More records than are published.
const RECORDS: usize = 7;

/// A rule left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weakening {
    ReadsNothingAfter,
    FinalAfterServing,
    LimitNotEnforced,
    FinalBeforeLimit,
    RefusedForgotten,
    NoRing,
    BellKept,
    BellNotPassedOn,
    WordLoadedBeforePublishing,
    TailTakenBeforeTheWord,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    /// Records that the old stream still sends.
    old: u8,
    /// The leaver may be killed.
    killed: bool,
    /// Somebody who does not wait may take a bell.
    bystander: bool,
    weak: Option<Weakening>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Violation {
    /// A stream was answered "not sent", and was served.
    NotSentButServed,
    /// A stream was answered "unknown", and nobody has died.
    Unknown,
    /// The leaver accuses an honest opener, or the other way round.
    Accused,
    /// An opener sleeps for ever.
    Asleep,
    /// The leaver never leaves.
    NeverLeaves,
}

/// What the opener publishes; a record is 16 bytes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Record {
    Open(usize),
    /// With the end.
    Body(usize),
    OpenAndBody(usize),
    Finish(usize),
    Old,
    OldEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ended {
    No,
    Closed,
    Killed,
}

#[derive(Clone, Debug, Hash)]
struct State {
    /// The opener's outbox.
    log: [Option<Record>; RECORDS],
    published: usize,
    /// The leaver's outbox.
    word: u64,
    last: u64,
    replies: [bool; STREAMS],
    /// A ring that nobody has taken.
    bell: bool,
    /// One that sleeps is to wake.
    kick: bool,
    ended: Ended,
    leaver: Leaver,
    opener: Opener,
    bystander: Bystander,
    accused: bool,
}

/// Position of the record with that number.
fn position(number: usize) -> u64 {
    16 * number as u64
}

/// The two words of the leaver's outbox, for the code under test.
struct Words {
    word: AtomicU64,
    last: AtomicU64,
}

impl State {
    fn publish(&mut self, record: Record) {
        self.log[self.published] = Some(record);
        self.published += 1;
    }

    fn words(&self) -> Words {
        Words { word: AtomicU64::new(self.word), last: AtomicU64::new(self.last) }
    }

    fn put(&mut self, words: Words) {
        (self.word, self.last) = (words.word.into_inner(), words.last.into_inner());
    }
}

/// Who takes a step.
const LEAVES: u8 = 0;
const READS: u8 = 1;
const REPLIES: u8 = 2;
const OPENS: u8 = REPLIES + STREAMS as u8;
const OLD: u8 = OPENS + STREAMS as u8;
const BYSTANDER: u8 = OLD + 1;
const KILL: u8 = BYSTANDER + 1;

impl Model for Case {
    type State = State;
    type Violation = Violation;

    fn initial(&self) -> State {
        State {
            log: [None; RECORDS],
            published: 0,
            word: 0,
            last: 0,
            replies: [false; STREAMS],
            bell: false,
            kick: false,
            ended: Ended::No,
            leaver: Leaver::default(),
            opener: Opener::default(),
            bystander: Bystander::default(),
            accused: false,
        }
    }

    fn steps(&self, state: &State, found: &mut Vec<(u8, State)>) {
        for step in 0..=KILL {
            let mut next = state.clone();
            let alive = state.ended == Ended::No;
            let taken = match step {
                LEAVES => alive && self.leave(&mut next),
                READS => alive && self.read(&mut next),
                REPLIES..OPENS => alive && self.reply(&mut next, usize::from(step - REPLIES)),
                OPENS..OLD => self.open(&mut next, usize::from(step - OPENS)),
                OLD => self.send_on_the_old(&mut next),
                BYSTANDER => self.bystander && self.pass_by(&mut next),
                _ => self.killed && alive && self.kill(&mut next),
            };
            if taken {
                found.push((step, next));
            }
        }
    }

    fn judge(&self, state: &State, steps: &[(u8, State)]) -> Option<Violation> {
        let wrong = (0..STREAMS).find_map(|s| self.judge_answer(state, s));
        if wrong.is_some() || state.accused {
            return wrong.or(Some(Violation::Accused));
        }
        // To be killed is no way out.
        if steps.iter().any(|(step, _)| *step != KILL) {
            return None;
        }
        if (0..STREAMS).any(|t| !state.opener.is_done(t)) {
            return Some(Violation::Asleep);
        }
        (state.ended == Ended::No).then_some(Violation::NeverLeaves)
    }

    fn hash(&self, state: &State) -> u128 {
        let mut mix = Mix::default();
        state.hash(&mut mix);
        mix.finish()
    }

    fn describe(&self, state: &State, step: u8) -> String {
        match step {
            LEAVES => format!("leaver {:?}", state.leaver.at),
            READS => "leaver reads".into(),
            REPLIES..OPENS => format!("leaver replies to {}", step - REPLIES),
            OPENS..OLD => {
                let thread = usize::from(step - OPENS);
                format!("opener {thread} {:?}", state.opener.threads[thread].at)
            }
            OLD => "old stream goes on".into(),
            BYSTANDER => format!("bystander {:?}", state.bystander),
            _ => "leaver killed".into(),
        }
    }
}

impl Case {
    fn is(&self, weakening: Weakening) -> bool {
        self.weak == Some(weakening)
    }

    fn kill(&self, state: &mut State) -> bool {
        state.ended = Ended::Killed;
        true
    }
}

impl Memory for Words {
    fn size(&self) -> usize {
        FINAL_AT + 8
    }
    fn load32(&self, _: usize) -> u32 {
        unreachable!("going away has no such words")
    }
    fn load64(&self, at: usize) -> u64 {
        self.at(at).load(Ordering::Relaxed)
    }
    fn read(&self, _: usize, _: &mut [u8]) {
        unreachable!("going away reads no bytes")
    }
    fn fence_acquire(&self) {}
    fn fence_seq_cst(&self) {}
}

impl MemoryMut for Words {
    fn store32(&self, _: usize, _: u32) {
        unreachable!("going away has no such words")
    }
    fn store64(&self, at: usize, value: u64) {
        self.at(at).store(value, Ordering::Relaxed);
    }
    fn publish64(&self, at: usize, value: u64) {
        self.store64(at, value);
    }
    fn write(&self, _: usize, _: &[u8]) {
        unreachable!("going away writes no bytes")
    }
}

impl Words {
    fn at(&self, at: usize) -> &AtomicU64 {
        match at {
            LEAVING_AT => &self.word,
            FINAL_AT => &self.last,
            _ => unreachable!("not a word of going away"),
        }
    }
}
