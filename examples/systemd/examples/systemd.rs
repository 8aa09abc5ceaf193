//! A server that systemd starts when the first client comes, that says when it is ready, and that can be replaced
//! without a failed request. It works without systemd too.
//!
//! ```text
//! cargo run --release --example systemd                  a server and a client, without systemd
//! cargo run --release --example systemd -- server PATH   what ExecStart= says; see docs/guide.md
//! cargo run --release --example systemd -- client PATH
//! ```
//!
//! With a socket in its environment (`LISTEN_FDS`) it listens on that, else at `PATH`.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::id;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use examples::two_processes;
use listenfd::ListenFd;
use sd_notify::{NotifyState, notify};
use shmipc_sync::{Client, Config, Drained, ListenError, Listener, Session};

/// For the streams of a server that is replaced, and for a call.
const DEADLINE: Duration = Duration::from_secs(10);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => two_processes::run("server-once", "client"),
        ["server", path] => server(Path::new(path), false),
        ["server-once", path] => server(Path::new(path), true),
        ["client", path] => client(Path::new(path)),
        _ => Err(anyhow!("usage: systemd [server PATH | client PATH]")),
    }
}

fn server(path: &Path, once: bool) -> anyhow::Result<()> {
    let listener = listen(ListenFd::from_env().take_unix_listener(0)?, path)?;
    // What takes long is done here. If a server runs already, it goes on meanwhile.
    listener.ready()?;
    // Without NOTIFY_SOCKET this does nothing.
    notify(&[NotifyState::Ready, NotifyState::MainPid(id())])?;
    println!("server {}: generation {} serves", id(), listener.generation());
    loop {
        match listener.accept() {
            Ok(session) if once => {
                serve(&session);
                return Ok(());
            }
            Ok(session) => drop(thread::spawn(move || serve(&session))),
            Err(ListenError::HandedOver) => match listener.drain(DEADLINE)? {
                Drained::Done | Drained::TimedOut(_) => return Ok(()),
                // The new one has died: this one is the main process again.
                Drained::Resumed => notify(&[NotifyState::MainPid(id())])?,
            },
            Err(error) => return Err(error.into()),
        }
    }
}

/// Either way a server that is started later takes over from this one.
fn listen(passed: Option<UnixListener>, path: &Path) -> Result<Listener, ListenError> {
    match passed {
        None => Listener::bind_upgradable(path),
        Some(socket) => {
            let mut upgrade = path.as_os_str().to_owned();
            upgrade.push(".upgrade");
            Listener::builder().listener_upgradable(socket, upgrade)
        }
    }
}

fn serve(session: &Session) {
    while let Ok(mut stream) = session.accept() {
        if let Ok(Some(_)) = stream.recv() {
            let _ = stream.finish_with(format!("hello from {}", id()).as_bytes());
        }
    }
}

fn client(path: &Path) -> anyhow::Result<()> {
    let client = Client::new(path, Config::default());
    let reply = client.call(b"hello", Instant::now() + DEADLINE)?;
    println!("client {}: {}", id(), String::from_utf8_lossy(&reply));
    Ok(())
}
