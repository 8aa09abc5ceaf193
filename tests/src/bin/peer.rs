//! The peer process of the tests: an end of a conformance case, or one of the roles that the tests of
//! faults and leaks need. A role ends when its standard input is closed, if not before.

use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{ForkResult, fork};
use shmipc_sync::{AcceptError, Config, Listener, Role, Session, SessionError, Stream, WaitMode};
use tests::blocking::Blocking;
use tests::child::die_with_parent;
use tests::conformance::there_alone;
use tests::deadline::patience;
use tests::flavour::Flavour;
use tests::orders::{CLOSE, orders, perform};
use tests::payload::{Random, check, pattern};
use tests::scripted::obey;
use tests::serving;
use tests::setup::{Setup, Size, left_alone_config};
use tests::tokio::{CurrentThread, InTasks, Kind, MultiThread, Tokio};

type InCurrent = InTasks<CurrentThread>;
type InMulti = InTasks<MultiThread>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    die_with_parent();
    match arguments[..] {
        ["case", flavour, name, setup, path] => {
            let (setup, path) = (setup.parse().expect("a setup"), Path::new(path));
            match flavour {
                Blocking::NAME => there_alone::<Blocking>(name, setup, path),
                CurrentThread::NAME => there_alone::<Tokio<CurrentThread>>(name, setup, path),
                MultiThread::NAME => there_alone::<Tokio<MultiThread>>(name, setup, path),
                InCurrent::NAME => there_alone::<Tokio<InCurrent>>(name, setup, path),
                InMulti::NAME => there_alone::<Tokio<InMulti>>(name, setup, path),
                _ => panic!("unknown flavour: {flavour}"),
            }
        }
        ["scripted", path, setup] => obey(path, setup.parse().expect("a setup")),
        ["orders", path, from, count] => {
            in_order(path, from.parse().expect("a number"), count.parse().expect("a number"));
        }
        ["publish", path, count] => publish(path, count.parse().expect("a number")),
        ["silent", path] => silent(path),
        ["silent-after-fork", path] => silent_after_fork(path),
        ["listen", path] => listen(path),
        ["echo", path] => echo(path),
        ["echo-tasks", path] => echo_tasks(path),
        ["answer", path, requests] => answer(path, requests.parse().expect("a number")),
        ["serve", path] => serving::serve(path),
        ["leave", path] => leave(path),
        ["leave-when-told", path] => leave_when_told(path),
        ["idle", path, count] => idle(path, count.parse().expect("a number")),
        ["idle-streams", path, runtime, count] => {
            let count = count.parse().expect("a number");
            match runtime {
                CurrentThread::NAME => idle_streams::<CurrentThread>(path, count),
                MultiThread::NAME => idle_streams::<MultiThread>(path, count),
                _ => panic!("unknown runtime: {runtime}"),
            }
        }
        ["receive", path, mode] => receive(path, mode),
        ["crowd", path, sessions, rounds] => {
            crowd(path, sessions.parse().expect("a number"), rounds.parse().expect("a number"));
        }
        ["over-stdin", flavour] => match flavour {
            Blocking::NAME => over_stdin(),
            _ => over_stdin_later(),
        },
        ["left-alone", path, driver] => left_alone(path, driver == "driver"),
        _ => panic!("unknown role: {arguments:?}"),
    }
}

/// Tells the test something.
fn say(line: &str) {
    println!("{line}");
    io::stdout().flush().expect("the test listens");
}

/// Waits for a word of the test, or for its hanging up.
fn word() -> String {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).expect("standard input");
    line.trim().to_owned()
}

/// Waits until the test hangs up, which it does by killing us, as a rule.
fn hold() {
    let _ = io::stdin().lock().read_to_end(&mut Vec::new());
}

/// Connects, sends `count` messages that nobody has asked for, and holds still.
fn publish(path: &str, count: u64) {
    let session = Session::connect(path).expect("connected");
    let mut stream = session.open().expect("a stream");
    for number in 0..count {
        stream.send(&pattern(number, (number as usize * 97) % 9000)).expect("sent");
    }
    say("published");
    hold();
}

/// Does what some of all orders say, each in a session of its own, and closes all when it is told to.
fn in_order(path: &str, from: usize, count: usize) {
    let perform_one = |(number, order): (usize, &Vec<_>)| {
        // The number of the session, since a listener may hand out two in another order than they were begun.
        let config = Config::builder().application("", number as u32).build().expect("valid");
        let session = Session::connect_with(path, &config).expect("connected");
        let left = perform(session.open().expect("a stream"), order);
        (session, left)
    };
    let sessions: Vec<_> =
        orders(3)[from..from + count].iter().enumerate().map(perform_one).collect();
    say("done");
    if word() == "close" {
        sessions.iter().for_each(|(session, _)| session.close(CLOSE));
        say("closed");
    }
    hold();
}

