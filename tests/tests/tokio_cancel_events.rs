//! What happens to a client's sessions, and closing it, given up at every point, thousands of times: no event is
//! lost, repeated or reordered, and closing ends everything.

use std::sync::Arc;
use std::sync::mpsc;

use futures_util::{FutureExt, StreamExt};
use shmipc_async::{CallError, ClientEvent, Delivery, SessionError};
use shmipc_sync::Listener;
use tests::client::soon;
use tests::deadline::start;
use tests::impatience::{Impatient, thousands};
use tests::passing::{client, leave_and_close};
use tests::setup::{Setup, Size};
use tests::tokio::Kind;
use tests::{on_both_runtimes, retry};
use tokio::sync::{Barrier, watch};

on_both_runtimes! { thousands: events closing }

/// What happens to sessions, each of which serves one request: of those with an odd number the server leaves, the
/// others it closes.
fn events<K: Kind>() -> u64 {
    const SESSIONS: u64 = 1500;
    /// So many events may wait to be read. The client keeps more.
    const BEHIND: u64 = 100;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let config = Setup::new(Size::Tiny).config();
    let listener = Listener::builder().config(config).bind(&path).unwrap();
    let server = start("the server", move || leave_and_close(&listener, SESSIONS));
    let client = client(&path, 1);
    let runtime = K::start().unwrap();
    let (mut impatient, mut given_up) = (Impatient::new(1), 0);
    let (read, mut told) = watch::channel(0);
    let (mut late, mut events) = (client.events(), client.events());
    let reading = runtime.spawn(async move {
        let mut seen = Vec::new();
        loop {
            // As a future, and as a stream.
            let next = match seen.len() % 2 {
                0 => impatient.try_await(events.next()).await,
                _ => impatient.try_await(StreamExt::next(&mut events)).await,
            };
            match next {
                None => {}
                Some(None) => return (seen, impatient.given_up()),
                Some(Some(event)) => seen.push(event),
            }
            read.send_replace(seen.len() as u64);
        }
    });
    runtime.block_on(async {
        loop {
            let session = match client.call(b"which?", soon()).await {
                Ok(number) => u64::from_ne_bytes(number.to_vec().try_into().unwrap()),
                // Closed just now.
                Err(error) if error.delivery() == Delivery::Unknown => continue,
                Err(error) => panic!("{error}"),
            };
            if session == SESSIONS {
                break;
            }
            told.wait_for(|&read| read + BEHIND > 2 * session).await.unwrap();
        }
        // The last session is left alone.
        client.close(soon()).await.unwrap();
    });
    let (seen, times) = runtime.block_on(reading).unwrap();
    given_up += times;
    server.join();
    assert_eq!(seen.len() as u64, 2 * SESSIONS - 1);
    for (event, number) in seen.iter().zip(2..) {
        let session = number / 2;
        match event {
            ClientEvent::Connected { session: made, .. } if number % 2 == 0 => {
                assert_eq!(*made, session);
            }
            event if session % 2 == 1 => assert_eq!(*event, ClientEvent::Migrating { session }),
            event => {
                let error = SessionError::ClosedByPeer(7);
                assert_eq!(*event, ClientEvent::Lost { session, error });
            }
        }
    }
    // Who did not read is told how much is gone, and then the same.
    let Some(Some(ClientEvent::Missed(missed))) = late.next().now_or_never() else { panic!() };
    let rest: Vec<_> = std::iter::from_fn(|| late.next().now_or_never().unwrap()).collect();
    assert_eq!(rest, seen[missed as usize..]);
    given_up
}

/// Closing while a call waits for its answer and streams are open, by several tasks.
fn closing<K: Kind>() -> u64 {
    const ROUNDS: u64 = 80;
    (0..ROUNDS).map(close_one::<K>).sum()
}

fn close_one<K: Kind>(round: u64) -> u64 {
    const TASKS: u64 = 3;
    /// So often each of them gives up before anything is over.
    const EARLY: u64 = 10;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let config = Setup::new(Size::Tiny).config();
    let listener = Listener::builder().config(config).bind(&path).unwrap();
    let (answer, told) = mpsc::channel::<()>();
    let server = start("the server", move || {
        let session = listener.accept().unwrap();
        let [mut kept, mut held] = [session.accept().unwrap(), session.accept().unwrap()];
        for stream in [&mut kept, &mut held] {
            assert_eq!(stream.recv().unwrap().unwrap().to_vec(), b"hello");
        }
        told.recv().unwrap();
        held.sender().finish_with(b"at last").unwrap();
        assert!(held.recv().unwrap().is_none());
        // What is open goes on.
        assert_eq!(kept.recv().unwrap().unwrap().to_vec(), b"still there");
        assert!(kept.recv().is_err(), "dropped");
        assert_eq!(session.closed(), SessionError::ClosedByPeer(0));
    });
    let client = client(&path, 1);
    let runtime = K::start().unwrap();
    let given_up = runtime.block_on(async {
        let mut stream = client.open().await.unwrap();
        stream.send(b"hello").await.unwrap();
        let mut call = Box::pin(client.call(b"hello", soon()));
        assert!(call.as_mut().now_or_never().is_none(), "the server has to be told");
        let early = Arc::new(Barrier::new(TASKS as usize + 1));
        let closing: Vec<_> = (0..TASKS)
            .map(|task| {
                let (client, early) = (client.clone(), Arc::clone(&early));
                tokio::spawn(async move {
                    let mut impatient = Impatient::new(TASKS * round + task);
                    for _ in 0..EARLY {
                        assert!(client.close(soon()).now_or_never().is_none(), "a call goes on");
                        tokio::task::yield_now().await;
                    }
                    early.wait().await;
                    retry!(impatient, client.close(soon())).unwrap();
                    EARLY + impatient.given_up()
                })
            })
            .collect();
        early.wait().await;
        assert_eq!(client.open().await.unwrap_err(), CallError::Closed);
        answer.send(()).unwrap();
        assert_eq!(call.await.unwrap().to_vec(), b"at last");
        assert!(client.close(soon()).now_or_never().is_none(), "a stream is open");
        stream.send(b"still there").await.unwrap();
        drop(stream);
        let mut given_up = 0;
        for task in closing {
            given_up += task.await.unwrap();
        }
        given_up
    });
    assert_eq!(runtime.block_on(client.events().next()), None, "closed");
    server.join();
    given_up
}
