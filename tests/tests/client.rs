//! Clients of both flavours, whose server is away, leaves, or is killed and started anew: no request is
//! lost, none is answered twice, and none fails but those that a killed server may have seen.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shmipc_sync::{CallError, Config, Delivery};
use tests::child::Peer;
use tests::deadline::{PATIENCE, within};
use tests::tokio::{Kind, MultiThread};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// A client of either flavour, as the tests call it.
trait Client: Send + Sync + 'static {
    fn new(path: &Path) -> Self;
    fn call(&self, request: &[u8], deadline: Instant) -> Result<Vec<u8>, CallError>;
}

struct Blocking(shmipc_sync::Client);

struct Tokio(shmipc_async::Client, tokio::runtime::Runtime);

impl Client for Blocking {
    fn new(path: &Path) -> Self {
        Self(shmipc_sync::Client::new(path, Config::default()))
    }

    fn call(&self, request: &[u8], deadline: Instant) -> Result<Vec<u8>, CallError> {
        self.0.call(request, deadline).map(|reply| reply.to_vec())
    }
}

impl Client for Tokio {
    fn new(path: &Path) -> Self {
        let runtime = MultiThread::start().unwrap();
        Self(shmipc_async::Client::new(path, Config::default()), runtime)
    }

    fn call(&self, request: &[u8], deadline: Instant) -> Result<Vec<u8>, CallError> {
        self.1.block_on(self.0.call(request, deadline)).map(|reply| reply.to_vec())
    }
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Starts a server that leaves each session after so many requests.
fn serve(path: &Path, requests: usize) -> Peer {
    let mut peer = Peer::start(PEER, &["answer", path.to_str().unwrap(), &requests.to_string()]);
    peer.line("listening");
    peer
}

/// What became of the requests of some threads.
#[derive(Default)]
struct Asked {
    answered: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

/// Asks from four threads until `enough`, each thread one request at a time.
fn ask<C: Client>(client: &C, tag: &str, enough: impl Fn(u64) -> bool + Sync) -> Asked {
    let (done, enough) = (AtomicU64::new(0), &enough);
    let mut all = Asked::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let done = &done;
                scope.spawn(move || {
                    let mut asked = Asked::default();
                    for number in 0.. {
                        if enough(done.load(Ordering::Relaxed)) {
                            break;
                        }
                        let request = format!("{tag}{thread}.{number}");
                        match client.call(request.as_bytes(), soon()) {
                            Ok(reply) => {
                                assert_eq!(reply, request.as_bytes());
                                asked.answered.insert(request);
                            }
                            Err(error) => {
                                assert_eq!(error.delivery(), Delivery::Unknown, "{error}");
                                asked.unknown.insert(request);
                            }
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    asked
                })
            })
            .collect();
        for thread in threads {
            let asked = thread.join().unwrap();
            all.answered.extend(asked.answered);
            all.unknown.extend(asked.unknown);
        }
    });
    all
}

/// Adds what a server has seen, each request by one server and once.
fn add_seen(all: &mut BTreeSet<String>, seen: Vec<String>) {
    for request in seen {
        assert!(all.insert(request.clone()), "{request} was seen twice");
    }
}

/// A server that leaves again and again while calls run: all are answered, each by one session.
fn while_the_server_leaves<C: Client>() {
    within("a server that leaves", || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let client = C::new(&path);
        let mut server = serve(&path, 20);
        let asked = ask(&client, "a", |done| done >= 2000);
        assert_eq!(asked.unknown, BTreeSet::new());
        drop(client);
        let mut seen = BTreeSet::new();
        server.hang_up();
        add_seen(&mut seen, server.said("seen"));
        assert_eq!(seen, asked.answered);
    });
}

/// Servers that are killed while calls run, and started anew.
fn while_servers_are_killed<C: Client>() {
    within("killed servers", || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let client = C::new(&path);
        let stop = AtomicBool::new(false);
        let (asked, seen) = std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask(&client, "k", |_| stop.load(Ordering::Relaxed)));
            let mut seen = BTreeSet::new();
            for _ in 0..10 {
                let mut server = serve(&path, usize::MAX);
                // It has answered some, and is killed in the middle of others.
                add_seen(&mut seen, (0..50).map(|_| server.line("seen")).collect());
                server.kill();
                add_seen(&mut seen, server.said("seen"));
            }
            let mut last = serve(&path, usize::MAX);
            stop.store(true, Ordering::Relaxed);
            let asked = asking.join().unwrap();
            last.hang_up();
            add_seen(&mut seen, last.said("seen"));
            (asked, seen)
        });
        println!("{} answered, {} unknown", asked.answered.len(), asked.unknown.len());
        assert!(asked.answered.is_subset(&seen), "an answer without a request");
        assert!(seen.difference(&asked.answered).all(|request| asked.unknown.contains(request)));
        assert!(asked.answered.len() > 400);
        // Each of the threads has one call in flight at a kill.
        assert!(asked.unknown.len() <= 4 * 10);
    });
}

/// Calls before there is a server wait for it; errors come with their reason when the time is over.
fn without_a_server<C: Client>() {
    within("no server", || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let client = C::new(&path);
        let error = client.call(b"x", Instant::now() + Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, CallError::Connect(_)), "{error:?}");
        assert_eq!(error.delivery(), Delivery::NotSent);
        std::thread::scope(|scope| {
            let calling = scope.spawn(|| client.call(b"hello", soon()));
            let server = serve(&path, 1);
            assert_eq!(calling.join().unwrap(), Ok(b"hello".to_vec()));
            // It has left that session.
            assert_eq!(client.call(b"again", soon()), Ok(b"again".to_vec()));
            let large = vec![0; 5 << 20];
            let error = client.call(&large, soon()).unwrap_err();
            assert!(matches!(error, CallError::Send(_)), "what never fits is not repeated");
            server.succeed();
        });
    });
}

macro_rules! in_both_flavours {
    ($($case:ident)*) => {
        mod in_threads {
            $(#[test]
            fn $case() {
                super::$case::<super::Blocking>();
            })*
        }
        mod in_tasks {
            $(#[test]
            fn $case() {
                super::$case::<super::Tokio>();
            })*
        }
    };
}

in_both_flavours! { while_the_server_leaves while_servers_are_killed without_a_server }

/// A call that is given up while it connects leaves that to the next one.
#[test]
fn a_call_that_is_given_up_lets_others_connect() {
    within("given up", || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let Tokio(client, runtime) = Client::new(&path);
        runtime.block_on(async {
            let moment = Duration::from_millis(10);
            let given_up = tokio::time::timeout(moment, client.call(b"x", soon())).await;
            assert!(given_up.is_err(), "there is no server");
        });
        let server = serve(&path, usize::MAX);
        let reply = runtime.block_on(client.call(b"hello", soon()));
        assert_eq!(reply.unwrap().to_vec(), b"hello");
        server.succeed();
    });
}
