//! Sessions in event loops: by their descriptor, and with a thread that drives them.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use shmipc_sync::{Config, Listener, SendError, Session, SessionError, Stream, TryError, WaitMode};
use tests::child::Peer;
use tests::deadline::{PATIENCE, until, within};
use tests::payload::{check, pattern};
use tests::proc;
use tests::setup::{Setup, Size, left_alone_config};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// Threads of this process are counted, so the tests take turns.
fn in_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two ends in this process.
fn pair(config: &Config) -> (Session, Session) {
    let name = format!("@shmipc-loops-{}-{:?}", std::process::id(), thread::current().id());
    let listener = Listener::builder().config(config.clone()).bind(&name).unwrap();
    thread::scope(|scope| {
        let client = scope.spawn(|| Session::connect_with(&name, config).unwrap());
        let server = listener.accept().unwrap();
        (client.join().unwrap(), server)
    })
}

fn both_bells() -> [Config; 2] {
    let setup = Setup::new(Size::Default).wait(WaitMode::Block);
    [setup.config(), setup.eventfd().config()]
}

fn is_readable(fd: impl AsFd, timeout: impl Into<PollTimeout>) -> bool {
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout.into()).unwrap() > 0
}

#[track_caller]
fn becomes_readable(fd: impl AsFd) {
    let patience = PollTimeout::try_from(PATIENCE).unwrap();
    assert!(is_readable(fd, patience), "the descriptor does not become readable");
}

/// Serves until it is armed.
fn serve(session: &Session, mut look: impl FnMut()) {
    loop {
        session.try_drive();
        look();
        if session.arm() {
            return;
        }
    }
}

fn received(stream: &mut Stream) -> Option<Vec<u8>> {
    match stream.receiver().try_recv() {
        Err(TryError::WouldBlock) => None,
        message => Some(message.unwrap().unwrap().into_vec()),
    }
}

/// The descriptor is readable once per arming, for a message, a stream, the end; and quiet in between.
#[test]
fn the_descriptor_tells_of_what_comes_and_is_quiet_else() {
    let _turn = in_turn();
    for config in both_bells() {
        within("a loop", move || {
            let (client, server) = pair(&config);
            serve(&server, || assert_eq!(server.try_accept().err(), Some(TryError::WouldBlock)));
            assert!(!is_readable(&server, 0u8));

            let mut stream = client.open().unwrap();
            stream.send(b"first").unwrap();
            becomes_readable(&server);
            let mut accepted = None;
            serve(&server, || accepted = accepted.take().or_else(|| server.try_accept().ok()));
            let mut accepted = accepted.unwrap();
            serve(&server, || assert_eq!(received(&mut accepted).as_deref(), Some(&b"first"[..])));
            assert!(!is_readable(&server, 0u8), "consumed");

            for number in 0..100 {
                stream.send(&pattern(number, 300)).unwrap();
                becomes_readable(&server);
                let mut got = None;
                serve(&server, || got = got.take().or_else(|| received(&mut accepted)));
                check(&got.unwrap(), number, 300);
                assert!(!is_readable(&server, 0u8), "consumed");
                assert!(server.arm() && !is_readable(&server, 0u8), "still armed");
            }

            client.close(5);
            becomes_readable(&server);
            server.try_drive();
            assert!(server.is_closed());
            assert!(is_readable(&server, 0u8), "for ever");
        });
    }
}

/// What a call for one stream has put aside for another is not forgotten: the loop looks again.
#[test]
fn put_aside_for_another_stream() {
    let _turn = in_turn();
    within("a loop", || {
        let (client, server) = pair(&Config::default());
        let mut streams = [client.open().unwrap(), client.open().unwrap()];
        for stream in &mut streams {
            stream.send(b"open").unwrap();
        }
        let mut accepted = [server.accept().unwrap(), server.accept().unwrap()];
        for stream in &mut accepted {
            stream.recv().unwrap().unwrap();
        }
        serve(&server, || {});
        for round in 0..10 {
            // In this order: a call that looks for the second message meets the first.
            streams[1].send(&pattern(round, 10)).unwrap();
            streams[0].send(&pattern(round, 20)).unwrap();
            check(&received(&mut accepted[0]).unwrap(), round, 20);
            assert!(!server.arm(), "there is a message for the other");
            serve(&server, || {
                if let Some(message) = received(&mut accepted[1]) {
                    check(&message, round, 10);
                }
            });
            assert!(received(&mut accepted[1]).is_none(), "it was received");
            // The same with streams to accept.
            let mut opened = client.open().unwrap();
            opened.send(b"new").unwrap();
            streams[0].send(b"x").unwrap();
            assert!(received(&mut accepted[0]).is_some());
            assert!(!server.arm(), "there is a stream to accept");
            server.try_drive();
            server.try_accept().unwrap();
            // And with ends.
            drop(opened);
            streams[0].send(b"x").unwrap();
            assert!(received(&mut accepted[0]).is_some());
            serve(&server, || {});
        }
        // And with the end that comes in one record with the last message.
        streams[0].finish_with(b"x").unwrap();
        assert!(received(&mut accepted[0]).is_some());
        assert!(!server.arm(), "there is an end");
    });
}

