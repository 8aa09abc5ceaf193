//! gRPC, HTTP and framed codecs over shared memory, and over sockets by the same code.

use std::io::ErrorKind;
use std::path::Path;

use axum::http::Request;
use bytes::Bytes;
use examples_grpc::EchoClient;
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use shmipc_async::{ListenError, Listener};
use shmipc_http::{Address, BindError, ConnectError, Connection, Connector, Incoming, grpc};
use tempfile::TempDir;
use tests::child;
use tests::deadline::within;
use tests::needs::loopback;
use tests::payload::pattern;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tonic::Code;

/// A server process.
struct Server {
    process: child::Peer,
    address: Address,
}

impl Server {
    fn start(role: &str, address: &str) -> Self {
        let mut process = child::Peer::start(env!("CARGO_BIN_EXE_http_peer"), &[role, address]);
        let address = process.line("listening").parse().expect("an address");
        Self { process, address }
    }
}

fn shm(directory: &Path) -> String {
    format!("shm:{}", directory.join("socket").display())
}

fn unix(directory: &Path) -> String {
    format!("unix:{}", directory.join("socket").display())
}

fn http(_: &Path) -> String {
    "http://127.0.0.1:0".to_owned()
}

/// Runs `work` with a server, on the thread that the server dies with.
fn with_server<F: Future<Output = Server>>(
    role: &'static str,
    address: fn(&Path) -> String,
    work: impl FnOnce(Server, TempDir) -> F + Send + 'static,
) {
    within(role, move || {
        let directory = tempfile::tempdir().expect("a directory");
        let address = address(directory.path());
        if address.starts_with("http:") && !loopback("127.0.0.1") {
            return;
        }
        let server = Server::start(role, &address);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        // The client is still there when the server is to end.
        let server = runtime.block_on(work(server, directory));
        server.process.succeed();
    });
}

