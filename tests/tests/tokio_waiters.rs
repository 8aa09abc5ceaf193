//! Several futures wait for the same thing, and the one that is woken for it is given up unpolled: another
//! one gets it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use shmipc_async::{Listener, Session, SessionError};
use tests::deadline::{until, within};
use tests::setup::{Setup, Size};
use tests::tokio::{Kind, MultiThread};
use tokio::runtime::Runtime;

/// Whether a future was woken.
#[derive(Debug, Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// A future that was polled once and waits.
struct Waiting<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    bell: Arc<Bell>,
}

impl<'a, T> Waiting<'a, T> {
    fn new(future: impl Future<Output = T> + Send + 'a) -> Self {
        let mut waiting = Self { future: Box::pin(future), bell: Arc::default() };
        let waker = Waker::from(Arc::clone(&waiting.bell));
        let polled = waiting.future.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        waiting
    }

    fn is_woken(&self) -> bool {
        self.bell.0.load(Ordering::Acquire)
    }
}

/// Two futures of `begin` wait; `happen` wakes one at least, which is dropped. What the other gives.
fn second_of_two<'a, T, F: Future<Output = T> + Send + 'a>(
    runtime: &Runtime,
    begin: [F; 2],
    happen: impl FnOnce(),
) -> T {
    // A listener's wait for its descriptor begins inside of a runtime.
    let _entered = runtime.enter();
    let [first, second] = begin.map(Waiting::new);
    happen();
    until("one is woken", || first.is_woken() || second.is_woken());
    let (woken, other) = if first.is_woken() { (first, second) } else { (second, first) };
    drop(woken);
    if !other.is_woken() {
        until("the other is woken", || other.is_woken());
    }
    runtime.block_on(other.future)
}

fn pair(runtime: &Runtime, size: Size) -> (Session, Session) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let config = Setup::new(size).config();
    runtime.block_on(async {
        let listener = Listener::builder().config(config.clone()).bind(&path).unwrap();
        let connecting = Session::connect_with(&path, &config);
        let (server, client) = tokio::join!(listener.accept(), connecting);
        (client.unwrap(), server.unwrap())
    })
}

fn runtime() -> Arc<Runtime> {
    Arc::new(MultiThread::start().unwrap())
}

#[test]
fn accept() {
    within("accept", || {
        let runtime = runtime();
        let (client, server) = pair(&runtime, Size::Tiny);
        let mut stream = client.open().unwrap();
        let happen = || runtime.block_on(stream.send(b"hello")).unwrap();
        let mut accepted =
            second_of_two(&runtime, [server.accept(), server.accept()], happen).unwrap();
        assert_eq!(runtime.block_on(accepted.recv()).unwrap().unwrap().to_vec(), b"hello");
    });
}

#[test]
fn open_wait() {
    within("open_wait", || {
        let runtime = runtime();
        let (client, _server) = pair(&runtime, Size::Tiny);
        let mut streams: Vec<_> = (0..4).map(|_| client.open().unwrap()).collect();
        // One that was never announced is over at once.
        let happen = || drop(streams.pop());
        second_of_two(&runtime, [client.open_wait(), client.open_wait()], happen).unwrap();
    });
}

#[test]
fn reserve() {
    within("reserve", || {
        let runtime = runtime();
        let (client, server) = pair(&runtime, Size::Scarce);
        let mut streams = [(); 3].map(|()| client.open().unwrap());
        let mut held = Vec::new();
        let one = tokio::time::Duration::from_millis(200);
        // Memory for one message after the other, until there is none.
        runtime.block_on(async {
            while let Ok(reserved) = tokio::time::timeout(one, streams[0].reserve(1 << 20)).await {
                held.push(reserved.unwrap());
            }
        });
        let [_, first, second] = &mut streams;
        let happen = || drop(held.pop());
        let begin = [first.sender(), second.sender()].map(|stream| stream.reserve(1 << 20));
        second_of_two(&runtime, begin, happen).unwrap().commit().unwrap();
        let mut accepted = runtime.block_on(server.accept()).unwrap();
        assert_eq!(runtime.block_on(accepted.recv()).unwrap().unwrap().len(), 1 << 20);
    });
}

#[test]
fn drained() {
    within("drained", || {
        let runtime = runtime();
        let (client, server) = pair(&runtime, Size::Tiny);
        let mut theirs = client.open().unwrap();
        runtime.block_on(theirs.send(b"hello")).unwrap();
        let mut ours = runtime.block_on(server.accept()).unwrap();
        server.leave();
        theirs.finish().unwrap();
        let happen = || ours.finish().unwrap();
        second_of_two(&runtime, [server.drained(), server.drained()], happen).unwrap();
    });
}

#[test]
fn closed() {
    within("closed", || {
        let runtime = runtime();
        let (client, server) = pair(&runtime, Size::Tiny);
        let happen = || client.close(7);
        let why = second_of_two(&runtime, [server.closed(), server.closed()], happen);
        assert_eq!(why, SessionError::ClosedByPeer(7));
    });
}

#[test]
fn accept_of_a_listener() {
    within("accept of a listener", || {
        let runtime = runtime();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = {
            let _entered = runtime.enter();
            Listener::bind(&path).unwrap()
        };
        let mut connecting = None;
        let happen = || connecting = Some(runtime.spawn(Session::connect(path.clone())));
        second_of_two(&runtime, [listener.accept(), listener.accept()], happen).unwrap();
        runtime.block_on(connecting.unwrap()).unwrap().unwrap();
    });
}

/// A future that is to create memory and is never polled again keeps it from nobody: neither from who
/// waits behind it, nor from who comes later.
#[test]
fn memory_that_an_abandoned_future_was_to_create() {
    const LEN: usize = 8 << 10;
    within("memory", || {
        let runtime = runtime();
        let (client, server) = pair(&runtime, Size::Default);
        let mut streams = [(); 3].map(|()| client.open().unwrap());
        let mut accepted = Vec::new();
        let mut sent = [0; 2];
        runtime.block_on(async {
            for (number, stream) in streams.iter_mut().enumerate() {
                stream.send(b"hello").await.unwrap();
                accepted.push(server.accept().await.unwrap());
                // Small messages, of which none needs memory, until there is no credit for a large one.
                while number < 2 && stream.sender().stats().credit >= LEN as u64 {
                    stream.send(&[7; 500]).await.unwrap();
                    sent[number] += 1;
                }
            }
        });
        let [first, second, third] = &mut streams;
        let [first, second] = [first, second].map(|stream| Waiting::new(stream.reserve(LEN)));
        let mut read = |number: usize, messages: usize| {
            for _ in 0..=messages {
                runtime.block_on(accepted[number].recv()).unwrap().unwrap();
            }
        };
        read(0, sent[0]);
        until("the first is told to create memory", || first.is_woken());
        assert_eq!(client.stats().arena_bytes, 0);
        read(1, sent[1]);
        until("the second is told, too", || second.is_woken());
        runtime.block_on(third.reserve(LEN)).unwrap().commit().unwrap();
        runtime.block_on(second.future).unwrap().commit().unwrap();
        runtime.block_on(first.future).unwrap().commit().unwrap();
    });
}
