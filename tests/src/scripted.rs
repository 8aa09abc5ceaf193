//! A peer process that makes one call when it is told to, says what came of it, and is inside no call in
//! between: it waits on its standard input.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::Duration;

use shmipc_sync::{Listener, Message, RecvStream, SendStream, Session, Stream};

use crate::child::Peer;
use crate::deadline::patience;
use crate::payload::{check, pattern};
use crate::proc::Held;
use crate::setup::Setup;

/// How long a call of the peer waits before it says that it waits in vain.
const SHORT: Duration = Duration::from_millis(50);

/// The test's view of such a peer, which has connected to a listener of the test's.
#[derive(Debug)]
pub struct Scripted {
    peer: Peer,
    before: Held,
}

impl Scripted {
    /// Starts the program `peer` and lets it connect to `listener` at `path`; gives the test's end.
    pub fn start(peer: &str, setup: Setup, listener: &Listener, path: &Path) -> (Self, Session) {
        let path = path.to_str().expect("a path of ASCII");
        let mut peer = Peer::start(peer, &["scripted", path, &setup.to_string()]);
        peer.line("ready");
        let before = Held::by(peer.pid());
        peer.say("connect");
        let session = listener.accept_timeout(patience()).expect("the listener lives");
        peer.line("connected");
        (Self { peer, before }, session.expect("the peer connects"))
    }

    /// Tells it to do something, and waits for what it says.
    #[track_caller]
    pub fn ask(&mut self, command: &str) -> String {
        self.peer.say(command);
        self.peer.line("did")
    }

    /// Tells it to do something that must succeed.
    #[track_caller]
    pub fn tell(&mut self, command: &str) {
        assert_eq!(self.ask(command), "ok", "after `{command}`");
    }

    /// What it held before it connected.
    pub fn before(&self) -> Held {
        self.before
    }

    /// The process.
    pub fn process(&mut self) -> &mut Peer {
        &mut self.peer
    }
}

/// What the peer has, by number.
#[derive(Default)]
struct Has {
    senders: Vec<Option<SendStream>>,
    receivers: Vec<Option<RecvStream>>,
    messages: Vec<Message>,
}

impl Has {
    fn add(&mut self, stream: Stream) -> String {
        let (mut sender, mut receiver) = stream.into_split();
        sender.set_timeout(Some(patience()));
        receiver.set_timeout(Some(patience()));
        self.senders.push(Some(sender));
        self.receivers.push(Some(receiver));
        "ok".to_owned()
    }

    fn sender(&mut self, number: &str) -> &mut SendStream {
        let number: usize = number.parse().expect("the number of a stream");
        self.senders[number].as_mut().expect("not dropped yet")
    }

    fn receiver(&mut self, number: &str) -> &mut RecvStream {
        let number: usize = number.parse().expect("the number of a stream");
        self.receivers[number].as_mut().expect("not dropped yet")
    }
}

/// The peer's `main`: connects, and makes the calls that its standard input names.
pub fn obey(path: &str, setup: Setup) {
    let say = |line: String| {
        println!("{line}");
        io::stdout().flush().expect("the test listens");
    };
    let mut lines = io::stdin().lock().lines();
    say("ready".to_owned());
    lines.next();
    let mut session = Some(Session::connect_with(path, &setup.config()).expect("connected"));
    let mut has = Has::default();
    say("connected".to_owned());
    for line in lines {
        let line = line.expect("standard input");
        let words: Vec<&str> = line.split(' ').collect();
        if words == ["drop-session"] {
            session = None;
            say("did ok".to_owned());
            continue;
        }
        say(format!("did {}", make(&words, session.as_ref(), &mut has)));
    }
}

/// One call. Numbers of streams count from 0 in the order of opening and accepting.
fn make(words: &[&str], session: Option<&Session>, has: &mut Has) -> String {
    let session = || session.expect("not dropped yet");
    let number = |word: &str| word.parse::<u64>().expect("a number");
    let said = |result: Result<(), String>| result.map_or_else(|error| error, |()| "ok".to_owned());
    match *words {
        ["open"] => session().open().map_or_else(|e| format!("{e:?}"), |s| has.add(s)),
        ["accept"] => {
            session().accept_timeout(patience()).map_or_else(|e| format!("{e:?}"), |s| has.add(s))
        }
        ["send", stream, seed, len] => {
            let data = pattern(number(seed), number(len) as usize);
            said(has.sender(stream).send(&data).map_err(|e| format!("{e:?}")))
        }
        // Messages of that length until one would have to wait: says how many.
        ["fill", stream, len] => {
            let sender = has.sender(stream);
            let mut sent = 0;
            loop {
                match sender.reserve_timeout(number(len) as usize, SHORT) {
                    Ok(mut reservation) => {
                        crate::payload::fill(&mut reservation, sent);
                        reservation.commit().expect("committed");
                        sent += 1;
                    }
                    Err(error) => break format!("{sent} {error:?}"),
                }
            }
        }
        // The next message has these contents.
        ["recv", stream, seed, len] => match has.receiver(stream).recv() {
            Ok(Some(message)) => {
                check(&message, number(seed), number(len) as usize);
                "ok".to_owned()
            }
            other => format!("{other:?}"),
        },
        // All messages until the end: says how many, and how it ended.
        ["recv-all", stream] => {
            let mut count = 0;
            loop {
                match has.receiver(stream).recv() {
                    Ok(Some(_)) => count += 1,
                    Ok(None) => break format!("{count} finished"),
                    Err(error) => break format!("{count} {error:?}"),
                }
            }
        }
        ["hold", stream] => match has.receiver(stream).recv() {
            Ok(Some(message)) => {
                has.messages.push(message);
                "ok".to_owned()
            }
            other => format!("{other:?}"),
        },
        ["held", at, seed, len] => {
            let message = &has.messages[number(at) as usize];
            check(message, number(seed), number(len) as usize);
            "ok".to_owned()
        }
        ["release"] => {
            has.messages.clear();
            "ok".to_owned()
        }
        ["finish", stream] => said(has.sender(stream).finish().map_err(|e| format!("{e:?}"))),
        ["drop", stream] => {
            has.senders[number(stream) as usize] = None;
            has.receivers[number(stream) as usize] = None;
            "ok".to_owned()
        }
        ["close", code] => {
            session().close(number(code) as u32);
            "ok".to_owned()
        }
        ["closed"] => session()
            .closed_timeout(patience())
            .map_or("not".to_owned(), |error| format!("{error:?}")),
        _ => panic!("`{words:?}` is no command"),
    }
}
