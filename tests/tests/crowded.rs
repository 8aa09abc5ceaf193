//! A server of which a process of the same user takes all places for handshakes, and says nothing there: the clients
//! of that user come in nevertheless. No handshake of this server ends for want of time while the test runs.

use std::time::Duration;

use shmipc_sync::{Config, Session};
use tests::child::Peer;
use tests::deadline::{start, within};
use tests::payload::{check, pattern};

const CLIENTS: u64 = 7;

fn clients_come_in_beside_silent_connections(flavour: &str, connections: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let name = path.to_str().unwrap().to_owned();
    let hostile = env!("CARGO_BIN_EXE_hostile");
    let mut server = Peer::start(hostile, &["serve", &format!("{flavour}-patient"), &name]);
    server.line("listening");
    let mut silent = Peer::start(hostile, &["silent", &name]);
    silent.say(connections);
    silent.line("over");
    within("the clients", move || {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| {
                let path = path.clone();
                start("a client", move || {
                    let patient = Config::builder().connect_timeout(Duration::from_secs(50));
                    let session = Session::connect_with(path, &patient.build().unwrap()).unwrap();
                    let mut stream = session.open().unwrap();
                    stream.send(&pattern(seed, 1000)).unwrap();
                    check(&stream.recv().unwrap().unwrap(), seed, 1000);
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join());
    });
    silent.succeed();
}

#[test]
fn clients_of_a_blocking_server_come_in_beside_64_silent_connections() {
    clients_come_in_beside_silent_connections("blocking", "64");
}

#[test]
fn clients_of_a_blocking_server_come_in_beside_2000_silent_connections() {
    clients_come_in_beside_silent_connections("blocking", "2000");
}

#[test]
fn clients_of_a_tokio_server_come_in_beside_64_silent_connections() {
    clients_come_in_beside_silent_connections("tokio-current", "64");
}

#[test]
fn clients_of_a_tokio_server_come_in_beside_2000_silent_connections() {
    clients_come_in_beside_silent_connections("tokio-multi", "2000");
}