/// Answers each message of each stream over the socket that it was started with, until the session ends.
fn over_stdin() {
    let session = Session::from_stream(inherited(), Role::Client, &Config::default());
    let session = session.expect("a session");
    while let Ok(mut stream) = session.accept() {
        while let Ok(Some(message)) = stream.recv() {
            let _ = stream.send(&message);
        }
    }
    tell_end(session.closed());
}

/// The same on a runtime.
fn over_stdin_later() {
    CurrentThread::start().expect("a runtime").block_on(async {
        let (role, config) = (Role::Client, Config::default());
        let session = shmipc_async::Session::from_stream(inherited(), role, &config).await;
        let session = session.expect("a session");
        while let Ok(mut stream) = session.accept().await {
            while let Ok(Some(message)) = stream.recv().await {
                let _ = stream.send(&message).await;
            }
        }
        tell_end(session.closed().await);
    });
}

fn inherited() -> UnixStream {
    io::stdin().as_fd().try_clone_to_owned().expect("a socket").into()
}

fn tell_end(end: SessionError) {
    match end {
        SessionError::ClosedByPeer(code) => say(&format!("closed {code}")),
        end => panic!("{end}"),
    }
}

/// Connects, says one thing, and holds still.
fn silent(path: &str) {
    let (_session, _stream) = greet(path);
    hold();
}

fn greet(path: &str) -> (Session, Stream) {
    let session = Session::connect(path).expect("connected");
    let mut stream = session.open().expect("a stream");
    stream.send(b"hello").expect("sent");
    say("silent");
    (session, stream)
}

/// The same, with a forked child that holds the socket open until the test hangs up.
#[allow(unsafe_code)]
fn silent_after_fork(path: &str) {
    let (_session, _stream) = greet(path);
    // SAFETY: this process has one thread, so the child may do what the parent may.
    match unsafe { fork() }.expect("forked") {
        ForkResult::Parent { child } => say(&format!("child {child}")),
        ForkResult::Child => {}
    }
    hold();
}

/// Listens, and accepts nobody.
fn listen(path: &str) {
    let _listener = Listener::bind(path).expect("the path is free");
    say("listening");
    hold();
}

/// Answers every stream of every session until the test hangs up.
fn echo(path: &str) {
    let listener = Listener::bind(path).expect("the path is free");
    say("listening");
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok(session) = listener.accept() {
                // One session at a time: when `accept` is called again, the last one is gone.
                while let Ok(mut stream) = session.accept() {
                    while let Ok(Some(message)) = stream.recv() {
                        let _ = stream.send(&message);
                    }
                    let _ = stream.finish();
                }
                drop(session);
                say("served");
            }
        });
        hold();
        listener.close();
    });
}

/// Answers the requests of every session, and leaves it soon after it came; then says which it has seen.
fn leave(path: &str) {
    let listener = Listener::bind(path).expect("the path is free");
    say("listening");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(7);
            while let Ok(session) = listener.accept() {
                let serving = session.clone();
                let seen = thread::scope(|scope| {
                    let seen = scope.spawn(move || serve(&serving, |_| true));
                    let moment = Instant::now() + Duration::from_micros(random.below(300) as u64);
                    while Instant::now() < moment {
                        std::hint::spin_loop();
                    }
                    session.leave();
                    seen.join().expect("served").0
                });
                session.drained_timeout(patience()).expect("everything was served");
                say(&format!("seen {}", seen.join(" ")));
            }
        });
        hold();
        listener.close();
    });
}

/// Answers requests, but for empty ones, and says of each that it has seen it; leaves when told.
fn leave_when_told(path: &str) {
    let listener = Listener::bind(path).expect("the path is free");
    say("listening");
    let session = listener.accept().expect("a client");
    thread::scope(|scope| {
        let serving = scope.spawn(|| {
            serve(&session, |request| {
                say(&format!("seen {request}"));
                !request.is_empty()
            })
        });
        word();
        session.leave();
        let _held = serving.join().expect("served");
        say("left");
        hold();
    });
}

/// Takes streams until we leave: one request each, which is answered if `answer` says so. Gives the
/// requests, and the streams that were not answered.
fn serve(session: &Session, answer: impl Fn(&str) -> bool) -> (Vec<String>, Vec<Stream>) {
    let (mut seen, mut held) = (Vec::new(), Vec::new());
    loop {
        let mut stream = match session.accept() {
            Ok(stream) => stream,
            Err(AcceptError::Leaving) => return (seen, held),
            Err(error) => panic!("{error}"),
        };
        let request = stream.recv().expect("a request").expect("a request, not the end").to_vec();
        seen.push(String::from_utf8(request).expect("a number"));
        let request = seen.last().expect("just pushed");
        if answer(request) {
            stream.send(request.as_bytes()).expect("answered");
            stream.finish().expect("answered");
        } else {
            held.push(stream);
        }
    }
}

