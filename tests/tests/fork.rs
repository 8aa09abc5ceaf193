//! A child of `fork` that has not called `exec` owns nothing: every call says so or does nothing, in whatever
//! state the other threads' locks were copied, and the parent goes on.

#![allow(unsafe_code, reason = "fork")]

use std::io::{IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use shmipc_sync::{
    AcceptError, CallError, Client, Config, DrainError, ListenError, Listener, Message, OpenError,
    RecvError, RecvStream, Reservation, SendError, SendStream, Session, SessionError, Stream,
    WaitMode, WaitSet,
};
use tests::deadline::{PATIENCE, start, until, within};
use tests::payload::{check, pattern};
use tests::setup::{Setup, Size};

const FORKED: SessionError = SessionError::Forked;

/// Runs `work` in a forked child and waits for it; fails the test unless it says that all was well.
///
/// The child has one thread and leaves without returning, a hang ends it.
fn in_a_child(work: impl FnOnce() -> Result<(), &'static str>) {
    // SAFETY: the child allocates, which glibc allows after a fork, and leaves without returning.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            nix::unistd::alarm::set(30);
            let done = catch_unwind(AssertUnwindSafe(work));
            let code = match done {
                Ok(Ok(())) => 0,
                Ok(Err(what)) => {
                    let _ = nix::unistd::write(std::io::stderr(), what.as_bytes());
                    1
                }
                Err(_) => 2,
            };
            // SAFETY: ends the process.
            unsafe { nix::libc::_exit(code) }
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        }
    }
}

fn ensure(holds: bool, what: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(what) }
}

/// Everything that a process can have.
struct All {
    listener: Listener,
    session: Session,
    /// On which a message waits in the queue, and one has been read in part.
    sender: SendStream,
    receiver: RecvStream,
    /// Read in part, in shared memory.
    partly: Stream,
    large: Message,
    small: Message,
    /// In private memory, and in shared.
    reservations: [Reservation; 2],
}

