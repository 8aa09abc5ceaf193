//! Threads that share one kernel wait and do block: `notify::wait`, `notify::event` and `notify::progress`
//! themselves, over loom's atomics and locks. Whoever sleeps for ever is a deadlock, which loom reports.
//!
//! The kernel wait, and the token on which a follower parks, latch what comes early, as the real ones do.
//! The calls are those of `handle::Waiting`, in its order.

mod loom_memory;

use std::sync::Arc;

use loom::sync::atomic::AtomicBool;
use loom::sync::atomic::Ordering::{Acquire, Release};
use loom::sync::{Mutex, MutexGuard};
use loom::thread;
use loom_memory::LoomMemory;
use loom_memory::latch::Latch;
use loom_memory::words::LoomWord;
use shmipc_core::mem::{Memory, MemoryMut};
use shmipc_core::notify::event::{self, Checks, Cursor};
use shmipc_core::notify::progress::Progress;
use shmipc_core::notify::wait::{Pass, PlaceId, Post, WaitBook, Wake};

/// Waiting threads: the record with a thread's number, or what is given to it, is its result.
const THREADS: usize = 2;

/// A rule left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weak {
    Nothing,
    /// One inside is not kicked.
    NoKick,
    /// The token of one that is parked is not set.
    NoToken,
    /// Who leaves wakes nobody.
    NoPass,
    /// Looks at the tail, then arms.
    LookBeforeArming,
    /// Does not look at its own result after it has posted itself.
    NoLookAtResult,
    /// A waker looks where the thread is before it has told it.
    ToldLate,
}

#[derive(Default)]
struct Gate {
    book: WaitBook<usize>,
    places: [Option<PlaceId>; THREADS],
}

struct Session {
    own: LoomMemory,
    peer: LoomMemory,
    checks: Checks<LoomWord>,
    progress: Progress<LoomWord>,
    /// What was delivered to each thread; also excludes drives.
    inboxes: Mutex<[bool; THREADS]>,
    told: [AtomicBool; THREADS],
    gate: Mutex<Gate>,
    /// Bell and kick.
    kernel: Latch,
    tokens: [Latch; THREADS],
    weak: Weak,
}

