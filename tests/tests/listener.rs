//! Listeners: clients that are stuck, broken or hostile, and socket files.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use shmipc_sync::{Config, ConnectError, HandshakeError, ListenError, Listener, Refusal, Session};
use tests::child::Peer;
use tests::deadline::{until, within};
use tests::needs::short_directory;

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// Fails the test unless a good client gets a session that works.
fn good_client_gets_in(listener: &Arc<Listener>, path: &Path) {
    let (listener, path) = (Arc::clone(listener), path.to_owned());
    within("a good client", move || {
        let client = std::thread::spawn(move || {
            let session = Session::connect(path).unwrap();
            let mut stream = session.open().unwrap();
            stream.send(b"ping").unwrap();
            assert_eq!(stream.recv().unwrap().unwrap().to_vec(), b"pong");
        });
        let session = listener.accept().unwrap();
        let mut stream = session.accept().unwrap();
        assert_eq!(stream.recv().unwrap().unwrap().to_vec(), b"ping");
        stream.send(b"pong").unwrap();
        client.join().unwrap();
    });
}

/// What a client sends first: the frames of our own client.
fn hello() -> Vec<u8> {
    let directory = short_directory();
    let path = directory.path().join("listening");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let client = std::thread::spawn(move || Session::connect(path).map(drop));
    let (mut socket, _) = listener.accept().unwrap();
    let mut bytes = vec![0; 1000];
    let count = socket.read(&mut bytes).unwrap();
    bytes.truncate(count);
    drop(socket);
    client.join().unwrap().unwrap_err();
    bytes
}

/// Of many that find the file of a dead server at the same time one gets the place, and the others are told.
#[test]
fn a_stale_file_is_replaced_once() {
    const RIVALS: usize = 8;
    let directory = short_directory();
    let path = directory.path().join("socket");
    for _ in 0..50 {
        // Nobody removes it when the descriptor is closed.
        drop(UnixListener::bind(&path).unwrap());
        let line = Barrier::new(RIVALS);
        let bound = std::thread::scope(|scope| {
            let rival = || {
                line.wait();
                Listener::bind(&path)
            };
            let rivals: Vec<_> = (0..RIVALS).map(|_| scope.spawn(rival)).collect();
            rivals.into_iter().map(|rival| rival.join().unwrap()).collect::<Vec<_>>()
        });
        let in_use = |bound: &&Result<Listener, ListenError>| {
            matches!(bound, Err(ListenError::InUse { .. }))
        };
        assert_eq!(bound.iter().filter(in_use).count(), RIVALS - 1, "{bound:?}");
        let winner = Arc::new(bound.into_iter().find_map(Result::ok).unwrap());
        good_client_gets_in(&winner, &path);
    }
}

/// Clients that connect and say nothing, or half a hello, delay nobody.
#[test]
fn stuck_clients_delay_nobody() {
    let directory = short_directory();
    let path = directory.path().join("socket");
    let listener = Arc::new(Listener::bind(&path).unwrap());
    let hello = hello();
    let mut stuck = Vec::new();
    for number in 0..20 {
        let mut socket = UnixStream::connect(&path).unwrap();
        socket.write_all(&hello[..hello.len() * number / 20]).unwrap();
        stuck.push(socket);
        good_client_gets_in(&listener, &path);
    }
    assert_eq!(listener.stats().in_progress, 20);
    assert_eq!(listener.stats().established, 20);
    drop(stuck);
    good_client_gets_in(&listener, &path);
    until("the stuck ones are forgotten", || {
        let _ = listener.accept_timeout(Duration::ZERO).unwrap();
        listener.stats().in_progress == 0
    });
}

/// A stuck client is given up when its time is over.
#[test]
fn stuck_clients_are_given_up() {
    let directory = short_directory();
    let path = directory.path().join("socket");
    let config = Config::builder().handshake_timeout(Duration::from_millis(50)).build().unwrap();
    let listener = Listener::builder().config(config).bind(&path).unwrap();
    let mut socket = UnixStream::connect(&path).unwrap();
    within("giving up", move || {
        until("the client is given up", || {
            assert!(listener.accept_timeout(Duration::from_millis(10)).unwrap().is_none());
            listener.stats().timed_out == 1
        });
        // The socket is closed, possibly after a word about why.
        socket.read_to_end(&mut Vec::new()).unwrap();
    });
}

/// Whatever a client sends or leaves out, the listener goes on.
#[test]
fn broken_clients_never_end_the_listener() {
    let directory = short_directory();
    let path = directory.path().join("socket");
    let listener = Arc::new(Listener::bind(&path).unwrap());
    let hello = hello();
    let mut attempts: Vec<Vec<u8>> = vec![
        vec![],
        vec![0; 8],
        vec![0xff; 100],
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        hello[..hello.len() - 1].to_vec(),
        [&hello[..], &hello[..]].concat(),
        [&hello[..], &[0xff; 64]].concat(),
    ];
    // Other versions: bytes 4 to 7 of the header are magic, version and type.
    for version in [0, 1, 2, 3, 4, 15, 17, 255] {
        let mut other = hello.clone();
        other[6] = version;
        attempts.push(other);
    }
    // Every byte of the hello wrong, one at a time.
    for at in 0..hello.len() {
        let mut wrong = hello.clone();
        wrong[at] ^= 0x55;
        attempts.push(wrong);
    }
    for attempt in &attempts {
        let mut socket = UnixStream::connect(&path).unwrap();
        // It may be thrown out before it has finished.
        let _ = socket.write_all(attempt);
        let _ = listener.accept_timeout(Duration::ZERO).unwrap();
        drop(socket);
    }
    good_client_gets_in(&listener, &path);
    until("all are dealt with", || {
        let _ = listener.accept_timeout(Duration::ZERO).unwrap();
        listener.stats().in_progress == 0
    });
    let stats = listener.stats();
    assert_eq!(stats.established, 1, "{stats:?}");
    assert_eq!(stats.refused + stats.failed, attempts.len() as u64, "{stats:?}");
}

