//! The steps of our threads that serve all: join, settle, drive, wake (W1, D1 to D3).

use super::ours::Ours;
use super::rules::Weakening;
use super::state::{NEVER8, NOBODY, Pc, Pending, Reason, TAIL, THREADS};
use crate::notify::event::{NEVER, Settle, before};
use crate::notify::wait::Wake;

impl Ours<'_> {
    /// W1, gate: queue up, then settle in the same section.
    pub(super) fn join(&mut self) {
        let (queue, t) = (self.rules.queue_of(self.s, self.t), self.t as u8);
        let waiters = &mut self.s.queues[queue];
        *waiters.iter_mut().find(|w| **w == NOBODY).expect("a place each") = t;
        self.decide_early();
        self.s.gate = t;
        self.me().queued = true;
        self.settle_for(queue, Reason::Joined);
    }

    pub(super) fn settle_for(&mut self, queue: usize, reason: Reason) {
        self.me().queue = queue as u8;
        self.me().reason = reason;
        self.go(Pc::Settle);
    }

    /// Gate: load the cursor, grant what fits, and what [`Settle`] says.
    pub(super) fn settle(&mut self) {
        self.s.gate = self.t as u8;
        let (queue, reason) = (usize::from(self.me().queue), self.me().reason);
        let position = self.s.cursor[queue + 1];
        let mut granted = false;
        let front = loop {
            let front = self.s.queues[queue][0];
            if front == NOBODY {
                break None;
            }
            let enough = self.s.used[queue] + self.rules.need(self.s, front);
            if position < enough {
                break Some(enough);
            }
            self.s.used[queue] = enough;
            self.s.queues[queue].rotate_left(1);
            self.s.queues[queue][THREADS - 1] = NOBODY;
            self.s.threads[usize::from(front)].queued = false;
            self.s.threads[usize::from(front)].granted = true;
            self.note(front);
            granted = true;
        };
        let mut wanted = front.map(|enough| before(u64::from(enough)));
        if self.rules.is(Weakening::FrontNotRearmed) && reason == Reason::Driving && !granted {
            wanted = None;
        }
        if self.rules.is(Weakening::OwnNeedInTheWord)
            && reason != Reason::Leaving
            && self.me().queued
        {
            let own = self.s.used[queue] + self.rules.need(self.s, self.t as u8);
            wanted = Some(before(u64::from(own)));
        }
        let word = self.s.event[queue + 1];
        let word = if word == NEVER8 { NEVER } else { u64::from(word) };
        match Settle::after_scan(word, wanted) {
            Settle::Write(word) => {
                self.me().word = word as u8;
                self.go(Pc::SettleWrite);
            }
            Settle::Done => self.settled(reason),
        }
    }

    pub(super) fn settled(&mut self, reason: Reason) {
        let queue = std::mem::take(&mut self.me().queue);
        self.me().reason = Reason::Joined;
        self.s.gate = NOBODY;
        match reason {
            Reason::Joined if self.rules.op(self.s, self.t).is_outside() => {
                self.wake_then(Pc::ComeBack);
            }
            Reason::Joined => self.wake_then(Pc::DriveTry),
            Reason::Driving => self.drive_on(usize::from(queue) + 1),
            Reason::Leaving => self.left(),
        }
    }

    /// The start of a drive: rx and the first load.
    pub(super) fn lock_and_load(&mut self) {
        self.s.rx = self.t as u8;
        self.me().seen = self.s.cursor[TAIL];
        self.decide_early();
        self.go(Pc::Drain);
    }

    /// D1: everything seen goes into the inboxes.
    pub(super) fn drain(&mut self) {
        let (from, to) = (self.s.drained, self.me().seen);
        assert!(from <= to, "a record would be read twice");
        for i in from..to {
            let owner = self.s.log[usize::from(i)];
            self.s.threads[usize::from(owner)].inbox += 1;
            self.s.log[usize::from(i)] = NOBODY;
            self.note(owner);
        }
        self.s.drained = to;
        self.me().seen = 0;
        match self.rules.weak {
            Some(
                Weakening::BystanderArms
                | Weakening::BystanderArmsAndNoKick
                | Weakening::BystanderArmsAndEventLoadedFirst,
            ) => self.go(Pc::Rearm),
            _ => self.drive_on(0),
        }
    }

    /// A byte that belongs to the one inside, if there is one.
    pub(super) fn read_bell(&mut self) {
        if !std::mem::take(&mut self.s.bell) {
            return self.wake_then(Pc::Result);
        }
        if !self.rules.is(Weakening::BellTakenWithoutKick) {
            self.me().noted |= 1 << THREADS;
        }
        if self.rules.is(Weakening::BellTakenWithoutSettling) {
            return self.wake_then(Pc::Result);
        }
        self.drive_on(0);
    }

    /// D2: the queues from `queue` on, if somebody is in them; then release. (The release is no step
    /// of its own: a try-lock that fails before it might as well have failed a step earlier.)
    pub(super) fn drive_on(&mut self, queue: usize) {
        match (queue..2).find(|q| self.s.queues[*q][0] != NOBODY) {
            Some(queue) => self.settle_for(queue, Reason::Driving),
            None => {
                if self.s.rx == self.t as u8 {
                    self.s.rx = NOBODY;
                }
                if self.rules.reads_bell {
                    self.go(Pc::ReadBell);
                } else {
                    self.wake_then(Pc::Result);
                }
            }
        }
    }

    pub(super) fn note(&mut self, who: u8) {
        if usize::from(who) != self.t {
            self.me().noted |= 1 << who;
        }
    }

    pub(super) fn wake_then(&mut self, then: Pc) {
        if self.me().noted == 0 {
            self.me().early = 0;
            self.after_waking(then);
        } else {
            self.me().then = then;
            self.go(Pc::WakeDecide);
        }
    }

    pub(super) fn after_waking(&mut self, then: Pc) {
        self.me().then = Pc::Done;
        if then == Pc::Done { self.end_op() } else { self.go(then) }
    }

    /// D3, gate: where is the next noted one now?
    pub(super) fn wake_decide(&mut self) {
        let who = self.me().noted.trailing_zeros() as usize;
        self.me().noted &= !(1 << who);
        let pending = if who == THREADS {
            let another = self.s.book.another_asleep(self.s.threads[self.t].place);
            if another { Pending::Kick } else { Pending::Nothing }
        } else if self.rules.is(Weakening::DecideBeforeDelivery) {
            [Pending::Nothing, Pending::Kick, Pending::token(who)]
                [usize::from(self.me().early >> (2 * who) & 3)]
        } else {
            self.wake(who)
        };
        if pending == Pending::Nothing {
            let then = self.me().then;
            return self.wake_then(then);
        }
        self.me().pending = pending;
        self.go(Pc::WakeDo);
    }

    pub(super) fn wake(&mut self, who: usize) -> Pending {
        let waiting =
            matches!(self.s.threads[who].at, Pc::PostOutside | Pc::LookOutside | Pc::Outside);
        if waiting {
            // A waker of its own, stored when it found nothing.
            return Pending::token(who);
        }
        let Some(place) = self.s.threads[who].place else { return Pending::Nothing };
        let weak = [Weakening::NoKick, Weakening::BystanderArmsAndNoKick];
        match self.s.book().wake(place) {
            Wake::Kick if self.rules.weak.is_some_and(|w| weak.contains(&w)) => Pending::token(who),
            Wake::Kick => Pending::Kick,
            Wake::Token => Pending::token(who),
            Wake::Nothing => Pending::Nothing,
        }
    }

    pub(super) fn decide_early(&mut self) {
        if !self.rules.is(Weakening::DecideBeforeDelivery) {
            return;
        }
        self.me().early = 0;
        for who in 0..THREADS {
            let Some(place) = self.s.threads[who].place else { continue };
            let now = match (*self.s.book).clone().wake(place) {
                Wake::Nothing => 0,
                Wake::Kick => 1,
                Wake::Token => 2,
            };
            self.me().early |= now << (2 * who);
        }
    }

    pub(super) fn wake_do(&mut self) {
        match self.me().pending {
            Pending::Nothing => {}
            Pending::Kick => self.s.kick = true,
            Pending::Token0 => self.s.threads[0].token = true,
            Pending::Token1 => self.s.threads[1].token = true,
            Pending::Token2 => self.s.threads[2].token = true,
        }
        self.me().pending = Pending::Nothing;
        let then = self.me().then;
        self.wake_then(then);
    }
}
