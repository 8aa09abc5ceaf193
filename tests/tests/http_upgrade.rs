//! gRPC servers in processes of their own that take over from each other while clients call them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use examples_grpc::EchoClient;
use shmipc_async::Config;
use shmipc_http::{Address, Connector, grpc};
use tempfile::TempDir;
use tests::child::Peer;
use tests::deadline::{PATIENCE, until, within};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tonic::Status;

struct Place {
    _directory: TempDir,
    address: Address,
    runtime: Runtime,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let address = Address::Shm(directory.path().join("socket"));
        Self { _directory: directory, address, runtime: Runtime::new().expect("a runtime") }
    }

    /// The next generation; it serves when this returns.
    fn next(&self, generation: u64) -> Peer {
        let address = self.address.to_string();
        let mut server = Peer::start(env!("CARGO_BIN_EXE_http_peer"), &["upgradable", &address]);
        assert_eq!(server.line("generation"), generation.to_string());
        server.line("serving");
        server
    }

    fn echo(&self) -> EchoClient<grpc::Repeat<tonic::transport::Channel>> {
        // However long a server takes to start.
        let config = Config::builder().connect_timeout(PATIENCE).build().expect("valid");
        let connector = Connector::with_config(&self.address, config);
        let endpoint = grpc::endpoint(&self.address);
        let connect = endpoint.connect_with_connector(connector);
        let channel = self.runtime.block_on(connect).expect("connected");
        EchoClient::new(grpc::Repeat::new(channel))
    }
}

/// Clients that call without a pause.
struct Callers {
    answered: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Result<(), Status>>>,
}

impl Callers {
    /// Four channels, with eight calls of 5 to 50 ms on each at a time.
    fn start(place: &Place) -> Self {
        let (answered, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let echo = place.echo();
            for number in 0..8_u8 {
                let (mut echo, answered, over) =
                    (echo.clone(), Arc::clone(&answered), Arc::clone(&over));
                tasks.push(place.runtime.spawn(async move {
                    let mut millis = number;
                    while !over.load(Ordering::Relaxed) {
                        millis = (millis * 5 + 3) % 46;
                        let message = Bytes::from(vec![5 + millis; 100]);
                        assert_eq!(echo.slow(message.clone()).await?, message);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                }));
            }
        }
        Self { answered, over, tasks }
    }

    /// Waits for so many more answers.
    fn go_on(&self, calls: u64) {
        let before = self.answered.load(Ordering::Relaxed);
        until("calls are answered", || {
            // One that has failed is reported by `end`.
            self.answered.load(Ordering::Relaxed) >= before + calls
                || self.tasks.iter().any(JoinHandle::is_finished)
        });
    }

    /// Every call was answered.
    fn end(self, place: &Place) {
        self.over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            place.runtime.block_on(task).expect("no panic").expect("no call fails");
        }
        assert!(self.answered.load(Ordering::Relaxed) > 0);
    }
}

/// Each predecessor ends, an idle channel notwithstanding, and no call fails.
#[test]
fn upgrades_of_a_grpc_server_lose_no_call() {
    within("upgrades", || {
        let place = Place::new();
        let mut running = place.next(1);
        let callers = Callers::start(&place);
        let mut idle = EchoClient::new(
            place.runtime.block_on(grpc::connect(&place.address)).expect("connected"),
        );
        place.runtime.block_on(idle.call(Bytes::from("once"))).expect("an answer");
        for generation in 2..=6 {
            let next = place.next(generation);
            // It ends by itself.
            let old = std::mem::replace(&mut running, next);
            old.succeed();
            callers.go_on(100);
        }
        callers.end(&place);
        running.kill();
    });
}

/// Between the end of one server and the start of the next there is no socket file.
#[test]
fn restarts_in_good_order_lose_no_call() {
    within("restarts", || {
        let place = Place::new();
        let start = || {
            let address = place.address.to_string();
            let mut server = Peer::start(env!("CARGO_BIN_EXE_http_peer"), &["tonic", &address]);
            server.line("listening");
            server
        };
        let mut server = start();
        let callers = Callers::start(&place);
        for _ in 0..4 {
            callers.go_on(50);
            server.succeed();
            server = start();
        }
        callers.go_on(50);
        callers.end(&place);
        server.succeed();
    });
}

/// The predecessor still answers a long call when its successor is killed: it serves again.
#[test]
fn a_server_whose_successor_is_killed_serves_on() {
    within("a successor that dies", || {
        let place = Place::new();
        let mut running = place.next(1);
        let mut echo = place.echo();
        // Streams that are never ended keep it draining.
        let mut open = place
            .runtime
            .block_on(async {
                let mut answers = echo.repeat(Bytes::from(vec![255; 60_000])).await?;
                answers.message().await?;
                Ok::<_, Status>(answers)
            })
            .expect("a stream");
        for _ in 0..3 {
            let mut next = place.next(2);
            running.line("handed over");
            next.kill();
            running.line("serving");
            let answer = place.runtime.block_on(place.echo().call(Bytes::from("still there?")));
            assert_eq!(answer.expect("an answer"), "still there?");
        }
        let mut answers = 1;
        while let Some(answer) = place.runtime.block_on(open.message()).expect("the stream goes on")
        {
            assert_eq!(answer.len(), 60_000);
            answers += 1;
        }
        assert_eq!(answers, 255);
        running.kill();
    });
}

#[test]
fn only_shared_memory_can_be_handed_over() {
    let place = Place::new();
    let address: Address = "http://127.0.0.1:0".parse().expect("an address");
    let error = place.runtime.block_on(shmipc_http::Incoming::bind_upgradable(&address));
    let error = error.expect_err("a socket cannot be handed over");
    assert!(matches!(error, shmipc_http::BindError::NotUpgradable { .. }), "{error:?}");
}