/// Every test of these, over every address.
macro_rules! over_every_address {
    ($($test:ident => $role:literal;)*) => {
        mod over_shm { $(#[test] fn $test() { super::with_server($role, super::shm, super::$test); })* }
        mod over_unix { $(#[test] fn $test() { super::with_server($role, super::unix, super::$test); })* }
        mod over_http { $(#[test] fn $test() { super::with_server($role, super::http, super::$test); })* }
    };
}

over_every_address! {
    unary_and_streaming => "tonic";
    errors_of_the_service => "tonic";
    many_calls_at_a_time => "tonic";
    large_messages => "tonic";
    a_server_that_is_killed_and_started_again => "tonic";
    a_request_to_axum => "axum";
    a_tonic_service_in_an_axum_router => "router";
    a_request_to_hyper => "hyper";
}

async fn unary_and_streaming(server: Server, _directory: TempDir) -> Server {
    let mut echo = EchoClient::new(grpc::connect(&server.address).await.expect("connected"));
    for number in 0..100 {
        let message = Bytes::from(pattern(number, number as usize * 50));
        assert_eq!(echo.call(message.clone()).await.expect("an answer"), message);
    }
    let message = Bytes::from([&[200], &pattern(1, 5000)[..]].concat());
    let mut answers = echo.repeat(message.clone()).await.expect("a stream");
    let mut count = 0;
    while let Some(answer) = answers.message().await.expect("an answer") {
        assert_eq!(answer, message);
        count += 1;
    }
    assert_eq!(count, 200);
    server
}

async fn errors_of_the_service(server: Server, _directory: TempDir) -> Server {
    let mut echo = EchoClient::new(grpc::connect_lazy(&server.address));
    let status = echo.repeat(Bytes::new()).await.expect_err("nothing to repeat");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(echo.call(Bytes::from("on")).await.expect("an answer"), "on");
    server
}

async fn many_calls_at_a_time(server: Server, _directory: TempDir) -> Server {
    let echo = EchoClient::new(grpc::connect(&server.address).await.expect("connected"));
    let calls = (0..200).map(|caller| {
        let mut echo = echo.clone();
        tokio::spawn(async move {
            for number in 0..20 {
                let seed = caller * 20 + number;
                let message = Bytes::from(pattern(seed, (seed as usize * 97) % 20_000));
                assert_eq!(echo.call(message.clone()).await.expect("an answer"), message);
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("every answer is right");
    }
    server
}

/// More passes through one connection than its windows and its memory hold.
async fn large_messages(server: Server, _directory: TempDir) -> Server {
    let mut echo = EchoClient::new(grpc::connect(&server.address).await.expect("connected"));
    for number in 0..40 {
        let message = Bytes::from(pattern(number, 4_000_000));
        assert_eq!(echo.call(message.clone()).await.expect("an answer"), message);
    }
    server
}

async fn a_server_that_is_killed_and_started_again(mut server: Server, _: TempDir) -> Server {
    let mut echo = EchoClient::new(grpc::connect(&server.address).await.expect("connected"));
    for _ in 0..3 {
        assert_eq!(echo.call(Bytes::from("before")).await.expect("an answer"), "before");
        server.process.kill();
        server = Server::start("tonic", &server.address.to_string());
        // At most one call goes to the connection that is lost.
        let after = match echo.call(Bytes::from("after")).await {
            Ok(after) => after,
            Err(_) => echo.call(Bytes::from("after")).await.expect("an answer"),
        };
        assert_eq!(after, "after");
    }
    server
}

async fn a_request_to_axum(server: Server, _directory: TempDir) -> Server {
    ask_who_i_am(&server.address).await;
    server
}

/// The service and a handler beside it are told who calls.
async fn a_tonic_service_in_an_axum_router(server: Server, _directory: TempDir) -> Server {
    let mut echo = EchoClient::new(grpc::connect(&server.address).await.expect("connected"));
    assert_eq!(echo.call(Bytes::from("who?")).await.expect("an answer"), "who?");
    ask_who_i_am(&server.address).await;
    server
}

async fn a_request_to_hyper(server: Server, _directory: TempDir) -> Server {
    ask_who_i_am(&server.address).await;
    server
}

/// By hyper's pooling client, in HTTP/1.1.
async fn ask_who_i_am(address: &Address) {
    let client = Client::builder(TokioExecutor::new()).build(Connector::new(address));
    let expected = match address {
        Address::Http(_) => "remote 127.0.0.1".to_owned(),
        _ => format!("process {}", std::process::id()),
    };
    for _ in 0..3 {
        let uri = format!("{}whoami", address.origin());
        let request = Request::get(uri).body(Empty::<Bytes>::new()).expect("a request");
        let response = client.request(request).await.expect("a response");
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, expected);
    }
}

/// Runs `work` in a directory of its own, on a runtime of its own.
fn alone<F: Future<Output = ()>>(name: &str, work: impl FnOnce(TempDir) -> F + Send + 'static) {
    within(name, move || {
        let directory = tempfile::tempdir().expect("a directory");
        tokio::runtime::Runtime::new().expect("a runtime").block_on(work(directory));
    });
}

#[test]
fn connections_share_a_session() {
    alone("sharing", |directory| async move {
        let address: Address = shm(directory.path()).parse().expect("an address");
        let listener = Listener::bind(directory.path().join("socket")).expect("bound");
        let connector = Connector::new(&address);
        let connect = async || {
            // Of clones, and those that are made at the same time, too.
            let connect = (0..10).map(|_| {
                let connector = connector.clone();
                async move {
                    let mut connection = connector.connect().await.expect("connected");
                    connection.write_all(b"1").await.expect("written");
                    connection
                }
            });
            join_all(connect).await
        };
        let accept = async {
            let session = listener.accept().await.expect("a session");
            for _ in 0..20 {
                tokio::select! {
                    stream = session.accept() => drop(stream.expect("a stream")),
                    _ = listener.accept() => panic!("another session"),
                }
            }
        };
        tokio::join!(async { (connect().await, connect().await) }, accept);
    });
}

#[test]
fn addresses_without_a_file() {
    alone("abstract", |_| async move {
        for scheme in ["shm", "unix"] {
            let address = format!("{scheme}:@shmipc-test-{scheme}-{}", std::process::id());
            let address: Address = address.parse().expect("an address");
            let mut incoming = Incoming::bind(&address).await.expect("bound");
            let _joined = join(&Connector::new(&address), &mut incoming).await;
        }
    });
}

#[test]
fn a_listener_that_is_dropped_leaves_its_sessions() {
    alone("leaving", |directory| async move {
        let address = shm(directory.path()).parse().expect("an address");
        let connector = Connector::new(&address);
        let mut old = Incoming::bind(&address).await.expect("bound");
        let (mut ours, mut theirs) = join(&connector, &mut old).await;
        // Shown to the server, but not accepted.
        let mut unaccepted = connector.connect().await.expect("connected");
        unaccepted.write_all(b"hello?").await.expect("written");
        drop(old);

        let error = unaccepted.read_u8().await.expect_err("it was reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error:?}");
        ours.write_all(b"?").await.expect("written");
        assert_eq!(theirs.read_u8().await.expect("what was written"), b'?');
        theirs.write_all(b"!").await.expect("written");
        assert_eq!(ours.read_u8().await.expect("what was written"), b'!');

        let mut new = Incoming::bind(&address).await.expect("the old one is gone");
        let (_ours, _theirs) = join(&connector, &mut new).await;
    });
}

/// A connection, by both ends.
async fn join(connector: &Connector, incoming: &mut Incoming) -> (Connection, Connection) {
    let connect = async {
        let mut ours = connector.connect().await.expect("connected");
        // A stream shows with its first byte.
        ours.write_all(b"1").await.expect("written");
        ours
    };
    let accept = async {
        let mut theirs = incoming.accept().await.expect("the listener lives");
        assert_eq!(theirs.read_u8().await.expect("what was written"), b'1');
        theirs
    };
    tokio::join!(connect, accept)
}

#[test]
fn errors_are_named() {
    alone("errors", |directory| async move {
        let impatient =
            shmipc_async::Config::builder().wait_for_server(false).build().expect("valid");
        let nobody: Address = shm(directory.path()).parse().expect("an address");
        let error = Connector::with_config(&nobody, impatient.clone())
            .connect()
            .await
            .expect_err("nobody listens");
        assert!(
            matches!(error, ConnectError::Session(shmipc_async::ConnectError::Unreachable { .. })),
            "{error:?}"
        );
        let nobody: Address = unix(directory.path()).parse().expect("an address");
        let error =
            Connector::with_config(&nobody, impatient).connect().await.expect_err("nobody listens");
        let absent = matches!(error, ConnectError::Socket { kind: ErrorKind::NotFound, .. });
        assert!(absent, "{error:?}");

        for address in [shm(&directory.path().join("a")), unix(&directory.path().join("b"))] {
            let address: Address = address.parse().expect("an address");
            let (Address::Shm(path) | Address::Unix(path)) = &address else { unreachable!() };
            std::fs::create_dir(path.parent().expect("a directory")).expect("made");
            let _first = Incoming::bind(&address).await.expect("the address is free");
            let error = Incoming::bind(&address).await.expect_err("it is not");
            let in_use = matches!(error, BindError::Listen(ListenError::InUse { .. }));
            assert!(in_use, "{error:?}");
        }
    });
}

#[test]
fn framed_codecs_take_a_stream_as_it_is() {
    alone("framed", |directory| async move {
        let path = directory.path().join("socket");
        let listener = Listener::bind(&path).expect("bound");
        let server = async {
            let session = listener.accept().await.expect("a session");
            let stream = session.accept().await.expect("a stream");
            let mut framed = Framed::new(stream, LengthDelimitedCodec::new());
            while let Some(frame) = framed.next().await {
                framed.send(frame.expect("a frame").freeze()).await.expect("sent");
            }
            SinkExt::<Bytes>::close(&mut framed).await.expect("finished");
        };
        let client = async {
            let session = shmipc_async::Session::connect(&path).await.expect("connected");
            let stream = session.open().expect("a stream");
            let mut framed = Framed::new(stream, LengthDelimitedCodec::new());
            for number in 0..100 {
                let frame = Bytes::from(pattern(number, number as usize * 997));
                framed.send(frame.clone()).await.expect("sent");
                assert_eq!(framed.next().await.expect("a frame").expect("whole"), frame);
            }
            SinkExt::<Bytes>::close(&mut framed).await.expect("finished");
            assert!(framed.next().await.is_none());
        };
        tokio::join!(server, client);
    });
}
