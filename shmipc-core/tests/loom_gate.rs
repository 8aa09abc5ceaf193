//! Event words under weak memory: `notify::event` and `notify::wait` themselves, over loom's atomics.
//!
//! Nobody blocks in these models. A thread that would sleep notes that and ends; at the end, a
//! sleeper whose reason is there must have been rung or kicked. Interleavings of larger cases are
//! visited by `notify/check`, with memory that is sequentially consistent.

mod loom_memory;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use loom::sync::{Mutex, MutexGuard};
use loom::thread;
use loom_memory::words::LoomWord;
use loom_memory::{LoomMemory, Weakened, Without};
use shmipc_core::mem::{Memory, MemoryMut};
use shmipc_core::notify::event::{self, Checks, Cursor, before};
use shmipc_core::notify::progress::Progress;
use shmipc_core::notify::wait::{PlaceId, Post, WaitBook, Wake};

/// What a model leaves out.
#[derive(Clone, Copy)]
struct Weak {
    publisher: Without,
    waiter: Without,
    look_first: bool,
    look_at_drained: bool,
    no_look_at_result: bool,
}

const STRONG: Weak = Weak {
    publisher: Without::Nothing,
    waiter: Without::Nothing,
    look_first: false,
    look_at_drained: false,
    no_look_at_result: false,
};

type Outbox = Weakened<Arc<LoomMemory>>;

/// The peer: publishes into its outbox, and rings after a look at ours.
struct Publisher {
    own: Arc<LoomMemory>,
    peer: Outbox,
    checks: Checks<LoomWord>,
    /// What the kernel orders is none of loom's business; it only has to be known whether there was
    /// a ring.
    rung: AtomicBool,
}

impl Publisher {
    /// P1.
    fn publish(&self, cursor: Cursor, new: u64) {
        self.own.publish64(cursor.cursor_at(), new);
    }

    /// P2 to P4.
    fn check(&self, cursor: Cursor, new: u64) {
        if self.checks.needs_ring(&self.peer, cursor, new) {
            self.rung.store(true, SeqCst);
            self.checks.rung(cursor, new);
        }
    }
}

/// We: arm, and look at the peer's cursor.
struct Waiter {
    own: Outbox,
    peer: Arc<LoomMemory>,
    weak: Weak,
}

impl Waiter {
    /// W3 and W4, as far as they concern the tail: whether there is news.
    fn arm_and_look(&self, at: u64) -> bool {
        if self.weak.look_first {
            let news = self.news(at);
            event::arm(&self.own, Cursor::Tail, at);
            return news;
        }
        event::arm(&self.own, Cursor::Tail, at);
        self.news(at)
    }

    fn news(&self, armed: u64) -> bool {
        event::news(&self.own, &self.peer, Cursor::Tail, armed)
    }
}

fn pair(weak: Weak) -> (Arc<Publisher>, Waiter) {
    let ours = Arc::new(LoomMemory::outbox(0, 0));
    let theirs = Arc::new(LoomMemory::outbox(0, 0));
    event::init(&ours);
    let publisher = Publisher {
        own: Arc::clone(&theirs),
        peer: Weakened(Arc::clone(&ours), weak.publisher),
        checks: Checks::default(),
        rung: AtomicBool::new(false),
    };
    (Arc::new(publisher), Waiter { own: Weakened(ours, weak.waiter), peer: theirs, weak })
}

/// One record, one publisher, one sleeper.
fn sleeper(weak: Weak) {
    loom::model(move || {
        let (publisher, waiter) = pair(weak);
        let peer = Arc::clone(&publisher);
        let peer = thread::spawn(move || {
            peer.publish(Cursor::Tail, 16);
            peer.check(Cursor::Tail, 16);
        });
        let sleeps = !waiter.arm_and_look(0);
        peer.join().unwrap();
        assert!(!sleeps || publisher.rung.load(SeqCst), "asleep beside a record");
    });
}

#[test]
fn a_sleeper_is_rung() {
    sleeper(STRONG);
}

#[test]
#[should_panic(expected = "asleep")]
fn a_publisher_needs_its_fence() {
    sleeper(Weak { publisher: Without::SeqCstFence, ..STRONG });
}

#[test]
#[should_panic(expected = "asleep")]
fn a_sleeper_needs_its_fence() {
    sleeper(Weak { waiter: Without::SeqCstFence, ..STRONG });
}

#[test]
#[should_panic(expected = "asleep")]
fn a_sleeper_arms_before_it_looks() {
    sleeper(Weak { look_first: true, ..STRONG });
}

/// Two publishers, of which the first may stop for ever before its check: the other rings for both.
#[test]
fn a_publisher_rings_for_one_that_stopped() {
    loom::model(|| {
        let (publisher, waiter) = pair(STRONG);
        let tail = Arc::new(Mutex::new(0));
        let spawn = |stops: bool| {
            let (peer, tail) = (Arc::clone(&publisher), Arc::clone(&tail));
            thread::spawn(move || {
                let new = {
                    let mut tail = tail.lock().unwrap();
                    *tail += 16;
                    peer.publish(Cursor::Tail, *tail);
                    *tail
                };
                if !stops {
                    peer.check(Cursor::Tail, new);
                }
                new
            })
        };
        let (stops, goes_on) = (spawn(true), spawn(false));
        let sleeps = !waiter.arm_and_look(0);
        let _ = stops.join();
        let _ = goes_on.join();
        assert!(!sleeps || publisher.rung.load(SeqCst), "asleep beside a record");
    });
}

