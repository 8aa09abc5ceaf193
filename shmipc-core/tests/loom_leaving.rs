//! Going away under weak memory: `notify::leaving` itself, over loom's atomics.
//!
//! The opener publishes the first record of a stream at position 0, makes the fence of its ring check
//! and looks; later it learns the final position, as it would at the latest when the session ends. The
//! leaver takes the tail and fixes its limit, and reads what there is. Whole conversations are visited by
//! `notify/check`, with memory that is sequentially consistent.

mod loom_memory;

use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;
use loom_memory::{LoomMemory, Weakened, Without};
use shmipc_core::layout::TAIL_AT;
use shmipc_core::mem::{Memory, MemoryMut};
use shmipc_core::notify::event::Checks;
use shmipc_core::notify::leaving::{Final, Limit, announce, is_leaving};

/// What a model leaves out.
#[derive(Clone, Copy)]
struct Weak {
    opener: Without,
    leaver: Without,
    /// Under which lock the tail is loaded.
    tail: Tail,
    /// Nothing is said of when the answer comes.
    late: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// In the section that makes it the limit.
    InOneSection,
    /// Before that section.
    Before,
    /// Once for the other side to see, and again as the limit.
    Twice,
}

const STRONG: Weak = Weak {
    opener: Without::Nothing,
    leaver: Without::Nothing,
    tail: Tail::InOneSection,
    late: false,
};

/// Bytes of the record that opens the stream.
const RECORD: u64 = 16;

/// What the lock protects under which the leaver reads.
#[derive(Default)]
struct Rx {
    limit: Limit,
    drained: u64,
}

struct Leaver {
    own: Weakened<Arc<LoomMemory>>,
    peer: Arc<LoomMemory>,
    rx: Mutex<Rx>,
    served: AtomicUsize,
    weak: Weak,
}

impl Leaver {
    fn tail(&self) -> u64 {
        let tail = self.peer.load64(TAIL_AT);
        self.peer.fence_acquire();
        tail
    }

    /// G1 to G3.
    fn leave(&self) {
        if self.weak.tail == Tail::Before {
            announce(&self.own);
            let tail = self.tail();
            return self.rx.lock().unwrap().limit.fix(&self.own, tail);
        }
        let mut rx = self.rx.lock().unwrap();
        announce(&self.own);
        let tail = self.tail();
        if self.weak.tail == Tail::Twice {
            Limit::default().fix(&self.own, tail);
            rx.limit.fix(&LoomMemory::outbox(0, 0), self.tail());
        } else {
            rx.limit.fix(&self.own, tail);
        }
    }

    /// G4, for the one record that there may be.
    fn read(&self) {
        let mut rx = self.rx.lock().unwrap();
        let at = rx.drained;
        rx.drained = self.tail();
        if rx.drained > at && !rx.limit.refuses(at) {
            self.served.store(1, Relaxed);
        }
    }
}

fn model(weak: Weak) {
    loom::model(move || {
        let ours = Arc::new(LoomMemory::outbox(0, 0));
        let theirs = Arc::new(LoomMemory::outbox(0, 0));
        let leaver = Arc::new(Leaver {
            own: Weakened(Arc::clone(&theirs), weak.leaver),
            peer: Arc::clone(&ours),
            rx: Mutex::default(),
            served: AtomicUsize::new(0),
            weak,
        });
        let leaves = Arc::clone(&leaver);
        let leaves = thread::spawn(move || leaves.leave());
        let reads = Arc::clone(&leaver);
        let reads = thread::spawn(move || reads.read());

        let peer = Weakened(Arc::clone(&theirs), weak.opener);
        ours.publish64(TAIL_AT, RECORD);
        Checks::new().fence(&peer);
        let in_doubt = is_leaving(&peer);
        let mut last = Final::default();
        if in_doubt {
            last.look(&peer, || RECORD).expect("an honest peer");
        }

        leaves.join().unwrap();
        reads.join().unwrap();
        leaver.read();
        let served = leaver.served.load(Relaxed) == 1;
        // Until here it was perhaps too early to know.
        let early = last;
        last.look(&peer, || RECORD).expect("an honest peer, whose position never changes");
        assert!(!early.is_known() || early == last);
        assert_ne!(served, last.excludes(0), "served and not sent, or neither");
        assert!(in_doubt || served || weak.late, "told late");
    });
}

#[test]
fn a_stream_is_served_or_was_not_seen() {
    model(STRONG);
}

#[test]
#[should_panic(expected = "served and not sent")]
fn the_limit_is_what_the_other_side_sees() {
    model(Weak { tail: Tail::Twice, ..STRONG });
}

#[test]
#[should_panic(expected = "served and not sent")]
fn the_tail_is_loaded_in_the_section_that_makes_it_the_limit() {
    model(Weak { tail: Tail::Before, ..STRONG });
}

/// Fences buy promptness: without them the answer is right all the same.
#[test]
fn without_fences_the_answer_is_only_later() {
    let (opener, leaver) = (Without::SeqCstFence, Without::SeqCstFence);
    model(Weak { opener, leaver, late: true, ..STRONG });
}

#[test]
#[should_panic(expected = "told late")]
fn the_opener_needs_its_fence() {
    model(Weak { opener: Without::SeqCstFence, ..STRONG });
}

#[test]
#[should_panic(expected = "told late")]
fn the_leaver_needs_its_fence() {
    model(Weak { leaver: Without::SeqCstFence, ..STRONG });
}
