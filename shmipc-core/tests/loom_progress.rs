//! P1 and P2 of `notify::progress` under weak memory: the code itself, over loom's atomics.
//!
//! A reservation waits until the peer's head stands at [`NEED`]. Whoever drives answers it, if it asks the
//! queue at all.

mod loom_memory;

use std::convert::Infallible;
use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;
use loom_memory::LoomMemory;
use loom_memory::words::LoomWord;
use shmipc_core::mem::{Memory, MemoryMut};
use shmipc_core::notify::event::{self, Checks, Cursor, before};
use shmipc_core::notify::progress::Progress;

const NEED: u64 = 32;

/// What a model leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weak {
    Nothing,
    /// Who waits is counted when it has queued up.
    CountedLate,
    /// What was given back is noted after the look at the queue.
    NotedLate,
}

/// What the lock of the sending half protects.
#[derive(Default)]
struct Queue {
    waits: bool,
    granted: bool,
}

struct Ours {
    own: LoomMemory,
    peer: LoomMemory,
    progress: Progress<LoomWord>,
    queue: Mutex<Queue>,
    /// The kernel's: what it orders is ordered.
    bell: Mutex<bool>,
    checks: Checks<LoomWord>,
    weak: Weak,
}

impl Ours {
    fn new(weak: Weak) -> Arc<Self> {
        let own = LoomMemory::outbox(0, 0);
        event::init(&own);
        Arc::new(Self {
            own,
            peer: LoomMemory::outbox(0, 0),
            progress: Progress::default(),
            queue: Mutex::default(),
            bell: Mutex::new(false),
            checks: Checks::default(),
            weak,
        })
    }

    /// The peer.
    fn give_back(&self) {
        for head in [16, NEED] {
            self.peer.publish64(Cursor::Head.cursor_at(), head);
            if self.checks.needs_ring(&self.own, Cursor::Head, head) {
                *self.bell.lock().unwrap() = true;
                self.checks.rung(Cursor::Head, head);
            }
        }
    }

    /// Queues up and looks.
    fn wait(&self) {
        let late = self.weak == Weak::CountedLate;
        if !late {
            self.progress.count_waiting(true);
        }
        self.queue.lock().unwrap().waits = true;
        let Ok(()) = self.look();
        if late {
            self.progress.count_waiting(true);
        }
    }

    fn look(&self) -> Result<(), Infallible> {
        let mut queue = self.queue.lock().unwrap();
        event::settle(&self.own, [Cursor::Head], || {
            if queue.waits && self.peer.load64(Cursor::Head.cursor_at()) >= NEED {
                *queue = Queue { waits: false, granted: true };
            }
            Ok([queue.waits.then_some(before(NEED))])
        })
    }

    fn drive(&self) {
        let Ok(()) = match self.weak {
            Weak::NotedLate => {
                self.look().and_then(|()| self.progress.settle(&self.peer, || Ok(())))
            }
            _ => self.progress.settle(&self.peer, || self.look()),
        };
    }

    fn is_granted(&self) -> bool {
        self.queue.lock().unwrap().granted
    }
}

/// A thread takes the bell, if it finds it rung, and drives for all; then everybody sleeps.
fn taken_bell(weak: Weak) {
    loom::model(move || {
        let ours = Ours::new(weak);
        let peer = Arc::clone(&ours);
        let peer = thread::spawn(move || peer.give_back());
        let driver = Arc::clone(&ours);
        let driver = thread::spawn(move || {
            if std::mem::take(&mut *driver.bell.lock().unwrap()) {
                driver.drive();
            }
        });
        ours.wait();
        peer.join().unwrap();
        driver.join().unwrap();
        let rung = *ours.bell.lock().unwrap();
        assert!(rung || ours.is_granted(), "asleep beside its space");
    });
}

#[test]
fn who_takes_a_bell_finds_who_waits() {
    taken_bell(Weak::Nothing);
}

#[test]
#[should_panic(expected = "asleep beside its space")]
fn who_waits_is_counted_before_it_queues_up() {
    taken_bell(Weak::CountedLate);
}

/// Two threads drive at the same time; one that stays awake looks at the words only.
fn looks(weak: Weak) {
    loom::model(move || {
        let ours = Ours::new(weak);
        ours.wait();
        let spawn = |act: fn(&Ours)| {
            let ours = Arc::clone(&ours);
            thread::spawn(move || act(&ours))
        };
        let (peer, driver) = (spawn(Ours::give_back), spawn(Ours::drive));
        ours.drive();
        peer.join().unwrap();
        driver.join().unwrap();
        let news = ours.progress.has_news(&ours.peer);
        assert!(news || ours.is_granted(), "no news beside its space");
    });
}

#[test]
fn what_comes_after_the_look_is_news() {
    looks(Weak::Nothing);
}

#[test]
#[should_panic(expected = "no news beside its space")]
fn what_was_given_back_is_noted_before_the_look() {
    looks(Weak::NotedLate);
}
