//! `Connector` and servers that are away: what is waited for, what is shared, and what is not waited for twice.

use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use examples_grpc::EchoClient;
use futures_util::FutureExt;
use futures_util::future::join_all;
use shmipc_async::Config;
use shmipc_http::{Address, ConnectError, Connector, Incoming, grpc};
use tests::child::Peer;
use tests::deadline::{PATIENCE, within};
use tests::needs::short_directory;
use tokio::io::AsyncWriteExt;
use tokio::task::coop::unconstrained;

/// Runs `work` in a directory of its own, on a runtime of its own.
fn alone<F: Future<Output = ()>>(
    name: &str,
    work: impl FnOnce(tempfile::TempDir) -> F + Send + 'static,
) {
    within(name, move || {
        let directory = short_directory();
        tokio::runtime::Runtime::new().expect("a runtime").block_on(work(directory));
    });
}

fn addresses(directory: &Path) -> [Address; 2] {
    ["shm", "unix"].map(|scheme| {
        let path = directory.join(format!("{scheme}.sock"));
        format!("{scheme}:{}", path.display()).parse().expect("an address")
    })
}

fn config(connect_timeout: Duration) -> Config {
    Config::builder().connect_timeout(connect_timeout).build().expect("valid")
}

/// A server that was stopped in good order has no file, one that was killed a stale one.
fn leave_stale(address: &Address) {
    let (Address::Shm(path) | Address::Unix(path)) = address else { unreachable!() };
    let _ = std::fs::remove_file(path);
    drop(UnixListener::bind(path).expect("bound"));
}

#[test]
fn a_server_that_is_away_is_waited_for_and_its_connection_made() {
    alone("waiting", |directory| async move {
        for stale in [false, true] {
            for address in addresses(directory.path()) {
                if stale {
                    leave_stale(&address);
                }
                let connector = Connector::with_config(&address, config(PATIENCE));
                let connect = async {
                    let mut connection = connector.connect().await.expect("a server comes");
                    connection.write_all(b"1").await.expect("written");
                    connection
                };
                let mut connect = std::pin::pin!(connect);
                assert!(connect.as_mut().now_or_never().is_none(), "no server is there");
                let mut incoming = Incoming::bind(&address).await.expect("bound");
                let (_connection, accepted) = tokio::join!(connect, incoming.accept());
                accepted.expect("a connection");
            }
        }
    });
}

#[test]
fn a_server_that_is_away_is_reported_at_once_without_wait_for_server() {
    alone("not waiting", |directory| async move {
        for address in addresses(directory.path()) {
            let config = config(PATIENCE).with_wait_for_server(false);
            let error = Connector::with_config(&address, config).connect().await.expect_err("none");
            match error {
                ConnectError::Session(error) => assert!(error.is_server_away(), "{error:?}"),
                ConnectError::Socket { kind, .. } => assert_eq!(kind, ErrorKind::NotFound),
                other => panic!("{other:?}"),
            }
        }
    });
}

/// The requests at a time make one attempt, and all of them get its error.
#[test]
fn requests_to_a_silent_server_share_one_attempt() {
    alone("sharing", |directory| async move {
        let path = directory.path().join("socket");
        let silent = UnixListener::bind(&path).expect("bound");
        silent.set_nonblocking(true).expect("set");
        let connector =
            Connector::with_config(&Address::Shm(path), config(Duration::from_millis(200)));
        let errors = join_all((0..20).map(|_| connector.connect())).await;
        assert!(errors.iter().all(|error| error.as_ref().err() == errors[0].as_ref().err()));
        errors.into_iter().next().expect("20").expect_err("it never answers");
        let attempts = std::iter::from_fn(|| silent.accept().ok()).count();
        assert_eq!(attempts, 1, "of 20 requests");
    });
}

/// An attempt whose request is given up does not keep the others, nor those that come later.
#[test]
fn an_attempt_that_is_given_up_is_made_by_the_next_request() {
    alone("giving up", |directory| async move {
        let [address, _] = addresses(directory.path());
        let connector = Connector::with_config(&address, config(PATIENCE));
        let mut first = Box::pin(connector.connect());
        let mut second = Box::pin(connector.connect());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        let mut incoming = Incoming::bind(&address).await.expect("bound");
        let connect = async {
            let mut connection = second.await.expect("connected");
            connection.write_all(b"1").await.expect("written");
            connection
        };
        let (_connection, accepted) = tokio::join!(connect, incoming.accept());
        accepted.expect("a connection");
        drop(incoming);

        // All of them.
        let connector = Connector::with_config(&address, config(PATIENCE));
        assert!(connector.connect().now_or_never().is_none());
        let mut incoming = Incoming::bind(&address).await.expect("bound");
        let connect = async {
            let mut connection = connector.connect().await.expect("connected");
            connection.write_all(b"1").await.expect("written");
            connection
        };
        let (_connection, accepted) = tokio::join!(connect, incoming.accept());
        accepted.expect("a connection");
    });
}

/// After one attempt has taken all of its time, the next ones look once, until a server is there.
#[test]
fn a_server_that_stays_away_is_not_waited_for_again() {
    alone("dead", |directory| async move {
        let address = &addresses(directory.path())[0];
        let connector = Connector::with_config(address, config(Duration::from_millis(200)));
        connector.connect().await.expect_err("no server");
        for _ in 0..4 {
            let outcome = unconstrained(connector.connect()).now_or_never();
            outcome.expect("it does not wait").expect_err("no server");
        }
        let mut incoming = Incoming::bind(address).await.expect("bound");
        let connect = async {
            let mut connection = loop {
                // A tenth of the time may be too short on a busy machine.
                if let Ok(connection) = connector.connect().await {
                    break connection;
                }
            };
            connection.write_all(b"1").await.expect("written");
            connection
        };
        let (_connection, accepted) = tokio::join!(connect, incoming.accept());
        accepted.expect("a connection");
    });
}

/// Four callers of one channel, whose server was killed: none of them waits for the attempts of the others, one after
/// another.
#[test]
fn callers_of_a_dead_server_wait_for_one_attempt() {
    /// Far longer than a thread of a busy machine is kept from running.
    const TIMEOUT: Duration = Duration::from_secs(4);
    alone("dead server", |directory| async move {
        let address = Address::Shm(directory.path().join("socket"));
        let name = address.to_string();
        let mut server = Peer::start(env!("CARGO_BIN_EXE_http_peer"), &["upgradable", &name]);
        server.line("serving");
        let connector = Connector::with_config(&address, config(TIMEOUT));
        let channel = grpc::endpoint(&address).connect_with_connector(connector).await;
        let echo = EchoClient::new(channel.expect("connected"));
        echo.clone().call(Bytes::from_static(b"1")).await.expect("served");
        server.kill();
        let calls = (0..4).map(|_| {
            let mut echo = echo.clone();
            async move {
                let begin = Instant::now();
                echo.call(Bytes::from_static(b"1")).await.expect_err("the server is dead");
                begin.elapsed()
            }
        });
        let longest = join_all(calls).await.into_iter().max().expect("4");
        assert!(longest < 2 * TIMEOUT, "{longest:?}");
    });
}
