//! Who can take a step, and what must hold when nobody can.

use std::rc::Rc;

use super::ours::Ours;
use super::rules::{Op, Publish, Scenario, Violation, Weakening};
use super::state::{
    NEVER8, NOBODY, PRODUCERS, Pc, Pending, Producer, ProducerAt, RECORDS, Reason, State, TAIL,
    THREADS, Thread,
};
use crate::notify::wait::WaitBook;
use crate::testing::explore::Model;

/// The step of a thread whose deadline passes.
const DEADLINE: u8 = 0x80;
/// The step of a thread of the peer whose ring is refused.
const REFUSED: u8 = 0x40;
/// The step of the peer's chores.
const CHORES: u8 = (THREADS + PRODUCERS) as u8;

impl Model for Scenario {
    type State = State;
    type Violation = Violation;

    fn initial(&self) -> State {
        let thread = |ops: &[Op]| Thread {
            at: self.first(ops.first()),
            op: 0,
            place: None,
            lead: false,
            active: false,
            expired: false,
            token: false,
            queued: false,
            granted: false,
            inbox: 0,
            seen: 0,
            armed: 0,
            word: 0,
            queue: 0,
            reason: Reason::Joined,
            noted: 0,
            pending: Pending::Nothing,
            then: Pc::Done,
            early: 0,
        };
        let producer = |publications: &[Publish]| Producer {
            at: self.first_of_peer(publications.first()),
            op: 0,
            new: 0,
            event: 0,
            from: 0,
        };
        State {
            threads: self.threads.map(thread),
            producers: self.producers.map(producer),
            book: Rc::new(WaitBook::new()),
            cursor: [0; 3],
            event: [NEVER8; 3],
            checked: [0; 3],
            promised: [0; 3],
            log: [NOBODY; RECORDS],
            drained: 0,
            rx: NOBODY,
            gate: NOBODY,
            bell: false,
            kick: false,
            refusals: self.refusals,
            owed: false,
            queues: [[NOBODY; THREADS]; 2],
            used: [0; 2],
        }
    }

    fn steps(&self, state: &State, found: &mut Vec<(u8, State)>) {
        for t in 0..THREADS {
            if self.enabled(state, t) {
                let mut next = state.clone();
                Ours { rules: self, s: &mut next, t }.step();
                self.settle_down(&mut next);
                found.push((t as u8, next));
            }
            if self.may_expire(state, t) {
                let mut next = state.clone();
                next.threads[t].expired = true;
                next.threads[t].at = Pc::Result;
                self.settle_down(&mut next);
                found.push((DEADLINE | t as u8, next));
            }
        }
        for p in 0..PRODUCERS {
            if state.producers[p].at != ProducerAt::Done {
                let mut next = state.clone();
                self.publish(&mut next, p);
                self.settle_down(&mut next);
                found.push(((THREADS + p) as u8, next));
            }
            if state.producers[p].at == ProducerAt::Ring && state.refusals > 0 {
                let mut next = state.clone();
                self.is_refused(&mut next, p);
                self.settle_down(&mut next);
                found.push((REFUSED | (THREADS + p) as u8, next));
            }
        }
        if state.owed {
            let mut next = state.clone();
            (next.owed, next.bell) = (false, true);
            self.settle_down(&mut next);
            found.push((CHORES, next));
        }
    }

    fn judge(&self, state: &State, steps: &[(u8, State)]) -> Option<Violation> {
        // A deadline is never needed, a refusal is not either, and what a thread of the peer does next inside of a call
        // that may never return neither.
        let in_call = state.producers[0].new > 0;
        let stopped = |step: u8| self.stops && in_call && usize::from(step) == THREADS;
        let must_not = |step: u8| step & (DEADLINE | REFUSED) != 0 || stopped(step);
        if steps.iter().any(|(step, _)| !must_not(*step)) {
            return None;
        }
        (0..THREADS).find_map(|t| match state.threads[t].at {
            Pc::Done => None,
            Pc::Wait if self.reason_is_there(state, t) => Some(Violation::Asleep(t)),
            Pc::Wait if state.book.inside().is_none() => Some(Violation::Abandoned(t)),
            Pc::Wait => None,
            Pc::Outside if self.reason_is_there(state, t) => Some(Violation::Asleep(t)),
            Pc::Outside => None,
            _ => Some(Violation::Stuck(t)),
        })
    }

    fn hash(&self, state: &State) -> u128 {
        state.hash()
    }

    fn describe(&self, state: &State, step: u8) -> String {
        let t = usize::from(step & !DEADLINE);
        if step & DEADLINE != 0 {
            return format!("{} deadline", ["L", "F", "B"][t]);
        }
        if step == CHORES {
            return "chores ring".to_owned();
        }
        if step & REFUSED != 0 {
            return format!("P{} ring refused", t - usize::from(REFUSED) - THREADS + 1);
        }
        if t >= THREADS {
            let p = &state.producers[t - THREADS];
            return format!("P{} {:?}", t - THREADS + 1, p.at);
        }
        let thread = &state.threads[t];
        format!(
            "{} {:?}{}",
            ["L", "F", "B"][t],
            thread.at,
            if thread.lead { " (inside)" } else { "" }
        )
    }
}

