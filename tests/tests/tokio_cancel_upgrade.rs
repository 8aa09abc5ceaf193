//! Taking over and handing over, given up at every step: at every moment exactly one server serves, and what was
//! given up is done later.

use std::future::Future;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use shmipc_async::{Drained, ListenError, Listener, Session, Stream};
use shmipc_core::error::UpgradeRefusal;
use tests::child::Peer;
use tests::deadline::{Running, start, until, within};
use tests::generations::{Asking, Place};
use tests::impatience::Impatient;
use tests::needs::short_directory;
use tests::proc::Held;
use tests::tokio::Kind;
use tests::{on_both_runtimes, retry};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const GENERATION: &str = env!("CARGO_BIN_EXE_generation");

on_both_runtimes! {
    in_time: nobody_takes_over processes_and_tasks_by_turns sockets_of_somebody_else successors_that_die
}

fn in_time(name: &'static str, test: fn() -> u64) {
    let given_up = within(name, test);
    println!("{name}: {given_up} given up");
    assert!(given_up >= 500, "{given_up}");
}

/// A listener that has the sockets.
async fn bind<F: Future<Output = Result<Listener, ListenError>>>(
    impatient: &mut Impatient,
    next: impl Fn() -> F,
) -> Listener {
    loop {
        match retry!(impatient, next()) {
            // A child of another test, forked just now, holds the connection of the one that was given up before.
            Err(ListenError::UpgradeRefused(UpgradeRefusal::InProgress)) => {}
            bound => return bound.unwrap(),
        }
    }
}

/// A listener that serves, after others that had the sockets and did not get that far.
async fn take_over<F: Future<Output = Result<Listener, ListenError>>>(
    impatient: &mut Impatient,
    next: impl Fn() -> F,
) -> Listener {
    for _ in 0..10 {
        let listener = bind(impatient, &next).await;
        if let Some(ready) = impatient.try_await(listener.ready()).await {
            ready.unwrap();
            return listener;
        }
    }
    let listener = bind(impatient, &next).await;
    retry!(impatient, listener.ready()).unwrap();
    listener
}

/// A server in this process, with a thread for its runtime.
struct Server {
    listener: Arc<Listener>,
    running: Running<u64>,
    news: mpsc::UnboundedReceiver<News>,
}

#[derive(Debug, PartialEq, Eq)]
enum News {
    /// It drains, and has given that up several times.
    Draining,
    Ended(Drained),
}

impl Server {
    fn start(runtime: Runtime, listener: Listener) -> Self {
        let (tell, news) = mpsc::unbounded_channel();
        let listener = Arc::new(listener);
        let its = Arc::clone(&listener);
        let running = start("a server", move || runtime.block_on(serve(&its, &tell)));
        Self { listener, running, news }
    }

    #[track_caller]
    fn tells(&mut self, expected: News) {
        assert_eq!(self.news.blocking_recv(), Some(expected));
    }

    /// How many futures it has given up.
    #[track_caller]
    fn end(self) -> u64 {
        self.running.join()
    }
}

