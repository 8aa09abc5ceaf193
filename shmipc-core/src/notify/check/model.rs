//! The steps of the model, and what must hold when nobody can go on.

use std::rc::Rc;

use super::explore::Model;
use super::state::{
    NEVER8, NOBODY, PRODUCERS, Pc, Pending, Producer, ProducerAt, RECORDS, Reason, State, THREADS,
    Thread,
};
use crate::notify::event::{Cursor, NEVER, Settle, before, passes};
use crate::notify::wait::{Post, WaitBook, Wake};

/// What one of our threads does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Waits for a record of its own; may give up at any time with a deadline.
    Record { deadline: bool },
    /// Drives once and takes a record of its own if there is one.
    Poll,
    /// Waits for space.
    Space { need: u8, deadline: bool },
    /// Waits for returns.
    Returns { need: u8 },
    /// Publishes a control record, which takes one unit of space and never waits.
    Control,
}

/// What a thread of the peer publishes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Publish {
    /// A record for this one of our threads.
    Record(u8),
    Head(u8),
    Returned(u8),
}

impl Publish {
    fn cursor(self) -> usize {
        match self {
            Self::Record(_) => Cursor::Tail as usize,
            Self::Head(_) => Cursor::Head as usize,
            Self::Returned(_) => Cursor::Returned as usize,
        }
    }
}

/// How the peer rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bell {
    Eventfd,
    Socket,
}

/// A rule left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weakening {
    CheckBeforePublish,
    CheckFromOwnOld,
    CheckedBeforeRing,
    LookBeforeArming,
    NoLookAtResult,
    LookAtDrained,
    LeaderArmsOnlyItsOwn,
    NoKick,
    DecideBeforeDelivery,
    BystanderArms,
    BystanderArmsAndNoKick,
    BellTakenWithoutKick,
    BellNeverRead,
    OwnNeedInTheWord,
    FrontNotRearmed,
    CancelDoesNotSettle,
    LeaverWakesNobody,
    OnlyTheLeaderPassesOn,
    RetireWithoutLook,
}

/// One case: who does what, over which bell, under which rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub(super) threads: [&'static [Op]; THREADS],
    pub(super) producers: [&'static [Publish]; PRODUCERS],
    pub(super) bell: Bell,
    /// Inline calls count as active beside somebody inside (N8).
    pub(super) active: bool,
    /// Whoever drives also reads the socket.
    pub(super) reads_bell: bool,
    /// Followers look at the tail too.
    pub(super) follower_looks: bool,
    /// The first thread of the peer may stop for ever inside of a publishing call.
    pub(super) stops: bool,
    pub(super) weak: Option<Weakening>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// The thread is asleep, and what it waits for is there.
    Asleep(usize),
    /// The thread is parked, and nobody is inside or running.
    Abandoned(usize),
    /// The thread is neither asleep nor done, and cannot go on.
    Stuck(usize),
}