/// What our threads share besides the words.
struct Shared {
    waiter: Waiter,
    /// Drives exclude each other.
    rx: Mutex<()>,
    progress: Progress<LoomWord>,
    /// The record that ends here belongs to the sleeper.
    wanted: u64,
    inbox: Mutex<usize>,
    gate: Mutex<Gate>,
    kicked: AtomicBool,
}

struct Gate {
    book: WaitBook<()>,
    sleeper: Option<PlaceId>,
}

impl Shared {
    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap()
    }

    /// D1 to D3.
    fn drive(&self) {
        {
            let _rx = self.rx.lock().unwrap();
            let tail = self.waiter.peer.load64(Cursor::Tail.cursor_at());
            self.waiter.peer.fence_acquire();
            if tail == self.progress.drained() {
                return;
            }
            *self.inbox.lock().unwrap() += usize::from(tail >= self.wanted);
            self.progress.drained_to(tail);
            if tail < self.wanted {
                return;
            }
        }
        let mut gate = self.gate();
        let wake = gate.sleeper.map_or(Wake::Nothing, |sleeper| gate.book.wake(sleeper));
        drop(gate);
        match wake {
            Wake::Kick => self.kicked.store(true, SeqCst),
            Wake::Token => unreachable!("nobody else waits"),
            Wake::Nothing => {}
        }
    }

    /// W3 and W4: whether it sleeps.
    fn wait(&self) -> bool {
        let armed = {
            let mut gate = self.gate();
            let me = gate.book.join(());
            gate.sleeper = Some(me);
            assert_eq!(gate.book.post(me), Post::Inside { arm: true });
            let at = self.progress.drained();
            event::arm(&self.waiter.own, Cursor::Tail, at);
            at
        };
        let against =
            if self.waiter.weak.look_at_drained { self.progress.drained() } else { armed };
        let look = !self.waiter.weak.no_look_at_result;
        let news = self.waiter.news(against);
        let there = look && *self.inbox.lock().unwrap() > 0;
        !news && !there
    }
}

/// A publisher of `records`, a sleeper that wants the last of them, and a bystander that drives once
/// and leaves.
fn bystander(records: u64, weak: Weak) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let (publisher, waiter) = pair(weak);
        let shared = Arc::new(Shared {
            waiter,
            rx: Mutex::new(()),
            progress: Progress::default(),
            wanted: 16 * records,
            inbox: Mutex::new(0),
            gate: Mutex::new(Gate { book: WaitBook::new(), sleeper: None }),
            kicked: AtomicBool::new(false),
        });
        let peer = Arc::clone(&publisher);
        let peer = thread::spawn(move || {
            for record in 1..=records {
                peer.publish(Cursor::Tail, 16 * record);
                peer.check(Cursor::Tail, 16 * record);
            }
        });
        let ours = Arc::clone(&shared);
        let bystander = thread::spawn(move || ours.drive());
        let sleeps = shared.wait();
        peer.join().unwrap();
        bystander.join().unwrap();
        let woken = publisher.rung.load(SeqCst) || shared.kicked.load(SeqCst);
        assert!(!sleeps || woken, "asleep beside a record");
    });
}

#[test]
fn a_bystander_drains_beside_a_sleeper() {
    bystander(1, STRONG);
}

#[test]
#[should_panic(expected = "asleep")]
fn a_bystander_does_not_replace_the_publishers_fence() {
    bystander(1, Weak { publisher: Without::SeqCstFence, ..STRONG });
}

#[test]
#[should_panic(expected = "asleep")]
fn a_bystander_does_not_replace_the_sleepers_fence() {
    bystander(1, Weak { waiter: Without::SeqCstFence, ..STRONG });
}

#[test]
fn a_bystander_drains_its_own_record_beside_a_sleeper() {
    bystander(2, STRONG);
}

/// The first record is drained between arming and the look; the word asks for the past.
#[test]
#[should_panic(expected = "asleep")]
fn a_sleeper_compares_with_what_it_armed() {
    bystander(2, Weak { look_at_drained: true, ..STRONG });
}

/// What a bystander put into the inbox before the sleeper registered wakes nobody.
#[test]
#[should_panic(expected = "asleep")]
fn a_sleeper_looks_at_its_result() {
    bystander(1, Weak { no_look_at_result: true, ..STRONG });
}

/// A waiter for space beside a publisher of the head.
fn space(weak: Weak) {
    loom::model(move || {
        let (publisher, waiter) = pair(weak);
        let peer = Arc::clone(&publisher);
        let peer = thread::spawn(move || {
            for head in [16, 32] {
                peer.publish(Cursor::Head, head);
                peer.check(Cursor::Head, head);
            }
        });
        let mut granted = false;
        let settled: Result<(), Infallible> = event::settle(&waiter.own, [Cursor::Head], || {
            granted = waiter.peer.load64(Cursor::Head.cursor_at()) >= 32;
            Ok([(!granted).then_some(before(32))])
        });
        assert_eq!(settled, Ok(()));
        peer.join().unwrap();
        assert!(granted || publisher.rung.load(SeqCst), "asleep beside its space");
    });
}

#[test]
fn a_space_waiter_is_granted_or_rung() {
    space(STRONG);
}

#[test]
#[should_panic(expected = "asleep")]
fn settling_needs_its_fence() {
    space(Weak { waiter: Without::SeqCstFence, ..STRONG });
}

#[test]
#[should_panic(expected = "asleep")]
fn a_publisher_of_the_head_needs_its_fence() {
    space(Weak { publisher: Without::SeqCstFence, ..STRONG });
}
