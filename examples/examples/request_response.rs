//! Thousands of requests in flight over one session: a stream for each, and a deadline for each.
//!
//! The server answers most requests at once and some late; the client gives up those that miss their
//! deadline, which costs the others nothing.
//!
//! ```text
//! cargo run --release --example request_response                  both ends, one command
//! cargo run --release --example request_response -- server PATH   each end in its own terminal
//! cargo run --release --example request_response -- client PATH
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use examples::two_processes;
use shmipc_async::{Config, ConfigError, Listener, Session, Stream};
use tokio::time::{sleep, timeout};

/// Requests, all of them begun at the same time, and how many may have a stream at one time.
const REQUESTS: u64 = 20_000;
const IN_FLIGHT: u32 = 4000;

/// Every so many-th request is answered after the deadline only.
const LATE: u64 = 100;
const DEADLINE: Duration = Duration::from_secs(2);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => two_processes::run("server", "client"),
        ["server", path] => server(Path::new(path)),
        ["client", path] => client(Path::new(path)),
        _ => Err(anyhow!("usage: request_response [server PATH | client PATH]")),
    }
}

/// Each stream takes some room in the ring: see `Limits::max_streams`.
fn config() -> Result<Config, ConfigError> {
    Config::builder().max_streams(IN_FLIGHT).ring_bytes(2 << 20).build()
}

#[tokio::main]
async fn server(path: &Path) -> anyhow::Result<()> {
    let listener = Listener::builder().config(config()?).bind(path)?;
    let session = listener.accept().await?;
    let mut most = 0;
    let metrics = tokio::runtime::Handle::current().metrics();
    // Until the client closes the session.
    while let Ok(stream) = session.accept().await {
        tokio::spawn(answer(stream));
        most = most.max(metrics.num_alive_tasks() - 1);
    }
    println!("server: at most {most} requests at one time");
    Ok(())
}

/// A client that has given up resets its stream: then there is nobody to answer.
async fn answer(mut stream: Stream) -> anyhow::Result<()> {
    let mut request = [0; 8];
    if stream.recv_into(&mut request).await?.is_some() {
        let number = u64::from_ne_bytes(request);
        if number % LATE == 0 {
            sleep(2 * DEADLINE).await;
        }
        stream.finish_with(&(number * number).to_ne_bytes()).await?;
    }
    Ok(())
}

#[tokio::main]
async fn client(path: &Path) -> anyhow::Result<()> {
    let session = Session::connect_with(path, &config()?).await?;
    let start = Instant::now();
    let requests: Vec<_> = (0..REQUESTS)
        .map(|number| {
            let session = session.clone();
            tokio::spawn(async move {
                let mut stream = session.open_wait().await?;
                match timeout(DEADLINE, ask(&mut stream, number)).await {
                    Ok(reply) => reply.map(Some),
                    // Dropping the stream tells the server.
                    Err(_) => Ok(None),
                }
            })
        })
        .collect();
    let (mut answered, mut late) = (0, 0);
    for (number, request) in (0..REQUESTS).zip(requests) {
        match request.await?? {
            Some(reply) if reply == number * number => answered += 1,
            Some(_) => bail!("a reply does not fit its request"),
            None => late += 1,
        }
    }
    println!("client: {answered} answered and right, {late} given up, in {:?}", start.elapsed());
    Ok(())
}

async fn ask(stream: &mut Stream, number: u64) -> anyhow::Result<u64> {
    stream.finish_with(&number.to_ne_bytes()).await?;
    let mut reply = [0; 8];
    match stream.recv_into(&mut reply).await? {
        Some(8) => Ok(u64::from_ne_bytes(reply)),
        _ => Err(anyhow!("the server gave no reply")),
    }
}
