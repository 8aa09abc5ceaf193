//! What the parts of the 64 B path take by themselves, both ends in one thread over real segments:
//! `cargo bench -p benches --bench micro`. No line moves between CPUs here; `ipcbench` is for that.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shmipc_core::layout::{Geometry, returns_at};
use shmipc_core::mem::{Memory, MemoryMut, OwnMapping, PeerMapping, adopt, create, create_arena};
use shmipc_core::notify::event::{self, Checks, Cursor};
use shmipc_core::pool::{Arena, ReturnReader, ReturnWriter, Returned, Shortage};
use shmipc_core::queue::{Flags, Header, Kind, RecordReader, RecordWriter};

const STREAM: u64 = 1;

/// A direction without streams, so that the whole ring is for data.
const OUT: Geometry = Geometry {
    ring_bytes: 128 << 10,
    inline_max: 1024,
    max_lent: 1024,
    arena_max: 64 << 20,
    max_message: 4 << 20,
    stream_window: 0,
    unread_max: 0,
    writer_streams: 0,
    reader_streams: 0,
};

/// An outbox, as its owner maps it and as the peer does.
fn outbox() -> (Arc<OwnMapping>, Arc<PeerMapping>) {
    let bytes = returns_at(OUT.ring_bytes) + 4 * OUT.max_lent as usize;
    let bytes = bytes.next_multiple_of(4096);
    let (own, fd) = create(c"micro", bytes).expect("memory");
    event::init(&own);
    (own, adopt(fd.into(), bytes, &[]).expect("our own segment"))
}

type Writer = RecordWriter<Arc<OwnMapping>, Arc<PeerMapping>>;
type Reader = RecordReader<Arc<OwnMapping>, Arc<PeerMapping>>;

fn queue() -> (Writer, Reader) {
    let ((ours, ours_read), (theirs, theirs_read)) = (outbox(), outbox());
    (RecordWriter::new(ours, theirs_read, &OUT), RecordReader::new(theirs, ours_read, &OUT))
}

fn put(writer: &mut Writer, payload: &[u8]) {
    let value = payload.len() as u32;
    let header = Header { kind: Kind::Inline, flags: Flags::none(), value, stream: STREAM };
    assert!(writer.grant(header.size()).expect("an honest head"), "the reader keeps up");
    writer.put(header, payload);
}

fn take(reader: &mut Reader, out: &mut [u8]) {
    reader.load_tail().expect("an honest tail");
    let record = reader.next_record().expect("an honest record").expect("a record");
    reader.copy_payload(&record, out);
    reader.end_batch();
}

fn record_queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record queue");
    let (mut writer, mut reader) = queue();
    let mut message = [7; 64];
    group.bench_function("64 B in, out", |bencher| {
        bencher.iter(|| {
            put(&mut writer, black_box(&message));
            black_box(writer.publish());
            take(&mut reader, black_box(&mut message));
        });
    });
    group.bench_function("64 B in, out, 32 a publication", |bencher| {
        bencher.iter(|| {
            (0..32).for_each(|_| put(&mut writer, black_box(&message)));
            black_box(writer.publish());
            (0..32).for_each(|_| take(&mut reader, black_box(&mut message)));
        });
    });
    group.finish();
}

/// An arena that has its first segment.
fn arena() -> Arena {
    let mut arena = Arena::new(&OUT);
    let Err(Shortage::Grow(plan)) = arena.hold(4096) else { panic!("a new arena has no segment") };
    arena.begin(plan);
    let (segment, _fd) = create_arena(c"micro-arena", plan.bytes as usize).expect("memory");
    let id = arena.add(plan, segment);
    arena.announced(id);
    arena
}

fn extents(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("arena");
    let mut arena = arena();
    for len in [4 << 10, 64 << 10] {
        group.bench_function(format!("hold, release {len} B"), |bencher| {
            bencher.iter(|| {
                let extent = arena.hold(black_box(len)).expect("a free extent");
                arena.release(black_box(extent));
            });
        });
    }
    let ((theirs, theirs_read), geometry) = (outbox(), OUT);
    let mut writer = ReturnWriter::new(theirs, &geometry, &geometry);
    let mut reader = ReturnReader::new(theirs_read, &geometry, &geometry);
    group.bench_function("hold, lend, return 4096 B", |bencher| {
        bencher.iter(|| {
            let extent = arena.hold(4096).expect("a free extent");
            let (id, _) = arena.lend(extent);
            writer.extent(id);
            reader.load(arena.returnable()).expect("an honest cursor");
            while let Some(entry) = reader.next_entry() {
                arena.returned(entry).expect("what was lent");
            }
        });
    });
    group.finish();
}

fn return_queue(criterion: &mut Criterion) {
    let (theirs, theirs_read) = outbox();
    let mut writer = ReturnWriter::new(theirs, &OUT, &OUT);
    let mut reader = ReturnReader::new(theirs_read, &OUT, &OUT);
    criterion.bench_function("return queue: in, out", |bencher| {
        bencher.iter(|| {
            writer.extent(black_box(7));
            reader.load(1).expect("an honest cursor");
            let Some(Returned::Extent(id)) = reader.next_entry() else { panic!("an extent") };
            black_box(id);
        });
    });
}

fn copy_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("copy-out");
    for len in [64_usize, 4 << 10, 64 << 10, 1 << 20] {
        let bytes = len.next_multiple_of(4096);
        let (own, fd) = create(c"micro", bytes).expect("memory");
        own.write(0, &vec![7; len]);
        let peer = adopt(fd.into(), bytes, &[]).expect("our own segment");
        group.throughput(Throughput::Bytes(len as u64));
        let mut out = vec![0; len];
        group.bench_function(format!("{len} B"), |bencher| {
            bencher.iter(|| peer.read(0, black_box(&mut out)));
        });
        group.bench_function(format!("{len} B, into a vector"), |bencher| {
            bencher.iter_batched(|| (), |()| peer.read_to_vec(0, len), BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn gate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gate");
    let ((ours, _), (theirs, theirs_read)) = (outbox(), outbox());
    let checks = Checks::new();
    let mut position = 0;
    group.bench_function("publisher: nobody sleeps", |bencher| {
        bencher.iter(|| {
            position += 80;
            assert!(!checks.needs_ring(&theirs_read, Cursor::Tail, black_box(position)));
        });
    });
    group.bench_function("publisher: rings for a sleeper", |bencher| {
        bencher.iter(|| {
            event::arm(&theirs, Cursor::Tail, position);
            position += 80;
            assert!(checks.needs_ring(&theirs_read, Cursor::Tail, black_box(position)));
            checks.rung(Cursor::Tail, position);
        });
    });
    group.bench_function("sleeper: arm, look", |bencher| {
        let mut armed = 0;
        bencher.iter(|| {
            armed += 1;
            event::arm(&ours, Cursor::Tail, black_box(armed));
            black_box(event::news(&ours, &theirs_read, Cursor::Tail, armed));
        });
    });
    group.finish();
}

criterion_group!(micro, record_queue, extents, return_queue, copy_out, gate);
criterion_main!(micro);
