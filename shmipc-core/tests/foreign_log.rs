//! A subscriber of `tracing` is foreign code: it may use the session or listener that it is told about, and it may panic. So
//! it is told nothing while a lock is held, or while anything is half done.

mod raw;

use std::cell::RefCell;
use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use raw::pair_with;
use shmipc_core::config::Config;
use shmipc_core::handle::{SendHalf, Session};
use shmipc_core::listen::{Acceptor, ListenOptions};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Does something with every line.
struct Nosy<F> {
    told: Arc<AtomicUsize>,
    act: F,
}

impl<F: Fn() + Send + Sync + 'static> Subscriber for Nosy<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("shmipc")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.told.fetch_add(1, Ordering::Relaxed);
        (self.act)();
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Plays something on the one end of a session, and tells how many lines that made.
#[track_caller]
fn told<F: Fn() + Send + Sync + 'static>(
    act: fn(&[Session; 2]) -> F,
    play: fn(&[Session; 2]),
) -> usize {
    let (done, waiting) = mpsc::channel();
    thread::spawn(move || {
        let config = Config::builder()
            .arena_max(32 << 20)
            .max_message(4 << 20)
            .unread_max(64 << 20)
            .stream_window(64 << 20)
            .build()
            .unwrap();
        let sessions = pair_with(&config);
        let told = Arc::new(AtomicUsize::new(0));
        let nosy = Nosy { told: Arc::clone(&told), act: act(&sessions) };
        tracing::subscriber::with_default(nosy, || play(&sessions));
        let _ = done.send(told.load(Ordering::Relaxed));
    });
    waiting.recv_timeout(Duration::from_secs(60)).expect("a lock is held, or the caller panicked")
}

/// Looks at both ends with every line, which takes all locks.
fn looks(sessions: &[Session; 2]) -> impl Fn() + Send + Sync + use<> {
    let sessions = sessions.clone();
    move || sessions.iter().for_each(|session| _ = session.stats())
}

fn panics(_: &[Session; 2]) -> impl Fn() + Send + Sync + use<> {
    || panic!("as it should")
}

const MIB: usize = 1 << 20;

/// Sends messages of so many bytes as long as there is memory, up to `most`. Segments are acknowledged meanwhile.
fn send(sessions: &[Session; 2], send: &SendHalf, bytes: usize, most: usize) {
    for _ in 0..most {
        sessions.iter().for_each(Session::try_drive);
        match send.reserve(bytes).unwrap().poll(None) {
            Poll::Ready(reservation) => reservation.unwrap().commit().unwrap(),
            Poll::Pending => return,
        }
    }
}

fn close(sessions: &[Session; 2]) {
    sessions[0].close(0);
}

/// New memory, a plea for more, and memory that is given up because it is too small.
fn use_memory(sessions: &[Session; 2]) {
    let [client, server] = sessions;
    let (half, _back) = client.open().unwrap();
    send(sessions, &half, MIB, 100);
    assert_eq!(client.stats().memory_pleas, 1);
    let Poll::Ready(Ok((_there, mut recv))) = server.poll_accept(None) else {
        panic!("a stream was opened");
    };
    while recv.poll_recv(None).is_ready() {}
    server.try_drive();
    client.try_drive();
    send(sessions, &half, 4 * MIB, 2);
}

/// Each side leaves, and the other one finds out.
fn leave(sessions: &[Session; 2]) {
    let (_send, _recv) = sessions[0].open().unwrap();
    for session in sessions {
        session.leave();
    }
    for session in sessions {
        session.drive();
    }
}

#[test]
fn subscriber_that_uses_the_session_finds_no_lock_held() {
    for (play, lines) in [(close as fn(&_), 1), (use_memory, 4), (leave, 4)] {
        let told = told(looks, play);
        assert!(told >= lines, "{told} lines");
    }
}

#[test]
fn subscriber_that_panics_disturbs_nothing() {
    for play in [close as fn(&_), use_memory, leave] {
        assert!(told(panics, play) > 0);
    }
}

/// Counts its calls.
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn subscriber_that_panics_keeps_nobody_asleep() {
    assert!(
        told(panics, |sessions| {
            let counting = Arc::new(Counting(AtomicUsize::new(0)));
            let waker = Waker::from(Arc::clone(&counting));
            let (_send, mut recv) = sessions[0].open().unwrap();
            assert!(recv.poll_recv(Some(&waker)).is_pending());
            sessions[0].close(0);
            assert_eq!(counting.0.load(Ordering::Relaxed), 1);
            assert!(sessions[0].is_over());
        }) > 0
    );
}

/// The listener tells of a client that says something senseless, and of its socket file, which was removed.
#[test]
fn subscriber_that_uses_the_listener_finds_no_lock_held() {
    for panics in [false, true] {
        let (done, waiting) = mpsc::channel();
        thread::spawn(move || {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("s");
            let options = ListenOptions::new();
            let acceptor = Arc::new(Acceptor::bind(&path, &options, Config::default()).unwrap());
            let told = Arc::new(AtomicUsize::new(0));
            let act = {
                let acceptor = Arc::clone(&acceptor);
                move || {
                    acceptor.stats();
                    assert!(!panics, "as it should");
                }
            };
            let nosy = Nosy { told: Arc::clone(&told), act };
            tracing::subscriber::with_default(nosy, || {
                let mut client = UnixStream::connect(&path).unwrap();
                client.write_all(&[0xff; 100]).unwrap();
                while acceptor.stats().failed == 0 {
                    acceptor.try_accept(Instant::now()).unwrap();
                }
                fs::remove_file(&path).unwrap();
                let later = acceptor.next_deadline().expect("it looks at its file");
                acceptor.try_accept(later).unwrap();
                assert!(path.exists(), "the file is made again");
                acceptor.try_accept(later).unwrap();
            });
            let _ = done.send(told.load(Ordering::Relaxed));
        });
        let lines = waiting.recv_timeout(Duration::from_secs(60)).expect("a lock is held");
        assert!(lines >= 2, "{lines} lines");
    }
}

/// A thread that ends drops its listener after all that the log keeps for it.
#[test]
fn listener_that_goes_with_its_thread_is_closed() {
    thread_local! {
        static LAST: RefCell<Option<Acceptor>> = const { RefCell::new(None) };
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let there = path.clone();
    let ended = thread::spawn(move || {
        // Made first, so that it is dropped last.
        LAST.with_borrow(|_| ());
        let acceptor = Acceptor::bind(&there, &ListenOptions::new(), Config::default()).unwrap();
        acceptor.stats();
        LAST.set(Some(acceptor));
    });
    ended.join().unwrap();
    assert!(!path.exists());
}
