//! The side that leaves.

use super::{Case, Ended, Record, STREAMS, State, Weakening, position};
use crate::notify::leaving::{Limit, announce};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// Reads and answers.
    #[default]
    Staying,
    /// The word is stored. (Or, of a twin: the tail is loaded first.)
    Announced,
    /// The tail is loaded, under the lock.
    Loaded,
    /// The final position is to be seen; of a twin whose limit is not yet fixed.
    Exposed,
    /// The limit is fixed, and the final position is there.
    Fixed,
    /// Reads on until every stream is over.
    Serving,
}

#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Leaver {
    pub(super) at: At,
    /// Tail as loaded by who leaves, in records.
    tail: usize,
    limit: Limit,
    /// Records read.
    drained: usize,
    served: [bool; STREAMS],
    refused: [bool; STREAMS],
    /// The body has come: a reply is due.
    asked: [bool; STREAMS],
    /// The peer has ended its direction.
    finished: [bool; STREAMS],
    old_is_over: bool,
}

impl Leaver {
    pub(super) fn has_served(&self, stream: usize) -> bool {
        self.served[stream]
    }
}

impl Case {
    /// The thread that leaves takes a step.
    pub(super) fn leave(&self, s: &mut State) -> bool {
        let tail = s.published;
        let early = self.is(Weakening::TailTakenBeforeTheWord);
        s.leaver.at = match s.leaver.at {
            At::Staying if early => {
                s.leaver.tail = tail;
                At::Announced
            }
            At::Announced if early => {
                self.announce(s);
                At::Loaded
            }
            At::Staying => {
                self.announce(s);
                At::Announced
            }
            At::Announced => {
                s.leaver.tail = tail;
                At::Loaded
            }
            At::Loaded if self.is(Weakening::FinalBeforeLimit) => {
                self.expose(s);
                At::Exposed
            }
            At::Loaded if self.is(Weakening::FinalAfterServing) => {
                self.fix(s, s.leaver.tail, false);
                At::Serving
            }
            At::Loaded => {
                self.fix(s, s.leaver.tail, true);
                At::Fixed
            }
            At::Exposed => {
                self.fix(s, tail, false);
                At::Fixed
            }
            At::Fixed => {
                s.bell |= !self.is(Weakening::NoRing);
                At::Serving
            }
            At::Serving if !self.is_drained(s) => return false,
            At::Serving => {
                if self.is(Weakening::FinalAfterServing) {
                    self.expose(s);
                }
                s.ended = Ended::Closed;
                At::Serving
            }
        };
        true
    }

    fn announce(&self, s: &mut State) {
        let words = s.words();
        announce(&words);
        s.put(words);
    }

    /// Fixes the limit, and publishes it unless a twin does that at another time.
    fn fix(&self, s: &mut State, tail: usize, publish: bool) {
        let words = s.words();
        s.leaver.limit.fix(&words, position(tail));
        if publish {
            s.put(words);
        }
    }

    /// Publishes the final position, and leaves the limit alone.
    fn expose(&self, s: &mut State) {
        let words = s.words();
        Limit::default().fix(&words, position(s.leaver.tail));
        s.put(words);
    }

    fn is_drained(&self, s: &State) -> bool {
        let over = |stream: usize| s.replies[stream] && s.leaver.finished[stream];
        let over = (0..STREAMS).all(|stream| !s.leaver.served[stream] || over(stream));
        s.leaver.limit.is_reached(position(s.leaver.drained)) && over && s.leaver.old_is_over
    }

    /// Reads one record.
    pub(super) fn read(&self, s: &mut State) -> bool {
        // The lock is held from the load of the tail until the limit is fixed.
        let locked = matches!(
            (s.leaver.at, self.is(Weakening::TailTakenBeforeTheWord)),
            (At::Loaded | At::Exposed, _) | (At::Announced, true)
        );
        let Some(record) = s.log[s.leaver.drained].filter(|_| !locked) else {
            return false;
        };
        let at = position(s.leaver.drained);
        if self.is(Weakening::ReadsNothingAfter) && s.leaver.limit.refuses(at) {
            return false;
        }
        s.leaver.drained += 1;
        match record {
            Record::Open(stream) => self.on_open(s, stream, at, false),
            Record::OpenAndBody(stream) => self.on_open(s, stream, at, true),
            Record::Body(stream) | Record::Finish(stream) if s.leaver.served[stream] => {
                s.leaver.asked[stream] = true;
                s.leaver.finished[stream] = true;
            }
            // Late: dropped. Of a stream that was never opened: an offence.
            Record::Body(stream) | Record::Finish(stream) => {
                s.accused |= !s.leaver.refused[stream];
            }
            Record::Old => {}
            Record::OldEnd => s.leaver.old_is_over = true,
        }
        true
    }

    fn on_open(&self, s: &mut State, stream: usize, at: u64, body: bool) {
        if s.leaver.limit.refuses(at) && !self.is(Weakening::LimitNotEnforced) {
            s.leaver.refused[stream] = !self.is(Weakening::RefusedForgotten);
            return;
        }
        s.leaver.served[stream] = true;
        s.leaver.asked[stream] = body;
    }

    /// The application answers a stream, and ends it.
    pub(super) fn reply(&self, s: &mut State, stream: usize) -> bool {
        let due = s.leaver.asked[stream] && !s.replies[stream];
        s.replies[stream] |= due;
        due
    }
}
