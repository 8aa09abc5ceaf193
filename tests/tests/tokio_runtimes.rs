//! The tokio flavour on runtimes of every arrangement, and their end while sessions are open. Descriptors
//! and mappings are counted, so the tests take turns.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shmipc_async::{
    AcceptError, Listener, OpenError, RecvError, SendError, Session, SessionError, Stream,
};
use tests::child::Peer;
use tests::deadline::{start, until, within};
use tests::proc::Held;
use tests::tokio::{CurrentThread, Kind, MultiThread};
use tokio::runtime::Runtime;

const PEER: &str = env!("CARGO_BIN_EXE_peer");
const GONE: SessionError = SessionError::RuntimeGone;
/// From the end of a runtime to the error elsewhere, on a busy machine.
const PROMPT: Duration = Duration::from_secs(5);

/// A path, and what the process holds before the test.
struct Place {
    _turn: MutexGuard<'static, ()>,
    directory: tempfile::TempDir,
    before: Held,
}

impl Place {
    fn new() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir().unwrap();
        let before = Held::by(std::process::id());
        Self { _turn: turn, directory, before }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Everything is given back. It may be less than before: a runtime of the last test may then have been on
    /// its way out.
    #[track_caller]
    fn nothing_left(self) {
        until(&format!("{:?} again", self.before), || {
            let now = Held::by(std::process::id());
            now.descriptors <= self.before.descriptors && now.mappings == 0
        });
    }
}

/// Answers all streams of all sessions.
async fn serve(listener: Listener) {
    while let Ok(session) = listener.accept().await {
        tokio::spawn(async move {
            while let Ok(stream) = session.accept().await {
                tokio::spawn(echo(stream));
            }
        });
    }
}

async fn echo(mut stream: Stream) {
    while let Ok(Some(message)) = stream.recv().await {
        if stream.send(&message).await.is_err() {
            return;
        }
    }
    let _ = stream.finish();
}

async fn ask(stream: &mut Stream, rounds: usize) {
    for round in 0..rounds {
        let len = [10, 64, 3000, 20_000][round % 4];
        stream.send(&vec![round as u8; len]).await.unwrap();
        assert_eq!(stream.recv().await.unwrap().unwrap().to_vec(), vec![round as u8; len]);
    }
}

fn peer(path: &Path) -> Peer {
    let mut peer = Peer::start(PEER, &["echo", path.to_str().unwrap()]);
    peer.line("listening");
    peer
}

/// `#[tokio::main]` as it is by default, with everything in `main`.
#[test]
fn caller_in_main() {
    let place = Place::new();
    let peer = peer(&place.path());
    let path = place.path();
    within("main", move || {
        #[tokio::main]
        async fn in_main(path: PathBuf) {
            let session = Session::connect(path).await.unwrap();
            ask(&mut session.open().unwrap(), 3000).await;
        }
        in_main(path);
    });
    peer.succeed();
    place.nothing_left();
}

/// Both ends as tasks of one runtime, and as one task.
fn both_ends_on_one<K: Kind>() {
    let place = Place::new();
    let path = place.path();
    within("both ends", move || {
        let runtime = K::start().unwrap();
        runtime.block_on(async {
            let serving = tokio::spawn(serve(Listener::bind(&path).unwrap()));
            let session = Session::connect(&path).await.unwrap();
            let asking: Vec<_> = (0..20)
                .map(|_| {
                    let session = session.clone();
                    tokio::spawn(async move { ask(&mut session.open().unwrap(), 200).await })
                })
                .collect();
            for task in asking {
                task.await.unwrap();
            }
            ask(&mut session.open().unwrap(), 200).await;
            serving.abort();
            let _ = serving.await;

            let listener = Listener::bind(&path).unwrap();
            let (client, server) = tokio::join!(Session::connect(&path), listener.accept());
            let (client, server) = (client.unwrap(), server.unwrap());
            let mut stream = client.open().unwrap();
            tokio::join!(
                async {
                    ask(&mut stream, 200).await;
                    stream.finish().unwrap();
                },
                async { echo(server.accept().await.unwrap()).await }
            );
        });
    });
    place.nothing_left();
}

#[test]
fn both_ends_on_one_current_thread_runtime() {
    both_ends_on_one::<CurrentThread>();
}

#[test]
fn both_ends_on_one_multi_thread_runtime() {
    both_ends_on_one::<MultiThread>();
}

