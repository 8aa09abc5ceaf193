//! Sessions in an event loop of your own: plain epoll, no wakers, no thread but one.
//!
//! ```text
//! cargo run --release --example epoll_loop                  both ends, one command
//! cargo run --release --example epoll_loop -- server PATH   each end in its own terminal
//! cargo run --release --example epoll_loop -- client PATH
//! ```

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use examples::two_processes;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use shmipc_sync::{Listener, Session, Stream, TryError};

/// Sessions of the client, and requests on each.
const SESSIONS: usize = 20;
const REQUESTS: usize = 1000;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => two_processes::run("server", "client"),
        ["server", path] => server(Path::new(path)),
        ["client", path] => client(Path::new(path)),
        _ => Err(anyhow!("usage: epoll_loop [server PATH | client PATH]")),
    }
}

/// A session and its streams.
struct Served {
    session: Session,
    streams: Vec<Stream>,
}

impl Served {
    /// Answers what is there. Returns how many requests that were.
    fn answer(&mut self) -> anyhow::Result<usize> {
        let mut answered = 0;
        while let Ok(stream) = self.session.try_accept() {
            self.streams.push(stream);
        }
        let mut index = 0;
        while index < self.streams.len() {
            let stream = &mut self.streams[index];
            match stream.try_recv() {
                Ok(Some(request)) => {
                    let number = request[..].try_into()?;
                    // A reply this small does not wait, unless the client leaves very many unread.
                    stream.send(&(u64::from_ne_bytes(number) + 1).to_ne_bytes())?;
                    answered += 1;
                }
                Err(TryError::WouldBlock) => index += 1,
                Ok(None) | Err(TryError::Failed(_)) => drop(self.streams.swap_remove(index)),
            }
        }
        Ok(answered)
    }

    /// Drives the session and serves it, until it has nothing more and is armed.
    fn serve(&mut self) -> anyhow::Result<usize> {
        let mut answered = 0;
        loop {
            self.session.try_drive();
            answered += self.answer()?;
            if self.session.arm() {
                return Ok(answered);
            }
        }
    }
}

fn server(path: &Path) -> anyhow::Result<()> {
    const LISTENER: u64 = 0;
    let listener = Listener::bind(path)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut sessions: HashMap<u64, Served> = HashMap::new();
    let (mut next, mut over, mut answered, mut woken) = (LISTENER + 1, 0, 0, 0);

    while over < SESSIONS {
        let mut events = [EpollEvent::empty(); 64];
        // A listener in use by strangers would pass `listener.next_deadline()` on as the time-out.
        let happened = epoll.wait(&mut events, EpollTimeout::NONE)?;
        woken += 1;
        for event in events.iter().take(happened) {
            if event.data() == LISTENER {
                loop {
                    let session = match listener.try_accept() {
                        Ok(session) => session,
                        Err(TryError::WouldBlock) => break,
                        Err(TryError::Failed(error)) => return Err(error.into()),
                    };
                    epoll.add(&session, EpollEvent::new(EpollFlags::EPOLLIN, next))?;
                    let mut served = Served { session, streams: Vec::new() };
                    answered += served.serve()?;
                    sessions.insert(next, served);
                    next += 1;
                }
                continue;
            }
            let Some(served) = sessions.get_mut(&event.data()) else { continue };
            answered += served.serve()?;
            if served.session.is_closed() {
                // From now on its descriptor would be readable for ever.
                epoll.delete(&served.session)?;
                sessions.remove(&event.data());
                over += 1;
            }
        }
    }
    println!("server: {answered} requests on {over} sessions, epoll_wait returned {woken} times");
    Ok(())
}

fn client(path: &Path) -> anyhow::Result<()> {
    let mut streams = Vec::new();
    for _ in 0..SESSIONS {
        // A session lives as long as its streams.
        streams.push(Session::connect(path)?.open()?);
    }
    for request in 0..REQUESTS {
        let number = |index: usize| (request * SESSIONS + index) as u64;
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.send(&number(index).to_ne_bytes())?;
        }
        for (index, stream) in streams.iter_mut().enumerate() {
            let reply = stream.recv()?.context("the server said nothing")?;
            if reply.to_vec() != (number(index) + 1).to_ne_bytes() {
                bail!("a reply does not fit its request");
            }
        }
    }
    println!("client: {} replies, all of them right", REQUESTS * SESSIONS);
    Ok(())
}
