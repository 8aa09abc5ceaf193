//! One publisher, several subscriber processes, one of which is slow. What becomes of it is a choice:
//! everybody waits for it, it loses the oldest messages, or it is disconnected.
//!
//! ```text
//! cargo run --release --example fanout                       all three choices, one after the other
//! cargo run --release --example fanout -- wait|lose|disconnect
//! cargo run --release --example fanout -- publisher CHOICE PATH    in terminals of their own
//! cargo run --release --example fanout -- subscriber PAUSE PATH    three times, pause in milliseconds
//! ```

use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use shmipc_async::{Config, ConfigError, Listener, RecvError, SendStream, Session};
use tokio::sync::Notify;
use tokio::time::sleep;

/// Messages, and the size of each.
const MESSAGES: u64 = 300;
const SIZE: usize = 1000;

/// Messages that the publisher keeps for a subscriber which does not take them; beside them, what fits
/// into a stream's window is under way.
const KEPT: usize = 64;
const WINDOW: u32 = 64 << 10;

/// Milliseconds that each subscriber takes for a message; the publisher makes one each.
const PAUSES: [u64; 3] = [0, 0, 20];

/// What is said of a subscriber that is no longer served.
const DISCONNECTED: &str = "disconnected";

/// What becomes of a subscriber that is slower than the publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Wait,
    Lose,
    Disconnect,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => ["wait", "lose", "disconnect"].into_iter().try_for_each(run),
        [choice] => run(choice),
        ["publisher", choice, path] => publisher(parse(choice)?, Path::new(path)),
        ["subscriber", pause, path] => subscriber(pause.parse()?, Path::new(path)),
        _ => Err(anyhow!("usage: fanout [wait | lose | disconnect]")),
    }
}

fn parse(choice: &str) -> anyhow::Result<Choice> {
    match choice {
        "wait" => Ok(Choice::Wait),
        "lose" => Ok(Choice::Lose),
        "disconnect" => Ok(Choice::Disconnect),
        _ => Err(anyhow!("`{choice}` is none of wait, lose, disconnect")),
    }
}

/// Runs the publisher and all subscribers as processes of their own.
fn run(choice: &str) -> anyhow::Result<()> {
    parse(choice)?;
    println!("{choice}:");
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("socket");
    let program = std::env::current_exe()?;
    let mut publisher = Command::new(&program).args(["publisher", choice]).arg(&path).spawn()?;
    while !path.exists() && publisher.try_wait()?.is_none() {
        std::thread::yield_now();
    }
    let start = |pause: u64| {
        Command::new(&program).args(["subscriber", &pause.to_string()]).arg(&path).spawn()
    };
    let subscribers = PAUSES.into_iter().map(start).collect::<Result<Vec<_>, _>>()?;
    let mut succeeded = true;
    for mut process in subscribers.into_iter().chain([publisher]) {
        succeeded &= process.wait()?.success();
    }
    if succeeded { Ok(()) } else { Err(anyhow!("a process failed")) }
}

fn config() -> Result<Config, ConfigError> {
    Config::builder().stream_window(WINDOW).build()
}

/// What is kept for one subscriber.
#[derive(Debug, Default)]
struct Outbox {
    state: Mutex<Kept>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    messages: VecDeque<Arc<[u8]>>,
    lost: u64,
    /// The publisher has no more.
    complete: bool,
    /// Nothing is sent any more.
    disconnected: bool,
}