const TAIL: usize = Cursor::Tail as usize;
/// The step of a thread whose deadline passes.
const DEADLINE: u8 = 0x80;

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
        }
    }

    fn judge(&self, state: &State, steps: &[(u8, State)]) -> Option<Violation> {
        // A deadline is never needed, and what a thread of the peer does next inside of a call
        // that may never return neither.
        let stopped = |step: u8| {
            let first = &state.producers[0];
            let ring = self.ring_step(first.at);
            self.stops && usize::from(step) == THREADS && ring
        };
        if steps.iter().any(|(step, _)| *step < DEADLINE && !stopped(*step)) {
            return None;
        }
        (0..THREADS).find_map(|t| match state.threads[t].at {
            Pc::Done => None,
            Pc::Wait if self.reason_is_there(state, t) => Some(Violation::Asleep(t)),
            Pc::Wait if state.book.inside().is_none() => Some(Violation::Abandoned(t)),
            Pc::Wait => None,
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
    fn is(&self, weakening: Weakening) -> bool {
        self.weak == Some(weakening)
    }

    fn op(&self, s: &State, t: usize) -> Op {
        self.threads[t][usize::from(s.threads[t].op)]
    }

    fn first(&self, op: Option<&Op>) -> Pc {
        match op {
            None => Pc::Done,
            Some(Op::Record { .. } | Op::Poll) if self.active => Pc::Activate,
            Some(Op::Record { .. } | Op::Poll) => Pc::DriveTry,
            Some(Op::Space { .. } | Op::Returns { .. }) => Pc::Join,
            Some(Op::Control) => Pc::Control,
        }
    }

    fn first_of_peer(&self, publication: Option<&Publish>) -> ProducerAt {
        match publication {
            None => ProducerAt::Done,
            Some(_) if self.is(Weakening::CheckBeforePublish) => ProducerAt::Load,
            Some(_) => ProducerAt::Publish,
        }
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
                    Pc::LookTail | Pc::RetireLook => ours.s.cursor[TAIL] != s.threads[t].armed,
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
            while matches!(s.producers[p].at, ProducerAt::Check | ProducerAt::Rung)
                && !self.publishes_on(s, 1 - p, self.cursor_of(s, p))
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

    /// Whether the thread can take its next step.
    fn enabled(&self, s: &State, t: usize) -> bool {
        let thread = &s.threads[t];
        let gate = s.gate == NOBODY || s.gate == t as u8;
        match thread.at {
            Pc::Done => false,
            Pc::Wait if thread.lead => s.bell || s.kick,
            Pc::Wait => thread.token,
            Pc::DriveLock => s.rx == NOBODY,
            Pc::Activate
            | Pc::Control
            | Pc::Join
            | Pc::Settle
            | Pc::WakeDecide
            | Pc::Post
            | Pc::ComeOut
            | Pc::Retire
            | Pc::Leave => gate,
            _ => true,
        }
    }

    /// Whether the deadline of the thread's operation may pass here.
    fn may_expire(&self, s: &State, t: usize) -> bool {
        let thread = &s.threads[t];
        matches!(thread.at, Pc::Wait | Pc::Post)
            && !thread.expired
            && matches!(
                self.op(s, t),
                Op::Record { deadline: true } | Op::Space { deadline: true, .. }
            )
    }

    /// Whether a thread of the peer at this place has published and not yet completed its check.
    fn ring_step(&self, at: ProducerAt) -> bool {
        let before = self.is(Weakening::CheckBeforePublish);
        matches!(at, ProducerAt::Check | ProducerAt::Ring | ProducerAt::Rung)
            || (at == ProducerAt::Load && !before)
    }

    /// Whether what the sleeping thread waits for is there, as far as the peer has promised.
    fn reason_is_there(&self, s: &State, t: usize) -> bool {
        let thread = &s.threads[t];
        match self.op(s, t) {
            Op::Record { .. } => {
                let unread = usize::from(s.drained)..usize::from(s.promised[TAIL]);
                thread.inbox > 0 || unread.into_iter().any(|i| s.log[i] == t as u8)
            }
            Op::Space { .. } | Op::Returns { .. } => {
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

    /// The queue of the thread's operation: space or returns.
    fn queue_of(&self, s: &State, t: usize) -> usize {
        usize::from(matches!(self.op(s, t), Op::Returns { .. }))
    }

    fn need(&self, s: &State, waiter: u8) -> u8 {
        match self.op(s, usize::from(waiter)) {
            Op::Space { need, .. } | Op::Returns { need } => need,
            _ => unreachable!("not in a queue"),
        }
    }

    /// One step of a thread of the peer: P1 to P4.
    fn publish(&self, s: &mut State, p: usize) {
        let publications = self.producers[p];
        let Producer { at, op, new, event } = s.producers[p];
        let (cursor, amount) = match publications[usize::from(op)] {
            Publish::Record(_) => (TAIL, 1),
            Publish::Head(amount) => (Cursor::Head as usize, amount),
            Publish::Returned(amount) => (Cursor::Returned as usize, amount),
        };
        let next = match at {
            ProducerAt::Publish => {
                if let Publish::Record(owner) = publications[usize::from(op)] {
                    s.log[usize::from(s.cursor[TAIL])] = owner;
                }
                s.cursor[cursor] += amount;
                s.producers[p].new = s.cursor[cursor];
                let early = self.is(Weakening::CheckBeforePublish);
                if early { ProducerAt::Check } else { ProducerAt::Load }
            }
            ProducerAt::Load => {
                s.producers[p].event = s.event[cursor];
                let early = self.is(Weakening::CheckBeforePublish);
                if early { ProducerAt::Publish } else { ProducerAt::Check }
            }
            ProducerAt::Check => {
                let own_old = self.is(Weakening::CheckFromOwnOld);
                let from = if own_old { new - amount } else { s.checked[cursor] };
                let event = if event == NEVER8 { NEVER } else { u64::from(event) };
                let needed = passes(u64::from(from), event, u64::from(new));
                if !needed || self.is(Weakening::CheckedBeforeRing) {
                    s.checked[cursor] = s.checked[cursor].max(new);
                }
                if needed { ProducerAt::Ring } else { ProducerAt::Done }
            }
            ProducerAt::Ring => {
                s.bell = true;
                ProducerAt::Rung
            }
            ProducerAt::Rung => {
                s.checked[cursor] = s.checked[cursor].max(new);
                ProducerAt::Done
            }
            ProducerAt::Done => unreachable!(),
        };
        s.producers[p].at = next;
        if matches!(next, ProducerAt::Ring | ProducerAt::Done) {
            s.producers[p].event = 0;
        }
        if next == ProducerAt::Done {
            s.promised[cursor] = s.promised[cursor].max(new);
            let following = publications.get(usize::from(op) + 1);
            s.producers[p] =
                Producer { at: self.first_of_peer(following), op: op + 1, new: 0, event: 0 };
        }
    }
}

/// One of our threads, about to take a step.
struct Ours<'a> {
    rules: &'a Scenario,
    s: &'a mut State,
    t: usize,
}

impl Ours<'_> {
    fn me(&mut self) -> &mut Thread {
        &mut self.s.threads[self.t]
    }

    fn go(&mut self, at: Pc) {
        self.me().at = at;
    }

    fn step(&mut self) {
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
            Pc::Done => unreachable!(),
        }
    }

    /// N8, gate: beside somebody inside, disarm the record word.
    fn activate(&mut self) {
        if self.s.book.inside().is_some() {
            let active = self.s.book().activate();
            assert!(active);
            self.s.event[TAIL] = NEVER8;
            self.me().active = true;
        }
        self.go(Pc::DriveTry);
    }

    /// W1, gate: queue up, then settle in the same section.
    fn join(&mut self) {
        let (queue, t) = (self.rules.queue_of(self.s, self.t), self.t as u8);
        let waiters = &mut self.s.queues[queue];
        *waiters.iter_mut().find(|w| **w == NOBODY).expect("a place each") = t;
        self.decide_early();
        self.s.gate = t;
        self.me().queued = true;
        self.settle_for(queue, Reason::Joined);
    }

    fn settle_for(&mut self, queue: usize, reason: Reason) {
        self.me().queue = queue as u8;
        self.me().reason = reason;
        self.go(Pc::Settle);
    }

    /// Gate: load the cursor, grant what fits, and what [`Settle`] says.
    fn settle(&mut self) {
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
        if self.rules.is(Weakening::OwnNeedInTheWord) && reason == Reason::Joined && front.is_some()
        {
            let own = self.s.used[queue] + self.rules.need(self.s, self.t as u8);
            wanted = self.me().queued.then(|| before(u64::from(own)));
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

    fn settled(&mut self, reason: Reason) {
        let queue = std::mem::take(&mut self.me().queue);
        self.me().reason = Reason::Joined;
        self.s.gate = NOBODY;
        match reason {
            Reason::Joined => self.wake_then(Pc::DriveTry),
            Reason::Driving => self.drive_on(usize::from(queue) + 1),
            Reason::Leaving => self.left(),
        }
    }

    /// The start of a drive: rx and the first load.
    fn lock_and_load(&mut self) {
        self.s.rx = self.t as u8;
        self.me().seen = self.s.cursor[TAIL];
        self.decide_early();
        self.go(Pc::Drain);
    }

    /// D1: everything seen goes into the inboxes.
    fn drain(&mut self) {
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
            _ if self.rules.reads_bell => self.go(Pc::ReadBell),
            Some(Weakening::BystanderArms | Weakening::BystanderArmsAndNoKick) => {
                self.go(Pc::Rearm);
            }
            _ => self.drive_on(0),
        }
    }

    /// A byte that belongs to the one inside.
    fn read_bell(&mut self) {
        if self.s.bell {
            self.s.bell = false;
            if !self.rules.is(Weakening::BellTakenWithoutKick) {
                self.me().noted |= 1 << THREADS;
            }
        }
        self.drive_on(0);
    }

    /// D2: the queues from `queue` on, if somebody is in them; then release. (The release is no step
    /// of its own: a try-lock that fails before it might as well have failed a step earlier.)
    fn drive_on(&mut self, queue: usize) {
        match (queue..2).find(|q| self.s.queues[*q][0] != NOBODY) {
            Some(queue) => self.settle_for(queue, Reason::Driving),
            None => {
                self.s.rx = NOBODY;
                self.wake_then(Pc::Result);
            }
        }
    }

    fn note(&mut self, who: u8) {
        if usize::from(who) != self.t {
            self.me().noted |= 1 << who;
        }
    }

    fn wake_then(&mut self, then: Pc) {
        if self.me().noted == 0 {
            self.me().early = 0;
            self.after_waking(then);
        } else {
            self.me().then = then;
            self.go(Pc::WakeDecide);
        }
    }

    fn after_waking(&mut self, then: Pc) {
        self.me().then = Pc::Done;
        if then == Pc::Done { self.end_op() } else { self.go(then) }
    }

    /// D3, gate: where is the next noted one now?
    fn wake_decide(&mut self) {
        let who = self.me().noted.trailing_zeros() as usize;
        self.me().noted &= !(1 << who);
        let pending = if who == THREADS {
            let another = self.s.book.another_inside(self.s.threads[self.t].place);
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

    fn wake(&mut self, who: usize) -> Pending {
        let Some(place) = self.s.threads[who].place else { return Pending::Nothing };
        let weak = [Weakening::NoKick, Weakening::BystanderArmsAndNoKick];
        match self.s.book().wake(place) {
            Wake::Kick if self.rules.weak.is_some_and(|w| weak.contains(&w)) => Pending::token(who),
            Wake::Kick => Pending::Kick,
            Wake::Token => Pending::token(who),
            Wake::Nothing => Pending::Nothing,
        }
    }

    fn decide_early(&mut self) {
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

    fn wake_do(&mut self) {
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

    fn has_result(&mut self) -> bool {
        match self.rules.op(self.s, self.t) {
            Op::Record { .. } | Op::Poll => self.me().inbox > 0,
            _ => self.me().granted,
        }
    }

    /// W2: take it and go, or give up, or wait.
    fn result(&mut self) {
        let there = self.has_result();
        if there {
            match self.rules.op(self.s, self.t) {
                Op::Record { .. } | Op::Poll => self.me().inbox -= 1,
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
        } else {
            let early = self.rules.is(Weakening::LookBeforeArming);
            self.go(if early { Pc::EarlyLook } else { Pc::Post });
        }
    }

    /// W3, gate.
    fn post(&mut self) {
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
        let records = matches!(self.rules.op(self.s, self.t), Op::Record { .. });
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
    fn retire(&mut self) {
        self.me().active = false;
        self.me().armed = NEVER8;
        if self.s.book().retire() {
            self.s.event[TAIL] = self.s.drained;
            self.me().armed = self.s.drained;
            if self.rules.is(Weakening::RetireWithoutLook) {
                self.me().armed = NEVER8;
            }
        }
    }

    /// Goes on after the last active one has looked: it registered, or it leaves.
    fn retired(&mut self) {
        if self.me().place.is_some() { self.go(Pc::LookResult) } else { self.end_op() }
    }

    /// W4: the tail, against the position armed.
    fn look_tail(&mut self) {
        let drained = self.rules.is(Weakening::LookAtDrained);
        let against = if drained { self.s.drained } else { self.me().armed };
        let news = self.s.cursor[TAIL] != against;
        self.me().armed = 0;
        self.go(if news { Pc::ComeOut } else { Pc::LookResult });
    }

    /// W6 ends.
    fn awake(&mut self) {
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
    fn leave(&mut self) {
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
    fn left(&mut self) {
        self.s.gate = NOBODY;
        let mut next = None;
        if let Some(place) = self.me().place.take() {
            let led = self.s.book.inside() == Some(place);
            next = self.s.book().leave(place).map(|id| usize::from(*self.s.book.token(id)));
            let deaf = self.rules.is(Weakening::LeaverWakesNobody)
                || (self.rules.is(Weakening::OnlyTheLeaderPassesOn) && !led);
            if deaf {
                next = None;
            }
        }
        self.me().lead = false;
        if let Some(next) = next {
            self.me().pending = Pending::token(next);
            self.me().then = Pc::Done;
            self.go(Pc::WakeDo);
        } else {
            self.wake_then(Pc::Done);
        }
    }

    fn end_op(&mut self) {
        let op = self.me().op + 1;
        let next = self.rules.first(self.rules.threads[self.t].get(usize::from(op)));
        let me = self.me();
        me.op = op;
        me.expired = false;
        me.at = next;
    }
}