impl Session {
    fn new(weak: Weak) -> Self {
        let own = LoomMemory::outbox(0, 0);
        event::init(&own);
        Self {
            own,
            peer: LoomMemory::outbox(0, 0),
            checks: Checks::default(),
            progress: Progress::default(),
            inboxes: Mutex::default(),
            told: [(); THREADS].map(|()| AtomicBool::new(false)),
            gate: Mutex::default(),
            kernel: Latch::default(),
            tokens: Default::default(),
            weak,
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap()
    }

    /// The peer publishes the record for each thread.
    fn publish_all(&self) {
        for thread in 0..THREADS {
            let tail = 16 * (thread as u64 + 1);
            self.peer.publish64(Cursor::Tail.cursor_at(), tail);
            if self.checks.needs_ring(&self.own, Cursor::Tail, tail) {
                self.kernel.set();
                self.checks.rung(Cursor::Tail, tail);
            }
        }
    }

    /// Something of this process comes for a thread: no record, hence no ring.
    fn give(&self, to: usize) {
        self.inboxes.lock().unwrap()[to] = true;
        self.wake(to);
    }

    /// D1 to D3; whether the result of `me` is there.
    fn drive(&self, me: usize) -> bool {
        let mut wake = [false; THREADS];
        let result = {
            let mut inboxes = self.inboxes.lock().unwrap();
            let tail = self.peer.load64(Cursor::Tail.cursor_at());
            self.peer.fence_acquire();
            for position in (self.progress.drained()..tail).step_by(16) {
                let owner = (position / 16) as usize;
                inboxes[owner] = true;
                wake[owner] = owner != me;
            }
            self.progress.drained_to(tail);
            inboxes[me]
        };
        (0..THREADS).filter(|owner| wake[*owner]).for_each(|owner| self.wake(owner));
        result
    }

    fn wake(&self, who: usize) {
        let late = self.weak == Weak::ToldLate;
        if !late {
            self.told[who].store(true, Release);
        }
        let wake = {
            let mut gate = self.gate();
            gate.places[who].map_or(Wake::Nothing, |place| gate.book.wake(place))
        };
        if late {
            self.told[who].store(true, Release);
        }
        match wake {
            Wake::Kick if self.weak == Weak::NoKick => {}
            Wake::Kick => self.kernel.set(),
            Wake::Token if self.weak == Weak::NoToken => {}
            Wake::Token => self.tokens[who].set(),
            Wake::Nothing => {}
        }
    }

    /// A call of the thread `me`, until its result is there.
    fn call(&self, me: usize) {
        if self.drive(me) {
            return;
        }
        let place = {
            let mut gate = self.gate();
            let place = gate.book.join(me);
            gate.places[me] = Some(place);
            place
        };
        loop {
            self.told[me].store(false, Release);
            if self.drive(me) {
                break;
            }
            self.sleep(me, place);
        }
        self.leave(me, place);
    }

    /// W3 to W8.
    fn sleep(&self, me: usize, place: PlaceId) {
        let early =
            (self.weak == Weak::LookBeforeArming).then(|| self.news(self.progress.drained()));
        let (posted, armed) = {
            let mut gate = self.gate();
            let posted = gate.book.post(place);
            (posted, (posted == Post::Inside { arm: true }).then(|| self.arm()))
        };
        let news = early.unwrap_or_else(|| armed.is_some_and(|at| self.news(at)));
        let told = self.weak != Weak::NoLookAtResult && self.told[me].load(Acquire);
        if !news && !told {
            match posted {
                Post::Inside { .. } => self.kernel.take(),
                Post::Follower => self.tokens[me].take(),
            }
        }
        self.gate().book.come_out(place);
        self.drive(me);
    }

    fn arm(&self) -> u64 {
        let at = self.progress.drained();
        event::arm(&self.own, Cursor::Tail, at);
        at
    }

    fn news(&self, armed: u64) -> bool {
        event::news(&self.own, &self.peer, Cursor::Tail, armed)
    }

    /// X.
    fn leave(&self, me: usize, place: PlaceId) {
        let next = {
            let mut gate = self.gate();
            gate.places[me] = None;
            match gate.book.leave(place) {
                Pass::Token(follower) => Some(*gate.book.token(follower)),
                Pass::Nothing => None,
                Pass::Arm => unreachable!("there is no event loop"),
            }
        };
        if let Some(next) = next.filter(|_| self.weak != Weak::NoPass) {
            self.tokens[next].set();
        }
    }
}

/// All threads wait, and all records come.
fn records(weak: Weak) {
    check(weak, |session| all_wait(session, Session::publish_all));
}

/// One thread waits, and what it waits for comes from another one of this process.
fn gift(weak: Weak) {
    check(weak, |session| {
        let giver = Arc::clone(session);
        let giver = thread::spawn(move || giver.give(0));
        session.call(0);
        giver.join().unwrap();
    });
}

/// All threads wait, one of them parked, and for each something comes from another one.
fn gifts(weak: Weak) {
    check(weak, |session| {
        all_wait(session, |session| (0..THREADS).for_each(|to| session.give(to)))
    });
}

fn all_wait(session: &Arc<Session>, happen: fn(&Session)) {
    let spawn = |me| {
        let session = Arc::clone(session);
        thread::spawn(move || session.call(me))
    };
    let waits: Vec<_> = (0..THREADS).map(spawn).collect();
    happen(session);
    for wait in waits {
        wait.join().unwrap();
    }
}

fn check(weak: Weak, scenario: fn(&Arc<Session>)) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || scenario(&Arc::new(Session::new(weak))));
}

#[test]
fn records_come_for_a_leader_and_a_follower() {
    records(Weak::Nothing);
}

#[test]
fn a_gift_comes_for_one_inside() {
    gift(Weak::Nothing);
}

#[test]
fn gifts_come_for_one_inside_and_one_parked() {
    gifts(Weak::Nothing);
}

#[test]
#[should_panic(expected = "deadlock")]
fn who_leaves_wakes_a_follower() {
    records(Weak::NoPass);
}

#[test]
#[should_panic(expected = "deadlock")]
fn who_arms_looks_after_it() {
    records(Weak::LookBeforeArming);
}

#[test]
#[should_panic(expected = "deadlock")]
fn one_inside_is_kicked() {
    gift(Weak::NoKick);
}

#[test]
#[should_panic(expected = "deadlock")]
fn one_parked_gets_its_token() {
    gifts(Weak::NoToken);
}

#[test]
#[should_panic(expected = "deadlock")]
fn who_has_posted_itself_looks_at_its_result() {
    gift(Weak::NoLookAtResult);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_waker_delivers_before_it_looks_where_the_thread_is() {
    gift(Weak::ToldLate);
}
