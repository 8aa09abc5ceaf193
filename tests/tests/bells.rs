//! The kernel refuses to ring a peer that sleeps (`ENOBUFS`, when a memory cgroup is full): the peer is woken all the
//! same, or the session ends by name.
//!
//! What is refused is refused to the whole process, so this file holds a single test.

use std::time::Duration;

use nix::errno::Errno;
use shmipc_core::steps;
use shmipc_sync::{Session, SessionError};
use tests::child::Peer;
use tests::deadline::{start, until, within};
use tests::proc::is_asleep;
use tests::serving;
use tests::tokio::{CurrentThread, Kind, MultiThread};

/// More than are tried at once, fewer than in the pauses after it.
const SOME: u32 = 15;
/// More than a call tries by itself, pauses included.
const MANY: u32 = 25;

#[test]
fn a_peer_whose_bell_is_refused_is_woken_or_the_session_ends() {
    within("refused bells", || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let mut server = serving::start(env!("CARGO_BIN_EXE_peer"), &path);

        // The calling thread tries again by itself.
        let session = Session::connect(&path).unwrap();
        let mut stream = session.open().unwrap();
        refuse(&mut server, SOME);
        stream.send(b"alone").unwrap();
        assert!(seen(&mut server, "alone"));
        assert_eq!(steps::unrefused_bells(), 0);

        // A thread that waits in the session does it for the caller.
        let sleeps = session.stats().sleeps;
        let waiting = session.clone();
        let waiting = start("a thread that waits", move || waiting.accept().map(drop));
        until("it waits", || session.stats().sleeps > sleeps);
        refuse(&mut server, MANY);
        stream.send(b"waiting").unwrap();
        assert!(seen(&mut server, "waiting"));
        assert_eq!(steps::unrefused_bells(), 0);
        session.close(0);
        assert!(waiting.join().is_err());

        // So does the driver of the tokio flavour.
        with_driver::<CurrentThread>(&mut server, &path);
        with_driver::<MultiThread>(&mut server, &path);

        // The kernel goes on refusing, and no thread and no task is there to try: no silence, but an end that says
        // why.
        let session = Session::connect(&path).unwrap();
        let mut stream = session.open().unwrap();
        stream.send(b"hello").unwrap();
        stream.recv().unwrap();
        refuse(&mut server, u32::MAX);
        let _ = stream.send(b"in vain");
        let error = session.closed_timeout(Duration::from_secs(60)).expect("the session ends");
        let SessionError::Os(error) = error else { panic!("{error:?}") };
        assert_eq!(error.code, Errno::ENOBUFS as i32);
        steps::refuse_bells(0);
    });
}

/// Once every thread of the server sleeps, so many bells of this process are refused.
fn refuse(server: &mut Peer, count: u32) {
    until("the server sleeps", || is_asleep(server.pid()));
    steps::refuse_bells(count);
}

fn seen(server: &mut Peer, request: &str) -> bool {
    server.line("seen").ends_with(request)
}

fn with_driver<K: Kind>(server: &mut Peer, path: &std::path::Path) {
    K::start().unwrap().block_on(async {
        let session = shmipc_async::Session::connect(path).await.unwrap();
        let mut stream = session.open().unwrap();
        stream.send(b"hello").await.unwrap();
        stream.recv().await.unwrap();
        assert!(seen(server, "hello"));
        refuse(server, MANY);
        stream.send(b"tasks").await.unwrap();
        // Some task of the runtime runs, which need not be one that uses the session.
        while steps::unrefused_bells() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The next try comes after the last one that is refused, by a task: the thread must not block before it.
        stream.recv().await.unwrap();
        assert!(seen(server, "tasks"));
    });
}