/// Every public method, in the child.
fn every_call(all: All) -> Result<(), &'static str> {
    let All { listener, session, mut sender, mut receiver, mut partly, large, small, reservations } =
        all;
    // What the kernel maps now may lie where our segments were.
    let big = vec![3u8; 64 << 20];

    let forked = ListenError::Forked;
    ensure(listener.accept().err() == Some(forked.clone()), "Listener::accept")?;
    let accepted = listener.accept_timeout(Duration::from_secs(1)).err();
    ensure(accepted == Some(forked.clone()), "Listener::accept_timeout")?;
    ensure(listener.try_accept().err() == Some(forked.into()), "Listener::try_accept")?;
    ensure(listener.next_deadline().is_none(), "Listener::next_deadline")?;
    ensure(listener.stats().established == 0, "Listener::stats")?;
    listener.close();

    ensure(session.open().err() == Some(OpenError::Session(FORKED)), "open")?;
    ensure(session.open_wait().err() == Some(OpenError::Session(FORKED)), "open_wait")?;
    let opened = session.open_timeout(Duration::from_secs(1)).err();
    ensure(opened == Some(OpenError::Session(FORKED)), "open_timeout")?;
    ensure(session.accept().err() == Some(AcceptError::Session(FORKED)), "accept")?;
    let accepted = session.accept_timeout(Duration::from_secs(1)).err();
    ensure(accepted == Some(AcceptError::Session(FORKED)), "accept_timeout")?;
    ensure(session.try_accept().err() == Some(AcceptError::Session(FORKED).into()), "try_accept")?;
    session.try_drive();
    let _ = session.arm();
    session.leave();
    ensure(session.drained() == Err(DrainError::Session(FORKED)), "drained")?;
    let drained = session.drained_timeout(Duration::from_secs(1));
    ensure(drained == Err(DrainError::Session(FORKED)), "drained_timeout")?;
    ensure(!session.is_peer_leaving(), "is_peer_leaving")?;
    drop(session.spawn_driver());
    ensure(session.closed() == FORKED, "closed")?;
    ensure(session.closed_timeout(Duration::from_secs(1)) == Some(FORKED), "closed_timeout")?;
    ensure(session.is_closed(), "is_closed")?;
    ensure(session.stats() == Default::default(), "stats")?;
    let _ = (session.peer(), session.peer_app_version(), session.geometry(), session.clone());
    session.close(66);

    let send = SendError::Session(FORKED);
    ensure(sender.send(b"x") == Err(send), "send")?;
    ensure(sender.send(&[0; 10_000]) == Err(send), "send")?;
    for len in [0, 100, 10_000] {
        ensure(sender.reserve(len).err() == Some(send), "reserve")?;
        let reserved = sender.reserve_timeout(len, Duration::from_secs(1)).err();
        ensure(reserved == Some(send), "reserve_timeout")?;
    }
    let mut batch = sender.batch();
    batch.push(b"x").map_err(|_| "push")?;
    ensure(batch.commit() == Err(send), "Batch::commit")?;
    let source = |error: std::io::Error| error.get_ref().unwrap().downcast_ref().copied();
    ensure(sender.write(b"x").map_err(source) == Err(Some(send)), "write")?;
    let vectored = sender.write_vectored(&[IoSlice::new(b"x")]).map_err(source);
    ensure(vectored == Err(Some(send)), "write_vectored")?;
    ensure(sender.flush().is_ok(), "flush")?;
    ensure(sender.finish() == Err(send), "finish")?;
    ensure(sender.finish_with(b"x") == Err(send), "finish_with")?;
    ensure(sender.finish_with(&[0; 10_000]) == Err(send), "finish_with")?;
    sender.reset(66);
    let _ = (sender.id(), sender.max_message());
    ensure(sender.stats() == Default::default(), "SendStream::stats")?;
    ensure(receiver.stats() == Default::default(), "RecvStream::stats")?;

    let recv = RecvError::Session(FORKED);
    let is_forked = |result: Result<Option<Message>, RecvError>| result.err() == Some(recv);
    ensure(is_forked(receiver.recv()), "recv")?;
    ensure(is_forked(receiver.recv_timeout(Duration::from_secs(1))), "recv_timeout")?;
    ensure(is_forked(receiver.recv_deadline(Instant::now())), "recv_deadline")?;
    ensure(receiver.recv_into(&mut [0; 100]) == Err(recv), "recv_into")?;
    ensure(receiver.try_recv().err() == Some(recv.into()), "try_recv")?;
    ensure(sender.try_send(b"x") == Err(send.into()), "try_send")?;
    ensure(sender.try_send(&[0; 10_000]) == Err(send.into()), "try_send")?;
    ensure(sender.try_reserve(10).err() == Some(send.into()), "try_reserve")?;
    ensure(receiver.messages().next().is_some_and(|m| m.err() == Some(recv)), "messages")?;
    let source = |error: std::io::Error| error.get_ref().unwrap().downcast_ref().copied();
    for stream in [&mut receiver, partly.receiver()] {
        ensure(stream.read(&mut [0; 10]).map_err(source) == Err(Some(recv)), "read")?;
        ensure(stream.recv_into(&mut [0; 100]) == Err(recv), "recv_into of the rest")?;
        ensure(is_forked(stream.recv()), "recv of the rest")?;
    }
    receiver.stop(66);

    // What was copied is ours; what was not is not there, and says so instead of being something else.
    ensure(small.to_vec() == pattern(2, 100), "a message on the heap")?;
    std::panic::set_hook(Box::new(|_| {}));
    let panics = |work: &mut dyn FnMut()| catch_unwind(AssertUnwindSafe(work)).is_err();
    ensure(panics(&mut || drop(large.to_vec())), "to_vec of shared memory")?;
    ensure(panics(&mut || assert!(large.is_empty())), "looking at a message")?;
    let mut large = Some(large);
    ensure(panics(&mut || drop(large.take().map(Message::into_bytes))), "into_bytes")?;
    let [mut private, mut shared] = reservations;
    private.fill(1);
    ensure(panics(&mut || shared.fill(1)), "filling shared memory")?;
    ensure(panics(&mut || assert!(shared.is_empty())), "looking at shared memory")?;
    ensure(private.commit() == Err(send), "commit")?;
    ensure(shared.commit_len(5) == Err(send), "commit_len")?;

    drop((sender, receiver, partly, small, session, listener));
    ensure(big.iter().all(|&byte| byte == 3), "memory of the child was written")
}

