//! A waker is foreign code: it may use the session when it is called, when it is cloned, and when it is dropped. So
//! none of that happens while a lock is held.

mod raw;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{RawWaker, RawWakerVTable, Wake, Waker};
use std::thread;
use std::time::Duration;

use shmipc_core::handle::{SendHalf, Session};
use shmipc_core::queue::Flags;

/// Uses the session in its destructor.
struct Curious {
    session: Session,
    dropped: Arc<AtomicUsize>,
}

impl Wake for Curious {
    fn wake(self: Arc<Self>) {
        self.session.stats();
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        self.session.stats();
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Plays a case with wakers that the session alone keeps, and expects so many of them dropped after it.
#[track_caller]
fn case(drops: usize, play: impl FnOnce(&Session, &dyn Fn() -> Waker) + Send + 'static) {
    let (done, waiting) = mpsc::channel();
    thread::spawn(move || {
        let (session, _raw) = raw::session();
        let dropped = Arc::new(AtomicUsize::new(0));
        let waker = || {
            Waker::from(Arc::new(Curious {
                session: session.clone(),
                dropped: Arc::clone(&dropped),
            }))
        };
        play(&session, &waker);
        let _ = done.send(dropped.load(Ordering::Relaxed));
        session.close(0);
    });
    let dropped = waiting.recv_timeout(Duration::from_secs(60)).expect("a lock is held");
    assert_eq!(dropped, drops);
}

/// The queue is so full that the next message needs room.
fn fill(send: &SendHalf) {
    while send.try_send(&[1; 1000], Flags::none()).unwrap() {}
}

#[test]
fn of_a_reservation_that_is_given_up() {
    case(2, |session, waker| {
        let (send, _recv) = session.open().unwrap();
        fill(&send);
        let mut reserving = send.reserve(1000).unwrap();
        assert!(reserving.poll(Some(&waker())).is_pending());
        assert!(reserving.poll(Some(&waker())).is_pending(), "and the first is replaced");
        drop(reserving);
    });
}

#[test]
fn of_a_half_that_is_dropped() {
    case(3, |session, waker| {
        let (send, mut recv) = session.open().unwrap();
        assert!(recv.poll_recv(Some(&waker())).is_pending());
        assert!(recv.poll_recv(Some(&waker())).is_pending(), "and the first is replaced");
        let _ = recv.watch().poll(&waker());
        drop((send, recv));
    });
}

#[test]
fn of_those_who_wait_for_streams() {
    case(3, |session, waker| {
        assert!(session.poll_accept(Some(&waker())).is_pending());
        assert!(session.poll_drained(Some(&waker())).is_pending());
        assert!(session.poll_closed(Some(&waker())).is_pending());
        session.close(0);
    });
}

/// A waker that uses the session when it is cloned, which no `Wake` does. The session is never dropped.
#[allow(unsafe_code)]
fn waker_that_is_curious_when_cloned(session: &'static Session) -> Waker {
    const VTABLE: RawWakerVTable = RawWakerVTable::new(clone, |_| {}, |_| {}, |_| {});

    fn clone(session: *const ()) -> RawWaker {
        // SAFETY: made of a reference that lives for ever, below.
        unsafe { &*session.cast::<Session>() }.stats();
        RawWaker::new(session, &VTABLE)
    }

    let session: *const Session = session;
    // SAFETY: the functions keep the contract: they may be called by any thread, and own nothing.
    unsafe { Waker::from_raw(RawWaker::new(session.cast(), &VTABLE)) }
}

#[test]
fn that_are_cloned() {
    case(0, |session, _| {
        let session: &'static Session = Box::leak(Box::new(session.clone()));
        let waker = waker_that_is_curious_when_cloned(session);
        let (send, mut recv) = session.open().unwrap();
        assert!(recv.poll_recv(Some(&waker)).is_pending());
        let _ = recv.watch().poll(&waker);
        fill(&send);
        assert!(send.reserve(1000).unwrap().poll(Some(&waker)).is_pending());
        assert!(session.poll_accept(Some(&waker)).is_pending());
        assert!(session.poll_drained(Some(&waker)).is_pending());
        assert!(session.poll_closed(Some(&waker)).is_pending());
        assert!(session.poll_parting(Some(&waker)).is_pending());
        let _ = session.watch().poll(&waker);
        let streams: Vec<_> = std::iter::from_fn(|| session.open().ok()).collect();
        assert!(!streams.is_empty() && session.opening().poll(Some(&waker)).is_pending());
    });
}

/// Wakes nobody.
struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("as it should");
    }
}

/// Counts its calls.
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whoever waits beside one whose waker panics is woken all the same, and whoever ends the session does not notice.
#[test]
fn that_panic() {
    let (session, _raw) = raw::session();
    let panicking = Waker::from(Arc::new(Panicking));
    let counting = Arc::new(Counting(AtomicUsize::new(0)));
    let others = Waker::from(Arc::clone(&counting));
    let mut streams: Vec<_> = (0..4).map(|_| session.open().unwrap()).collect();
    for (number, (_, recv)) in streams.iter_mut().enumerate() {
        let waker = if number % 2 == 0 { &panicking } else { &others };
        assert!(recv.poll_recv(Some(waker)).is_pending());
    }
    assert!(session.poll_closed(Some(&panicking)).is_pending());
    session.close(0);
    assert!(session.is_over());
    assert_eq!(counting.0.load(Ordering::Relaxed), 2);
}