/// Connects `count` times and does nothing else. A first session, which makes the process load the code,
/// is gone before.
fn idle(path: &str, count: usize) {
    drop(Session::connect(path).expect("connected"));
    say("ready");
    word();
    let sessions: Vec<_> = (0..count).map(|_| Session::connect(path).expect("connected")).collect();
    say("connected");
    hold();
    drop(sessions);
}

/// Connects and waits in `recv` of the main thread until the session ends.
fn receive(path: &str, mode: &str) {
    let wait = if mode == "block" { WaitMode::Block } else { WaitMode::Adaptive };
    let config = Config::builder().wait(wait).build().expect("valid");
    let session = Session::connect_with(path, &config).expect("connected");
    let mut stream = session.open().expect("a stream");
    stream.send(b"hello").expect("sent");
    say("receiving");
    // The time limit is that of a test that has forgotten us.
    let _ = stream.recv_timeout(Duration::from_secs(600));
}

/// Answers every stream by a task of its own, until the test hangs up.
fn echo_tasks(path: &str) {
    let runtime = CurrentThread::start().expect("a runtime");
    let path = path.to_owned();
    runtime.spawn(async move {
        let listener = shmipc_async::Listener::bind(&path).expect("the path is free");
        say("listening");
        while let Ok(session) = listener.accept().await {
            while let Ok(mut stream) = session.accept().await {
                tokio::spawn(async move {
                    while let Ok(Some(message)) = stream.recv().await {
                        let _ = stream.send(&message).await;
                    }
                });
            }
        }
    });
    let held = runtime.spawn_blocking(hold);
    runtime.block_on(held).expect("the test hung up");
}

/// Connects, and has a task for each of `count` streams that says one thing and waits for another.
fn idle_streams<K: Kind>(path: &str, count: usize) {
    let runtime = K::start().expect("a runtime");
    runtime.block_on(async {
        let config = Setup::new(Size::Many).config();
        let session = shmipc_async::Session::connect_with(path, &config).await.expect("connected");
        let mut tasks = Vec::new();
        for _ in 0..count {
            let mut stream = session.open().expect("a stream");
            stream.send(b"hello").await.expect("sent");
            tasks.push(tokio::spawn(async move { stream.recv().await.map(drop) }));
        }
        // Each has been polled once when the last one has.
        tokio::task::yield_now().await;
        say("receiving");
        for task in tasks {
            let _ = task.await;
        }
    });
}

/// Connects `sessions` times with a stream each, and has requests answered in another order each round.
fn crowd(path: &str, sessions: usize, rounds: u64) {
    let config = Setup::new(Size::Tiny).config();
    let mut random = Random::new(7);
    let mut streams: Vec<_> = (0..sessions)
        .map(|_| {
            let session = Session::connect_with(path, &config).expect("connected");
            let stream = session.open().expect("a stream");
            (session, stream)
        })
        .collect();
    for round in 0..rounds {
        for index in 0..sessions {
            streams.swap(index, random.below(sessions));
        }
        for (number, (_, stream)) in streams.iter_mut().enumerate() {
            let number = round * 1_000_003 + number as u64;
            stream.send(&pattern(number, number as usize % 700)).expect("sent");
        }
        for index in 0..sessions {
            // Some are asked in the order of sending, some are not.
            let number = (index * 7) % sessions;
            let reply = streams[number].1.recv().expect("a reply").expect("no end");
            let expected = round * 1_000_003 + number as u64;
            check(&reply, expected, expected as usize % 700);
        }
        say("round");
        word();
    }
    say("done");
    hold();
}

/// Accepts a session and makes no call on it, with a driver or without; then receives everything.
fn left_alone(path: &str, drives: bool) {
    let config = left_alone_config();
    let listener = Listener::builder().config(config).bind(path).expect("the path is free");
    say("listening");
    let session = listener.accept().expect("the listener lives");
    let driver = drives.then(|| session.spawn_driver().expect("a thread"));
    say("left alone");
    let count: u64 = word().parse().expect("a number");
    drop(driver);
    let mut stream = session.accept().expect("a stream");
    for number in 0..count {
        let message = stream.recv().expect("a message").expect("no end").to_vec();
        check(&message, number, message.len());
    }
    say("received");
    hold();
}

/// Answers requests on streams of their own, and says of each that it has seen it, until the test hangs up
/// or kills us; leaves each session after `requests` of them and goes on with the next.
fn answer(path: &str, requests: usize) {
    let listener = Listener::bind(path).expect("the path is free");
    say("listening");
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok(session) = listener.accept() {
                scope.spawn(move || {
                    let mut served = 0;
                    while let Ok(mut stream) = session.accept() {
                        if let Ok(Some(request)) = stream.recv() {
                            say(&format!("seen {}", String::from_utf8_lossy(&request)));
                            let _ = stream.sender().finish_with(&request);
                            // The client ends its direction with the request.
                            let _ = stream.recv();
                        }
                        served += 1;
                        if served == requests {
                            session.leave();
                        }
                    }
                    let _ = session.drained_timeout(patience());
                });
            }
        });
        hold();
        std::process::exit(0);
    });
}