/// One plain epoll loop, level- or edge-triggered, serves the sessions of clients that wait, and turns no more often than it has
/// reason to: the clients may ring once for each message, and the loop is woken once for a ring.
#[test]
fn a_plain_epoll_loop_serves_many() {
    const SESSIONS: usize = 8;
    const ROUNDS: u64 = 300;
    let _turn = in_turn();
    let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    let [socket, eventfd] = both_bells();
    let cases = [
        (socket.clone(), EpollFlags::EPOLLIN),
        (socket, edge),
        (eventfd.clone(), EpollFlags::EPOLLIN),
        (eventfd, edge),
    ];
    for (config, flags) in cases {
        within("a loop", move || {
            let mut clients = Vec::new();
            let mut servers = Vec::new();
            for _ in 0..SESSIONS {
                let (client, server) = pair(&config);
                servers.push((server, Vec::new()));
                clients.push(thread::spawn(move || {
                    let mut streams = [client.open().unwrap(), client.open().unwrap()];
                    for number in 0..ROUNDS {
                        for (i, stream) in streams.iter_mut().enumerate() {
                            stream.send(&pattern(number + i as u64, 100)).unwrap();
                        }
                        for (i, stream) in streams.iter_mut().enumerate() {
                            let reply = stream.recv().unwrap().unwrap().to_vec();
                            check(&reply, number + i as u64, 100);
                        }
                    }
                }));
            }
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
            for (number, (session, _)) in servers.iter().enumerate() {
                epoll.add(session, EpollEvent::new(flags, number as u64)).unwrap();
            }
            let mut ready: Vec<usize> = (0..SESSIONS).collect();
            let (mut over, mut served, mut woken) = (0, 0, 0);
            while over < SESSIONS {
                for number in ready.drain(..) {
                    let (session, streams) = &mut servers[number];
                    serve(session, || {
                        while let Ok(stream) = session.try_accept() {
                            streams.push(stream);
                        }
                        for stream in streams.iter_mut() {
                            while let Ok(Some(message)) = stream.receiver().try_recv() {
                                served += 1;
                                stream.send(&message).unwrap();
                            }
                        }
                    });
                    if session.is_closed() {
                        epoll.delete(&*session).unwrap();
                        over += 1;
                    }
                }
                let mut events = [EpollEvent::empty(); SESSIONS];
                if over < SESSIONS {
                    let happened = epoll.wait(&mut events, EpollTimeout::NONE).unwrap();
                    ready.extend(events.iter().take(happened).map(|event| event.data() as usize));
                    woken += ready.len();
                }
            }
            for client in clients {
                client.join().unwrap();
            }
            assert_eq!(served, 2 * ROUNDS * SESSIONS as u64);
            // And once for the end of each session, which its socket and a goodbye announce.
            let reasons = 2 * ROUNDS as usize * SESSIONS + 4 * SESSIONS;
            assert!(woken <= reasons, "woken {woken} times for {reasons} reasons");
        });
    }
}

/// Messages of a size that takes more queue space, or more memory, than the peer has left.
fn send_all(stream: &mut Stream, sizes: &[usize]) -> Result<(), (usize, SendError)> {
    for (number, &size) in sizes.iter().enumerate() {
        stream.send(&pattern(number as u64, size)).map_err(|error| (number, error))?;
    }
    Ok(())
}

fn left_alone(driver: &str) -> (tempfile::TempDir, Peer, Session) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut peer = Peer::start(PEER, &["left-alone", path.to_str().unwrap(), driver]);
    peer.line("listening");
    let session = Session::connect_with(&path, &left_alone_config()).unwrap();
    peer.line("left alone");
    (directory, peer, session)
}

/// A process that makes no call after accepting gives back queue space and memory all the same, if a
/// thread drives its session; and does not without.
#[test]
fn a_driver_gives_space_and_memory_back() {
    let _turn = in_turn();
    for sizes in [vec![200; 100], vec![700_000; 10]] {
        let (_directory, mut peer, session) = left_alone("driver");
        let count = sizes.len();
        within("sending", move || {
            let mut stream = session.open().unwrap();
            send_all(&mut stream, &sizes).unwrap();
            peer.say(&count.to_string());
            peer.line("received");
            drop(stream);
            peer.succeed();
        });
    }
}

