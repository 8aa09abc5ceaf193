//! A server that answers on any number of streams and sessions, each by its own thread, and does what it is
//! told meanwhile.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use shmipc_sync::{Listener, Session, Stream};

use crate::child::Peer;
use crate::deadline::PATIENCE;

/// Begins a request that is answered only after the server was told to.
pub const HOLD: &str = "hold";

/// Starts such a server as a process, which runs the program `peer`.
///
/// It says `session N` of each session, `seen N REQUEST` of each message, and `over N` when a session that it
/// was told to leave has no streams any more, or when the client has closed it. Told `leave`, it leaves all
/// sessions and says `left`; told `answer`, it answers what it holds back. It goes on accepting.
pub fn start(peer: &str, path: &Path) -> Peer {
    let mut peer = Peer::start(peer, &["serve", path.to_str().expect("a path of ASCII")]);
    peer.line("listening");
    peer
}

#[derive(Debug, Default)]
struct Server {
    sessions: Mutex<Vec<Session>>,
    answers: Mutex<bool>,
    told: Condvar,
}

/// The process's side, until the test hangs up.
pub fn serve(path: &str) {
    let listener = Listener::bind(path).expect("the path is free");
    let server = Arc::new(Server::default());
    let accepting = Arc::clone(&server);
    say("listening");
    thread::spawn(move || accepting.accept(&listener));
    for line in io::stdin().lines() {
        match line.expect("standard input").as_str() {
            "leave" => {
                server.sessions.lock().unwrap().drain(..).for_each(|session| session.leave());
                say("left");
            }
            "answer" => {
                *server.answers.lock().unwrap() = true;
                server.told.notify_all();
            }
            other => panic!("unknown order: {other}"),
        }
    }
    std::process::exit(0);
}

impl Server {
    fn accept(self: Arc<Self>, listener: &Listener) {
        for number in 1.. {
            let session = listener.accept().expect("the listener lives");
            self.sessions.lock().unwrap().push(session.clone());
            say(&format!("session {number}"));
            let server = Arc::clone(&self);
            thread::spawn(move || server.serve(number, session));
        }
    }

    fn serve(self: Arc<Self>, number: usize, session: Session) {
        while let Ok(stream) = session.accept() {
            let server = Arc::clone(&self);
            thread::spawn(move || server.answer(number, stream));
        }
        let _ = session.drained_timeout(PATIENCE);
        say(&format!("over {number}"));
    }

    fn answer(&self, number: usize, mut stream: Stream) {
        while let Ok(Some(message)) = stream.recv() {
            let request = String::from_utf8(message.to_vec()).expect("a text");
            say(&format!("seen {number} {request}"));
            if request.starts_with(HOLD) {
                let told = self.answers.lock().unwrap();
                drop(self.told.wait_while(told, |told| !*told).unwrap());
            }
            if stream.send(request.as_bytes()).is_err() {
                return;
            }
        }
        let _ = stream.finish();
    }
}

fn say(line: &str) {
    println!("{line}");
    io::stdout().flush().expect("the test listens");
}
