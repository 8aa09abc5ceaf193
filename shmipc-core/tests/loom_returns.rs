//! Extents and their return under weak memory: `ReturnWriter` and `ReturnReader` themselves beside
//! the record queue, over loom's atomics.
//!
//! One extent and one place in the return queue, both used again and again: the owner fills the
//! extent and lends it by a record; the reader reads it and hands it back; the owner takes that in
//! and fills it anew. Bytes of the extent, entries and records are tracked.

mod loom_memory;

use std::sync::Arc;

use loom::thread;
use loom_memory::{LoomMemory, Weakened, Without};
use shmipc_core::layout::Geometry;
use shmipc_core::mem::{Memory, MemoryMut};
use shmipc_core::pool::{ReturnReader, ReturnWriter, Returned};
use shmipc_core::queue::{ExtentRef, Flags, Header, Kind, RecordReader, RecordWriter};

/// From the owner to the reader.
const OUT: Geometry = Geometry {
    ring_bytes: 512,
    inline_max: 0,
    max_lent: 1,
    arena_max: 64,
    max_message: 64,
    stream_window: 0,
    unread_max: 0,
    writer_streams: 0,
    reader_streams: 0,
};

/// The other direction carries no records.
const BACK: Geometry = Geometry { ring_bytes: 0, ..OUT };

/// The id of the extent.
const ID: u32 = 7;

type Outbox = Weakened<Arc<LoomMemory>>;

/// What a model leaves out.
#[derive(Clone, Copy)]
struct Weak {
    owner: Without,
    reader: Without,
    /// The reader hands the extent back before it reads it.
    return_first: bool,
    /// The owner fills the extent again without waiting for its return.
    reuse_at_once: bool,
}

const STRONG: Weak = Weak {
    owner: Without::Nothing,
    reader: Without::Nothing,
    return_first: false,
    reuse_at_once: false,
};

/// Lends an extent, takes it back, and fills it again.
struct Owner {
    records: RecordWriter<Outbox, Outbox>,
    returns: ReturnReader<Outbox>,
    arena: Arc<LoomMemory>,
    weak: Weak,
}

impl Owner {
    fn lend(&mut self, round: u64) {
        self.arena.write(0, &round.to_le_bytes());
        while !self.records.grant(32).unwrap() {
            thread::yield_now();
        }
        let header = Header { kind: Kind::Extent, flags: Flags::none(), value: 0, stream: round };
        self.records.put_extent(header, ExtentRef { segment: 1, id: ID, offset: 0, len: 8 });
        self.records.publish();
    }

    fn take_back(&mut self) {
        if self.weak.reuse_at_once {
            return;
        }
        while !self.returns.has_news() {
            thread::yield_now();
        }
        self.returns.load(1).unwrap();
        let Some(Returned::Extent(id)) = self.returns.next_entry() else {
            panic!("no extent came back")
        };
        assert!(id == ID);
        assert!(self.returns.next_entry().is_none());
    }
}

/// Reads what was lent, and hands it back.
struct Reader {
    records: RecordReader<Outbox, Outbox>,
    returns: ReturnWriter<Outbox>,
    arena: Arc<LoomMemory>,
    weak: Weak,
}

impl Reader {
    fn read(&mut self, round: u64) {
        let record = loop {
            match self.records.next_record().unwrap() {
                Some(record) => break record,
                None if self.records.load_tail().unwrap() > self.records.drained() => {}
                None => thread::yield_now(),
            }
        };
        let extent = record.extent.unwrap();
        if self.weak.return_first {
            self.returns.extent(extent.id);
        }
        let mut bytes = [0; 8];
        self.arena.read(extent.offset as usize, &mut bytes);
        assert_eq!((record.header.stream, u64::from_le_bytes(bytes)), (round, round));
        if !self.weak.return_first {
            self.returns.extent(extent.id);
        }
    }
}

fn pair(weak: Weak) -> (Owner, Reader) {
    let out = Arc::new(LoomMemory::outbox(OUT.ring_bytes, 0));
    let back = Arc::new(LoomMemory::outbox(BACK.ring_bytes, OUT.max_lent as usize));
    let arena = Arc::new(LoomMemory::arena(OUT.arena_max as usize));
    let see = |memory: &Arc<LoomMemory>, weak| Weakened(Arc::clone(memory), weak);
    let owner = Owner {
        records: RecordWriter::new(see(&out, weak.owner), see(&back, weak.owner), &OUT),
        returns: ReturnReader::new(see(&back, weak.owner), &OUT, &BACK),
        arena: Arc::clone(&arena),
        weak,
    };
    let reader = Reader {
        records: RecordReader::new(see(&back, weak.reader), see(&out, weak.reader), &OUT),
        returns: ReturnWriter::new(see(&back, weak.reader), &BACK, &OUT),
        arena,
        weak,
    };
    (owner, reader)
}

fn lend_again(weak: Weak) {
    const ROUNDS: u64 = 2;
    loom::model(move || {
        let (mut owner, mut reader) = pair(weak);
        let reading = thread::spawn(move || (1..=ROUNDS).for_each(|round| reader.read(round)));
        for round in 1..=ROUNDS {
            owner.lend(round);
            owner.take_back();
        }
        reading.join().unwrap();
    });
}

#[test]
fn an_extent_is_lent_again_and_again() {
    lend_again(STRONG);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_record_is_released() {
    lend_again(Weak { owner: Without::Release, ..STRONG });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_record_is_acquired() {
    lend_again(Weak { reader: Without::AcquireFence, ..STRONG });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_return_is_released() {
    lend_again(Weak { reader: Without::Release, ..STRONG });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_return_is_acquired() {
    lend_again(Weak { owner: Without::AcquireFence, ..STRONG });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn an_extent_is_read_before_it_is_returned() {
    lend_again(Weak { return_first: true, ..STRONG });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn an_extent_is_returned_before_it_is_filled_again() {
    lend_again(Weak { reuse_at_once: true, ..STRONG });
}
