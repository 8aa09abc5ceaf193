//! Opening and accepting streams.

use std::collections::HashSet;
use std::thread;

use super::End;
use super::echo::{accept, echo_stream};
use crate::flavour::{Session, Stream};

/// Streams opened by each side carry messages both ways, and their ids say who opened them.
pub(super) fn either_side_opens<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            let mut ours = session.open().unwrap();
            ours.send(b"from here").unwrap();
            assert_eq!(ours.expect(), b"answer from there");
            let mut theirs = session.accept().unwrap();
            assert_eq!(theirs.expect(), b"from there");
            theirs.send(b"answer from here").unwrap();
            assert_ne!(ours.id().opener(), theirs.id().opener());
            assert!(theirs.recv().unwrap().is_none());
            theirs.finish().unwrap();
        }
        End::There(session) => {
            let mut theirs = session.accept().unwrap();
            assert_eq!(theirs.expect(), b"from here");
            theirs.send(b"answer from there").unwrap();
            let mut ours = session.open().unwrap();
            ours.send(b"from there").unwrap();
            assert_eq!(ours.expect(), b"answer from here");
            ours.finish().unwrap();
            assert!(ours.recv().unwrap().is_none());
        }
    }
}

/// Both sides open, use and close streams while they accept those of the other.
pub(super) fn both_sides_open_at_once<S: Session>(end: End<S>) {
    const STREAMS: u32 = 1000;
    let (End::Here(session) | End::There(session)) = end;
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..STREAMS {
                let mut stream = session.open().unwrap();
                stream.send(&number.to_le_bytes()).unwrap();
                stream.finish().unwrap();
                assert_eq!(stream.expect(), number.to_le_bytes());
                assert!(stream.recv().unwrap().is_none());
            }
        });
        for _ in 0..STREAMS {
            echo_stream(session.accept().unwrap());
        }
    });
}

/// An opener that first waits for the peer to speak is heard of.
pub(super) fn opener_may_only_listen<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            for _ in 0..100 {
                let mut stream = session.open().unwrap();
                assert_eq!(stream.expect(), b"you first");
                assert!(stream.recv().unwrap().is_none());
                stream.finish().unwrap();
            }
        }
        End::There(session) => {
            while let Some(mut stream) = accept(&session) {
                stream.send(b"you first").unwrap();
                stream.finish().unwrap();
                assert!(stream.recv().unwrap().is_none());
            }
        }
    }
}

/// A stream that is opened and dropped unused never reaches the peer; one that is only finished does.
pub(super) fn unused_stream_is_not_heard_of<S: Session>(end: End<S>) {
    match end {
        End::Here(session) => {
            for _ in 0..1000 {
                drop(session.open().unwrap());
            }
            let mut finished = session.open().unwrap();
            finished.finish().unwrap();
            assert!(finished.recv().unwrap().is_none());
            let mut last = session.open().unwrap();
            last.send(b"last").unwrap();
            assert_eq!(last.expect(), b"heard");
        }
        End::There(session) => {
            let mut finished = session.accept().unwrap();
            assert!(finished.recv().unwrap().is_none());
            finished.finish().unwrap();
            let mut last = session.accept().unwrap();
            assert_eq!(last.expect(), b"last");
            last.send(b"heard").unwrap();
            assert!(accept(&session).is_none());
        }
    }
}

/// Eight threads accept; every stream is given to exactly one of them.
pub(super) fn many_accept_at_once<S: Session>(end: End<S>) {
    const STREAMS: u32 = 800;
    match end {
        End::Here(session) => {
            let ask = |number: u32| {
                let mut stream = session.open().unwrap();
                stream.send(&number.to_le_bytes()).unwrap();
                stream.finish().unwrap();
                stream
            };
            for first in (0..STREAMS).step_by(100) {
                let streams: Vec<_> = (first..first + 100).map(ask).collect();
                for mut stream in streams {
                    assert_eq!(stream.expect(), b"seen");
                    assert!(stream.recv().unwrap().is_none());
                }
            }
        }
        End::There(session) => {
            let serve = || {
                let mut seen = Vec::new();
                while let Some(mut stream) = accept(&session) {
                    seen.push(u32::from_le_bytes(stream.expect().try_into().unwrap()));
                    stream.send(b"seen").unwrap();
                    stream.finish().unwrap();
                }
                seen
            };
            let seen: Vec<u32> = thread::scope(|scope| {
                let servers: Vec<_> = (0..8).map(|_| scope.spawn(serve)).collect();
                servers.into_iter().flat_map(|server| server.join().unwrap()).collect()
            });
            let different: HashSet<_> = seen.iter().copied().collect();
            assert_eq!((seen.len(), different.len()), (STREAMS as usize, STREAMS as usize));
        }
    }
}
