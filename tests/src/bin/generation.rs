//! A server that is one of a row: it takes over from the one before it and hands over to the next. It says
//! what happens to it, and answers each request with its generation and the request.

use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::process::id;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shmipc_sync::{Config, Drained, ListenError, Listener, Session, Stream};
use tests::child::die_with_parent;
use tests::deadline::PATIENCE;
use tests::proc::limit_descriptors;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    die_with_parent();
    let [path, options @ ..] = &arguments[..] else { panic!("no path") };
    let options = Options::parse(options);
    let config = Config::builder().application(options.application, 1).build().expect("valid");
    if let Some(more) = options.descriptors {
        limit_descriptors(id(), Some(more));
    }
    let builder = Listener::builder().config(config).ready_within(options.ready_within);
    match builder.bind_upgradable(path) {
        Ok(listener) => {
            limit_descriptors(id(), None);
            serve(&Arc::new(listener), &options);
        }
        Err(error) => say(&format!("failed {error:?}")),
    }
}

struct Options<'a> {
    /// How long to drain.
    drain: Duration,
    ready_within: Duration,
    application: &'a str,
    /// Wait for the word before it is ready.
    told: bool,
    /// Wait for the word when the predecessor does not accept any longer.
    asked: bool,
    /// So many descriptors may be opened until it has the sockets.
    descriptors: Option<usize>,
}

impl<'a> Options<'a> {
    fn parse(words: &[&'a str]) -> Self {
        let mut options = Self {
            drain: PATIENCE,
            ready_within: PATIENCE,
            application: "",
            told: false,
            asked: false,
            descriptors: None,
        };
        for word in words {
            let millis = |text: &str| Duration::from_millis(text.parse().expect("a number"));
            match word.split_once('=') {
                Some(("drain", text)) => options.drain = millis(text),
                Some(("ready-within", text)) => options.ready_within = millis(text),
                Some(("application", text)) => options.application = text,
                Some(("descriptors", text)) => options.descriptors = text.parse().ok(),
                None if *word == "told" => options.told = true,
                None if *word == "asked" => options.asked = true,
                _ => panic!("unknown option: {word}"),
            }
        }
        options
    }
}

fn say(line: &str) {
    println!("{line}");
    io::stdout().flush().expect("the test listens");
}

fn serve(listener: &Arc<Listener>, options: &Options<'_>) {
    let generation = listener.generation();
    say(&format!("bound {generation}"));
    if options.asked {
        assert!(listener.try_accept().expect("the listener lives").is_none());
        // Readable: the predecessor has said something, and what it says is that it is our turn.
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).expect("poll");
        say("asked");
    }
    if options.told || options.asked {
        io::stdin().lock().read_line(&mut String::new()).expect("standard input");
    }
    if let Err(error) = listener.ready() {
        return say(&format!("failed {error:?}"));
    }
    say(&format!("serving {generation}"));
    let closing = Arc::clone(listener);
    thread::spawn(move || {
        io::stdin().lock().lines().for_each(drop);
        closing.close();
    });
    loop {
        match listener.accept() {
            Ok(session) => drop(thread::spawn(move || answer(&session, generation))),
            Err(ListenError::HandedOver) => {
                say("handed over");
                match listener.drain(options.drain) {
                    Ok(Drained::Done) => return say("drained"),
                    Ok(Drained::TimedOut(left)) => return say(&format!("timed out {left}")),
                    Ok(Drained::Resumed) => say("resumed"),
                    Err(error) => return say(&format!("failed {error:?}")),
                }
            }
            Err(error) => return say(&format!("failed {error:?}")),
        }
    }
}

/// A thread for each stream, so that one that is long delays no other.
fn answer(session: &Session, generation: u64) {
    while let Ok(stream) = session.accept() {
        thread::spawn(move || echo(stream, generation));
    }
}

fn echo(mut stream: Stream, generation: u64) {
    while let Ok(Some(request)) = stream.recv() {
        let mut reply = format!("{generation} ").into_bytes();
        reply.extend(request.to_vec());
        if stream.send(&reply).is_err() {
            return;
        }
    }
    let _ = stream.finish();
}
