//! The steps of our threads around their waits: W2 to W8 and X.

use super::rules::{Bell, Op, Scenario, Weakening};
use super::state::{NEVER8, NOBODY, Pc, Pending, Reason, State, TAIL, THREADS, Thread};
use crate::notify::wait::{Pass, Post};

/// One of our threads, about to take a step.
pub(super) struct Ours<'a> {
    pub(super) rules: &'a Scenario,
    pub(super) s: &'a mut State,
    pub(super) t: usize,
}

impl Ours<'_> {
    pub(super) fn me(&mut self) -> &mut Thread {
        &mut self.s.threads[self.t]
    }

    pub(super) fn go(&mut self, at: Pc) {
        self.me().at = at;
    }

    pub(super) fn step(&mut self) {
        let at = self.me().at;
        match at {
            Pc::Activate => self.activate(),
            Pc::Control => {
                self.s.used[0] += 1;
                self.end_op();
            }
            Pc::Join => self.join(),
            Pc::Settle => self.settle(),
            Pc::SettleWrite => {
                let (queue, word) = (self.me().queue, self.me().word);
                self.s.event[usize::from(queue) + 1] = word;
                self.me().word = 0;
                self.go(Pc::Settle);
            }
            Pc::DriveTry if self.s.rx != NOBODY => self.go(Pc::Result),
            Pc::DriveTry | Pc::DriveLock => self.lock_and_load(),
            Pc::Drain => self.drain(),
            Pc::ReadBell => self.read_bell(),
            Pc::Rearm => {
                self.s.event[TAIL] = self.s.drained;
                self.drive_on(0);
            }
            Pc::WakeDecide => self.wake_decide(),
            Pc::WakeDo => self.wake_do(),
            Pc::Result => self.result(),
            Pc::EarlyLook => {
                let news = self.s.cursor[TAIL] != self.s.drained;
                self.go(if news { Pc::DriveLock } else { Pc::Post });
            }
            Pc::Post => self.post(),
            Pc::RetireLook => {
                let news = self.s.cursor[TAIL] != self.me().armed;
                self.me().armed = 0;
                if news { self.go(Pc::RetireKick) } else { self.retired() }
            }
            Pc::RetireKick => {
                self.s.kick = true;
                self.retired();
            }
            Pc::LookTail => self.look_tail(),
            Pc::LookResult => {
                let there = self.has_result() && !self.rules.is(Weakening::NoLookAtResult);
                self.go(if there { Pc::ComeOut } else { Pc::Wait });
            }
            Pc::Wait => self.awake(),
            Pc::ReadSocket => {
                if !self.rules.is(Weakening::BellNeverRead) {
                    self.s.bell = false;
                }
                self.go(Pc::ComeOut);
            }
            Pc::ComeOut => {
                let place = self.me().place.expect("it waited");
                self.s.book().come_out(place);
                self.me().lead = false;
                self.go(Pc::DriveLock);
            }
            Pc::Retire => {
                self.retire();
                self.go(Pc::RetireLook);
                if self.me().armed == NEVER8 {
                    self.me().armed = 0;
                    self.retired();
                }
            }
            Pc::Leave => self.leave(),
            Pc::LeaveLook => {
                let news = self.s.cursor[TAIL] != self.me().armed;
                self.me().armed = 0;
                if news {
                    self.me().pending = Pending::Kick;
                    self.me().then = Pc::Done;
                    self.go(Pc::WakeDo);
                } else {
                    self.wake_then(Pc::Done);
                }
            }
            Pc::ComeBack
            | Pc::Take
            | Pc::TakeSocket
            | Pc::PostOutside
            | Pc::LookOutside
            | Pc::Outside => self.outside(at),
            Pc::Done => unreachable!(),
        }
    }

    /// N8, gate: beside somebody asleep, disarm the record word.
    pub(super) fn activate(&mut self) {
        if self.s.book.anybody_asleep() {
            let active = self.s.book().activate();
            assert!(active);
            self.s.event[TAIL] = NEVER8;
            self.me().active = true;
        }
        self.go(Pc::DriveTry);
    }

    pub(super) fn has_result(&mut self) -> bool {
        match self.rules.op(self.s, self.t) {
            Op::Record | Op::RecordUntil | Op::Poll | Op::LoopRecord => self.me().inbox > 0,
            Op::LoopDrive => false,
            _ => self.me().granted,
        }
    }

    /// W2: take it and go, or give up, or wait.
    pub(super) fn result(&mut self) {
        let there = self.has_result();
        if there {
            match self.rules.op(self.s, self.t) {
                Op::Record | Op::RecordUntil | Op::Poll | Op::LoopRecord => self.me().inbox -= 1,
                _ => self.me().granted = false,
            }
        }
        let give_up = self.me().expired || self.rules.op(self.s, self.t) == Op::Poll;
        if there || give_up {
            let cancels = self.me().queued;
            if self.me().place.is_some() || cancels {
                self.go(Pc::Leave);
            } else if self.me().active {
                self.go(Pc::Retire);
            } else {
                self.end_op();
            }
        } else if self.rules.op(self.s, self.t).is_outside() {
            // Woken by its own waker, it has not come back.
            let outside = self.s.book.outside;
            self.go(if outside { Pc::Outside } else { Pc::PostOutside });
        } else {
            let early = self.rules.is(Weakening::LookBeforeArming);
            self.go(if early { Pc::EarlyLook } else { Pc::Post });
        }
    }

    /// W3, gate.
    pub(super) fn post(&mut self) {
        self.me().armed = NEVER8;
        if self.me().active {
            self.retire();
        }
        let place = match self.me().place {
            Some(place) => place,
            None => {
                let token = self.t as u8;
                let place = self.s.book().join(token);
                self.me().place = Some(place);
                place
            }
        };
        let records = matches!(self.rules.op(self.s, self.t), Op::Record | Op::RecordUntil);
        let next = match self.s.book().post(place) {
            Post::Inside { arm } => {
                let arm = arm && (records || !self.rules.is(Weakening::LeaderArmsOnlyItsOwn));
                if arm {
                    self.s.event[TAIL] = self.s.drained;
                    self.me().armed = self.s.drained;
                }
                self.me().lead = true;
                if arm { Pc::LookTail } else { Pc::LookResult }
            }
            Post::Follower if self.me().armed != NEVER8 => Pc::RetireLook,
            Post::Follower if self.rules.follower_looks => {
                self.me().armed = self.s.drained;
                Pc::LookTail
            }
            Post::Follower => Pc::LookResult,
        };
        if matches!(next, Pc::LookResult) {
            self.me().armed = 0;
        }
        self.go(next);
        if self.rules.is(Weakening::LookBeforeArming) {
            self.me().armed = 0;
            self.go(Pc::LookResult);
        }
    }

    /// N8, gate: the last active one arms for the one inside. `armed` stays [`NEVER8`] if not.
    pub(super) fn retire(&mut self) {
        self.me().active = false;
        self.me().armed = NEVER8;
        let loop_only = self.s.book.inside().is_none();
        if self.s.book().retire() && !(loop_only && self.rules.is(Weakening::RetireForgetsTheLoop))
        {
            self.s.event[TAIL] = self.s.drained;
            self.me().armed = self.s.drained;
            if self.rules.is(Weakening::RetireWithoutLook) {
                self.me().armed = NEVER8;
            }
        }
    }

    /// Goes on after the last active one has looked: it registered, or it leaves.
    pub(super) fn retired(&mut self) {
        if self.me().place.is_some() { self.go(Pc::LookResult) } else { self.end_op() }
    }

    /// W4: the tail, against the position armed.
    pub(super) fn look_tail(&mut self) {
        let drained = self.rules.is(Weakening::LookAtDrained);
        let against = if drained { self.s.drained } else { self.me().armed };
        let news = self.s.cursor[TAIL] != against;
        self.me().armed = 0;
        self.go(if news { Pc::ComeOut } else { Pc::LookResult });
    }

    /// W6 ends.
    pub(super) fn awake(&mut self) {
        if !self.me().lead {
            self.me().token = false;
            return self.go(Pc::ComeOut);
        }
        self.s.kick = false;
        match self.rules.bell {
            Bell::Socket if self.s.bell => return self.go(Pc::ReadSocket),
            Bell::Socket => {}
            Bell::Eventfd => self.s.bell = false,
        }
        self.go(Pc::ComeOut);
    }

    /// X, gate: cancel, settle, leave.
    pub(super) fn leave(&mut self) {
        // Granted after all: the call succeeds.
        self.me().granted = false;
        if !self.me().queued {
            return self.left();
        }
        let (queue, t) = (self.rules.queue_of(self.s, self.t), self.t as u8);
        let waiters = &mut self.s.queues[queue];
        let at = waiters.iter().position(|w| *w == t).expect("queued");
        waiters[at..].rotate_left(1);
        waiters[THREADS - 1] = NOBODY;
        self.me().queued = false;
        if self.rules.is(Weakening::CancelDoesNotSettle) {
            return self.left();
        }
        self.s.gate = t;
        self.settle_for(queue, Reason::Leaving);
    }

    /// X: the rest of the section.
    pub(super) fn left(&mut self) {
        self.s.gate = NOBODY;
        let mut pass = Pass::Nothing;
        if let Some(place) = self.me().place.take() {
            let led = self.s.book.inside() == Some(place);
            pass = self.s.book().leave(place);
            let deaf = self.rules.is(Weakening::LeaverWakesNobody)
                || (self.rules.is(Weakening::OnlyTheLeaderPassesOn) && !led);
            if deaf && matches!(pass, Pass::Token(_))
                || pass == Pass::Arm && self.rules.is(Weakening::LeaverForgetsTheLoop)
            {
                pass = Pass::Nothing;
            }
        }
        self.me().lead = false;
        match pass {
            Pass::Nothing => self.wake_then(Pc::Done),
            Pass::Token(next) => {
                let next = usize::from(*self.s.book.token(next));
                self.me().pending = Pending::token(next);
                self.me().then = Pc::Done;
                self.go(Pc::WakeDo);
            }
            Pass::Arm => {
                self.s.event[TAIL] = self.s.drained;
                if self.rules.is(Weakening::LeaverArmsWithoutLook) {
                    return self.wake_then(Pc::Done);
                }
                self.me().armed = self.s.drained;
                self.go(Pc::LeaveLook);
            }
        }
    }

    pub(super) fn end_op(&mut self) {
        let op = self.me().op + 1;
        let next = self.rules.first(self.rules.threads[self.t].get(usize::from(op)));
        let me = self.me();
        me.op = op;
        me.expired = false;
        me.at = next;
    }
}
