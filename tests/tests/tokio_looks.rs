//! A receiving half that is told not to look longer is pending at once: its task has others to feed.

use shmipc_async::{Session, Stream};
use shmipc_sync::{Listener, WaitMode};
use tests::deadline::{start, within};
use tests::setup::{Setup, Size};
use tests::tokio::{CurrentThread, Kind};

async fn round_trip(stream: &mut Stream) {
    stream.send(b"hello").await.unwrap();
    assert_eq!(stream.recv().await.unwrap().unwrap().to_vec(), b"hello");
}

/// Nothing but such a look counts as a spin that paid: what the driver finds is not counted.
#[test]
fn a_poll_looks_longer_unless_it_is_told_not_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let config = Setup::new(Size::Default).wait(WaitMode::Spin).config();
    let listener = Listener::builder().config(config.clone()).bind(&path).unwrap();
    let echo = start("an echo", move || {
        let mut stream = listener.accept().unwrap().accept().unwrap();
        while let Some(message) = stream.recv().unwrap() {
            stream.send(&message).unwrap();
        }
    });
    let client = async move {
        let session = Session::connect_with(&path, &config).await.unwrap();
        let mut stream = session.open().unwrap();
        stream.receiver().look_longer(false);
        for _ in 0..1000 {
            round_trip(&mut stream).await;
        }
        assert_eq!(session.stats().spins_paid, 0);
        stream.receiver().look_longer(true);
        while session.stats().spins_paid == 0 {
            round_trip(&mut stream).await;
        }
        stream.finish().unwrap();
    };
    within("a task that looks", || {
        let runtime = CurrentThread::start().unwrap();
        runtime.block_on(runtime.spawn(client)).unwrap();
    });
    echo.join();
}
