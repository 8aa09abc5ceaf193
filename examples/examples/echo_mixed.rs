//! A client of threads and a server of tokio tasks: the flavours speak the same protocol. The server copies
//! bytes with tokio's own `copy`, the client uses `std::io::Read` and `Write`.
//!
//! ```text
//! cargo run --release --example echo_mixed                  both ends, one command
//! cargo run --release --example echo_mixed -- server PATH   each end in its own terminal
//! cargo run --release --example echo_mixed -- client PATH
//! ```

use std::io::{Read, Write};
use std::path::Path;
use std::thread;

use anyhow::anyhow;
use examples::two_processes;
use tokio::io::AsyncWriteExt;

/// Threads of the client, each with a stream, and the bytes that each sends.
const THREADS: usize = 8;
const BYTES: usize = 16 << 20;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => two_processes::run("server", "client"),
        ["server", path] => server(Path::new(path)),
        ["client", path] => client(Path::new(path)),
        _ => Err(anyhow!("usage: echo_mixed [server PATH | client PATH]")),
    }
}

#[tokio::main]
async fn server(path: &Path) -> anyhow::Result<()> {
    let listener = shmipc_async::Listener::bind(path)?;
    let session = listener.accept().await?;
    let mut served = Vec::new();
    // Until the client closes the session.
    while let Ok(stream) = session.accept().await {
        served.push(tokio::spawn(echo(stream)));
    }
    let mut bytes = 0;
    for stream in served {
        bytes += stream.await??;
    }
    println!("server: {bytes} bytes echoed by tasks");
    Ok(())
}

async fn echo(stream: shmipc_async::Stream) -> std::io::Result<u64> {
    let (mut sender, mut receiver) = stream.into_split();
    let copied = tokio::io::copy(&mut receiver, &mut sender).await?;
    sender.shutdown().await?;
    Ok(copied)
}

fn client(path: &Path) -> anyhow::Result<()> {
    let session = shmipc_sync::Session::connect(path)?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|seed| {
                let session = &session;
                scope.spawn(move || talk(session, seed as u8))
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        println!("client: {} bytes came back to threads, all of them right", THREADS * BYTES);
        Ok(())
    })
}

/// Sends bytes with one thread and compares what comes back with another.
fn talk(session: &shmipc_sync::Session, seed: u8) -> anyhow::Result<()> {
    let (mut sender, mut receiver) = session.open()?.into_split();
    let sent: Vec<u8> = (0..BYTES).map(|i| ((i * 31) >> 3) as u8 ^ seed).collect();
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            sender.write_all(&sent)?;
            sender.finish().map_err(std::io::Error::from)
        });
        let mut received = Vec::with_capacity(BYTES);
        receiver.read_to_end(&mut received)?;
        sending.join().map_err(|_| anyhow!("a thread panicked"))??;
        if received == sent { Ok(()) } else { Err(anyhow!("other bytes came back")) }
    })
}