/// Every call of everything, and the parent and its peer do not notice.
#[test]
fn every_call_says_so_or_does_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let config = Setup::new(Size::Default).trusted().config();
    let listener = Listener::builder().config(config.clone()).bind(&path).unwrap();
    let connect = || {
        let (path, config) = (path.clone(), config.clone());
        start("connect", move || Session::connect_with(path, &config).unwrap())
    };
    let connecting = connect();
    let server = listener.accept().unwrap();
    let client = connecting.join();

    let mut partly = client.open().unwrap();
    partly.send(b"partly").unwrap();
    let mut partly_there = server.accept().unwrap();
    partly_there.send(&pattern(4, 50_000)).unwrap();
    partly.read_exact(&mut [0; 10]).unwrap();

    let (mut sender, mut receiver) = client.open().unwrap().into_split();
    sender.send(b"hello").unwrap();
    let mut there = server.accept().unwrap();
    for (seed, len) in [(1, 50_000), (2, 100), (3, 100)] {
        there.send(&pattern(seed, len)).unwrap();
    }
    let large = receiver.recv().unwrap().unwrap();
    let small = receiver.recv().unwrap().unwrap();
    let reservations = [100, 20_000].map(|len| sender.reserve(len).unwrap());

    let all =
        All { listener, session: client, sender, receiver, partly, large, small, reservations };
    // Taken in the child only, which has a copy of its own.
    let mut all = Some(all);
    in_a_child(|| every_call(all.take().expect("not taken yet")));

    let All { listener, session, mut sender, mut receiver, mut partly, large, small, reservations } =
        all.take().expect("taken in the child only");
    within("the parent goes on", move || {
        check(&large, 1, 50_000);
        check(&small, 2, 100);
        check(&receiver.recv().unwrap().unwrap(), 3, 100);
        assert!(partly.recv().unwrap().unwrap().to_vec() == pattern(4, 50_000)[10..]);
        for mut reservation in reservations {
            reservation.fill(5);
            reservation.commit().unwrap();
        }
        assert_eq!(there.recv().unwrap().unwrap().to_vec(), b"hello");
        assert_eq!(there.recv().unwrap().unwrap().to_vec(), [5; 100]);
        assert_eq!(there.recv().unwrap().unwrap().to_vec(), [5; 20_000]);
        sender.finish().unwrap();
        assert!(there.recv().unwrap().is_none());
        assert!(!session.is_closed() && !server.is_closed());
        assert!(session.stats().records_sent > 0);
        drop((session, sender, receiver, partly));
        assert_eq!(server.closed(), SessionError::ClosedByPeer(0));
    });
    // The listener accepts, and waits without spinning: its descriptor is not readable for ever.
    assert!(path.exists());
    for _ in 0..3 {
        let connecting = connect();
        drop(listener.accept().unwrap());
        connecting.join();
    }
    let mut fd = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    until("nothing is left to accept", || {
        assert!(listener.accept_timeout(Duration::ZERO).unwrap().is_none());
        poll(&mut fd, PollTimeout::ZERO).unwrap() == 0
    });
    assert_eq!(listener.stats().established, 4);
}

