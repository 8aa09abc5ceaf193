//! A sender that can be short of descriptors without its test being so: it does what it is told on its standard
//! input, in one of the flavours.
//!
//! | order | what it does | what it says |
//! |---|---|---|
//! | `send BYTES` | sends one message | `did send`, or `did ERROR` |
//! | `try BYTES` | sends one message, for a second at most (blocking flavour) | the same |
//! | `write BYTES` | writes one message and ends it | `did write`, or `did ERROR` |
//! | `stats` | | `did REFUSALS` |

use std::io::Write;
use std::time::Duration;

use tests::child::die_with_parent;
use tests::payload::pattern;
use tests::tokio::{CurrentThread, Kind, MultiThread};
use tokio::io::AsyncWriteExt;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    die_with_parent();
    match arguments[..] {
        ["blocking", path] => blocking(path),
        [CurrentThread::NAME, path] => tasks::<CurrentThread>(path),
        [MultiThread::NAME, path] => tasks::<MultiThread>(path),
        _ => panic!("unknown arguments: {arguments:?}"),
    }
}

/// Calls `obey` for each order; says what it gives.
fn on_orders(mut obey: impl FnMut(&str, usize) -> Result<String, String>) {
    say("ready");
    for line in std::io::stdin().lines() {
        let line = line.expect("standard input");
        let (order, bytes) = line.split_once(' ').unwrap_or((&line, "0"));
        let done = obey(order, bytes.parse().expect("a number"));
        say(&format!("did {}", done.unwrap_or_else(|error| error)));
    }
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().expect("the test listens");
}

fn blocking(path: &str) {
    let session = shmipc_sync::Session::connect(path).expect("connected");
    let mut stream = session.open().expect("a stream");
    on_orders(|order, bytes| {
        let data = pattern(bytes as u64, bytes);
        let sender = stream.sender();
        let done = match order {
            "send" => sender.send(&data).map_err(Into::into),
            "try" => {
                sender.set_timeout(Some(Duration::from_secs(1)));
                let sent = sender.send(&data);
                sender.set_timeout(None);
                sent.map_err(Into::into)
            }
            "write" => sender.write_all(&data).and_then(|()| sender.flush()),
            "stats" => return Ok(session.stats().memory_refusals.to_string()),
            _ => panic!("unknown order: {order}"),
        };
        done.map(|()| order.to_owned()).map_err(|error| error.to_string())
    });
}

fn tasks<K: Kind>(path: &str) {
    let runtime = K::start().expect("a runtime");
    let session = runtime.block_on(shmipc_async::Session::connect(path)).expect("connected");
    let mut stream = session.open().expect("a stream");
    on_orders(|order, bytes| {
        let data = pattern(bytes as u64, bytes);
        let done: Result<(), std::io::Error> = match order {
            "send" => runtime.block_on(stream.send(&data)).map_err(Into::into),
            "write" => runtime.block_on(async {
                stream.write_all(&data).await?;
                stream.flush().await
            }),
            "stats" => return Ok(session.stats().memory_refusals.to_string()),
            _ => panic!("unknown order: {order}"),
        };
        done.map(|()| order.to_owned()).map_err(|error| error.to_string())
    });
}
