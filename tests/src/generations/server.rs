//! A server of either flavour that takes over and hands over. It says what happens to it, and answers each
//! request with its generation and the request.

use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::id;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shmipc_core::config::Config;
use shmipc_core::error::{ListenError, TryError};
use shmipc_core::steps::{Step, stop_at};

use crate::crashing::step_named;
use crate::deadline::PATIENCE;
use crate::proc::limit_descriptors;
use crate::tokio::{CurrentThread, Kind, MultiThread};

#[derive(Clone, Debug)]
struct Options {
    tokio: bool,
    /// How long to drain.
    drain: Duration,
    ready_within: Duration,
    application: String,
    /// Where the upgrade socket is, if not beside the socket.
    upgrade_at: Option<String>,
    /// Wait for the word before anything.
    held: bool,
    /// Wait for the word before it is ready.
    told: bool,
    /// Wait for the word when the predecessor does not accept any longer.
    asked: bool,
    /// Say of each request that it has come.
    tells: bool,
    /// So many descriptors may be opened until it has the sockets.
    descriptors: Option<usize>,
    /// Stop at this step.
    stop: Option<Step>,
}

impl Options {
    fn parse(words: &[&str]) -> Self {
        let mut options = Self {
            tokio: false,
            drain: PATIENCE,
            ready_within: PATIENCE,
            application: String::new(),
            upgrade_at: None,
            held: false,
            told: false,
            asked: false,
            tells: false,
            descriptors: None,
            stop: None,
        };
        for word in words {
            let millis = |text: &str| Duration::from_millis(text.parse().expect("a number"));
            match word.split_once('=') {
                Some(("drain", text)) => options.drain = millis(text),
                Some(("ready-within", text)) => options.ready_within = millis(text),
                Some(("application", text)) => options.application = text.to_owned(),
                Some(("upgrade-at", text)) => options.upgrade_at = Some(text.to_owned()),
                Some(("descriptors", text)) => options.descriptors = text.parse().ok(),
                Some(("stop", text)) => options.stop = Some(step_named(text).expect("a step")),
                None if *word == "blocking" => options.tokio = false,
                None if *word == "tokio" => options.tokio = true,
                None if *word == "held" => options.held = true,
                None if *word == "told" => options.told = true,
                None if *word == "asked" => options.asked = true,
                None if *word == "tells" => options.tells = true,
                _ => panic!("unknown option: {word}"),
            }
        }
        options
    }

    fn config(&self) -> Config {
        Config::builder().application(&self.application, 1).build().expect("valid")
    }

    /// While it takes the sockets.
    fn begin_binding(&self) {
        self.stop.into_iter().for_each(|step| stop_at(step, 1));
        if let Some(more) = self.descriptors {
            limit_descriptors(id(), Some(more));
        }
    }
}

/// The process's side.
pub fn run(path: &str, options: &[&str]) {
    let options = Options::parse(options);
    if options.held {
        say("held");
        wait_for_the_word();
    }
    if options.tokio {
        let runtime = if options.asked { CurrentThread::start() } else { MultiThread::start() };
        runtime.expect("a runtime").block_on(tasks::run(path, &options));
    } else {
        threads::run(path, &options);
    }
}

fn say(line: &str) {
    println!("{line}");
    io::stdout().flush().expect("the test listens");
}

fn fail(error: &ListenError) {
    say(&format!("failed {error:?}"));
}

fn wait_for_the_word() {
    io::stdin().lock().read_line(&mut String::new()).expect("standard input");
}

/// Readable: the predecessor has said something, and what it says is that it is our turn.
fn wait_for_the_turn(listener: BorrowedFd<'_>) {
    let mut fds = [PollFd::new(listener, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::NONE).expect("poll");
    say("asked");
}

/// Calls `close` when the test hangs up.
fn close_at_the_end(close: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        io::stdin().lock().lines().for_each(drop);
        close();
    });
}

fn reply(generation: u64, request: &[u8], tells: bool) -> Vec<u8> {
    if tells {
        say(&format!("did {}", String::from_utf8_lossy(request)));
    }
    let mut reply = format!("{generation} ").into_bytes();
    reply.extend(request);
    reply
}

mod threads {
    use shmipc_sync::{Drained, Listener, Session, Stream};

    use super::*;

