//! What a peer can make this side keep on its heap: what it has unread, one message, and a little beside. The
//! allocator is that of the whole program, so this file is a test program of its own with one test.

mod raw;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use raw::pair;
use shmipc_core::handle::{RecvHalf, SendHalf, Session};
use shmipc_core::queue::Flags;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Counts what is allocated.
struct Counting;

// SAFETY: everything is the system allocator's business.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// What both ends of a session may take beside what is unread: pieces of memory kept for the next messages, room in
/// inboxes, and what is known of each stream.
const BESIDE: usize = 2 * (64 << 10) + (64 << 10) + STREAMS * 1024;

const STREAMS: usize = 256;

/// Sends messages of so many bytes as long as there is credit, and has them put into the inbox.
fn fill(session: &Session, send: &SendHalf, data: &[u8], flags: Flags) -> usize {
    let mut sent = 0;
    loop {
        while send.try_send(data, flags).unwrap() {
            sent += 1;
        }
        // What lacked may have been room.
        session.drive();
        if !send.try_send(data, flags).unwrap() {
            return sent;
        }
        sent += 1;
    }
}

fn read(recv: &mut RecvHalf, most: usize) -> usize {
    let recv = || matches!(recv.poll_recv(None), Poll::Ready(Ok(Some(_))));
    std::iter::repeat_with(recv).take(most).take_while(|found| *found).count()
}

#[test]
fn heap_follows_what_is_unread() {
    let [client, server] = pair();
    let mut streams = Vec::with_capacity(STREAMS);
    for _ in 0..STREAMS {
        let (send, back) = client.open().unwrap();
        assert!(send.try_send(b"hello", Flags::none()).unwrap());
        let Poll::Ready(Ok((there, mut recv))) = server.poll_accept(None) else {
            panic!("a stream was opened");
        };
        assert_eq!(read(&mut recv, 1), 1);
        streams.push((send, back, there, recv));
    }
    let before = live();

    // On one stream after the other as many empty messages as there is credit for, and all of them read.
    for (send, _, _, recv) in &mut streams {
        let sent = fill(&server, send, &[], Flags::none());
        assert!(sent > 4000, "{sent} messages");
        assert_eq!(read(recv, usize::MAX), sent);
        // Credit has come back.
        client.drive();
    }
    let kept = live().saturating_sub(before);
    assert!(kept <= BESIDE, "{kept} bytes are kept when nothing is unread");

    // The same, but one is left.
    for (send, _, _, recv) in &mut streams {
        let sent = fill(&server, send, &[], Flags::none());
        assert_eq!(read(recv, sent - 1), sent - 1);
        client.drive();
    }
    let kept = live().saturating_sub(before);
    assert!(kept <= BESIDE + 64 * STREAMS, "{kept} bytes are kept for {STREAMS} messages");
    for (_, _, _, recv) in &mut streams {
        assert_eq!(read(recv, usize::MAX), 1);
    }
    client.drive();

    // As much as there is credit for on all streams, unread.
    let mut unread = 0;
    for (send, ..) in &mut streams {
        unread += fill(&server, send, &[], Flags::none()) * 64;
    }
    assert!(unread > 15 << 20, "{unread} bytes are charged");
    let kept = live().saturating_sub(before);
    assert!(kept <= unread + BESIDE, "{kept} bytes for {unread} that are charged");
    for (_, _, _, recv) in &mut streams {
        read(recv, usize::MAX);
        client.drive();
    }

    // A message in very many parts on one stream after the other.
    for (send, _, _, recv) in &mut streams {
        for _ in 0..8 {
            fill(&server, send, b"x", Flags::MORE);
            assert!(recv.poll_recv(None).is_pending(), "the message goes on");
            client.drive();
        }
        assert!(send.try_send(b"y", Flags::none()).unwrap());
        assert_eq!(read(recv, usize::MAX), 1);
        client.drive();
    }
    let kept = live().saturating_sub(before);
    assert!(kept <= BESIDE, "{kept} bytes are kept when nothing is unread");
}
