//! Whoever takes a bell off the socket looks at what it was rung for: nobody else will.

mod raw;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use shmipc_core::handle::Parting;

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The bell of a peer that leaves is rung once, and here it is taken by a glance, which drives nothing.
#[test]
fn of_a_peer_that_leaves() {
    let [client, server] = raw::pair();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(client.poll_parting(Some(&waker)).is_pending());
    server.leave();
    let deadline = Instant::now() + Duration::from_secs(60);
    while client.stats().bells_received == 0 {
        assert!(Instant::now() < deadline, "it rings");
        client.glance();
        thread::yield_now();
    }
    assert!(woken.0.load(Ordering::Relaxed), "the glance has taken the bell");
    assert_eq!(client.poll_parting(None), Poll::Ready(Parting::PeerLeaves));
}
