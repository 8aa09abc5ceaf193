//! The steady path of the tokio flavour allocates nothing and has one task a session. The allocator is
//! that of the whole program, so this file is a test program of its own with one test.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use shmipc_async::{Config, Session, Stream, WaitMode};
use tests::child::Peer;
use tests::deadline::within;
use tests::tokio::{CurrentThread, Kind, MultiThread};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Counts what is allocated anew.
struct Counting;

// SAFETY: everything is the system allocator's business.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Bytes of messages that travel inside of their records, and of one that does not.
const SMALL: usize = 64;
const MIDDLE: usize = 250;
const LARGE: usize = 16 << 10;

/// How a message goes there and its copy comes back.
#[derive(Clone, Copy, Debug)]
enum Way {
    Send(usize),
    Reserve(usize),
    Batch,
    Bytes,
}

impl Way {
    const ALL: [Self; 6] = [
        Self::Send(SMALL),
        Self::Send(LARGE),
        Self::Reserve(SMALL),
        Self::Reserve(LARGE),
        Self::Batch,
        Self::Bytes,
    ];

    async fn round_trip(self, stream: &mut Stream, byte: u8) {
        let (message, mut out) = ([byte; LARGE], [0; LARGE]);
        let len = match self {
            Self::Send(len) => {
                stream.send(&message[..len]).await.unwrap();
                len
            }
            Self::Reserve(len) => {
                let mut reservation = stream.reserve(len).await.unwrap();
                reservation.copy_from_slice(&message[..len]);
                reservation.commit().unwrap();
                len
            }
            Self::Batch => {
                let mut batch = stream.batch();
                batch.push(&message[..SMALL]).unwrap();
                batch.commit().await.unwrap();
                SMALL
            }
            Self::Bytes => {
                stream.write_all(&message[..SMALL]).await.unwrap();
                stream.flush().await.unwrap();
                stream.read_exact(&mut out[..SMALL]).await.unwrap();
                assert_eq!(out[..SMALL], message[..SMALL]);
                return;
            }
        };
        assert_eq!(stream.recv_into(&mut out).await, Ok(Some(len)));
        assert!(out[..len] == message[..len]);
    }
}

/// Round trips with a peer process: allocations of `rounds` of them, each way.
fn ping_pong<K: Kind>(wait: WaitMode, rounds: u32) -> Vec<u64> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut peer = Peer::start(PEER, &["echo", path.to_str().unwrap()]);
    peer.line("listening");
    let runtime = K::start().unwrap();
    runtime
        .block_on(runtime.spawn(async move {
            let config = Config::builder().wait(wait).build().unwrap();
            let metrics = tokio::runtime::Handle::current().metrics();
            // This one.
            assert_eq!(metrics.num_alive_tasks(), 1);
            let session = Session::connect_with(&path, &config).await.unwrap();
            let mut streams: Vec<_> = (0..100).map(|_| session.open().unwrap()).collect();
            let mut out = [0; 64];
            for stream in &mut streams {
                stream.send(&[1; 64]).await.unwrap();
            }
            // The peer answers one stream at a time.
            let mut stream = streams.remove(0);
            assert_eq!(stream.recv_into(&mut out).await, Ok(Some(64)));
            assert_eq!(metrics.num_alive_tasks(), 2, "the driver, and no task for a stream");
            let mut counted = Vec::new();
            for way in Way::ALL {
                // What grows to the size that it needs does so in the first rounds.
                let mut allocations = 0;
                for round in 0..2 * rounds {
                    if round == rounds {
                        allocations = ALLOCATIONS.load(Ordering::Relaxed);
                    }
                    way.round_trip(&mut stream, round as u8).await;
                }
                counted.push(ALLOCATIONS.load(Ordering::Relaxed) - allocations);
            }
            counted
        }))
        .unwrap()
}

/// Allocations of so many round trips by each of 200 tasks, each with a stream, side by side.
async fn crowd(streams: &mut Vec<Stream>, way: Way, rounds: u32) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let mut tasks = Vec::new();
    for mut stream in streams.drain(..) {
        tasks.push(tokio::spawn(async move {
            for round in 0..rounds {
                way.round_trip(&mut stream, round as u8).await;
            }
            stream
        }));
    }
    for task in tasks {
        streams.push(task.await.unwrap());
    }
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// What the round trips of a crowd allocate beside its tasks, for each way.
fn side_by_side<K: Kind>(wait: WaitMode, rounds: u32) -> Vec<u64> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut peer = Peer::start(PEER, &["echo-tasks", path.to_str().unwrap()]);
    peer.line("listening");
    let runtime = K::start().unwrap();
    let counting = async move {
        let config = Config::builder().wait(wait).build().unwrap();
        let session = Session::connect_with(&path, &config).await.unwrap();
        let mut streams: Vec<_> = (0..200).map(|_| session.open().unwrap()).collect();
        let mut counted = Vec::new();
        for way in [Way::Send(SMALL), Way::Send(MIDDLE), Way::Reserve(SMALL), Way::Bytes] {
            // What grows to the size that it needs does so in the first rounds.
            crowd(&mut streams, way, rounds).await;
            let [few, many] =
                [crowd(&mut streams, way, 1).await, crowd(&mut streams, way, rounds).await];
            counted.push(many.saturating_sub(few));
        }
        counted
    };
    runtime.block_on(runtime.spawn(counting)).unwrap()
}

#[test]
fn none_per_message_and_no_task_per_stream() {
    within("ping-pong", || {
        let mut counted = Vec::new();
        for wait in [WaitMode::Adaptive, WaitMode::Block] {
            counted.push(ping_pong::<CurrentThread>(wait, 2000));
            counted.push(ping_pong::<MultiThread>(wait, 2000));
        }
        println!("allocations of 2,000 round trips, {:?}: {counted:?}", Way::ALL);
        assert!(counted.iter().flatten().all(|&count| count < 10), "{counted:?}");
        let mut counted = Vec::new();
        for wait in [WaitMode::Adaptive, WaitMode::Block] {
            counted.push(side_by_side::<CurrentThread>(wait, 100));
            counted.push(side_by_side::<MultiThread>(wait, 100));
        }
        println!("allocations of 20,000 round trips of 200 tasks: {counted:?}");
        assert!(counted.iter().flatten().all(|&count| count < 1000), "{counted:?}");
    });
}