/// The same without the thread: that one is what makes the difference.
#[test]
fn nobody_gives_space_and_memory_back_without_a_driver() {
    let _turn = in_turn();
    for sizes in [vec![200; 100], vec![700_000; 10]] {
        let (_directory, mut peer, session) = left_alone("none");
        within("sending", move || {
            let mut stream = session.open().unwrap();
            stream.set_timeout(Some(Duration::from_millis(50)));
            let (sent, error) = send_all(&mut stream, &sizes).unwrap_err();
            assert_eq!(error, SendError::TimedOut);
            peer.say(&sent.to_string());
            peer.line("received");
            // Now somebody is inside calls.
            stream.set_timeout(None);
            peer.succeed();
        });
    }
}

/// The thread does not keep the session open, and ends with it, or when its guard goes.
#[test]
fn a_driver_ends_with_its_session_or_its_guard() {
    let _turn = in_turn();
    let us = std::process::id();
    let drivers = move || proc::threads(us, "shmipc-driver").len();
    within("drivers", move || {
        let (client, server) = pair(&Config::default());
        let driver = server.spawn_driver().unwrap();
        until("it runs", || drivers() == 1);
        drop(driver);
        until("it has ended", || drivers() == 0);

        let driver = server.spawn_driver().unwrap();
        until("it runs", || drivers() == 1);
        drop(server);
        assert_eq!(client.closed(), SessionError::ClosedByPeer(0));
        until("it has ended", || drivers() == 0);
        drop(driver);

        let (client, server) = pair(&Config::default());
        let driver = server.spawn_driver().unwrap();
        until("it runs", || drivers() == 1);
        client.close(3);
        until("it has ended", || drivers() == 0);
        assert!(server.is_closed());
        drop(driver);
    });
}

/// It sleeps in the kernel while nothing happens.
#[test]
fn an_idle_driver_is_not_woken() {
    let _turn = in_turn();
    let us = std::process::id();
    within("drivers", move || {
        let (client, server) = pair(&Config::default());
        let _driver = server.spawn_driver().unwrap();
        let mut stream = client.open().unwrap();
        stream.send(b"hello").unwrap();
        let mut thread = 0;
        until("it sleeps", || {
            thread = proc::threads(us, "shmipc-driver").first().copied().unwrap_or(0);
            proc::sleeps(us, thread)
        });
        let look = || proc::voluntary_switches(us, thread);
        let mut before = look();
        until("it sleeps on", || {
            thread::sleep(Duration::from_millis(20));
            std::mem::replace(&mut before, look()) == before
        });
        thread::sleep(Duration::from_millis(300));
        assert_eq!(look(), before, "woken, though nothing happens");
        // And it is still there.
        until("it has drained", || {
            stream.send(b"more").unwrap();
            look() > before
        });
    });
}

/// Threads that wait in calls, spinning or not, and drivers on both sides that come and go, on one session.
#[test]
fn drivers_beside_threads_that_wait() {
    let _turn = in_turn();
    for mode in [WaitMode::Block, WaitMode::Adaptive] {
        let config = Setup::new(Size::Tiny).wait(mode).config();
        let name = format!("drivers, {mode:?}");
        within(&name, move || {
            let (client, server) = pair(&config);
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                let drivers = [&client, &server].map(|session| {
                    scope.spawn(|| {
                        while !done.load(Ordering::Relaxed) {
                            let driver = session.spawn_driver().unwrap();
                            thread::sleep(Duration::from_millis(1));
                            drop(driver);
                        }
                    })
                });
                let threads: Vec<_> = (0..3)
                    .flat_map(|seed: u64| {
                        let asks = scope.spawn({
                            let client = &client;
                            move || {
                                let mut stream = client.open().unwrap();
                                for number in 0..500 {
                                    let size = (number as usize * 37) % 3000;
                                    stream.send(&pattern(number + seed, size)).unwrap();
                                    let reply = stream.recv().unwrap().unwrap().to_vec();
                                    check(&reply, number + seed, size);
                                }
                                stream.finish().unwrap();
                                assert!(stream.recv().unwrap().is_none());
                            }
                        });
                        let answers = scope.spawn(|| {
                            let mut stream = server.accept().unwrap();
                            while let Some(message) = stream.recv().unwrap() {
                                stream.send(&message).unwrap();
                            }
                            stream.finish().unwrap();
                        });
                        [asks, answers]
                    })
                    .collect();
                for thread in threads {
                    thread.join().unwrap();
                }
                done.store(true, Ordering::Relaxed);
                for driver in drivers {
                    driver.join().unwrap();
                }
            });
        });
    }
}
