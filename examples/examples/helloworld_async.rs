//! Two tokio processes exchange messages through shared memory.
//!
//! ```text
//! cargo run --release --example helloworld_async                  both ends, one command
//! cargo run --release --example helloworld_async -- server PATH   each end in its own terminal
//! cargo run --release --example helloworld_async -- client PATH
//! ```

use std::path::Path;
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use examples::round_trip::ROUNDS;
use examples::two_processes;
use shmipc_async::{Listener, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Size of the large message, bytes: the default limit of one contiguous message.
const LARGE: usize = 4 << 20;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => two_processes::run("server", "client"),
        ["server", path] => server(Path::new(path)),
        ["client", path] => client(Path::new(path)),
        _ => Err(anyhow!("usage: helloworld_async [server PATH | client PATH]")),
    }
}

#[tokio::main]
async fn server(path: &Path) -> anyhow::Result<()> {
    let listener = Listener::bind(path)?;
    let session = listener.accept().await?;
    println!("server {}: session with process {}", process::id(), session.peer().pid);

    let mut stream = session.accept().await?;
    let greeting = stream.recv().await?.context("the client said nothing")?;
    println!("server: received \"{}\"", String::from_utf8_lossy(&greeting));
    stream.send(b"Hello, client!").await?;

    let large = stream.recv().await?.context("the client sent no large message")?;
    // This client is not promised to be trusted, so its memory is read by copying out of it, once.
    let right = large.to_vec().iter().all(|byte| *byte == 7);
    println!("server: received {} bytes, copied once, contents right: {right}", large.len());
    drop(large);

    // Small requests, until the client is done measuring.
    let mut request = [0; 64];
    while let Some(len) = stream.recv_into(&mut request).await? {
        stream.send(&request[..len]).await?;
    }
    stream.finish()?;
    Ok(())
}

#[tokio::main]
async fn client(path: &Path) -> anyhow::Result<()> {
    let session = Session::connect(path).await?;
    let mut stream = session.open()?;

    stream.send(b"Hello, server!").await?;
    let greeting = stream.recv().await?.context("the server said nothing")?;
    println!("client: received \"{}\"", String::from_utf8_lossy(&greeting));

    // Written where the peer will read it.
    let mut large = stream.reserve(LARGE).await?;
    large.fill(7);
    large.commit()?;

    let mut reply = [0; 64];
    let mut times = Vec::new();
    for round in 0..2 * ROUNDS {
        let start = Instant::now();
        stream.send(&[round as u8; 64]).await?;
        stream.recv_into(&mut reply).await?;
        times.push(start.elapsed());
        if reply != [round as u8; 64] {
            bail!("a reply differs from its request");
        }
    }
    stream.finish()?;
    let shared_memory = median(times);
    let socket = unix_socket().await?;
    println!("\n64 B round trip from `main`, median of {ROUNDS}, this machine, this run:");
    println!("  shared memory {:>8.2} µs", shared_memory.as_secs_f64() * 1e6);
    println!("  Unix socket   {:>8.2} µs", socket.as_secs_f64() * 1e6);
    Ok(())
}

/// The same over a Unix socket of tokio's, with `cat` as the other process.
async fn unix_socket() -> anyhow::Result<Duration> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    let theirs = std::os::fd::OwnedFd::from(theirs);
    let input = process::Stdio::from(theirs.try_clone()?);
    let mut echo = process::Command::new("cat").stdin(input).stdout(theirs).spawn()?;
    ours.set_nonblocking(true)?;
    let mut stream = UnixStream::from_std(ours)?;
    let (mut reply, mut times) = ([0; 64], Vec::new());
    for round in 0..2 * ROUNDS {
        let start = Instant::now();
        stream.write_all(&[round as u8; 64]).await?;
        stream.read_exact(&mut reply).await?;
        times.push(start.elapsed());
    }
    drop(stream);
    echo.wait()?;
    Ok(median(times))
}

/// Of the second half: the first one warms up.
fn median(mut times: Vec<Duration>) -> Duration {
    let times = &mut times[ROUNDS..];
    times.sort_unstable();
    times[times.len() / 2]
}