/// Children that are forked while other threads are inside of every kind of call never wait for a lock
/// that nobody will release there, and disturb nobody.
#[test]
fn forked_while_others_are_busy() {
    let name = format!("@shmipc-fork-{}", std::process::id());
    let listener = Listener::bind(&name).unwrap();
    let connecting = start("connect", move || Session::connect(name).unwrap());
    let server = listener.accept().unwrap();
    let client = connecting.join();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            let mut near = client.open().unwrap();
            near.send(b"begin").unwrap();
            let mut far = server.accept().unwrap();
            let stop = &stop;
            scope.spawn(move || {
                while let Some(message) = far.recv().unwrap() {
                    far.send(&message).unwrap();
                }
                far.finish().unwrap();
            });
            scope.spawn(move || {
                assert_eq!(near.recv().unwrap().unwrap().to_vec(), b"begin");
                let mut seed = 0;
                while !stop.load(Ordering::Relaxed) {
                    let len = [10, 5000][seed as usize % 2];
                    near.send(&pattern(seed, len)).unwrap();
                    check(&near.recv().unwrap().unwrap(), seed, len);
                    seed += 1;
                }
                near.finish().unwrap();
                assert!(near.recv().unwrap().is_none());
            });
        }
        let mut idle = client.open().unwrap();
        idle.send(b"idle").unwrap();
        let mut answering = server.accept().unwrap();
        for _ in 0..60 {
            in_a_child(|| {
                ensure(client.open().err() == Some(OpenError::Session(FORKED)), "open")?;
                ensure(client.stats() == Default::default(), "stats")?;
                ensure(client.closed() == FORKED && server.closed() == FORKED, "closed")?;
                ensure(client.accept().err() == Some(AcceptError::Session(FORKED)), "accept")?;
                ensure(idle.send(b"x") == Err(SendError::Session(FORKED)), "send")?;
                ensure(idle.recv().err() == Some(RecvError::Session(FORKED)), "recv")?;
                ensure(answering.reserve(10_000).is_err(), "reserve")?;
                ensure(listener.accept().err() == Some(ListenError::Forked), "Listener::accept")?;
                idle.reset(1);
                idle.stop(1);
                client.close(1);
                listener.close();
                Ok(())
            });
        }
        stop.store(true, Ordering::Relaxed);
        answering.send(b"as before").unwrap();
        assert_eq!(idle.recv().unwrap().unwrap().to_vec(), b"as before");
    });
    assert!(!client.is_closed() && !server.is_closed());
}

/// Event loops, drivers and wait sets belong to the parent as well.
#[test]
fn event_loops_of_a_forked_child() {
    let listener = Listener::bind(format!("@shmipc-fork-loops-{}", std::process::id())).unwrap();
    let path = format!("@shmipc-fork-loops-{}", std::process::id());
    let (client, server) = thread::scope(|scope| {
        let client = scope.spawn(|| Session::connect(&path).unwrap());
        let server = listener.accept().unwrap();
        (client.join().unwrap(), server)
    });
    let mut stream = client.open().unwrap();
    stream.send(b"open").unwrap();
    let mut accepted = server.accept().unwrap();
    accepted.recv().unwrap().unwrap();
    let mut set = WaitSet::new().unwrap();
    let mut events = Vec::new();
    set.add_listener(&listener, 0).unwrap();
    set.add_session(&server, 1).unwrap();
    set.add_receiver(accepted.receiver(), 2).unwrap();
    set.wait(&mut events, Some(Duration::ZERO)).unwrap();
    stream.send(b"for the parent").unwrap();
    let mut driver = Some(client.spawn_driver().unwrap());
    in_a_child(|| {
        server.try_drive();
        ensure(server.arm(), "arm: there is nothing to do")?;
        set.interrupter().interrupt();
        ensure(set.wait(&mut events, None).is_err(), "wait: it is not ours")?;
        ensure(events.is_empty(), "events of a child")?;
        ensure(set.remove(1) && set.remove(2) && set.remove(0), "remove: only here")?;
        ensure(set.add_session(&server, 7).is_err(), "add: it is not ours")?;
        let forked = AcceptError::Session(FORKED);
        ensure(server.try_accept().err() == Some(forked.into()), "try_accept")?;
        drop(driver.take());
        Ok(())
    });
    within("the parent", move || {
        set.wait(&mut events, None).unwrap();
        assert_eq!(events.iter().map(|event| event.token).collect::<Vec<_>>(), [2]);
        assert_eq!(accepted.recv().unwrap().unwrap().to_vec(), b"for the parent");
        drop(driver);
        accepted.send(b"still here").unwrap();
        assert_eq!(stream.recv().unwrap().unwrap().to_vec(), b"still here");
    });
}