/// Serves until it is closed, or drained after it was handed over.
async fn serve(listener: &Listener, tell: &mpsc::UnboundedSender<News>) -> u64 {
    /// So often draining is given up before anything can be over.
    const EARLY: u64 = 10;
    let generation = listener.generation();
    let (mut impatient, mut early) = (Impatient::new(generation), 0);
    loop {
        match retry!(impatient, listener.accept()) {
            Ok(session) => drop(tokio::spawn(answer(session, generation))),
            Err(ListenError::Closed) => return early + impatient.given_up(),
            Err(ListenError::HandedOver) => {
                for _ in 0..EARLY {
                    assert!(listener.drain().now_or_never().is_none(), "a stream is open");
                    tokio::task::yield_now().await;
                }
                early += EARLY;
                tell.send(News::Draining).unwrap();
                let drained = retry!(impatient, listener.drain()).unwrap();
                tell.send(News::Ended(drained)).unwrap();
                if drained == Drained::Done {
                    return early + impatient.given_up();
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn answer(session: Session, generation: u64) {
    while let Ok(stream) = session.accept().await {
        tokio::spawn(echo(stream, generation));
    }
}

async fn echo(mut stream: Stream, generation: u64) {
    while let Ok(Some(request)) = stream.recv().await {
        let mut reply = format!("{generation} ").into_bytes();
        reply.extend(request.to_vec());
        if stream.send(&reply).await.is_err() {
            return;
        }
    }
    let _ = stream.finish();
}

/// A stream to the server that is there, which that has to drain.
struct Open {
    stream: shmipc_sync::Stream,
}

impl Open {
    #[track_caller]
    fn with(path: &Path, generation: u64) -> Self {
        let session = shmipc_sync::Session::connect(path).unwrap();
        let mut stream = session.open().unwrap();
        stream.send(b"held").unwrap();
        let reply = stream.recv().unwrap().unwrap().to_vec();
        assert_eq!(reply, format!("{generation} held").as_bytes());
        Self { stream }
    }

    #[track_caller]
    fn end(mut self) {
        self.stream.finish().unwrap();
        assert!(self.stream.recv().unwrap().is_none());
    }
}

/// Every step of getting the sockets is given up, the last one too, and nobody takes over: the server serves on and keeps nothing, and the next
/// one succeeds.
fn nobody_takes_over<K: Kind>() -> u64 {
    let place = Place::new(GENERATION);
    let mut server = place.next(1);
    let asking = Asking::start(&place.path());
    asking.is_served_by(1);
    let before = Held::by(server.pid());
    let mut impatient = Impatient::new(1);
    K::start().unwrap().block_on(async {
        while impatient.given_up() < 2000 {
            let bound = impatient.try_await(Listener::bind_upgradable(place.path())).await;
            match bound {
                None | Some(Err(ListenError::UpgradeRefused(UpgradeRefusal::InProgress))) => {}
                Some(listener) => assert_eq!(listener.unwrap().generation(), 2),
            }
        }
        // It has heard of all who came before this one.
        drop(bind(&mut impatient, || Listener::bind_upgradable(place.path())).await);
    });
    until("the server holds no more than before", || {
        let now = Held::by(server.pid());
        now.descriptors <= before.descriptors && now.mappings <= before.mappings
    });
    let next = place.next(2);
    asking.is_served_by(2);
    asking.end();
    server.line("drained");
    server.succeed();
    next.succeed();
    impatient.given_up()
}

/// A process, a server in this one that takes over from it, a process that takes over from that, and so on.
fn processes_and_tasks_by_turns<K: Kind>() -> u64 {
    const TURNS: u64 = 40;
    let place = Place::new(GENERATION);
    let path = place.path();
    let mut process = place.next(1);
    let asking = Asking::start(&path);
    let mut given_up = 0;
    for ours in (0..TURNS).map(|turn| 2 * turn + 2) {
        let mut impatient = Impatient::new(ours);
        let runtime = K::start().unwrap();
        let taking = take_over(&mut impatient, || Listener::bind_upgradable(&path));
        let listener = runtime.block_on(taking);
        assert_eq!(listener.generation(), ours);
        let mut server = Server::start(runtime, listener);
        process.line("drained");
        process.succeed();
        asking.is_served_by(ours);
        let open = Open::with(&path, ours);
        process = place.next(ours + 1);
        server.tells(News::Draining);
        asking.is_served_by(ours + 1);
        open.end();
        server.tells(News::Ended(Drained::Done));
        given_up += impatient.given_up() + server.end();
    }
    assert!(asking.end() > 0);
    assert_eq!(place.files().len(), 4, "{:?}", place.files());
    process.succeed();
    given_up
}

/// Servers in this process that hand over a socket which none of them has made.
fn sockets_of_somebody_else<K: Kind>() -> u64 {
    const SERVERS: u64 = 60;
    let directory = short_directory();
    let (path, upgrade) = (directory.path().join("socket"), directory.path().join("upgrade"));
    let socket = UnixListener::bind(&path).unwrap();
    let next = || Listener::builder().listener_upgradable(socket.try_clone().unwrap(), &upgrade);
    let mut impatient = Impatient::new(5);
    let mut server = |generation: u64| {
        let runtime = K::start().unwrap();
        let listener = runtime.block_on(take_over(&mut impatient, next));
        assert_eq!(listener.generation(), generation);
        Server::start(runtime, listener)
    };
    let mut given_up = 0;
    let mut serving = server(1);
    let asking = Asking::start(&path);
    for generation in 2..=SERVERS {
        let open = Open::with(&path, generation - 1);
        let mut before = std::mem::replace(&mut serving, server(generation));
        before.tells(News::Draining);
        asking.is_served_by(generation);
        open.end();
        before.tells(News::Ended(Drained::Done));
        given_up += before.end();
    }
    assert!(asking.end() > 0);
    serving.listener.close();
    given_up + serving.end() + impatient.given_up()
}

/// A server whose draining is given up takes the place of its successor again when that dies.
fn successors_that_die<K: Kind>() -> u64 {
    const SUCCESSORS: usize = 40;
    let place = Place::new(GENERATION);
    let path = place.path();
    let runtime = K::start().unwrap();
    let listener = runtime.block_on(Listener::bind_upgradable(&path)).unwrap();
    let mut server = Server::start(runtime, listener);
    for _ in 0..SUCCESSORS {
        let open = Open::with(&path, 1);
        let mut successor: Peer = place.next(2);
        server.tells(News::Draining);
        successor.kill();
        server.tells(News::Ended(Drained::Resumed));
        place.is_served_by(1);
        open.end();
    }
    let open = Open::with(&path, 1);
    let last = place.next(2);
    server.tells(News::Draining);
    open.end();
    server.tells(News::Ended(Drained::Done));
    place.is_served_by(2);
    last.succeed();
    server.end()
}
