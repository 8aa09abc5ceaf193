//! A5 and A6: many clients at one listener.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use super::{Directory, bind};
use crate::config::{Config, PeerCred};
use crate::error::{ConnectError, HandshakeError, ListenError, Refusal};
use crate::handshake::{Established, Exchange, Progress, Role, connect, hello};
use crate::link::{self, Address};
use crate::listen::{Acceptor, ListenOptions};
use crate::mem::{Memory, MemoryMut};
use crate::wire::{BELL, Frame, Refuse};

pub(super) fn acceptor(directory: &Directory, config: Config) -> Acceptor {
    Acceptor::bind(directory.socket(), &ListenOptions::new(), config).unwrap()
}

/// A client that connects, says this, and then nothing more.
pub(super) fn stuck(directory: &Directory, saying: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(directory.socket()).unwrap();
    stream.write_all(saying).unwrap();
    stream
}

/// A client that is driven by hand.
pub(super) fn client(directory: &Directory) -> Exchange {
    let address = Address::parse(directory.socket()).unwrap();
    Exchange::new(Role::Client, link::try_connect(&address).unwrap(), &Config::default()).unwrap()
}

pub(super) fn greeting() -> Vec<u8> {
    hello(&Config::default()).encode()
}

/// `try_accept` with nothing new of the clock.
fn poll(acceptor: &Acceptor) -> Option<Established> {
    acceptor.try_accept(Instant::now()).unwrap()
}

fn is_readable(acceptor: &Acceptor) -> bool {
    link::wait_ready(acceptor.as_fd(), true, false, Some(Duration::ZERO)).unwrap()
}

/// The blocking client in a thread, the blocking listener here.
pub(super) fn one_session(
    directory: &Directory,
    acceptor: &Acceptor,
) -> (Established, Established) {
    thread::scope(|scope| {
        let client = scope.spawn(|| connect(directory.socket(), &Config::default()));
        let server = acceptor.accept(None).unwrap().unwrap();
        (client.join().unwrap().unwrap(), server)
    })
}

#[test]
fn blocking_ends_meet() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    let (client, server) = one_session(&directory, &acceptor);
    assert_eq!((client.role, server.role), (Role::Client, Role::Server));
    client.own.publish64(4096, 5);
    assert_eq!(server.peer.load64(4096), 5);
    let stats = acceptor.stats();
    assert_eq!((stats.connections, stats.established, stats.in_progress), (1, 1, 0));
    // The session is no longer in the listener's epoll.
    assert_eq!(link::send(client.socket.as_fd(), &BELL, &[]), Ok(link::Sent::Whole));
    assert!(!is_readable(&acceptor));
}

#[test]
fn an_abstract_name_serves_as_well() {
    let name = format!("@shmipc-accepting-{}", std::process::id());
    let acceptor = bind(&name).unwrap();
    thread::scope(|scope| {
        let client = scope.spawn(|| connect(&name, &Config::default()));
        acceptor.accept(None).unwrap().unwrap();
        client.join().unwrap().unwrap();
    });
}

#[test]
fn stuck_clients_delay_nobody() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    let hello = greeting();
    let stuck: Vec<_> = [&[][..], &hello[..1], &hello[..9], &hello]
        .into_iter()
        .cycle()
        .take(20)
        .map(|saying| stuck(&directory, saying))
        .collect();
    for _ in 0..3 {
        let _ = one_session(&directory, &acceptor);
    }
    assert_eq!(acceptor.stats().in_progress, stuck.len());
}

#[test]
fn bad_clients_are_counted_and_nothing_else() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    let mut old = BELL;
    old[6] = 3;
    let _clients =
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &old, &[0; 8], &[]].map(|said| stuck(&directory, said));
    drop(stuck(&directory, &greeting()));
    assert!(poll(&acceptor).is_none());
    let stats = acceptor.stats();
    assert_eq!((stats.connections, stats.failed, stats.refused), (5, 3, 1));
    assert_eq!(stats.in_progress, 1);
    let _ = one_session(&directory, &acceptor);
}

#[test]
fn a_client_that_is_not_authorized_is_told_so() {
    let directory = Directory::new();
    let config = Config::builder().authorizer(|_: PeerCred| false).build().unwrap();
    let acceptor = acceptor(&directory, config);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let result = connect(directory.socket(), &Config::default());
            acceptor.close();
            result.unwrap_err()
        });
        assert_eq!(acceptor.accept(None).unwrap_err(), ListenError::Closed);
        let uid = nix::unistd::geteuid().as_raw();
        let refused = HandshakeError::Refused(Refusal::Unauthorized { uid });
        assert_eq!(client.join().unwrap(), ConnectError::Handshake(refused));
    });
    assert_eq!(acceptor.stats().refused, 1);
}

#[test]
fn a_handshake_ends_at_its_deadline() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    let mut client = stuck(&directory, &greeting());
    let start = Instant::now();
    assert!(acceptor.try_accept(start).unwrap().is_none());
    assert_eq!(acceptor.next_deadline(), Some(start + Duration::from_secs(5)));
    let almost = start + Duration::from_millis(4999);
    assert!(acceptor.try_accept(almost).unwrap().is_none());
    assert_eq!(acceptor.stats().in_progress, 1);
    assert!(acceptor.try_accept(start + Duration::from_secs(5)).unwrap().is_none());
    assert_eq!(acceptor.stats().timed_out, 1);
    assert_eq!(acceptor.stats().in_progress, 0);
    assert!(
        acceptor.next_deadline() > Some(start + Duration::from_secs(5)),
        "only the look at the files"
    );
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert!(!heard.is_empty(), "the server's Hello, then the end");
}

