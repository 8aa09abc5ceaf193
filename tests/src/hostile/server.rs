//! The server under attack: it echoes every message of every stream, many at a time, and says of each session
//! why it ended.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ::tokio::task::JoinSet;
use shmipc_sync::{AcceptError, Config, Listener, SessionError, WaitMode};

use super::unmet;
use crate::deadline::PATIENCE;
use crate::tokio::{CurrentThread, Kind, MultiThread};

/// What is wrong with a server; for tests of the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// When a peer misbehaves, other sessions end.
    EndsOthers,
    /// When a peer misbehaves, the messages of others are changed.
    ChangesOthers,
    /// When a peer misbehaves, a descriptor stays open.
    KeepsDescriptors,
    /// A peer that misbehaves is told apart from none that does.
    TellsNothing,
}

impl Flaw {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 4] = [
        ("ends-others", Self::EndsOthers),
        ("changes-others", Self::ChangesOthers),
        ("keeps-descriptors", Self::KeepsDescriptors),
        ("tells-nothing", Self::TellsNothing),
    ];
}

/// What follows a flavour's name if its waiting threads never sleep.
const AWAKE: &str = "-awake";
/// What follows a flavour's name if a handshake may take far longer than a test.
const PATIENT: &str = "-patient";

/// What follows a flavour's name if there may be more sessions than descriptors.
const UNBOUNDED: &str = "-unbounded";

/// Serves there in a flavour, until it is killed. A panic of any thread ends the process.
///
/// # Panics
/// If there is no such flavour.
pub fn serve(flavour: &str, path: &Path) -> ! {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        std::process::exit(101);
    }));
    unmet::tell_of(|reason| say(&format!("ended unmet {reason}")));
    let mut config = Config::builder();
    let mut flavour = flavour;
    if let Some(rest) = flavour.strip_suffix(AWAKE) {
        (flavour, config) = (rest, config.wait(WaitMode::Spin));
    }
    if let Some(rest) = flavour.strip_suffix(PATIENT) {
        (flavour, config) = (rest, config.handshake_timeout(10 * PATIENCE));
    }
    if let Some(rest) = flavour.strip_suffix(UNBOUNDED) {
        (flavour, config) = (rest, config.max_sessions(usize::MAX, usize::MAX));
    }
    let config = config.build().expect("valid");
    match flavour {
        "blocking" => serve_blocking(path, config, None),
        CurrentThread::NAME => serve_tokio::<CurrentThread>(path, config),
        MultiThread::NAME => serve_tokio::<MultiThread>(path, config),
        flaw => {
            let flaw = Flaw::ALL.iter().find(|(name, _)| *name == flaw).expect("a flavour");
            serve_blocking(path, config, Some(flaw.1))
        }
    }
}

fn serve_blocking(path: &Path, config: Config, flaw: Option<Flaw>) -> ! {
    let listener = Listener::builder().config(config).bind(path).expect("the path is free");
    let (sessions, kept) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let change = AtomicBool::new(false);
    say("listening");
    thread::scope(|scope| {
        while let Ok(session) = listener.accept() {
            if flaw == Some(Flaw::EndsOthers) {
                sessions.lock().unwrap().push(session.clone());
            }
            let (sessions, kept, change) = (&sessions, &kept, &change);
            scope.spawn(move || {
                let error = thread::scope(|scope| {
                    loop {
                        match session.accept() {
                            Ok(stream) => scope.spawn(move || echo(stream, change)),
                            Err(AcceptError::Session(error)) => break error,
                            Err(error) => panic!("{error}"),
                        };
                    }
                });
                sessions.lock().unwrap().retain(|other| !other.is_closed());
                drop(session);
                let misbehaved = matches!(error, SessionError::Misbehaved(_));
                match flaw.filter(|_| misbehaved) {
                    Some(Flaw::EndsOthers) => {
                        say(&format!("ended {}", name(error)));
                        return sessions.lock().unwrap().drain(..).for_each(|other| other.close(0));
                    }
                    Some(Flaw::ChangesOthers) => change.store(true, Ordering::Relaxed),
                    Some(Flaw::KeepsDescriptors) => {
                        kept.lock().unwrap().push(File::open("/dev/null"));
                    }
                    Some(Flaw::TellsNothing) => return say("ended closed"),
                    None if flaw == Some(Flaw::EndsOthers) && error == SessionError::Closed => {
                        return;
                    }
                    None => {}
                }
                say(&format!("ended {}", name(error)));
            });
        }
    });
    unreachable!("the listener lives as long as the process");
}

fn echo(mut stream: shmipc_sync::Stream, change: &AtomicBool) {
    while let Ok(Some(message)) = stream.recv() {
        let mut bytes = message.to_vec();
        if change.load(Ordering::Relaxed) {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
        if stream.send(&bytes).is_err() {
            return;
        }
    }
    let _ = stream.finish();
}

fn serve_tokio<K: Kind>(path: &Path, config: Config) -> ! {
    K::start().expect("a runtime").block_on(async {
        let builder = shmipc_async::Listener::builder().config(config);
        let listener = builder.bind(path).expect("the path is free");
        say("listening");
        while let Ok(session) = listener.accept().await {
            ::tokio::spawn(async move {
                let mut streams = JoinSet::new();
                let error = loop {
                    match session.accept().await {
                        Ok(stream) => streams.spawn(echo_later(stream)),
                        Err(AcceptError::Session(error)) => break error,
                        Err(error) => panic!("{error}"),
                    };
                    while streams.try_join_next().is_some() {}
                };
                streams.join_all().await;
                drop(session);
                say(&format!("ended {}", name(error)));
            });
        }
    });
    unreachable!("the listener lives as long as the process");
}

async fn echo_later(mut stream: shmipc_async::Stream) {
    while let Ok(Some(message)) = stream.recv().await {
        if stream.send(&message).await.is_err() {
            return;
        }
    }
    let _ = stream.finish();
}

fn name(error: SessionError) -> String {
    match error {
        SessionError::Misbehaved(misdeed) => format!("misbehaved {misdeed:?}"),
        SessionError::PeerDied => "died".to_owned(),
        SessionError::ClosedByPeer(_) => "closed".to_owned(),
        other => format!("wrong {other:?}"),
    }
}

/// Tells the test something.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    // The test may be gone.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
