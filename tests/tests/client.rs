//! Clients of both flavours, whose server is away, leaves, or is killed and started anew: no request is
//! lost, none is answered twice, and none fails but those that a killed server may have seen.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use shmipc_core::link::{self, Address};
use shmipc_sync::{CallError, ClientConfig, Config, Delivery, ListenError, Listener};
use tests::child::Peer;
use tests::client::{Client, Tokio, soon, within_a_moment};
use tests::deadline::{start, within};
use tests::needs::short_directory;
use tests::with_both_clients;

const PEER: &str = env!("CARGO_BIN_EXE_peer");

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
    not_sent: BTreeSet<String>,
}

/// Asks from four threads until `enough`, each thread one request at a time.
fn ask<C: Client>(client: &C, tag: &str, enough: impl Fn(u64) -> bool + Sync) -> Asked {
    ask_by(|request| client.call(request, soon()), tag, enough)
}

/// The same by any kind of call.
fn ask_by(
    call: impl Fn(&[u8]) -> Result<Vec<u8>, CallError> + Sync,
    tag: &str,
    enough: impl Fn(u64) -> bool + Sync,
) -> Asked {
    let (done, enough, call) = (AtomicU64::new(0), &enough, &call);
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
                        match call(request.as_bytes()) {
                            Ok(reply) => {
                                assert_eq!(reply, request.as_bytes());
                                asked.answered.insert(request);
                            }
                            Err(error) => {
                                let new = match error.delivery() {
                                    Delivery::Unknown => asked.unknown.insert(request),
                                    Delivery::NotSent => asked.not_sent.insert(request),
                                    _ => panic!("{error}"),
                                };
                                assert!(new);
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
            all.not_sent.extend(asked.not_sent);
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
        let directory = short_directory();
        let path = directory.path().join("socket");
        let client = C::new(&path);
        let mut server = serve(&path, 20);
        let asked = ask(&client, "a", |done| done >= 2000);
        assert_eq!((&asked.unknown, &asked.not_sent), (&BTreeSet::new(), &BTreeSet::new()));
        drop(client);
        let mut seen = BTreeSet::new();
        server.hang_up();
        add_seen(&mut seen, server.said("seen"));
        assert_eq!(seen, asked.answered);
    });
}

/// The same with calls that are not repeated, as they or the configuration say: what fails was certainly not seen.
fn without_repeating<C: Client>() {
    once::<C>(true, |client, request| client.call_once(request, soon()));
    once::<C>(false, |client, request| client.call(request, soon()));
}

