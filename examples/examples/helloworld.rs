//! Two processes exchange messages through shared memory.
//!
//! ```text
//! cargo run --release -p examples --example helloworld                  both ends, one command
//! cargo run --release -p examples --example helloworld -- server PATH   each end in its own terminal
//! cargo run --release -p examples --example helloworld -- client PATH
//! ```

use std::path::Path;
use std::process;

use anyhow::{Context, anyhow};
use examples::round_trip::{self, ROUNDS};
use examples::two_processes;
use shmipc_sync::{Listener, Message, Session, Stream};

/// Size of the large message, bytes: the default limit of one contiguous message.
const LARGE: usize = 4 << 20;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => two_processes::run("server", "client"),
        ["server", path] => server(Path::new(path)),
        ["client", path] => client(Path::new(path)),
        _ => Err(anyhow!("usage: helloworld [server PATH | client PATH]")),
    }
}

fn server(path: &Path) -> anyhow::Result<()> {
    let listener = Listener::bind(path)?;
    println!("server {}: listening on {}", process::id(), path.display());

    let session = listener.accept()?;
    println!("server {}: session with process {}", process::id(), session.peer().pid);

    let mut stream = session.accept()?;
    let greeting = stream.recv()?.context("the client said nothing")?;
    println!(
        "server {}: received \"{}\" ({} bytes, inside its record)",
        process::id(),
        String::from_utf8_lossy(&greeting),
        greeting.len(),
    );
    stream.send(b"Hello, client!")?;

    let large = stream.recv()?.context("the client sent no large message")?;
    println!(
        "server {}: received {} bytes, {}, contents right: {}",
        process::id(),
        large.len(),
        copies(&large),
        is_pattern(&large, 1),
    );
    drop(large);
    send_large(&mut stream, 2)?;

    // Small requests, until the client is done measuring.
    while let Some(request) = stream.recv()? {
        stream.send(&request)?;
    }
    stream.finish()?;
    println!("server {}: bells rung {}", process::id(), session.stats().bells_rung);
    Ok(())
}

fn client(path: &Path) -> anyhow::Result<()> {
    let session = Session::connect(path)?;
    let mut stream = session.open()?;

    stream.send(b"Hello, server!")?;
    let greeting = stream.recv()?.context("the server said nothing")?;
    println!(
        "client {}: received \"{}\" ({} bytes, inside its record)",
        process::id(),
        String::from_utf8_lossy(&greeting),
        greeting.len(),
    );

    send_large(&mut stream, 1)?;
    let large = stream.recv()?.context("the server sent no large message")?;
    println!(
        "client {}: received {} bytes, {}, contents right: {}",
        process::id(),
        large.len(),
        copies(&large),
        is_pattern(&large, 2),
    );
    drop(large);

    let shared_memory = round_trip::measure(|request, reply| {
        stream.send(request)?;
        stream.recv_into(reply)?.context("the server finished early")?;
        Ok(())
    })?;
    stream.finish()?;
    println!("client {}: bells rung {}", process::id(), session.stats().bells_rung);

    let socket = round_trip::unix_socket()?;
    println!("\n64 B round trip, median of {ROUNDS}, this machine, this run:");
    println!("  shared memory {:>8.2} µs", shared_memory.as_secs_f64() * 1e6);
    println!("  Unix socket   {:>8.2} µs", socket.as_secs_f64() * 1e6);
    Ok(())
}

/// Sends a large message, written where the peer will read it.
fn send_large(stream: &mut Stream, seed: u8) -> anyhow::Result<()> {
    let mut message = stream.reserve(LARGE)?;
    for (i, byte) in message.iter_mut().enumerate() {
        *byte = pattern(i, seed);
    }
    message.commit()?;
    Ok(())
}

/// Says how the payload gets here. Only a peer that the caller promises to trust is read in place
/// (`ConfigBuilder::trust`); from any other peer, as here, the payload is copied out.
fn copies(message: &Message) -> &'static str {
    match message.is_zero_copy() {
        true => "not copied: read in the sender's memory",
        false => "copied once: out of the sender's memory",
    }
}

fn is_pattern(bytes: &[u8], seed: u8) -> bool {
    bytes.len() == LARGE && bytes.iter().enumerate().all(|(i, byte)| *byte == pattern(i, seed))
}

fn pattern(i: usize, seed: u8) -> u8 {
    ((i * 31) >> 3) as u8 ^ seed
}
