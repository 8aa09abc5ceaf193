//! Connections of `shmipc_http` that are given up while they are made, accepted, read and written, over every kind
//! of address. Descriptors and mappings are counted, so this file is a test program of its own with one test.

use std::future::poll_fn;

use bytes::Bytes;
use examples_grpc::EchoClient;
use futures_util::{FutureExt, StreamExt};
use hyper::Uri;
use shmipc_http::{Address, Connection, Connector, Incoming, grpc};
use tests::child::Peer;
use tests::deadline::{PATIENCE, until, within};
use tests::impatience::Impatient;
use tests::needs::loopback;
use tests::payload::pattern;
use tests::proc::Held;
use tests::retry;
use tests::setup::{Setup, Size};
use tests::tokio::{Kind, MultiThread};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::task::coop::unconstrained;
use tower_service::Service;

#[test]
fn given_up() {
    within("given up", || {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let shm = format!("shm:{}", socket.display());
        let unix = format!("unix:{}", socket.with_extension("unix").display());
        let runtime = MultiThread::start().unwrap();
        let before = Held::by(std::process::id());
        for address in [shm, unix, "http://localhost:0".to_owned()] {
            if address.starts_with("http:") && !loopback("localhost") {
                continue;
            }
            let given_up = over(&runtime, &address.parse().unwrap());
            println!("{address}: {given_up:?} given up");
            until("all is given back", || Held::by(std::process::id()) == before);
        }
    });
}

fn over(runtime: &Runtime, address: &Address) -> [u64; 3] {
    let server = runtime.block_on(async {
        let incoming = bind(address).await;
        let address = incoming.address().clone();
        let (stop, stopped) = oneshot::channel();
        (address, stop, tokio::spawn(serve(incoming, stopped)))
    });
    let (bound, stop, serving) = server;
    let connector = Connector::with_config(&bound, config());
    let connected = runtime.block_on(converse(&connector));
    if let Address::Shm(_) = address {
        has_places(runtime, &connector);
    }
    drop(connector);
    stop.send(()).unwrap();
    let accepted = runtime.block_on(serving).unwrap();
    let called = call_a_process(runtime, address);
    let all = [connected, accepted, called];
    // A connection over a socket is there at once, as a rule.
    assert!(all.iter().sum::<u64>() > 2000, "{all:?}");
    all
}

/// Few places for streams, and windows that are full all the time.
fn config() -> shmipc_async::Config {
    Setup::new(Size::Tiny).config().with_connect_timeout(PATIENCE)
}

/// Listens, after many who have given that up or listen no longer.
async fn bind(address: &Address) -> Incoming {
    let mut impatient = Impatient::new(1);
    for _ in 0..100 {
        drop(retry!(impatient, Incoming::bind_with(address, config())).unwrap());
        drop(retry!(impatient, Incoming::bind(address)).unwrap());
    }
    retry!(impatient, Incoming::bind_with(address, config())).unwrap()
}

// --- the server ----------------------------------------------------------------------------------

/// Accepts in every way, until it is told to stop.
async fn serve(mut incoming: Incoming, mut stopped: oneshot::Receiver<()>) -> u64 {
    let mut impatient = Impatient::new(2);
    let mut answering = JoinSet::new();
    for turn in 0.. {
        let accept = async {
            match turn % 3 {
                0 => impatient.try_await(incoming.accept()).await,
                1 => impatient.try_await(poll_fn(|cx| incoming.poll_accept(cx))).await,
                _ => impatient.try_await(incoming.next()).await.map(Option::unwrap),
            }
        };
        tokio::select! {
            accepted = accept => if let Some(connection) = accepted {
                answering.spawn(answer(connection.unwrap()));
            },
            _ = &mut stopped => break,
        }
    }
    let numbers = answering.join_all().await.into_iter().flatten();
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_unstable();
    assert_eq!(numbers, all_numbers().collect::<Vec<_>>(), "each has been accepted once");
    impatient.given_up()
}