#[test]
fn the_blocking_accept_has_a_deadline() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    let _stuck = stuck(&directory, &[]);
    let soon = Some(Instant::now() + Duration::from_millis(5));
    assert!(acceptor.accept(soon).unwrap().is_none());
}

/// What a refused client reads.
pub(super) fn refusal(stream: UnixStream) -> Refuse {
    let socket = OwnedFd::from(stream);
    link::set_nonblocking(socket.as_fd()).unwrap();
    let mut decoder = crate::wire::Decoder::new();
    assert_eq!(link::receive(socket.as_fd(), &mut decoder), Ok(link::Receive::Bytes));
    match decoder.next_frame() {
        Ok(Some(Frame::Refuse(refuse))) => refuse,
        other => panic!("{other:?}"),
    }
}

#[test]
fn too_many_handshakes_are_told_to_come_again() {
    for (all, per_uid) in [(2, 100), (100, 2)] {
        let directory = Directory::new();
        let config = Config::builder().max_handshakes(all, per_uid).build().unwrap();
        let acceptor = acceptor(&directory, config);
        let mut crowd: Vec<_> = (0..2).map(|_| stuck(&directory, &[])).collect();
        let third = stuck(&directory, &greeting());
        assert!(poll(&acceptor).is_none());
        assert_eq!((acceptor.stats().in_progress, acceptor.stats().busy), (2, 1));
        assert_eq!(refusal(third).reason, 5);
        // With a place free the next one gets in; sessions do not count.
        crowd.pop();
        for _ in 0..3 {
            let _ = one_session(&directory, &acceptor);
        }
    }
}

#[test]
fn a_client_comes_again_by_itself() {
    let directory = Directory::new();
    let config = Config::builder().max_handshakes(1, 1).build().unwrap();
    let acceptor = acceptor(&directory, config);
    let mut crowd = Some(stuck(&directory, &[]));
    assert!(poll(&acceptor).is_none());
    thread::scope(|scope| {
        let client = scope.spawn(|| connect(directory.socket(), &Config::default()));
        while poll(&acceptor).is_none() {
            if acceptor.stats().busy > 0 {
                crowd = None;
            }
            link::wait_ready(acceptor.as_fd(), true, false, None).unwrap();
        }
        client.join().unwrap().unwrap();
    });
    assert!(crowd.is_none());
}

/// Whoever watches the descriptor, edge or level, learns of every session.
#[test]
fn the_descriptor_is_readable_until_all_sessions_are_taken() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    let mut clients: Vec<_> = (0..5).map(|_| client(&directory)).collect();
    let mut done = 0;
    while done < clients.len() {
        done = 0;
        for client in &mut clients {
            done += usize::from(client.progress().unwrap() == Progress::Done);
        }
        if done < clients.len() {
            assert!(poll(&acceptor).is_none());
        }
    }
    for _ in 0..5 {
        assert!(is_readable(&acceptor));
        assert!(poll(&acceptor).is_some());
    }
    assert!(poll(&acceptor).is_none());
    assert!(!is_readable(&acceptor));
}

#[test]
fn many_clients_at_once() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    let per_thread = 40;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..per_thread {
                    connect(directory.socket(), &Config::default()).unwrap();
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..2 * per_thread {
                    acceptor.accept(None).unwrap().unwrap();
                }
            });
        }
    });
    assert_eq!(acceptor.stats().established, 4 * per_thread);
}

#[test]
fn closing_wakes_whoever_waits() {
    let directory = Directory::new();
    let acceptor = bind(directory.socket()).unwrap();
    let mut stuck = stuck(&directory, &[]);
    assert!(poll(&acceptor).is_none());
    thread::scope(|scope| {
        let waiters = [(); 2].map(|()| scope.spawn(|| acceptor.accept(None)));
        acceptor.close();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap().unwrap_err(), ListenError::Closed);
        }
    });
    assert!(is_readable(&acceptor));
    assert_eq!(acceptor.try_accept(Instant::now()).unwrap_err(), ListenError::Closed);
    assert_eq!(stuck.read(&mut [0]).unwrap(), 0);
    acceptor.close();
}

/// Another user, as far as this thread and the kernel are concerned. Only root can become one.
fn become_somebody_else(uid: u32) -> bool {
    let same = u32::MAX;
    #[allow(unsafe_code)]
    // SAFETY: the bare system call changes the credentials of this thread alone.
    let result = unsafe { nix::libc::syscall(nix::libc::SYS_setresuid, same, uid, same) };
    result == 0 && nix::unistd::geteuid().as_raw() == uid
}

#[test]
fn another_user_needs_one_line() {
    const UID: u32 = 54_321;
    let name = format!("@shmipc-user-{}", std::process::id());
    let serve = |config: Config| {
        let acceptor = Acceptor::bind(&name, &ListenOptions::new(), config).unwrap();
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                // The server is root to this client, so it passes the client's own authorizer.
                let result = become_somebody_else(UID).then(|| connect(&name, &Config::default()));
                acceptor.close();
                result
            });
            while acceptor.accept(None).is_ok() {}
            client.join().unwrap()
        })
    };
    let Some(refused) = serve(Config::default()) else { return };
    let refusal = HandshakeError::Refused(Refusal::Unauthorized { uid: UID });
    assert_eq!(refused.unwrap_err(), ConnectError::Handshake(refusal));
    let allowed = serve(Config::builder().allow_uid(UID).build().unwrap());
    assert_eq!(allowed.unwrap().unwrap().peer_cred.uid, 0);
}
