//! SIGKILL of the peer of a tokio process: whoever waits learns of it at once, after everything that was
//! published before.

use std::time::{Duration, Instant};

use shmipc_async::{AcceptError, Listener, RecvError, SendError, Session, SessionError};
use tests::child::Peer;
use tests::deadline::within;
use tests::payload::check;
use tests::tokio::{CurrentThread, Kind, MultiThread};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

const PEER: &str = env!("CARGO_BIN_EXE_peer");
const DIED: SessionError = SessionError::PeerDied;
/// From the kill to the error: a test on a busy machine allows more than the design's 100 ms.
const PROMPT: Duration = Duration::from_secs(5);

/// A peer in a role, and our end of its session.
fn meet<K: Kind>(role: &[&str]) -> (Runtime, Peer, Session) {
    let runtime = K::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let entered = runtime.enter();
    let listener = Listener::bind(&path).unwrap();
    drop(entered);
    let arguments: Vec<&str> =
        [role[0], path.to_str().unwrap()].into_iter().chain(role[1..].iter().copied()).collect();
    let peer = Peer::start(PEER, &arguments);
    let session = runtime.block_on(listener.accept()).unwrap();
    (runtime, peer, session)
}

/// All kinds of waiting at the same time, each in a task of its own.
fn whoever_waits<K: Kind>() {
    within("all waits", || {
        let (runtime, mut peer, session) = meet::<K>(&["silent"]);
        let mut stream = runtime.block_on(session.accept()).unwrap();
        let hello = runtime.block_on(stream.recv()).unwrap().unwrap();
        assert_eq!(hello.to_vec(), b"hello");
        peer.line("silent");

        let (mut sender, mut receiver) = stream.into_split();
        let (mut writer, mut reader) = session.open().unwrap().into_split();
        let (accepting, closing) = (session.clone(), session.clone());
        let accept = runtime.spawn(async move { accepting.accept().await.unwrap_err() });
        let closed = runtime.spawn(async move { closing.closed().await });
        let recv = runtime.spawn(async move { receiver.recv().await.unwrap_err() });
        let reserve = runtime.spawn(async move {
            loop {
                if let Err(error) = sender.send(&[1; 100_000]).await {
                    return error;
                }
            }
        });
        let write =
            runtime.spawn(async move { writer.write_all(&[1; 10 << 20]).await.unwrap_err() });
        let read = runtime.spawn(async move { reader.read(&mut [0; 9]).await.unwrap_err() });
        // The tasks of a current-thread runtime run while somebody blocks on it.
        runtime.block_on(async {
            while session.stats().reserve_waits < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let killed = Instant::now();
        peer.kill();
        runtime.block_on(async {
            assert_eq!(accept.await.unwrap(), AcceptError::Session(DIED));
            assert_eq!(closed.await.unwrap(), DIED);
            assert_eq!(recv.await.unwrap(), RecvError::Session(DIED));
            assert_eq!(reserve.await.unwrap(), SendError::Session(DIED));
            for error in [write.await.unwrap(), read.await.unwrap()] {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            }
        });
        assert!(killed.elapsed() < PROMPT, "it took {:?}", killed.elapsed());
    });
}

/// What was published before the death comes before the error.
fn after_what_was_published<K: Kind>() {
    within("the published", || {
        let (runtime, mut peer, session) = meet::<K>(&["publish", "30"]);
        peer.line("published");
        peer.kill();
        runtime.block_on(async {
            let mut stream = session.accept().await.unwrap();
            for number in 0..30 {
                let message = stream.recv().await.unwrap().unwrap();
                check(&message, number, (number as usize * 97) % 9000);
            }
            assert_eq!(stream.recv().await.unwrap_err(), RecvError::Session(DIED));
            assert_eq!(session.accept().await.unwrap_err(), AcceptError::Session(DIED));
        });
    });
}

#[test]
fn whoever_waits_on_a_current_thread_runtime() {
    whoever_waits::<CurrentThread>();
}

#[test]
fn whoever_waits_on_a_multi_thread_runtime() {
    whoever_waits::<MultiThread>();
}

#[test]
fn after_what_was_published_on_a_current_thread_runtime() {
    after_what_was_published::<CurrentThread>();
}

#[test]
fn after_what_was_published_on_a_multi_thread_runtime() {
    after_what_was_published::<MultiThread>();
}
