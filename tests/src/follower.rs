//! A client of either flavour in a process of its own, which can be short of descriptors without anybody else being
//! so. Its server is one of [`generations`](crate::generations).

use std::io::{self, Write};
use std::path::Path;
use std::thread;

use crate::child::Peer;
use crate::client::{Blocking, Client, Conversation, Events, Tokio, soon};

/// Starts one as a process, which runs the program `follower`.
///
/// Told `call TEXT`, it says `reply GENERATION`, or `error` with what is known of the request, the error as code and
/// as text. Told `open`, it opens a stream and says `opened`; told `more`, it says `more GENERATION`, of whoever
/// has answered on the stream; told `end`, it ends it and says `ended`. With `watching` a thread waits for events,
/// so that the client moves without being called; it says `event` of each.
pub fn start(program: &str, flavour: &str, path: &Path, watching: bool) -> Peer {
    let path = path.to_str().expect("a path of ASCII");
    let mut peer =
        Peer::start(program, &[flavour, path, if watching { "watching" } else { "idle" }]);
    peer.line("ready");
    peer
}

/// The process's side, until the test hangs up.
pub fn run(flavour: &str, path: &str, watching: bool) {
    match flavour {
        "blocking" => obey(&Blocking::new(Path::new(path)), watching),
        "tokio" => obey(&Tokio::new(Path::new(path)), watching),
        _ => panic!("unknown flavour: {flavour}"),
    }
}

fn say(line: &str) {
    println!("{line}");
    io::stdout().flush().expect("the test listens");
}

fn obey<C: Client>(client: &C, watching: bool) {
    if watching {
        let mut events = client.events();
        thread::spawn(move || {
            loop {
                events.next_soon().iter().for_each(|event| say(&format!("event {event:?}")));
            }
        });
    }
    let mut stream = None;
    say("ready");
    for line in io::stdin().lines() {
        let line = line.expect("standard input");
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("call", text) => match client.call(text.as_bytes(), soon()) {
                Ok(reply) => say(&format!("reply {}", by_whom(reply, text))),
                Err(error) => say(&format!("error {:?} {error:?} {error}", error.delivery())),
            },
            ("open", _) => {
                stream = Some(client.open().expect("a stream"));
                say("opened");
            }
            ("more", _) => {
                let stream = stream.as_mut().expect("a stream");
                stream.send("more").expect("sent");
                let reply = stream.take().expect("a reply").expect("no end");
                say(&format!("more {}", by_whom(reply, "more")));
            }
            ("end", _) => {
                let mut stream = stream.take().expect("a stream");
                stream.finish();
                assert!(stream.take().expect("the end").is_none());
                say("ended");
            }
            _ => panic!("unknown order: {line}"),
        }
    }
    std::process::exit(0);
}

fn by_whom(reply: Vec<u8>, request: &str) -> String {
    let reply = String::from_utf8(reply).expect("text");
    let (generation, rest) = reply.split_once(' ').expect("a generation");
    assert_eq!(rest, request);
    generation.to_owned()
}
