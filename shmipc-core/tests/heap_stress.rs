//! The record queue and the return queue between two threads, over memory of the heap.
//!
//! What loom does with a few records, this does with many, on a real processor and under Miri
//! (`cargo +nightly miri test -p shmipc-core --test heap_stress`): rings that wrap around again and
//! again, messages inside of records and in extents that are used over and over.

use std::sync::Arc;
use std::thread;

use shmipc_core::layout::{Geometry, returns_at};
use shmipc_core::mem::{HeapMemory, Memory, MemoryMut};
use shmipc_core::pool::{ReturnReader, ReturnWriter, Returned};
use shmipc_core::queue::{ExtentRef, Flags, Header, Kind, RecordReader, RecordWriter};

const MESSAGES: u64 = if cfg!(miri) { 100 } else { 200_000 };

/// From the owner of the extents to their reader.
const OUT: Geometry = Geometry {
    ring_bytes: 1024,
    inline_max: 48,
    max_lent: 4,
    arena_max: 0,
    max_message: 64,
    stream_window: 0,
    unread_max: 0,
    writer_streams: 0,
    reader_streams: 0,
};

/// The other direction carries no records.
const BACK: Geometry = Geometry { ring_bytes: 0, ..OUT };

const EXTENT: usize = 64;

type Shared = Arc<HeapMemory>;

/// The bytes of message `number`, and how many it has.
fn payload(number: u64) -> Vec<u8> {
    let len = 8 + number % (EXTENT as u64 - 7);
    (0..len).map(|i| (number.wrapping_mul(31) + i) as u8).collect()
}

struct Owner {
    records: RecordWriter<Shared, Shared>,
    returns: ReturnReader<Shared>,
    arena: Shared,
    free: Vec<u32>,
}

impl Owner {
    fn send(&mut self, number: u64) {
        let bytes = payload(number);
        let (len, flags) = (bytes.len() as u32, Flags::none());
        let large = len > OUT.inline_max;
        let size = if large { 32 } else { 16 + u64::from(len).next_multiple_of(16) };
        while !self.records.grant(size).expect("an honest head") {
            thread::yield_now();
        }
        if large {
            let id = self.hold();
            let offset = id as usize * EXTENT;
            self.arena.write(offset, &bytes);
            let header = Header { kind: Kind::Extent, flags, value: 0, stream: number };
            self.records
                .put_extent(header, ExtentRef { segment: 1, id, offset: offset as u64, len });
        } else {
            let header = Header { kind: Kind::Inline, flags, value: len, stream: number };
            self.records.put(header, &bytes);
        }
        // Two messages in three are published at once with the next.
        if number % 3 == 0 || number == MESSAGES || large {
            self.records.publish();
        }
    }

    /// Waits for an extent.
    fn hold(&mut self) -> u32 {
        loop {
            if let Some(id) = self.free.pop() {
                return id;
            }
            // What the extents that are missing are named by must be published.
            self.records.publish();
            self.returns.load(OUT.max_lent).expect("an honest cursor");
            while let Some(entry) = self.returns.next_entry() {
                let Returned::Extent(id) = entry else { panic!("no segment was announced") };
                let lent = (0..OUT.max_lent).find(|lent| id == *lent).expect("an honest id");
                assert!(!self.free.contains(&lent));
                self.free.push(lent);
            }
            if self.free.is_empty() {
                thread::yield_now();
            }
        }
    }
}

struct Reader {
    records: RecordReader<Shared, Shared>,
    returns: ReturnWriter<Shared>,
    arena: Shared,
}

impl Reader {
    /// Reads what is there. Returns the number of the last message.
    fn drain(&mut self, mut last: u64) -> u64 {
        self.records.load_tail().expect("an honest tail");
        while let Some(record) = self.records.next_record().expect("an honest record") {
            last += 1;
            assert_eq!(record.header.stream, last);
            let bytes = match record.extent {
                None => self.records.payload(&record),
                Some(extent) => {
                    let bytes = self.arena.read_to_vec(extent.offset as usize, extent.len as usize);
                    self.returns.extent(extent.id);
                    bytes
                }
            };
            assert_eq!(bytes, payload(last));
        }
        self.records.end_batch();
        last
    }
}

fn pair() -> (Owner, Reader) {
    let memory = |ring: u32, returns: usize| {
        Arc::new(HeapMemory::new(
            returns_at(ring) + 4 * returns.next_multiple_of(2),
            returns_at(ring),
        ))
    };
    let (out, back) = (memory(OUT.ring_bytes, 0), memory(BACK.ring_bytes, OUT.max_lent as usize));
    let arena_bytes = EXTENT * OUT.max_lent as usize;
    let arena = Arc::new(HeapMemory::new(arena_bytes, arena_bytes));
    let owner = Owner {
        records: RecordWriter::new(Arc::clone(&out), Arc::clone(&back), &OUT),
        returns: ReturnReader::new(Arc::clone(&back), &OUT, &BACK),
        arena: Arc::clone(&arena),
        free: (0..OUT.max_lent).collect(),
    };
    let reader = Reader {
        records: RecordReader::new(Arc::clone(&back), out, &OUT),
        returns: ReturnWriter::new(back, &BACK, &OUT),
        arena,
    };
    (owner, reader)
}

#[test]
fn messages_arrive_whole_and_in_order() {
    let (mut owner, mut reader) = pair();
    let reading = thread::spawn(move || {
        let mut last = 0;
        while last < MESSAGES {
            let before = last;
            last = reader.drain(last);
            if last == before {
                reader.records.publish_head();
                thread::yield_now();
            }
        }
    });
    (1..=MESSAGES).for_each(|number| owner.send(number));
    reading.join().unwrap();
}