/// Sends back what comes. The connection's number; none if its client has given it up.
async fn answer(mut connection: Connection) -> Option<u64> {
    let mut received = Vec::new();
    let mut piece = [0; 1000];
    let mut impatient = Impatient::new(3);
    loop {
        match retry!(impatient, connection.read(&mut piece)) {
            Ok(0) => break,
            Ok(count) => {
                write_all(&mut connection, &piece[..count], &mut impatient).await;
                received.extend_from_slice(&piece[..count]);
            }
            Err(error) => panic!("{error}"),
        }
    }
    retry!(impatient, connection.shutdown()).unwrap();
    let number = received.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    assert!(number.is_some() || received.is_empty(), "a part of a number");
    number
}

async fn write_all(to: &mut (impl AsyncWrite + Unpin), data: &[u8], impatient: &mut Impatient) {
    let mut rest = data;
    while !rest.is_empty() {
        let count = retry!(impatient, to.write(rest)).unwrap();
        rest = &rest[count..];
    }
}

// --- its clients ---------------------------------------------------------------------------------

const TASKS: u64 = 6;
const CONNECTIONS: u64 = 400;

fn all_numbers() -> impl Iterator<Item = u64> {
    (0..TASKS).flat_map(|task| (0..CONNECTIONS).map(move |number| task << 32 | number))
}

/// Several tasks with a connection for each request.
async fn converse(connector: &Connector) -> u64 {
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let connector = connector.clone();
        tasks.spawn(async move {
            let mut impatient = Impatient::new(10 + task);
            for number in 0..CONNECTIONS {
                let mut service = connector.clone();
                let connection = if number % 2 == 0 {
                    retry!(impatient, connector.connect()).unwrap()
                } else {
                    retry!(impatient, service.call(Uri::from_static("any:"))).unwrap().into_inner()
                };
                ask(connection, task << 32 | number, &mut impatient).await;
            }
            impatient.given_up()
        });
    }
    tasks.join_all().await.into_iter().sum()
}

/// Sends the number and some data, while all of it comes back.
async fn ask(connection: Connection, number: u64, impatient: &mut Impatient) {
    let request =
        [&number.to_ne_bytes()[..], &pattern(number, number as usize % 61 * 300)].concat();
    let (mut reading, mut writing) = tokio::io::split(connection);
    let mut eager = Impatient::new(number);
    let write = async {
        write_all(&mut writing, &request, impatient).await;
        retry!(impatient, writing.shutdown()).unwrap();
    };
    let read = async {
        let (mut reply, mut piece) = (Vec::new(), [0; 700]);
        loop {
            match retry!(eager, reading.read(&mut piece)).unwrap() {
                0 => return reply,
                count => reply.extend_from_slice(&piece[..count]),
            }
        }
    };
    let ((), reply) = tokio::join!(write, read);
    assert!(reply == request, "bytes differ");
}

/// Waits until as many connections can be made without waiting as a session has streams: none is leaked.
fn has_places(runtime: &Runtime, connector: &Connector) {
    until("every place is free", || {
        runtime.block_on(async {
            tokio::task::yield_now().await;
            let connect = || unconstrained(connector.connect()).now_or_never();
            let made = std::iter::from_fn(|| connect().and_then(Result::ok)).collect::<Vec<_>>();
            made.len() == 4
        })
    });
}

/// Channels of tonic to a process, which keeps nothing of those that were given up.
fn call_a_process(runtime: &Runtime, address: &Address) -> u64 {
    let mut server = Peer::start(env!("CARGO_BIN_EXE_http_peer"), &["tonic", &address.to_string()]);
    let address = server.line("listening").parse().unwrap();
    let before = Held::by(server.pid());
    let mut impatient = Impatient::new(4);
    runtime.block_on(async {
        for number in 0..300 {
            let channel = retry!(impatient, grpc::connect(&address)).unwrap();
            let message = Bytes::from(pattern(number, 100));
            assert_eq!(EchoClient::new(channel).call(message.clone()).await.unwrap(), message);
        }
    });
    until("the server holds no more than before", || Held::by(server.pid()) == before);
    server.succeed();
    impatient.given_up()
}
