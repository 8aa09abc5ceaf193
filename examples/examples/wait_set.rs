//! One server thread, many client processes with many sessions: `WaitSet`.
//!
//! ```text
//! cargo run --release --example wait_set                  a server and eight clients, one command
//! cargo run --release --example wait_set -- server PATH   each in its own terminal
//! cargo run --release --example wait_set -- client PATH
//! ```

use std::collections::HashMap;
use std::path::Path;
use std::process::{self, Child, Command};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use examples::descriptors;
use shmipc_sync::{Listener, Session, Stream, TryError, WaitSet};

const CLIENTS: usize = 8;
/// Of each client, where the limit of open files allows the server all of them.
const SESSIONS: usize = 25;
const REQUESTS: u64 = 200;
/// How long the server waits for a client to make room for a reply.
const PATIENCE: Duration = Duration::from_millis(100);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => everybody(),
        ["server", path] => server(Path::new(path), SESSIONS),
        ["server", path, sessions] => server(Path::new(path), sessions.parse()?),
        ["client", path] => client(Path::new(path), SESSIONS),
        ["client", path, sessions] => client(Path::new(path), sessions.parse()?),
        _ => Err(anyhow!("usage: wait_set [server PATH [SESSIONS] | client PATH [SESSIONS]]")),
    }
}

/// Starts a server and its clients, and waits for all.
fn everybody() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("socket");
    let sessions = descriptors::sessions(CLIENTS * SESSIONS)? / CLIENTS;
    let start = |role: &str| -> anyhow::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        Ok(command.arg(role).arg(&path).arg(sessions.to_string()).spawn()?)
    };
    let mut server = start("server")?;
    while !path.exists() {
        if let Some(status) = server.try_wait()? {
            bail!("the server ended before it listened: {status}");
        }
        std::thread::yield_now();
    }
    let clients = (0..CLIENTS).map(|_| start("client")).collect::<Result<Vec<_>, _>>()?;
    let mut failed = 0;
    for mut client in clients {
        failed += usize::from(!client.wait()?.success());
    }
    if failed > 0 {
        server.kill()?;
    }
    match server.wait()?.success() && failed == 0 {
        true => Ok(()),
        false => Err(anyhow!("{failed} clients failed, or the server")),
    }
}

/// What a token stands for.
enum Entry {
    Listener(Listener),
    Session(Session),
    Stream(Stream),
}

fn server(path: &Path, sessions: usize) -> anyhow::Result<()> {
    descriptors::sessions(CLIENTS * sessions)?;
    let listener = Listener::bind(path)?;
    let mut set = WaitSet::new()?;
    set.add_listener(&listener, 0)?;
    let mut entries = HashMap::from([(0, Entry::Listener(listener))]);
    let (mut next, mut answered, mut over, mut waits) = (1, 0, 0, 0);
    let mut events = Vec::new();

    while over < CLIENTS * sessions {
        set.wait(&mut events, None)?;
        waits += 1;
        for event in &events {
            match entries.get_mut(&event.token) {
                Some(Entry::Listener(listener)) => {
                    let session = match listener.try_accept() {
                        Ok(session) => session,
                        Err(TryError::WouldBlock) => continue,
                        Err(TryError::Failed(error)) => return Err(error.into()),
                    };
                    set.add_session(&session, next)?;
                    entries.insert(next, Entry::Session(session));
                    next += 1;
                }
                Some(Entry::Session(session)) => match session.try_accept() {
                    Err(TryError::WouldBlock) => {}
                    Ok(mut stream) => {
                        // A client that does not read its replies is not waited for.
                        stream.sender().set_timeout(Some(PATIENCE));
                        set.add_receiver(stream.receiver(), next)?;
                        entries.insert(next, Entry::Stream(stream));
                        next += 1;
                    }
                    Err(TryError::Failed(_)) => {
                        set.remove(event.token);
                        entries.remove(&event.token);
                        over += 1;
                    }
                },
                Some(Entry::Stream(stream)) => {
                    let goes_on = match stream.try_recv() {
                        Err(TryError::WouldBlock) => true,
                        Ok(Some(request)) => {
                            let sent = stream.send(&request).is_ok();
                            answered += u64::from(sent);
                            sent
                        }
                        Ok(None) | Err(TryError::Failed(_)) => false,
                    };
                    if !goes_on {
                        set.remove(event.token);
                        entries.remove(&event.token);
                    }
                }
                None => {}
            }
        }
    }
    println!("server {}: {answered} requests on {over} sessions, {waits} waits", process::id());
    Ok(())
}

fn client(path: &Path, sessions: usize) -> anyhow::Result<()> {
    let mut streams = Vec::new();
    for _ in 0..sessions {
        // A session lives as long as its streams.
        streams.push(Session::connect(path)?.open()?);
    }
    for request in 0..REQUESTS {
        let number = |index: usize| (request << 32 | index as u64).to_ne_bytes();
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.send(&number(index))?;
        }
        for (index, stream) in streams.iter_mut().enumerate() {
            let reply = stream.recv()?.context("the server said nothing")?;
            if reply.to_vec() != number(index) {
                bail!("a reply does not fit its request");
            }
        }
    }
    println!("client {}: {} replies, all of them right", process::id(), REQUESTS * sessions as u64);
    Ok(())
}