/// Clients that are refused are told why.
#[test]
fn refusals_say_why() {
    let directory = short_directory();
    let path = directory.path().join("socket");
    let config = |name: &str| Config::builder().application(name, 3).build().unwrap();
    let listener = Arc::new(Listener::builder().config(config("songs")).bind(&path).unwrap());
    let connect = |config: Config| {
        let (path, listener) = (path.clone(), Arc::clone(&listener));
        within("refusal", move || {
            let client = std::thread::spawn(move || Session::connect_with(path, &config));
            while !client.is_finished() {
                let _ = listener.accept_timeout(Duration::from_millis(1)).unwrap();
            }
            client.join().unwrap().map(drop)
        })
    };
    let error = connect(config("dances")).unwrap_err();
    let ConnectError::Handshake(HandshakeError::Refused(Refusal::Application { theirs, ours })) =
        &error
    else {
        panic!("{error:?}")
    };
    assert_eq!([&theirs[..], ours], ["songs", "dances"]);
    connect(config("songs")).unwrap();

    let nobody = Config::builder().authorizer(|_| false).build().unwrap();
    let path = directory.path().join("closed");
    let listener = Arc::new(Listener::builder().config(nobody).bind(&path).unwrap());
    let error = within("refusal", move || {
        let client = std::thread::spawn(move || Session::connect(path).map(drop));
        while !client.is_finished() {
            let _ = listener.accept_timeout(Duration::from_millis(1)).unwrap();
        }
        client.join().unwrap().unwrap_err()
    });
    let uid = nix::unistd::getuid().as_raw();
    let refused = HandshakeError::Refused(Refusal::Unauthorized { uid });
    assert_eq!(error, ConnectError::Handshake(refused));
}

/// The socket of a running server is never taken, by this process or another.
#[test]
fn running_server_keeps_its_socket() {
    let directory = short_directory();
    let path = directory.path().join("socket");
    let mut server = Peer::start(PEER, &["echo", path.to_str().unwrap()]);
    server.line("listening");
    for _ in 0..3 {
        let error = Listener::bind(&path).unwrap_err();
        assert_eq!(error, ListenError::InUse { path: path.display().to_string() });
    }
    // It has not noticed.
    let session = Session::connect(&path).unwrap();
    let mut stream = session.open().unwrap();
    stream.send(b"still there?").unwrap();
    assert_eq!(stream.recv().unwrap().unwrap().to_vec(), b"still there?");
    drop((stream, session));
    server.line("served");
    server.succeed();
    assert!(!path.exists(), "a server that ends in good order removes its socket");
}

/// The socket file of a killed server is replaced by the next.
#[test]
fn stale_socket_is_replaced() {
    let directory = short_directory();
    let path = directory.path().join("socket");
    for _ in 0..3 {
        let mut server = Peer::start(PEER, &["listen", path.to_str().unwrap()]);
        server.line("listening");
        server.kill();
        assert!(path.exists());
        // Connecting is tried again until its time is over: a new server may be on its way.
        let impatient =
            Config::builder().connect_timeout(Duration::from_millis(20)).build().unwrap();
        let error = Session::connect_with(&path, &impatient).unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    }
    let listener = Arc::new(Listener::bind(&path).unwrap());
    good_client_gets_in(&listener, &path);
    drop(listener);
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}

/// Something that is no socket is left alone.
#[test]
fn other_files_are_left_alone() {
    let directory = short_directory();
    let path = directory.path().join("letter");
    std::fs::write(&path, "dear reader").unwrap();
    let error = Listener::bind(&path).unwrap_err();
    assert_eq!(error, ListenError::Occupied { path: path.display().to_string() });
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear reader");
}

/// Several threads accept from one listener; close ends them all.
#[test]
fn closing_ends_every_accept() {
    let directory = short_directory();
    let path = directory.path().join("socket");
    let listener = Arc::new(Listener::bind(&path).unwrap());
    let accepting: Vec<_> = (0..4)
        .map(|_| {
            let listener = Arc::clone(&listener);
            tests::deadline::start("accept", move || {
                let mut count = 0;
                loop {
                    match listener.accept() {
                        Ok(_) => count += 1,
                        Err(error) => return (count, error),
                    }
                }
            })
        })
        .collect();
    for _ in 0..50 {
        Session::connect(&path).unwrap();
    }
    until("all are accepted", || listener.stats().established == 50);
    listener.close();
    let mut sum = 0;
    for accepting in accepting {
        let (count, error) = accepting.join();
        assert_eq!(error, ListenError::Closed);
        sum += count;
    }
    // Those that nobody had taken yet are dropped with the listener.
    assert!(sum <= 50);
    assert!(!path.exists());
}
