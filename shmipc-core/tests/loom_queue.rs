//! The record queue under weak memory: `RecordWriter` and `RecordReader` themselves, over loom's
//! atomics, with payload inside of the records.
//!
//! What a ring holds is tracked: a record that is read before it is there, or whose bytes are used
//! again while the reader is still at them, fails the model. Each ordering has a twin without it.

mod loom_memory;

use std::sync::Arc;

use loom::thread;
use loom_memory::{LoomMemory, Weakened, Without};
use shmipc_core::layout::Geometry;
use shmipc_core::queue::{Flags, Header, Kind, Record, RecordReader, RecordWriter};

/// The smallest ring with room for a record beside the control reserve: data may use 128 bytes of it,
/// and the reader publishes its head every 64.
const GEOMETRY: Geometry = Geometry {
    ring_bytes: 512,
    inline_max: 64,
    max_lent: 1,
    arena_max: 0,
    max_message: 64,
    stream_window: 0,
    unread_max: 0,
    writer_streams: 0,
    reader_streams: 0,
};

type Outbox = Weakened<Arc<LoomMemory>>;
type Writer = RecordWriter<Outbox, Outbox>;
type Reader = RecordReader<Outbox, Outbox>;

/// What a model leaves out.
#[derive(Clone, Copy)]
struct Weak {
    writer: Without,
    reader: Without,
    /// The reader publishes its head before it reads the payload.
    head_first: bool,
}

const STRONG: Weak = Weak { writer: Without::Nothing, reader: Without::Nothing, head_first: false };

fn pair(weak: Weak) -> (Writer, Reader) {
    let ring = Arc::new(LoomMemory::outbox(GEOMETRY.ring_bytes, 0));
    let back = Arc::new(LoomMemory::outbox(0, 0));
    let see = |memory: &Arc<LoomMemory>, weak| Weakened(Arc::clone(memory), weak);
    let writer = RecordWriter::new(see(&ring, weak.writer), see(&back, weak.writer), &GEOMETRY);
    let reader = RecordReader::new(see(&back, weak.reader), see(&ring, weak.reader), &GEOMETRY);
    (writer, reader)
}

/// Waits for room, puts a message of `len` bytes, and publishes it.
fn send(writer: &mut Writer, number: u64, len: usize) {
    let size = 16 + (len as u64).next_multiple_of(16);
    while !writer.grant(size).unwrap() {
        thread::yield_now();
    }
    let flags = Flags::none();
    let header = Header { kind: Kind::Inline, flags, value: len as u32, stream: number };
    writer.put(header, &vec![number as u8; len]);
    writer.publish();
}

/// Waits for the next record.
fn next(reader: &mut Reader) -> Record {
    loop {
        if let Some(record) = reader.next_record().unwrap() {
            return record;
        }
        if reader.load_tail().unwrap() == reader.drained() {
            thread::yield_now();
        }
    }
}

/// Waits for a message and checks its bytes.
fn receive(reader: &mut Reader, number: u64, weak: Weak) {
    let record = next(reader);
    assert_eq!((record.header.kind, record.header.stream), (Kind::Inline, number));
    if weak.head_first {
        reader.done();
        reader.publish_head();
    }
    let payload = reader.payload(&record);
    assert!(payload.iter().all(|byte| *byte == number as u8), "{payload:?}");
}

/// A few messages of different lengths, the second and third published at once.
fn a_few(weak: Weak) {
    loom::model(move || {
        let (mut writer, mut reader) = pair(weak);
        let reading = thread::spawn(move || {
            (1..=3).for_each(|number| receive(&mut reader, number, weak));
            assert!(reader.next_record().unwrap().is_none());
        });
        send(&mut writer, 1, 9);
        assert!(writer.grant(16 + 32).unwrap());
        let flags = Flags::none();
        let second = Header { kind: Kind::Inline, flags, value: 0, stream: 2 };
        writer.put(second, &[]);
        let third = Header { stream: 3, value: 16, ..second };
        writer.put(third, &[3; 16]);
        writer.publish();
        reading.join().unwrap();
    });
}

#[test]
fn records_are_there_when_they_are_published() {
    a_few(STRONG);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn the_tail_is_released() {
    a_few(Weak { writer: Without::Release, ..STRONG });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn the_tail_is_acquired() {
    a_few(Weak { reader: Without::AcquireFence, ..STRONG });
}

/// Two messages across the end of the ring, of which the second has to wait for the head and goes
/// behind padding.
#[test]
fn a_ring_wraps_around() {
    loom::model(|| {
        let (mut writer, mut reader) = pair(STRONG);
        for number in 1..=5 {
            send(&mut writer, number, 64);
            receive(&mut reader, number, STRONG);
            assert!(reader.next_record().unwrap().is_none(), "a look publishes the head");
        }
        let reading = thread::spawn(move || {
            (6..=7).for_each(|number| receive(&mut reader, number, STRONG));
            reader
        });
        send(&mut writer, 6, 64);
        send(&mut writer, 7, 64);
        let mut reader = reading.join().unwrap();
        assert!(reader.next_record().unwrap().is_none());
        assert_eq!(writer.written(), 512 + 80);
        assert_eq!(writer.load_head(), Ok(512 + 80));
    });
}

/// A ring full of a message and control records. The writer puts more of these as soon as it sees
/// room, which is where the message was.
fn full(weak: Weak) {
    loom::model(move || {
        let (mut writer, mut reader) = pair(weak);
        let control = Header::control(Kind::SessionWindow, 0, 0);
        send(&mut writer, 1, 64);
        (80..512).step_by(16).for_each(|_| writer.put(control, &[]));
        writer.publish();
        let reading = thread::spawn(move || {
            receive(&mut reader, 1, weak);
            assert_eq!(next(&mut reader).header, control);
            assert_eq!(reader.head(), 80, "the lag reached an eighth of the ring");
        });
        while writer.load_head().unwrap() < 80 {
            thread::yield_now();
        }
        (0..80).step_by(16).for_each(|_| writer.put(control, &[]));
        writer.publish();
        reading.join().unwrap();
    });
}

#[test]
fn bytes_are_used_again_after_they_are_read() {
    full(STRONG);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn the_head_is_released() {
    full(Weak { reader: Without::Release, ..STRONG });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn the_head_is_acquired() {
    full(Weak { writer: Without::AcquireFence, ..STRONG });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn the_head_comes_after_the_payload() {
    full(Weak { head_first: true, ..STRONG });
}
