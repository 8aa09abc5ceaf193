//! Workers that share a listening socket which each of them has inherited.
//!
//! `worker blocking` and `worker tokio` have it as standard input, over `exec`. With the path of an upgrade socket of
//! its own, such a worker takes over from the one that has had that before, says `serving`, and `drained` at its
//! end. `worker fork N PATH` makes the socket, forks N children that serve, and says who they are; they outlive it, until its
//! standard input ends. Each worker says `accepted` once for each session, and answers each message with its number.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::process::{exit, id};
use std::thread;

use nix::unistd::{ForkResult, fork};
use shmipc_core::error::ListenError;
use tests::child::die_with_parent;
use tests::deadline::PATIENCE;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["blocking", ref upgrade @ ..] => {
            die_with_parent();
            serve(inherited(), upgrade.first().copied());
        }
        ["tokio", ref upgrade @ ..] => {
            die_with_parent();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let serving = serve_async(inherited(), upgrade.first().copied());
            runtime.expect("a runtime").block_on(serving);
        }
        ["fork", count, path] => {
            die_with_parent();
            fork_workers(count.parse().expect("a number"), path);
        }
        _ => panic!("unknown arguments: {arguments:?}"),
    }
}

fn inherited() -> UnixListener {
    io::stdin().as_fd().try_clone_to_owned().expect("a descriptor").into()
}

#[allow(unsafe_code)]
fn fork_workers(count: usize, path: &str) {
    let socket = UnixListener::bind(path).expect("the path is free");
    for _ in 0..count {
        // SAFETY: this process has one thread, so the child may do what the parent may.
        match unsafe { fork() }.expect("forked") {
            ForkResult::Parent { child } => say(&format!("worker {child}")),
            ForkResult::Child => {
                thread::spawn(|| {
                    let _ = io::stdin().lock().read_to_end(&mut Vec::new());
                    exit(0);
                });
                serve(socket, None);
                return;
            }
        }
    }
    let _ = io::stdin().lock().read_to_end(&mut Vec::new());
}

fn say(line: &str) {
    println!("{line}");
    io::stdout().flush().expect("the test listens");
}

fn serve(socket: UnixListener, upgrade: Option<&str>) {
    use shmipc_sync::Listener;
    let builder = Listener::builder();
    let listener = match upgrade {
        None => builder.listener(socket),
        Some(upgrade) => builder.listener_upgradable(socket, upgrade),
    };
    let listener = listener.expect("a socket that listens");
    listener.ready().expect("the turn");
    say("serving");
    loop {
        let session = match listener.accept() {
            Ok(session) => session,
            Err(ListenError::HandedOver) => {
                let drained = listener.drain(PATIENCE).expect("the listener lives");
                return say(&format!("drained {drained:?}"));
            }
            Err(error) => panic!("no client ends a listener: {error}"),
        };
        say("accepted");
        thread::spawn(move || {
            while let Ok(mut stream) = session.accept() {
                while let Ok(Some(_)) = stream.recv() {
                    let _ = stream.send(&id().to_ne_bytes());
                }
                let _ = stream.finish();
            }
        });
    }
}

async fn serve_async(socket: UnixListener, upgrade: Option<&str>) {
    use shmipc_async::Listener;
    let builder = Listener::builder();
    let listener = match upgrade {
        None => builder.listener(socket),
        Some(upgrade) => builder.listener_upgradable(socket, upgrade).await,
    };
    let listener = listener.expect("a socket that listens");
    listener.ready().await.expect("the turn");
    say("serving");
    loop {
        let session = match listener.accept().await {
            Ok(session) => session,
            Err(ListenError::HandedOver) => {
                let drained = listener.drain().await.expect("the listener lives");
                return say(&format!("drained {drained:?}"));
            }
            Err(error) => panic!("no client ends a listener: {error}"),
        };
        say("accepted");
        tokio::spawn(async move {
            while let Ok(mut stream) = session.accept().await {
                while let Ok(Some(_)) = stream.recv().await {
                    let _ = stream.send(&id().to_ne_bytes()).await;
                }
                let _ = stream.finish();
            }
        });
    }
}
