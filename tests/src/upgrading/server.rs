//! A server of the row, in either flavour.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use shmipc_core::error::{ListenError, TryError};
use shmipc_core::steps::{Step, stop_at};

use super::message::{name, sign};
use super::{Place, append, open};
use crate::crashing::step_named;
use crate::deadline::PATIENCE;

/// What a server is, and where it stops to wait for a word.
#[derive(Clone, Debug)]
pub struct Role {
    place: Place,
    /// Its number, which its replies carry.
    number: u32,
    /// `bound`, `asked` or `serving`, to wait for a word; or a step of the library's, to stop there.
    pause: String,
    /// A step of the library's at which it stops once it serves.
    later: Option<Step>,
}

impl Role {
    /// The process's side: `blocking` or `tokio`, the directory, its number, and where it stops
    /// before it serves and after it.
    pub fn run(flavour: &str, directory: &str, number: &str, [pause, later]: [&str; 2]) {
        let number = number.parse().expect("a number");
        if let Some(step) = step_named(pause) {
            stop_at(step, 1);
        }
        let (place, pause) = (Place::new(Path::new(directory)), pause.into());
        let role = Self { place, number, pause, later: step_named(later) };
        match flavour {
            "blocking" => role.block(),
            "tokio" => {
                let runtime = tokio::runtime::Builder::new_multi_thread();
                let runtime = { runtime }.worker_threads(2).enable_all().build();
                runtime.expect("a runtime").block_on(role.wait());
            }
            _ => panic!("unknown flavour: {flavour}"),
        }
    }

    /// Says where it is; does not go on from where it is to pause before it is told.
    fn at(&self, step: &str) {
        println!("{step}");
        io::stdout().flush().expect("the test listens");
        if self.pause == step {
            io::stdin().read_line(&mut String::new()).expect("standard input");
        }
        if step == "serving" {
            self.later.into_iter().for_each(|step| stop_at(step, 1));
        }
    }

    fn block(self) {
        use shmipc_sync::{Drained, Listener};
        let listener = Listener::bind_upgradable(self.place.socket()).expect("a place in the row");
        self.at("bound");
        if self.pause == "asked" {
            // Asks the predecessor to stop, and does not look whether it has.
            assert_eq!(listener.try_accept().err(), Some(TryError::WouldBlock));
            self.at("asked");
        }
        listener.ready().expect("the turn");
        self.at("serving");
        let log = Arc::new(open(&self.place.done()));
        loop {
            match listener.accept() {
                Ok(session) => {
                    let log = Arc::clone(&log);
                    thread::spawn(move || {
                        while let Ok(stream) = session.accept() {
                            let log = Arc::clone(&log);
                            thread::spawn(move || answer(stream, self.number, &log));
                        }
                    });
                }
                Err(ListenError::HandedOver) => {
                    self.at("handed over");
                    match listener.drain(PATIENCE).expect("the listener lives") {
                        Drained::Resumed => self.at("resumed"),
                        Drained::Done => return self.at("drained"),
                        Drained::TimedOut(left) => panic!("{left} sessions are not drained"),
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn wait(self) {
        use shmipc_async::{Drained, Listener};
        let listener = Listener::bind_upgradable(self.place.socket()).await;
        let listener = listener.expect("a place in the row");
        self.at("bound");
        listener.ready().await.expect("the turn");
        self.at("serving");
        let log = Arc::new(open(&self.place.done()));
        loop {
            match listener.accept().await {
                Ok(session) => {
                    let log = Arc::clone(&log);
                    tokio::spawn(async move {
                        while let Ok(stream) = session.accept().await {
                            tokio::spawn(answer_async(stream, self.number, Arc::clone(&log)));
                        }
                    });
                }
                Err(ListenError::HandedOver) => {
                    self.at("handed over");
                    let drained = tokio::time::timeout(PATIENCE, listener.drain()).await;
                    match drained.expect("in time").expect("the listener lives") {
                        Drained::Resumed => self.at("resumed"),
                        Drained::Done => return self.at("drained"),
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Acts on a message, and makes the reply.
fn act(mut message: Vec<u8>, number: u32, log: &File) -> Vec<u8> {
    append(log, name(&message).expect("a whole message"));
    sign(&mut message, number);
    message
}

fn answer(mut stream: shmipc_sync::Stream, number: u32, log: &File) {
    while let Ok(Some(message)) = stream.recv() {
        let message = message.to_vec();
        if stream.send(&act(message, number, log)).is_err() {
            return;
        }
    }
    let _ = stream.finish();
}

async fn answer_async(mut stream: shmipc_async::Stream, number: u32, log: Arc<File>) {
    while let Ok(Some(message)) = stream.recv().await {
        let message = message.to_vec();
        if stream.send(&act(message, number, &log)).await.is_err() {
            return;
        }
    }
    let _ = stream.finish();
}