fn once<C: Client>(repeat: bool, call: fn(&C, &[u8]) -> Result<Vec<u8>, CallError>) {
    within("calls that are made once", move || {
        let directory = short_directory();
        let path = directory.path().join("socket");
        let client = C::with(&path, ClientConfig::builder().repeat_unseen(repeat).build().unwrap());
        let mut server = serve(&path, 3);
        let asked = ask_by(|request| call(&client, request), "o", |done| done >= 2000);
        assert_eq!(asked.unknown, BTreeSet::new());
        println!("{} answered, {} not sent", asked.answered.len(), asked.not_sent.len());
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
        let directory = short_directory();
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
        assert_eq!(asked.not_sent, BTreeSet::new(), "repeated");
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
        let directory = short_directory();
        let path = directory.path().join("socket");
        let client = C::new(&path);
        let error = client.call(b"x", within_a_moment()).unwrap_err();
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

/// A server whose backlog is full is waited for.
fn behind_a_full_backlog<C: Client>() {
    within("a full backlog", || {
        let directory = short_directory();
        let path = directory.path().join("socket");
        let listener = Listener::builder().backlog(1).bind(&path).unwrap();
        let address = Address::parse(&path).unwrap();
        let waiting: Vec<_> = std::iter::from_fn(|| link::try_connect(&address).ok()).collect();
        let client = C::new(&path);
        let error = client.call(b"x", within_a_moment()).unwrap_err();
        assert!(matches!(error, CallError::Connect(_)), "{error:?}");
        assert_eq!(error.delivery(), Delivery::NotSent);
        let calling = start("a call", move || client.ask("hello"));
        // Those who gave up are accepted first.
        drop(waiting);
        let session = listener.accept().unwrap();
        let mut stream = session.accept().unwrap();
        let request = stream.recv().unwrap().unwrap().to_vec();
        stream.sender().finish_with(&request).unwrap();
        calling.join();
    });
}

/// A server of another application is no server, however long one waits.
fn servers_that_do_not_match<C: Client>() {
    within("another application", || {
        let directory = short_directory();
        let path = directory.path().join("socket");
        let config = Config::builder().application("another", 1).build().unwrap();
        let listener = Arc::new(Listener::builder().config(config).bind(&path).unwrap());
        let accepting = Arc::clone(&listener);
        let accepting = start("the server", move || accepting.accept().map(drop));
        let error = C::new(&path).call(b"x", soon()).unwrap_err();
        assert!(matches!(error, CallError::Connect(_)), "{error:?}");
        assert_eq!(error.delivery(), Delivery::Refused);
        listener.close();
        assert_eq!(accepting.join(), Err(ListenError::Closed));
    });
}

/// Whichever call tries to connect, each one learns why there is no session, in its text and its source.
fn without_a_server_every_error_says_why<C: Client>() {
    within("a dead server", || {
        let directory = short_directory();
        let path = directory.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let client = C::new(&path);
        // One attempt at least is over.
        client.call(b"x", within_a_moment()).unwrap_err();
        std::thread::scope(|scope| {
            let calls: Vec<_> =
                (0..20).map(|_| scope.spawn(|| client.call(b"x", within_a_moment()))).collect();
            for call in calls {
                let error = call.join().unwrap().unwrap_err();
                assert_eq!(error.delivery(), Delivery::NotSent);
                assert!(error.to_string().contains("is the server running?"), "{error}");
                let source = std::error::Error::source(&error).expect("what the kernel said");
                assert!(source.to_string().contains("refused"), "{source}");
            }
        });
    });
}

/// A server that refuses does so for all that wait: their number does not matter.
fn a_refusal_is_for_all_who_wait<C: Client>() {
    within("a refusal for all", || {
        let directory = short_directory();
        let path = directory.path().join("socket");
        let config = Config::builder().application("another", 1).build().unwrap();
        let listener = Arc::new(Listener::builder().config(config).bind(&path).unwrap());
        let accepting = Arc::clone(&listener);
        let accepting = start("the server", move || accepting.accept().map(drop));
        let client = C::new(&path);
        std::thread::scope(|scope| {
            let calls: Vec<_> =
                (0..50).map(|_| scope.spawn(|| client.call(b"x", soon()))).collect();
            for call in calls {
                let error = call.join().unwrap().unwrap_err();
                assert_eq!(error.delivery(), Delivery::Refused, "{error:?}");
            }
        });
        listener.close();
        assert_eq!(accepting.join(), Err(ListenError::Closed));
    });
}

with_both_clients! {
    while_the_server_leaves without_repeating while_servers_are_killed without_a_server
    behind_a_full_backlog servers_that_do_not_match
    without_a_server_every_error_says_why a_refusal_is_for_all_who_wait
}

/// A call that is given up while it connects leaves that to the next one.
#[test]
fn a_call_that_is_given_up_lets_others_connect() {
    within("given up", || {
        let directory = short_directory();
        let path = directory.path().join("socket");
        let Tokio(client, runtime) = <Tokio as Client>::new(&path);
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

/// A call that began to connect and is not polled any more holds up no other.
#[test]
fn a_call_that_is_not_polled_lets_others_connect() {
    within("not polled", || {
        let directory = short_directory();
        let path = directory.path().join("socket");
        let listener = Listener::bind(&path).unwrap();
        let Tokio(client, runtime) = <Tokio as Client>::new(&path);
        let mut first = Box::pin(client.call(b"first", soon()));
        runtime.block_on(poll_fn(|cx| {
            assert!(first.as_mut().poll(cx).is_pending(), "nobody has accepted it");
            Poll::Ready(())
        }));
        let session = listener.accept().unwrap();
        let serving = start("a reply", move || {
            let mut stream = session.accept().unwrap();
            let request = stream.recv().unwrap().unwrap().to_vec();
            stream.sender().finish_with(&request).unwrap();
            session
        });
        let reply = runtime.block_on(client.call(b"second", soon()));
        assert_eq!(reply.unwrap().to_vec(), b"second");
        serving.join();
    });
}
