//! Tokio's clock paused, as tests do: connecting takes the time that it needs, and nothing runs in circles for a
//! deadline of the system's clock. What is counted is how often the runtime goes to sleep in the meantime.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shmipc_async::{Client, Config, Listener, Session};
use tests::child::Peer;
use tests::deadline::{PATIENCE, within};
use tests::needs::short_directory;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// A runtime whose clock stands still, and how often its thread has gone to sleep.
fn paused() -> (Runtime, Arc<AtomicU64>) {
    let parks = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&parks);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .on_thread_park(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .expect("a runtime");
    (runtime, parks)
}

/// Is ready after a while of the system's clock, which tokio's timers know nothing of.
async fn really(time: Duration) {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        std::thread::sleep(time);
        let _ = sender.send(());
    });
    receiver.await.expect("the thread ends");
}

/// Far more than what has reason to happen, and far less than a loop makes of the time.
const MANY: u64 = 200;

#[test]
fn a_session_is_made_and_used_while_the_clock_is_paused() {
    within("connecting", || {
        let directory = short_directory();
        let path = directory.path().join("socket");
        let mut peer = Peer::start(PEER, &["echo", path.to_str().unwrap()]);
        peer.line("listening");
        let (runtime, parks) = paused();
        runtime.block_on(async {
            let session = Session::connect(&path).await.expect("the peer answers");
            let mut stream = session.open().unwrap();
            stream.send(&[1; 8192]).await.unwrap();
            assert_eq!(stream.recv().await.unwrap().unwrap().to_vec(), [1; 8192]);
            tokio::time::advance(Duration::from_secs(3600)).await;
            stream.send(&[2; 8192]).await.unwrap();
            assert_eq!(stream.recv().await.unwrap().unwrap().to_vec(), [2; 8192]);
            let before = parks.load(Ordering::Relaxed);
            really(Duration::from_millis(300)).await;
            let circles = parks.load(Ordering::Relaxed) - before;
            assert!(circles < MANY, "the idle driver woke {circles} times");
            stream.finish().unwrap();
        });
        drop(runtime);
        peer.succeed();
    });
}

#[test]
fn a_listener_waits_for_a_handshake_while_the_clock_is_paused() {
    within("a handshake", || {
        let directory = short_directory();
        let path = directory.path().join("socket");
        let (runtime, parks) = paused();
        runtime.block_on(async {
            let config = Config::builder().handshake_timeout(PATIENCE).build().unwrap();
            let listener = Listener::builder().config(config).bind(&path).unwrap();
            // Begins a handshake, and says nothing.
            let silent = UnixStream::connect(&path).unwrap();
            tokio::time::advance(Duration::from_secs(3600)).await;
            let before = parks.load(Ordering::Relaxed);
            tokio::select! {
                accepted = listener.accept() => panic!("{accepted:?}"),
                () = really(Duration::from_millis(300)) => {}
            }
            let circles = parks.load(Ordering::Relaxed) - before;
            assert!(circles < MANY, "the listener woke {circles} times");
            assert_eq!(listener.stats().in_progress, 1);
            drop(silent);
        });
    });
}

/// The pauses between attempts are real ones.
#[test]
fn a_server_that_is_away_is_waited_for_while_the_clock_is_paused() {
    within("no server", || {
        let directory = short_directory();
        let path = directory.path().join("socket");
        let (runtime, parks) = paused();
        runtime.block_on(async {
            let before = parks.load(Ordering::Relaxed);
            tokio::select! {
                connected = Session::connect(&path) => panic!("{connected:?}"),
                () = really(Duration::from_millis(300)) => {}
            }
            let circles = parks.load(Ordering::Relaxed) - before;
            assert!(circles < MANY, "{circles} pauses");
            // The deadline of a call is the caller's, by the caller's clock.
            let client = Client::new(&path, Config::default());
            let deadline = tokio::time::Instant::now() + Duration::from_secs(3600);
            let error = client.call(b"x", deadline).await.unwrap_err();
            assert!(error.to_string().contains("is the server running?"), "{error}");
        });
    });
}
