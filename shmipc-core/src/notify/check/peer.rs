//! The steps of the peer's threads: P1 to P4.

use super::rules::{Publish, Scenario, Weakening};
use super::state::{NEVER8, Producer, ProducerAt, State, TAIL};
use crate::notify::event::{NEVER, passes};

impl Scenario {
    /// One step of a thread of the peer: P1 to P4.
    pub(super) fn publish(&self, s: &mut State, p: usize) {
        let publication = self.producers[p][usize::from(s.producers[p].op)];
        let cursor = publication.cursor();
        let event_first = self.event_first();
        let me = &mut s.producers[p];
        match me.at {
            ProducerAt::Publish => {
                if let Publish::Record(owner) = publication {
                    s.log[usize::from(s.cursor[TAIL])] = owner;
                }
                s.cursor[cursor] += publication.amount();
                me.new = s.cursor[cursor];
                me.at = if event_first { ProducerAt::Event } else { ProducerAt::Checked };
                if self.is(Weakening::CheckBeforePublish) {
                    me.at = ProducerAt::Checked;
                }
            }
            ProducerAt::Checked => {
                let own_old = self.is(Weakening::CheckFromOwnOld);
                me.from = if own_old { me.new - publication.amount() } else { s.checked[cursor] };
                me.at = ProducerAt::Event;
                if event_first {
                    self.decide(s, p, cursor);
                }
            }
            ProducerAt::Event => {
                me.event = s.event[cursor];
                me.at = ProducerAt::Checked;
                if self.is(Weakening::CheckBeforePublish) {
                    me.at = ProducerAt::Publish;
                } else if !event_first {
                    self.decide(s, p, cursor);
                }
            }
            ProducerAt::Store => {
                // No maximum: it may set the word back.
                s.checked[cursor] = me.new;
                self.returns(s, p, cursor);
            }
            ProducerAt::Ring => {
                s.bell = true;
                me.at = ProducerAt::Rung;
            }
            ProducerAt::Rung => {
                s.checked[cursor] = s.checked[cursor].max(me.new);
                self.returns(s, p, cursor);
            }
            ProducerAt::Done => unreachable!(),
        }
    }

    /// The kernel refuses the ring (N11): the check is not completed, the call returns, and the chores ring.
    pub(super) fn is_refused(&self, s: &mut State, p: usize) {
        s.refusals -= 1;
        if self.is(Weakening::RefusedBellCountsAsRung) {
            s.producers[p].at = ProducerAt::Rung;
            return;
        }
        s.owed = !self.is(Weakening::RefusedBellIsNotOwed);
        let publication = self.producers[p][usize::from(s.producers[p].op)];
        self.returns(s, p, publication.cursor());
    }

    fn event_first(&self) -> bool {
        self.is(Weakening::CheckBeforePublish)
            || self.is(Weakening::BystanderArmsAndEventLoadedFirst)
    }

    /// P3.
    fn decide(&self, s: &mut State, p: usize, cursor: usize) {
        let Producer { new, event, from, .. } = s.producers[p];
        let event = if event == NEVER8 { NEVER } else { u64::from(event) };
        let needed = passes(u64::from(from), event, u64::from(new));
        if needed && self.is(Weakening::CheckedBeforeRing) {
            s.checked[cursor] = s.checked[cursor].max(new);
        }
        let at = match needed {
            true => ProducerAt::Ring,
            false if from < new => ProducerAt::Store,
            false => return self.returns(s, p, cursor),
        };
        s.producers[p] = Producer { at, event: 0, from: 0, ..s.producers[p] };
    }

    /// The publishing call returns: what it published is seen or rung for.
    fn returns(&self, s: &mut State, p: usize, cursor: usize) {
        let Producer { op, new, .. } = s.producers[p];
        s.promised[cursor] = s.promised[cursor].max(new);
        let at = self.first_of_peer(self.producers[p].get(usize::from(op) + 1));
        s.producers[p] = Producer { at, op: op + 1, new: 0, event: 0, from: 0 };
    }
}