impl Outbox {
    /// Runs `look` when something has changed, until it gives something.
    async fn when<T>(&self, mut look: impl FnMut(&mut Kept) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            let found = look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(found) = found {
                self.changed.notify_waiters();
                return found;
            }
            changed.await;
        }
    }

    /// Keeps a message to be sent; the choice says what happens if there are too many.
    async fn push(&self, message: &Arc<[u8]>, choice: Choice) {
        self.when(|kept| {
            if kept.messages.len() >= KEPT && !kept.disconnected {
                match choice {
                    Choice::Wait => return None,
                    Choice::Lose => {
                        kept.messages.pop_front();
                        kept.lost += 1;
                    }
                    Choice::Disconnect => kept.disconnected = true,
                }
            }
            if !kept.disconnected {
                kept.messages.push_back(Arc::clone(message));
            }
            Some(())
        })
        .await;
    }

    /// Sends what is kept until there is no more, or nobody to send it to.
    async fn send_all(&self, mut stream: SendStream) -> &'static str {
        loop {
            let next = self.when(|kept| match kept.messages.pop_front() {
                _ if kept.disconnected => Some(Err(DISCONNECTED)),
                Some(message) => Some(Ok(Some(message))),
                None => kept.complete.then_some(Ok(None)),
            });
            match next.await {
                Ok(Some(message)) => {
                    let gone = self.when(|kept| kept.disconnected.then_some(()));
                    let sent = tokio::select! {
                        sent = stream.send(&message) => sent.is_ok(),
                        () = gone => continue,
                    };
                    if !sent {
                        self.when(|kept| {
                            kept.disconnected = true;
                            Some(())
                        })
                        .await;
                    }
                }
                Ok(None) => {
                    let _ = stream.finish();
                    return "served";
                }
                Err(why) => {
                    stream.reset(1);
                    return why;
                }
            }
        }
    }
}

#[tokio::main]
async fn publisher(choice: Choice, path: &Path) -> anyhow::Result<()> {
    let listener = Listener::builder().config(config()?).bind(path)?;
    let mut subscribers = Vec::new();
    for _ in PAUSES {
        let session = listener.accept().await?;
        let (sender, _) = session.open()?.into_split();
        let outbox = Arc::new(Outbox::default());
        let kept = Arc::clone(&outbox);
        let sending = tokio::spawn(async move {
            let outcome = kept.send_all(sender).await;
            // The subscriber closes when it has read everything.
            session.closed().await;
            outcome
        });
        subscribers.push((outbox, sending));
    }

    let start = Instant::now();
    for number in 0..MESSAGES {
        let mut message = vec![number as u8; SIZE];
        message[..8].copy_from_slice(&number.to_ne_bytes());
        let message = Arc::from(message);
        for (outbox, _) in &subscribers {
            outbox.push(&message, choice).await;
        }
        // A publisher with something to do between its messages.
        sleep(Duration::from_millis(1)).await;
    }
    let published = start.elapsed();
    for (outbox, _) in &subscribers {
        outbox
            .when(|kept| {
                kept.complete = true;
                Some(())
            })
            .await;
    }
    let (mut all_lost, mut disconnected) = (0, 0);
    for (number, (outbox, sending)) in subscribers.into_iter().enumerate() {
        let outcome = sending.await?;
        let lost = outbox.when(|kept| Some(kept.lost)).await;
        println!("  subscriber {number}: {outcome}, {lost} messages lost");
        all_lost += lost;
        disconnected += usize::from(outcome == DISCONNECTED);
    }
    println!("  publisher: {MESSAGES} messages published in {published:?}");
    let as_chosen = match choice {
        Choice::Wait => all_lost == 0 && disconnected == 0,
        Choice::Lose => all_lost > 0 && disconnected == 0,
        Choice::Disconnect => all_lost == 0 && disconnected > 0,
    };
    if as_chosen { Ok(()) } else { Err(anyhow!("that is not what was chosen")) }
}

#[tokio::main]
async fn subscriber(pause: u64, path: &Path) -> anyhow::Result<()> {
    let session = Session::connect_with(path, &config()?).await?;
    let mut stream = session.accept().await?;
    let (mut received, mut last) = (0, None);
    let end = loop {
        match stream.recv().await {
            Ok(Some(message)) => {
                let mut number = [0; 8];
                number.copy_from_slice(&message.to_vec()[..8]);
                let number = u64::from_ne_bytes(number);
                if last.is_some_and(|last| number <= last) {
                    bail!("messages came in disorder");
                }
                (received, last) = (received + 1, Some(number));
                if pause > 0 {
                    sleep(Duration::from_millis(pause)).await;
                }
            }
            Ok(None) => break "the end",
            Err(RecvError::Reset(_)) => break "being disconnected",
            Err(error) => return Err(error.into()),
        }
    };
    println!("  a subscriber that takes {pause} ms received {received} before {end}");
    Ok(())
}
