//! A session that is busy leaves the runtime to the others: beside it, a timer goes on ticking. What is counted is
//! how many operations go by between two ticks, since that depends little on what else the machine does.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shmipc_async::{Config, Listener, Session, WaitMode};
use tests::child::Peer;
use tests::deadline::within;
use tests::tokio::{CurrentThread, Kind};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{MissedTickBehavior, interval};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

const TICK: Duration = Duration::from_millis(10);
/// The session is busy for so many ticks at least, and operations.
const TICKS: u64 = 50;
const OPERATIONS: u64 = 1000;
/// No tick after so many operations, which take dozens of ticks at the fastest: the timer starves.
const STARVED: u64 = 500_000;

/// What the session and the timer have done.
#[derive(Debug, Default)]
struct Progress {
    operations: AtomicU64,
    ticks: AtomicU64,
    /// Operations until the last tick.
    before: AtomicU64,
    /// The most of them between two ticks.
    most: AtomicU64,
}

impl Progress {
    /// Another operation. False if there have been enough.
    fn operation(&self) -> bool {
        let operations = self.operations.fetch_add(1, Ordering::Relaxed);
        let since = operations.saturating_sub(self.before.load(Ordering::Relaxed));
        assert!(since < STARVED, "{since} operations without a tick");
        operations < OPERATIONS || self.ticks.load(Ordering::Relaxed) < TICKS
    }

    /// Ticks for ever.
    async fn tick(self: Arc<Self>) {
        let mut interval = interval(TICK);
        // One that is late is one.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let operations = self.operations.load(Ordering::Relaxed);
            let before = self.before.swap(operations, Ordering::Relaxed);
            self.most.fetch_max(operations - before, Ordering::Relaxed);
            self.ticks.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How the session is kept busy.
type Work = fn(Session, Config, Arc<Progress>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where the calls are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Task,
    Main,
}

fn beside_a_timer(runtime: fn() -> Runtime, place: Place, work: Work) {
    for wait in [WaitMode::Adaptive, WaitMode::Spin, WaitMode::Block] {
        within("work beside a timer", move || {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("socket");
            let mut peer = Peer::start(PEER, &["echo", path.to_str().unwrap()]);
            peer.line("listening");
            let progress = keep_busy(&runtime(), &path, wait, place, work);
            println!("{wait:?}: {progress:?}");
            peer.succeed();
        });
    }
}

fn keep_busy(
    runtime: &Runtime,
    path: &Path,
    wait: WaitMode,
    place: Place,
    work: Work,
) -> Arc<Progress> {
    let progress = Arc::<Progress>::default();
    let config = Config::builder().wait(wait).build().unwrap();
    runtime.block_on(async {
        let session = Session::connect_with(path, &config).await.unwrap();
        let ticking = tokio::spawn(Arc::clone(&progress).tick());
        let working = work(session, config.clone(), Arc::clone(&progress));
        match place {
            Place::Task => tokio::spawn(working).await.unwrap(),
            Place::Main => working.await,
        }
        assert!(!ticking.is_finished());
        ticking.abort();
    });
    progress
}

/// One message there and back at a time.
async fn ping_pong(session: Session, _: Config, progress: Arc<Progress>) {
    let mut stream = session.open().unwrap();
    while progress.operation() {
        stream.send(b"ping").await.unwrap();
        assert_eq!(stream.recv().await.unwrap().unwrap().to_vec(), b"ping");
    }
}

/// As many messages as there is room for, both ways, by one task.
async fn pour(session: Session, _: Config, progress: Arc<Progress>) {
    let (mut sender, mut receiver) = session.open().unwrap().into_split();
    let send = async {
        while progress.operation() {
            sender.send(b"drop").await.unwrap();
        }
        sender.finish().unwrap();
    };
    let receive = async {
        let mut out = [0; 4];
        while receiver.recv_into(&mut out).await.unwrap().is_some() {
            assert_eq!(&out, b"drop");
            progress.operation();
        }
    };
    tokio::join!(send, receive);
}

/// Both ends by one task, which finds everything there as soon as it asks: nothing but the library makes it wait.
async fn both_ends(_: Session, config: Config, progress: Arc<Progress>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = Listener::builder().config(config.clone()).bind(&path).unwrap();
    let (client, server) = tokio::join!(Session::connect_with(&path, &config), listener.accept());
    let (client, server) = (client.unwrap(), server.unwrap());
    let mut ours = client.open().unwrap();
    ours.send(b"hello").await.unwrap();
    let mut theirs = server.accept().await.unwrap();
    assert_eq!(theirs.recv().await.unwrap().unwrap().to_vec(), b"hello");
    let mut out = [0; 4];
    while progress.operation() {
        ours.send(b"ping").await.unwrap();
        assert_eq!(theirs.recv_into(&mut out).await.unwrap(), Some(4));
        theirs.send(&out).await.unwrap();
        assert_eq!(ours.recv().await.unwrap().unwrap().to_vec(), b"ping");
    }
}

fn current_thread() -> Runtime {
    CurrentThread::start().unwrap()
}

fn one_worker() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// As `#[tokio::main]` is by default.
fn default_runtime() -> Runtime {
    Runtime::new().unwrap()
}

macro_rules! in_every_place {
    ($($work:ident)*) => {
        $(mod $work {
            use super::*;

            #[test]
            fn by_a_task_of_a_current_thread() {
                beside_a_timer(current_thread, Place::Task, |s, c, p| Box::pin($work(s, c, p)));
            }
            #[test]
            fn by_main_on_a_current_thread() {
                beside_a_timer(current_thread, Place::Main, |s, c, p| Box::pin($work(s, c, p)));
            }
            #[test]
            fn by_a_task_of_one_worker() {
                beside_a_timer(one_worker, Place::Task, |s, c, p| Box::pin($work(s, c, p)));
            }
            #[test]
            fn by_main_beside_all_workers() {
                beside_a_timer(default_runtime, Place::Main, |s, c, p| Box::pin($work(s, c, p)));
            }
        })*
    };
}

in_every_place! { ping_pong pour both_ends }
