//! Clients that connect and go away without end: the other tasks of the thread run, and the other clients are served.

use std::path::Path;
use std::time::Duration;

use shmipc_async::Listener;
use shmipc_http::{Address, Connector, Incoming};
use tests::child::Peer;
use tests::deadline::within;
use tests::tokio::{CurrentThread, Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{MissedTickBehavior, interval};

/// The flood lasts for so many sessions, and ticks, at least.
const SESSIONS: u64 = 500;
const TICKS: u64 = 20;
/// No tick in so many sessions, which take seconds at the fastest: the timer starves.
const STARVED: u64 = 20_000;

fn flood(path: &Path) -> [Peer; 3] {
    let address = Address::Shm(path.to_owned()).to_string();
    [(); 3].map(|()| {
        let mut peer = Peer::start(env!("CARGO_BIN_EXE_http_peer"), &["flood", &address]);
        peer.line("listening");
        peer
    })
}

#[test]
fn a_timer_ticks_while_sessions_are_accepted_without_end() {
    within("a flood", || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let runtime = CurrentThread::start().unwrap();
        let peers = runtime.block_on(async {
            let listener = Listener::bind(&path).unwrap();
            let peers = flood(&path);
            let (ticked, mut ticks) = tokio::sync::watch::channel(0_u64);
            tokio::spawn(async move {
                let mut interval = interval(Duration::from_millis(10));
                interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    interval.tick().await;
                    ticked.send_modify(|ticks| *ticks += 1);
                }
            });
            let (mut sessions, mut since) = (0, 0);
            while sessions < SESSIONS || *ticks.borrow() < TICKS {
                drop(listener.accept().await.unwrap());
                sessions += 1;
                since += 1;
                assert!(since < STARVED, "{since} sessions without a tick");
                if ticks.has_changed().unwrap() {
                    ticks.mark_unchanged();
                    since = 0;
                }
            }
            println!("{sessions} sessions, {} ticks", *ticks.borrow());
            peers
        });
        drop(runtime);
        peers.into_iter().for_each(Peer::succeed);
    });
}

#[test]
fn connections_of_an_old_session_are_served_while_sessions_come_without_end() {
    within("a flood", || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let address = Address::Shm(path.clone());
        let runtime = CurrentThread::start().unwrap();
        let peers = runtime.block_on(async {
            let mut incoming = Incoming::bind(&address).await.unwrap();
            let connector = Connector::new(&address);
            let client = async {
                let talk = async || {
                    let mut connection = connector.connect().await.unwrap();
                    connection.write_all(b"?").await.unwrap();
                    assert_eq!(connection.read_u8().await.unwrap(), b'!');
                };
                talk().await;
                let peers = flood(&path);
                for _ in 0..100 {
                    talk().await;
                }
                peers
            };
            let serve = async {
                loop {
                    let mut connection = incoming.accept().await.unwrap();
                    assert_eq!(connection.read_u8().await.unwrap(), b'?');
                    connection.write_all(b"!").await.unwrap();
                }
            };
            tokio::select! {
                peers = client => peers,
                () = serve => unreachable!("the listener does not end"),
            }
        });
        drop(runtime);
        peers.into_iter().for_each(Peer::succeed);
    });
}
