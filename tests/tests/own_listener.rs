//! A process that connects to a listener of its own on which nothing accepts is told that, not that the peer is stuck.

use std::time::Duration;

use shmipc_sync::{Config, ConnectError, HandshakeError};
use tests::tokio::{CurrentThread, Kind};

fn hasty() -> Config {
    Config::builder().connect_timeout(Duration::from_millis(100)).build().unwrap()
}

fn says_what_to_do(error: ConnectError) {
    assert_eq!(error, ConnectError::Handshake(HandshakeError::NotAccepted));
    assert!(error.to_string().contains("call `accept` in another thread or task"), "{error}");
}

#[test]
fn a_thread_that_connects_before_it_accepts_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = shmipc_sync::Listener::bind(&path).unwrap();
    says_what_to_do(shmipc_sync::Session::connect_with(&path, &hasty()).unwrap_err());
}

#[test]
fn a_task_that_connects_before_it_accepts_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    CurrentThread::start().unwrap().block_on(async {
        let _listener = shmipc_async::Listener::bind(&path).unwrap();
        let connected = shmipc_async::Session::connect_with(&path, &hasty()).await;
        says_what_to_do(connected.unwrap_err());
    });
}
