//! N1 of `notify` under weak memory: `notify::event::Checks` itself, over loom's atomics.
//!
//! The peer sleeps and does not look: it has armed the word for the first record. So whenever a publishing
//! call returns somebody must have rung, though not necessarily that call. The ring is relaxed here: what
//! makes it visible is what the code under test does.

mod loom_memory;

use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::AtomicBool;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;
use loom_memory::LoomMemory;
use loom_memory::words::{LOADS, LoomWord, RAISES, RelaxedWord, STORES};
use shmipc_core::mem::MemoryMut;
use shmipc_core::notify::event::{Checks, Cursor, arm, init};
use shmipc_core::notify::word::Word;

struct Publisher<W: Word> {
    own: LoomMemory,
    peer: LoomMemory,
    tail: Mutex<u64>,
    checks: Checks<W>,
    rung: AtomicBool,
    /// Completes a check, then rings.
    late: bool,
}

impl<W: Word> Publisher<W> {
    /// P1 to P4.
    fn publish(&self) {
        let new = {
            let mut tail = self.tail.lock().unwrap();
            *tail += 16;
            self.own.publish64(Cursor::Tail.cursor_at(), *tail);
            *tail
        };
        if self.checks.needs_ring(&self.peer, Cursor::Tail, new) {
            if self.late {
                self.checks.rung(Cursor::Tail, new);
                self.rung.store(true, Relaxed);
            } else {
                self.rung.store(true, Relaxed);
                self.checks.rung(Cursor::Tail, new);
            }
        }
        assert!(self.rung.load(Relaxed), "returned beside a sleeper that nobody has rung");
    }
}

/// So many threads publish a record each.
fn publish<W: Word + Send + Sync + 'static>(threads: usize, late: bool) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let peer = LoomMemory::outbox(0, 0);
        init(&peer);
        arm(&peer, Cursor::Tail, 0);
        let publisher = Arc::new(Publisher::<W> {
            own: LoomMemory::outbox(0, 0),
            peer,
            tail: Mutex::new(0),
            checks: Checks::default(),
            rung: AtomicBool::new(false),
            late,
        });
        let spawn = |_| {
            let publisher = Arc::clone(&publisher);
            thread::spawn(move || publisher.publish())
        };
        let others: Vec<_> = (1..threads).map(spawn).collect();
        publisher.publish();
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
fn who_returns_knows_of_a_ring() {
    publish::<LoomWord>(2, false);
}

#[test]
fn whoever_it_was() {
    publish::<LoomWord>(3, false);
}

#[test]
#[should_panic(expected = "nobody has rung")]
fn a_check_is_completed_after_its_ring() {
    publish::<LoomWord>(2, true);
}

#[test]
#[should_panic(expected = "nobody has rung")]
fn a_completed_check_is_acquired() {
    publish::<RelaxedWord<LOADS>>(2, false);
}

#[test]
#[should_panic(expected = "nobody has rung")]
fn a_ring_is_released() {
    publish::<RelaxedWord<RAISES>>(2, false);
}

/// Who needs no ring passes on what it knows.
#[test]
#[should_panic(expected = "nobody has rung")]
fn a_check_without_a_ring_is_released() {
    publish::<RelaxedWord<STORES>>(3, false);
}
