//! Workers that share a listening socket which each of them has inherited.
//!
//! `worker blocking` and `worker tokio` have it as standard input, over `exec`. `worker fork N PATH` makes
//! it, forks N children that serve, and says who they are; they outlive it, until its standard input ends.
//! Each worker says `accepted` once for each session, and answers each message with its number.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::process::{exit, id};
use std::thread;

use nix::unistd::{ForkResult, fork};
use tests::child::die_with_parent;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["blocking"] => {
            die_with_parent();
            serve(inherited());
        }
        ["tokio"] => {
            die_with_parent();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(serve_async(inherited()));
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
                serve(socket);
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

fn serve(socket: UnixListener) {
    let listener =
        shmipc_sync::Listener::builder().listener(socket).expect("a socket that listens");
    loop {
        let session = listener.accept().expect("no client ends a listener");
        say("accepted");
        thread::spawn(move || {
            while let Ok(mut stream) = session.accept() {
                while let Ok(Some(_)) = stream.recv() {
                    let _ = stream.send(&id().to_ne_bytes());
                }
            }
        });
    }
}

async fn serve_async(socket: UnixListener) {
    let listener =
        shmipc_async::Listener::builder().listener(socket).expect("a socket that listens");
    loop {
        let session = listener.accept().await.expect("no client ends a listener");
        say("accepted");
        tokio::spawn(async move {
            while let Ok(mut stream) = session.accept().await {
                while let Ok(Some(_)) = stream.recv().await {
                    let _ = stream.send(&id().to_ne_bytes()).await;
                }
            }
        });
    }
}
