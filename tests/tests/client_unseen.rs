//! A request that the server has certainly not seen is sent again, or reported, as the client's configuration says;
//! in both flavours.

use std::path::Path;
use std::process;
use std::sync::mpsc;
use std::thread;

use nix::unistd::gettid;
use shmipc_sync::{CallError, ClientConfig, Config, Delivery};
use tests::child::Peer;
use tests::client::{Client, Conversation, soon};
use tests::deadline::{start, until, within};
use tests::proc::sleeps;
use tests::with_both_clients;

const PEER: &str = env!("CARGO_BIN_EXE_peer");
/// As long as what has filled the queue, so there is no room for it.
const LEN: usize = 200;

/// Starts a server, which does as the role says.
fn server(role: &str, path: &Path, option: &str) -> Peer {
    let mut peer = Peer::start(PEER, &[role, path.to_str().unwrap(), option]);
    peer.line("listening");
    peer
}

/// Has a request wait for room in the queue of a server that reads nothing, kills that server, and starts another
/// one, which answers. What the call has given, and the requests that the other server has seen.
fn kill_unseen<C: Client>(repeat: bool) -> (Result<Vec<u8>, CallError>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut deaf = server("left-alone", &path, "no driver");
    // The small queue of the one has room for what few streams need.
    let session = Config::builder().max_streams(4).build().unwrap();
    let config = ClientConfig::builder().session(session).repeat_unseen(repeat);
    let client = C::with(&path, config.build().unwrap());
    let mut stream = client.open().unwrap();
    stream.fill(LEN);
    deaf.line("left alone");
    let calling = client.clone();
    let (tell, told) = mpsc::channel();
    let call = start("a call", move || {
        tell.send(gettid().as_raw().cast_unsigned()).unwrap();
        calling.call(&[b'?'; LEN], soon())
    });
    let thread = told.recv().unwrap();
    until("it waits for room", || {
        // For longer than for a lock.
        (0..50).all(|_| {
            thread::yield_now();
            sleeps(process::id(), thread)
        })
    });
    assert!(!call.is_done());
    deaf.kill();
    let mut other = server("answer", &path, &usize::MAX.to_string());
    let result = call.join();
    client.ask("later");
    other.hang_up();
    (result, other.said("seen"))
}

fn is_repeated<C: Client>() {
    within("repeated", || {
        let request = "?".repeat(LEN);
        let (result, seen) = kill_unseen::<C>(true);
        assert_eq!(result.unwrap(), request.as_bytes());
        assert_eq!(seen, [request, "later".into()]);
    });
}

fn is_reported<C: Client>() {
    within("reported", || {
        let (result, seen) = kill_unseen::<C>(false);
        let error = result.unwrap_err();
        assert!(matches!(error, CallError::Send(_)), "{error:?}");
        assert_eq!(error.delivery(), Delivery::NotSent);
        assert_eq!(seen, ["later"]);
    });
}

with_both_clients! { is_repeated is_reported }