    pub(super) fn run(path: &str, options: &Options) {
        let mut builder = Listener::builder().config(options.config());
        if let Some(address) = &options.upgrade_at {
            builder = builder.upgrade_at(address);
        }
        options.begin_binding();
        match builder.ready_within(options.ready_within).bind_upgradable(path) {
            Ok(listener) => serve(&Arc::new(listener), options),
            Err(error) => fail(&error),
        }
    }

    fn serve(listener: &Arc<Listener>, options: &Options) {
        limit_descriptors(id(), None);
        let generation = listener.generation();
        say(&format!("bound {generation}"));
        if options.asked {
            assert_eq!(listener.try_accept().err(), Some(TryError::WouldBlock));
            wait_for_the_turn(listener.as_fd());
        }
        if options.told || options.asked {
            wait_for_the_word();
        }
        if let Err(error) = listener.ready() {
            return fail(&error);
        }
        say(&format!("serving {generation}"));
        let closing = Arc::clone(listener);
        close_at_the_end(move || closing.close());
        let tells = options.tells;
        loop {
            match listener.accept() {
                Ok(session) => drop(thread::spawn(move || answer(&session, generation, tells))),
                Err(ListenError::HandedOver) => {
                    say("handed over");
                    match listener.drain(options.drain) {
                        Ok(Drained::Done) => return say("drained"),
                        Ok(Drained::TimedOut(left)) => return say(&format!("timed out {left}")),
                        Ok(Drained::Resumed) => say("resumed"),
                        Err(error) => return fail(&error),
                    }
                }
                Err(error) => return fail(&error),
            }
        }
    }

    /// A thread for each stream, so that one that is long delays no other.
    fn answer(session: &Session, generation: u64, tells: bool) {
        while let Ok(stream) = session.accept() {
            thread::spawn(move || echo(stream, generation, tells));
        }
    }

    fn echo(mut stream: Stream, generation: u64, tells: bool) {
        while let Ok(Some(request)) = stream.recv() {
            if stream.send(&reply(generation, &request, tells)).is_err() {
                return;
            }
        }
        let _ = stream.finish();
    }
}

mod tasks {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use ::tokio::spawn;
    use ::tokio::time::timeout;
    use shmipc_async::{Drained, Listener, Session, Stream};

    use super::*;

    pub(super) async fn run(path: &str, options: &Options) {
        let mut builder = Listener::builder().config(options.config());
        if let Some(address) = &options.upgrade_at {
            builder = builder.upgrade_at(address);
        }
        options.begin_binding();
        match builder.ready_within(options.ready_within).bind_upgradable(path).await {
            Ok(listener) => serve(&Arc::new(listener), options).await,
            Err(error) => fail(&error),
        }
    }

    async fn serve(listener: &Arc<Listener>, options: &Options) {
        limit_descriptors(id(), None);
        let generation = listener.generation();
        say(&format!("bound {generation}"));
        if options.asked {
            // Once: the runtime has no thread to look at the connection meanwhile.
            let mut ready = pin!(listener.ready());
            let looked = poll_fn(|cx| Poll::Ready(ready.as_mut().poll(cx))).await;
            assert!(looked.is_pending(), "it is not its turn");
            wait_for_the_turn(listener.as_fd());
        }
        if options.told || options.asked {
            wait_for_the_word();
        }
        if let Err(error) = listener.ready().await {
            return fail(&error);
        }
        say(&format!("serving {generation}"));
        let closing = Arc::clone(listener);
        close_at_the_end(move || closing.close());
        let tells = options.tells;
        loop {
            match listener.accept().await {
                Ok(session) => drop(spawn(answer(session, generation, tells))),
                Err(ListenError::HandedOver) => {
                    say("handed over");
                    match timeout(options.drain, listener.drain()).await {
                        Ok(Ok(Drained::Done)) => return say("drained"),
                        Ok(Ok(Drained::Resumed)) => say("resumed"),
                        Ok(Err(error)) => return fail(&error),
                        Err(_) => return say("timed out"),
                    }
                }
                Err(error) => return fail(&error),
            }
        }
    }

    async fn answer(session: Session, generation: u64, tells: bool) {
        while let Ok(stream) = session.accept().await {
            spawn(echo(stream, generation, tells));
        }
    }

    async fn echo(mut stream: Stream, generation: u64, tells: bool) {
        while let Ok(Some(request)) = stream.recv().await {
            if stream.send(&reply(generation, &request, tells)).await.is_err() {
                return;
            }
        }
        let _ = stream.finish();
    }
}