impl Scenario {
    /// Whether the thread can take its next step.
    fn enabled(&self, s: &State, t: usize) -> bool {
        let thread = &s.threads[t];
        let gate = s.gate == NOBODY || s.gate == t as u8;
        match thread.at {
            Pc::Done => false,
            Pc::Wait if thread.lead => s.bell || s.kick,
            Pc::Wait => thread.token,
            // While somebody is inside, what the descriptor has is theirs: they take it soon, and until
            // then the loop turns without any effect.
            Pc::Outside => thread.token || ((s.bell || s.kick) && s.book.inside().is_none()),
            Pc::DriveLock => s.rx == NOBODY,
            Pc::Activate
            | Pc::Control
            | Pc::Join
            | Pc::Settle
            | Pc::WakeDecide
            | Pc::Post
            | Pc::ComeOut
            | Pc::Retire
            | Pc::Leave
            | Pc::ComeBack
            | Pc::PostOutside => gate,
            _ => true,
        }
    }

    /// Whether the deadline of the thread's operation may pass here.
    fn may_expire(&self, s: &State, t: usize) -> bool {
        let thread = &s.threads[t];
        matches!(thread.at, Pc::Wait | Pc::Post)
            && !thread.expired
            && matches!(self.op(s, t), Op::RecordUntil | Op::SpaceUntil(_))
    }

    /// Takes at once the steps whose outcome nobody can change any more and that change nothing for
    /// anybody else: in whatever order they come, the same states follow. Then forgets what can
    /// make no difference.
    fn settle_down(&self, s: &mut State) {
        for t in 0..THREADS {
            loop {
                let mut ours = Ours { rules: self, s, t };
                let foregone = match ours.me().at {
                    Pc::Result => ours.has_result(),
                    Pc::LookResult => ours.has_result() || self.is(Weakening::NoLookAtResult),
                    Pc::LookTail if self.is(Weakening::LookAtDrained) => false,
                    Pc::LookTail | Pc::RetireLook | Pc::LeaveLook | Pc::LookOutside => {
                        ours.s.cursor[TAIL] != s.threads[t].armed
                    }
                    _ => false,
                };
                if !foregone {
                    break;
                }
                Ours { rules: self, s, t }.step();
            }
            if s.threads[t].at == Pc::Done {
                s.threads[t].token = false;
            }
        }
        for p in 0..PRODUCERS {
            // `checked` is private to the peer: a step on it matters if another thread has one to come.
            while matches!(
                s.producers[p].at,
                ProducerAt::Checked | ProducerAt::Store | ProducerAt::Rung
            ) && !self.publishes_on(s, 1 - p, self.cursor_of(s, p))
            {
                self.publish(s, p);
            }
        }
        if !(0..PRODUCERS).any(|p| self.publishes_on(s, p, TAIL)) {
            s.event[TAIL] = NEVER8;
        }
        s.promised[TAIL] = s.promised[TAIL].max(s.drained);
        for cursor in 0..3 {
            if !(0..PRODUCERS).any(|p| self.publishes_on(s, p, cursor)) {
                s.checked[cursor] = s.cursor[cursor];
            }
        }
    }

    /// Whether a publication on this cursor by this thread is in progress or to come.
    fn publishes_on(&self, s: &State, p: usize, cursor: usize) -> bool {
        let rest = &self.producers[p][usize::from(s.producers[p].op)..];
        rest.iter().any(|publication| publication.cursor() == cursor)
    }

    fn cursor_of(&self, s: &State, p: usize) -> usize {
        self.producers[p][usize::from(s.producers[p].op)].cursor()
    }

    /// Whether what the sleeping thread waits for is there, as far as the peer has promised.
    fn reason_is_there(&self, s: &State, t: usize) -> bool {
        let thread = &s.threads[t];
        match self.op(s, t) {
            Op::LoopDrive => s.drained < s.promised[TAIL],
            Op::Record | Op::RecordUntil | Op::LoopRecord => {
                let unread = usize::from(s.drained)..usize::from(s.promised[TAIL]);
                thread.inbox > 0 || unread.into_iter().any(|i| s.log[i] == t as u8)
            }
            Op::Space(_) | Op::SpaceUntil(_) | Op::Returns(_) | Op::LoopSpace(_) => {
                thread.granted || self.would_grant(s, self.queue_of(s, t), t)
            }
            Op::Poll | Op::Control => unreachable!("never sleeps"),
        }
    }

    /// Whether a scan of the queue up to what the peer has promised would reach the thread.
    fn would_grant(&self, s: &State, queue: usize, t: usize) -> bool {
        let mut used = s.used[queue];
        for waiter in s.queues[queue].into_iter().filter(|w| *w != NOBODY) {
            used += self.need(s, waiter);
            if used > s.promised[queue + 1] {
                return false;
            }
            if waiter == t as u8 {
                return true;
            }
        }
        false
    }
}
