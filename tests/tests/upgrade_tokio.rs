//! Upgradable listeners of the tokio flavour on abstract addresses, and on a socket that somebody else has made.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::id;
use std::time::Duration;

use shmipc_async::{Client, Config, Drained, ListenError, Listener, Session};
use tests::client::soon;
use tests::deadline::within;
use tests::needs::short_directory;
use tests::tokio::{CurrentThread, Kind, MultiThread};
use tokio::spawn;
use tokio::time::timeout;

/// What does not come at all, does not come in this time either.
const SHORT: Duration = Duration::from_millis(50);

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
        let directory = short_directory();
        let (path, upgrade) = (directory.path().join("socket"), directory.path().join("upgrade"));
        let socket = UnixListener::bind(&path).unwrap();
        let following = follow(&path, || {
            Listener::builder().listener_upgradable(socket.try_clone().unwrap(), &upgrade)
        });
        CurrentThread::start().unwrap().block_on(following);
        assert!(path.exists(), "its file is never removed");
    });
}

/// It does not take over another socket than the one that it is to listen on.
#[test]
fn another_socket_of_somebody_else() {
    within("upgrades", || {
        let directory = short_directory();
        let at = |name: &str| directory.path().join(name);
        let [one, other] = ["one", "other"].map(|name| UnixListener::bind(at(name)).unwrap());
        CurrentThread::start().unwrap().block_on(async {
            let upgrade = at("other.upgrade");
            let first = Listener::builder().listener_upgradable(one, &upgrade).await.unwrap();
            let first = spawn(serve(first));
            let by_socket = Listener::builder().listener_upgradable(other, &upgrade).await;
            assert!(matches!(by_socket, Err(ListenError::OtherPath { .. })), "{by_socket:?}");
            let by_path = Listener::bind_upgradable(at("other")).await;
            assert!(matches!(by_path, Err(ListenError::OtherPath { .. })), "{by_path:?}");
            assert_eq!(ask(&Client::new(at("one"), Config::default())).await, 1);
            first.abort();
        });
    });
}

/// Who gives up draining can go on with it.
#[test]
fn draining_with_a_limit() {
    within("upgrades", || {
        let directory = short_directory();
        let path = directory.path().join("socket");
        CurrentThread::start().unwrap().block_on(async {
            let first = Listener::bind_upgradable(&path).await.unwrap();
            let connected = spawn(Session::connect(path.clone()));
            let session = first.accept().await.unwrap();
            let mut stream = connected.await.unwrap().unwrap().open().unwrap();
            stream.send(b"question").await.unwrap();
            let mut theirs = session.accept().await.unwrap();
            let second = Listener::bind_upgradable(&path);
            let (second, _) = tokio::join!(second, timeout(SHORT, first.accept()));
            let second = second.unwrap();
            let (ready, handed) = tokio::join!(second.ready(), first.accept());
            ready.unwrap();
            assert!(matches!(handed, Err(ListenError::HandedOver)), "{handed:?}");
            for _ in 0..3 {
                assert!(timeout(SHORT, first.drain()).await.is_err(), "a stream is open");
            }
            theirs.finish_with(b"answer").await.unwrap();
            stream.recv().await.unwrap();
            stream.finish().unwrap();
            let (drained, _) = tokio::join!(first.drain(), theirs.recv());
            assert_eq!(drained.unwrap(), Drained::Done);
        });
    });
}
