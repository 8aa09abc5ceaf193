//! Upgradable listeners of the tokio flavour on abstract addresses, and on a socket that somebody else has made.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::id;

use shmipc_async::{Client, Config, Drained, ListenError, Listener, Session};
use tests::client::soon;
use tests::deadline::within;
use tests::tokio::{CurrentThread, Kind, MultiThread};
use tokio::spawn;

/// Serves until it is handed over and drained. Replies are the listener's generation.
async fn serve(listener: Listener) -> Drained {
    let generation = listener.generation();
    loop {
        match listener.accept().await {
            Ok(session) => drop(spawn(answer(session, generation))),
            Err(ListenError::HandedOver) => return listener.drain().await.unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

async fn answer(session: Session, generation: u64) {
    while let Ok(mut stream) = session.accept().await {
        stream.recv().await.unwrap();
        stream.finish_with(&generation.to_ne_bytes()).await.unwrap();
    }
}

async fn ask(client: &Client) -> u64 {
    let reply = client.call(b"question", soon()).await.unwrap();
    u64::from_ne_bytes(reply.to_vec().try_into().unwrap())
}

/// Three listeners in a row, and a client that follows.
async fn follow<F: Future<Output = Result<Listener, ListenError>>>(
    address: &Path,
    next: impl Fn() -> F,
) {
    let client = Client::new(address, Config::default());
    let mut server = spawn(serve(next().await.unwrap()));
    assert_eq!(ask(&client).await, 1);
    for generation in 2..=3 {
        let listener = next().await.unwrap();
        assert_eq!(ask(&client).await, generation - 1, "it is not ready");
        listener.ready().await.unwrap();
        let before = std::mem::replace(&mut server, spawn(serve(listener)));
        assert_eq!(before.await.unwrap(), Drained::Done);
        assert_eq!(ask(&client).await, generation);
    }
    server.abort();
}

#[test]
fn abstract_addresses() {
    within("upgrades", || {
        let address = PathBuf::from(format!("@shmipc-upgrade-{}", id()));
        let following = follow(&address, || Listener::bind_upgradable(&address));
        MultiThread::start().unwrap().block_on(following);
    });
}

#[test]
fn a_socket_of_somebody_else() {
    within("upgrades", || {
        let directory = tempfile::tempdir().unwrap();
        let (path, upgrade) = (directory.path().join("socket"), directory.path().join("upgrade"));
        let socket = UnixListener::bind(&path).unwrap();
        let following = follow(&path, || {
            Listener::builder().listener_upgradable(socket.try_clone().unwrap(), &upgrade)
        });
        CurrentThread::start().unwrap().block_on(following);
        assert!(path.exists(), "its file is never removed");
    });
}
