//! Opening and calling are given up at every point, thousands of times, while the server comes and goes: no stream
//! is leaked, and no request is lost or repeated.
use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt;
use shmipc_async::{Client, ClientConfig, Delivery};
use tests::child::Peer;
use tests::client::soon;
use tests::deadline::until;
use tests::impatience::{Impatient, thousands};
use tests::passing::{Server, client};
use tests::setup::{Setup, Size};
use tests::tokio::Kind;
use tests::{on_both_runtimes, retry};
use tokio::runtime::Runtime;
use tokio::task::coop::unconstrained;

const PEER: &str = env!("CARGO_BIN_EXE_peer");

on_both_runtimes! { thousands: opening calling }

/// Waits until so many streams can be opened without waiting, and no more: none is leaked.
fn has_places(runtime: &Runtime, client: &Client, places: usize) {
    until("every place is free", || {
        let free = runtime.block_on(async {
            tokio::task::yield_now().await;
            let open = || unconstrained(client.open()).now_or_never();
            let open = std::iter::from_fn(|| open().and_then(Result::ok));
            open.collect::<Vec<_>>().len()
        });
        // More only while the client moves from one session to another.
        free == places
    });
}

/// A stream for each request, of a server whose sessions take few, and which leaves them and goes away.
fn opening<K: Kind>() -> u64 {
    [1, 2].into_iter().map(open_streams::<K>).sum()
}

fn open_streams<K: Kind>(sessions: usize) -> u64 {
    const REQUESTS: u64 = 500;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let config = Setup::new(Size::Tiny).config();
    let server = Server::start(&path, config);
    let client = client(&path, sessions);
    let runtime = K::start().unwrap();
    let ask = |task: u64| {
        let client = client.clone();
        runtime.spawn(async move {
            let mut impatient = Impatient::new(100 * sessions as u64 + task);
            for number in 0..REQUESTS {
                ask(&client, &mut impatient, &(task << 32 | number).to_ne_bytes()).await;
            }
            impatient.given_up()
        })
    };
    let asking = [0, 1, 2, 3, 4, 5].map(ask);
    let given_up = asking.into_iter().map(|task| runtime.block_on(task).unwrap()).sum();
    server.stay();
    // `max_streams` of each session.
    has_places(&runtime, &client, sessions * 4);
    runtime.block_on(client.close(soon())).unwrap();
    let all = (0..6).flat_map(|task| (0..REQUESTS).map(move |number| task << 32 | number));
    assert_eq!(server.stop(), all.collect::<Vec<_>>(), "each has been served once");
    given_up
}

/// One request, with as many streams as it takes.
async fn ask(client: &Client, impatient: &mut Impatient, request: &[u8]) {
    loop {
        let mut stream = retry!(impatient, client.open()).unwrap();
        if let Err(error) = retry!(impatient, stream.finish_with(request)) {
            assert_eq!(error.delivery(), Delivery::NotSent, "{error}");
            continue;
        }
        match retry!(impatient, stream.recv()) {
            Ok(reply) => {
                assert_eq!(reply.unwrap().to_vec(), request);
                assert!(retry!(impatient, stream.recv()).unwrap().is_none());
                return;
            }
            Err(error) => assert_eq!(error.delivery(), Delivery::NotSent, "{error}"),
        }
    }
}

/// Calls, of a process that leaves again and again and then of one that stays: what is given up may have been seen,
/// but once at most.
fn calling<K: Kind>() -> u64 {
    /// The default of `max_streams`.
    const PLACES: usize = 256;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let serve = |requests: usize| {
        let arguments = ["answer", path.to_str().unwrap(), &requests.to_string()];
        let mut peer = Peer::start(PEER, &arguments);
        peer.line("listening");
        peer
    };
    let config =
        ClientConfig::builder().pauses(Duration::from_micros(100), Duration::from_millis(1));
    let client = Client::new(&path, config.build().unwrap());
    let runtime = K::start().unwrap();
    let mut server = serve(20);
    let first = call_impatiently(&runtime, &client, "a");
    server.hang_up();
    first.check(server.said("seen"));
    let mut server = serve(usize::MAX);
    let second = call_impatiently(&runtime, &client, "b");
    has_places(&runtime, &client, PLACES);
    // Nothing goes on that it would have to wait for.
    runtime.block_on(client.close(soon())).unwrap();
    server.hang_up();
    second.check(server.said("seen"));
    first.given_up + second.given_up
}

/// What became of requests.
#[derive(Default)]
struct Asked {
    answered: BTreeSet<String>,
    not_sent: BTreeSet<String>,
    given_up: u64,
}

impl Asked {
    fn check(&self, said: Vec<String>) {
        assert!(self.answered.len() > 100, "{}", self.answered.len());
        let seen: BTreeSet<_> = said.iter().cloned().collect();
        assert_eq!(seen.len(), said.len(), "each was seen once at most");
        assert!(self.answered.is_subset(&seen), "an answer without a request");
        assert!(self.not_sent.is_disjoint(&seen), "it was sent");
    }
}

fn call_impatiently(runtime: &Runtime, client: &Client, tag: &'static str) -> Asked {
    const CALLS: usize = 800;
    let call = |task: u64| {
        let client = client.clone();
        runtime.spawn(async move {
            let (mut impatient, mut asked) = (Impatient::new(task), Asked::default());
            for number in 0..CALLS {
                let request = format!("{tag}{task}.{number}");
                let bytes = request.as_bytes();
                let result = match number % 2 {
                    0 => impatient.try_await(client.call(bytes, soon())).await,
                    _ => impatient.try_await(client.call_once(bytes, soon())).await,
                };
                match result {
                    None => continue,
                    Some(Ok(reply)) => {
                        assert_eq!(reply.to_vec(), bytes);
                        asked.answered.insert(request);
                    }
                    Some(Err(error)) => {
                        assert_eq!(error.delivery(), Delivery::NotSent, "{error}");
                        assert_eq!(number % 2, 1, "{error}");
                        asked.not_sent.insert(request);
                    }
                }
            }
            asked.given_up = impatient.given_up();
            asked
        })
    };
    let mut all = Asked::default();
    for task in [0, 1, 2, 3].map(call) {
        let asked = runtime.block_on(task).unwrap();
        all.answered.extend(asked.answered);
        all.not_sent.extend(asked.not_sent);
        all.given_up += asked.given_up;
    }
    all
}