/// A client belongs to the parent, whose threads may have been inside of calls of it.
#[test]
fn clients_of_a_forked_child() {
    within("a client", || {
        let path = format!("@shmipc-fork-client-{}", std::process::id());
        let listener = Listener::bind(&path).unwrap();
        let client = Client::new(&path, Config::default());
        let mut events = client.events().unwrap();
        let calls = client.clone();
        let calling = start("a call", move || {
            calls.call(b"held", Instant::now() + PATIENCE).unwrap().to_vec()
        });
        let session = listener.accept().unwrap();
        let mut stream = session.accept().unwrap();
        let request = stream.recv().unwrap().unwrap();
        assert!(events.try_next().is_some(), "connected");
        let mut in_child = (Some(client.clone()), client.events().unwrap());
        in_a_child(|| {
            let later = Instant::now() + PATIENCE;
            let (client, events) = (in_child.0.take().ok_or("moved")?, &mut in_child.1);
            let forked = CallError::Open(OpenError::Session(FORKED));
            ensure(client.call(b"x", later).err() == Some(forked.clone()), "call")?;
            ensure(client.call_once(b"x", later).err() == Some(forked.clone()), "call_once")?;
            ensure(client.open().err() == Some(forked), "open")?;
            ensure(client.events().err() == Some(FORKED), "events")?;
            ensure(events.try_next().is_none() && events.next().is_none(), "next")?;
            ensure(events.next_timeout(PATIENCE).is_none(), "next_timeout")?;
            ensure(client.close(later) == Err(DrainError::Session(FORKED)), "close")?;
            drop(client);
            Ok(())
        });
        drop(in_child);
        stream.sender().finish_with(&request).unwrap();
        assert_eq!(calling.join(), b"held");
        assert!(!session.is_closed());
    });
}

/// What the flavours do not come to, since the first poll of theirs tells them of the fork.
#[test]
fn core_session_in_a_forked_child_neither_spins_nor_waits() {
    use shmipc_core::handle::Session;
    use shmipc_core::handshake::connect;
    use shmipc_core::listen::{Acceptor, ListenOptions};

    let path = format!("@shmipc-fork-core-{}", std::process::id());
    for wait in [WaitMode::Spin, WaitMode::Adaptive] {
        let config = Config::builder().wait(wait).build().unwrap();
        let acceptor = Acceptor::bind(&path, &ListenOptions::new(), config.clone()).unwrap();
        let (client, _server) = thread::scope(|scope| {
            let client = scope.spawn(|| connect(&path, &config).unwrap());
            let server = acceptor.session(&config, None).unwrap();
            (client.join().unwrap(), server)
        });
        let session = Session::new(client, &config).unwrap();
        in_a_child(|| {
            let slice = Duration::from_secs(60);
            ensure(!session.spin(None).again(), "spin")?;
            ensure(!session.spin_briefly(slice).again(), "spin_briefly")?;
            ensure(!session.spin_outside(slice).again(), "spin_outside")?;
            ensure(!session.driver().spin(slice), "Driver::spin")?;
            ensure(session.active().is_none(), "active")?;
            session.will_read();
            let waiting = session.wait_here();
            waiting.waker().wake_by_ref();
            ensure(waiting.sleep(None), "sleep")
        });
    }
}