/// One runtime serves, on a thread of its own, and another one asks.
fn two_runtimes<A: Kind, B: Kind>() {
    let place = Place::new();
    let path = place.path();
    within("two runtimes", move || {
        let (server, client) = (A::start().unwrap(), B::start().unwrap());
        let listener = {
            let _entered = server.enter();
            Listener::bind(&path).unwrap()
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = start("the server", move || {
            server.block_on(async {
                tokio::spawn(serve(listener));
                let _ = stopped.await;
            });
        });
        client.block_on(async {
            let session = Session::connect(&path).await.unwrap();
            ask(&mut session.open().unwrap(), 1000).await;
        });
        stop.send(()).unwrap();
        serving.join();
    });
    place.nothing_left();
}

#[test]
fn two_runtimes_in_one_process() {
    two_runtimes::<CurrentThread, MultiThread>();
    two_runtimes::<MultiThread, CurrentThread>();
}

/// A session made on one runtime, used on another one.
#[test]
fn streams_that_move_to_another_runtime() {
    let place = Place::new();
    let peer = peer(&place.path());
    let path = place.path();
    within("moving", move || {
        let home = MultiThread::start().unwrap();
        let session = home.block_on(Session::connect(path)).unwrap();
        let mut stream = session.open().unwrap();
        home.block_on(ask(&mut stream, 100));
        for other in [CurrentThread::start().unwrap(), MultiThread::start().unwrap()] {
            let moved = async move {
                ask(&mut stream, 500).await;
                stream
            };
            stream = other.block_on(other.spawn(moved)).unwrap();
        }
        home.block_on(ask(&mut stream, 100));
    });
    peer.succeed();
    place.nothing_left();
}

/// Ends a runtime in one of the ways there are.
type Ending = fn(Runtime);
const ENDINGS: [Ending; 3] = [
    drop,
    |runtime| runtime.shutdown_timeout(Duration::from_secs(1)),
    |runtime| runtime.shutdown_background(),
];

/// A runtime ends while its session has streams, some of which wait on another runtime: all say so, and the
/// peer reads an end.
fn shut_down<K: Kind>() {
    for end in ENDINGS {
        let place = Place::new();
        let path = place.path();
        within("shutting down", move || {
            let (home, elsewhere) = (K::start().unwrap(), MultiThread::start().unwrap());
            let listener = {
                let _entered = home.enter();
                Listener::bind(&path).unwrap()
            };
            let connecting = elsewhere.spawn(Session::connect(path));
            let session = home.block_on(listener.accept()).unwrap();
            let client = elsewhere.block_on(connecting).unwrap().unwrap();
            let mut theirs = client.open().unwrap();
            elsewhere.block_on(theirs.send(b"hello")).unwrap();
            let ours = home.block_on(session.accept()).unwrap();
            // Streams that go with the runtime's tasks.
            let lost = session.open().unwrap();
            home.spawn(async move {
                let _lost = lost;
                pending::<()>().await;
            });

            let (accepting, closing) = (session.clone(), session.clone());
            let (mut sender, mut receiver) = ours.into_split();
            let accept = elsewhere.spawn(async move { accepting.accept().await.unwrap_err() });
            let closed = elsewhere.spawn(async move { closing.closed().await });
            let received = elsewhere.spawn(async move {
                assert_eq!(receiver.recv().await.unwrap().unwrap().to_vec(), b"hello");
                receiver.recv().await.unwrap_err()
            });
            let reserved = elsewhere.spawn(async move {
                loop {
                    if let Err(error) = sender.send(&[1; 3000]).await {
                        return error;
                    }
                }
            });
            let peer = elsewhere.spawn(async move {
                let accepted = client.accept().await.err();
                (accepted, client.closed().await, theirs)
            });
            until("it waits for room", || session.stats().reserve_waits > 0);
            let ended = Instant::now();
            end(home);
            elsewhere.block_on(async {
                assert_eq!(accept.await.unwrap(), AcceptError::Session(GONE));
                assert_eq!(closed.await.unwrap(), GONE);
                assert_eq!(received.await.unwrap(), RecvError::Session(GONE));
                assert_eq!(reserved.await.unwrap(), SendError::Session(GONE));
                assert_eq!(session.open().err(), Some(OpenError::Session(GONE)));
                let (accepted, why, mut stream) = peer.await.unwrap();
                println!("the peer: {why}");
                assert!(accepted.is_some());
                // What was sent before is still there.
                while let Ok(message) = stream.recv().await {
                    assert_eq!(message.expect("no end").to_vec(), [1; 3000]);
                }
                assert_eq!(stream.recv().await.unwrap_err(), RecvError::Session(why));
            });
            assert!(ended.elapsed() < PROMPT, "it took {:?}", ended.elapsed());
            drop((session, listener));
        });
        place.nothing_left();
    }
}

#[test]
fn a_current_thread_runtime_that_shuts_down() {
    shut_down::<CurrentThread>();
}

#[test]
fn a_multi_thread_runtime_that_shuts_down() {
    shut_down::<MultiThread>();
}

/// Sessions are dropped on the runtime, beside it, and after it.
fn dropped<K: Kind>() {
    let place = Place::new();
    let peer = peer(&place.path());
    let path = place.path();
    within("dropping", move || {
        for round in 0..40 {
            let runtime = K::start().unwrap();
            let session = runtime.block_on(Session::connect(&path)).unwrap();
            let mut stream = session.open().unwrap();
            runtime.block_on(ask(&mut stream, 8));
            match round % 4 {
                0 => runtime.block_on(async { drop((session, stream)) }),
                1 => {
                    std::thread::spawn(move || drop((stream, session))).join().unwrap();
                }
                2 => {
                    drop(session);
                    runtime.block_on(runtime.spawn(async move { drop(stream) })).unwrap();
                }
                _ => {
                    drop(runtime);
                    assert_eq!(stream.finish(), Err(SendError::Session(GONE)));
                    drop((stream, session));
                    continue;
                }
            }
            // The driver's task ends with its session.
            let metrics = runtime.metrics();
            runtime.block_on(async {
                while metrics.num_alive_tasks() > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
    });
    peer.succeed();
    place.nothing_left();
}

#[test]
fn sessions_dropped_in_and_out_of_a_current_thread_runtime() {
    dropped::<CurrentThread>();
}

#[test]
fn sessions_dropped_in_and_out_of_a_multi_thread_runtime() {
    dropped::<MultiThread>();
}
