//! One gRPC service, over shared memory, a Unix socket and TCP: only the address differs.
//!
//! ```text
//! cargo run --release --example grpc                     both ends, every address, one command
//! cargo run --release --example grpc -- server ADDRESS   each end in its own terminal; ADDRESS is
//! cargo run --release --example grpc -- client ADDRESS   shm:PATH, unix:PATH or http://HOST:PORT
//! ```

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use examples_grpc::{EchoClient, EchoServer};
use shmipc_http::{Address, Incoming, grpc};
use tokio::io::AsyncReadExt;
use tonic::transport::Server;

/// Unary calls measured, after as many to warm up.
const CALLS: usize = 2_000;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => every_address().await,
            ["server", address] => server(address.parse()?).await,
            ["client", address] => client(&address.parse()?).await,
            _ => Err(anyhow!("usage: grpc [server ADDRESS | client ADDRESS]")),
        }
    })
}

/// Serves until its standard input is closed.
async fn server(address: Address) -> anyhow::Result<()> {
    let incoming = Incoming::bind(&address).await?;
    println!("{}", incoming.address());
    std::io::stdout().flush()?;
    let closed = async {
        let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    };
    let router = Server::builder().add_service(EchoServer);
    router.serve_with_incoming_shutdown(incoming, closed).await?;
    Ok(())
}

async fn client(address: &Address) -> anyhow::Result<()> {
    let mut echo = EchoClient::new(grpc::connect(address).await?);

    // Unary.
    let mut times = Vec::with_capacity(2 * CALLS);
    for number in 0..2 * CALLS {
        let request = Bytes::from(number.to_le_bytes().repeat(8));
        let start = Instant::now();
        let answer = echo.call(request.clone()).await?;
        times.push(start.elapsed());
        if answer != request {
            bail!("an answer differs from its request");
        }
    }
    let times = &mut times[CALLS..];
    times.sort_unstable();
    let median: Duration = times[CALLS / 2];

    // Server streaming.
    let mut answers = echo.repeat(Bytes::from(vec![100; 1000])).await?;
    let mut received = 0;
    while let Some(answer) = answers.message().await? {
        received += answer.len();
    }

    println!(
        "{:<40} unary call {:>6.1} µs, 100 streamed messages: {received} bytes",
        address.to_string(),
        median.as_secs_f64() * 1e6,
    );
    Ok(())
}

/// Starts a server process for every kind of address, and calls it.
async fn every_address() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    let addresses = [
        format!("shm:{}", path("shm.sock")),
        format!("unix:{}", path("unix.sock")),
        "http://127.0.0.1:0".to_owned(),
    ];
    for address in addresses {
        if let (true, Err(error)) = (address.starts_with("http:"), loopback()) {
            println!("{address:<40} not tried: {error}; is the loopback interface up?");
            continue;
        }
        let mut server = Command::new(std::env::current_exe()?)
            .args(["server", &address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // It ends with this.
        let stdin = server.stdin.take();
        let mut address = String::new();
        // It says where it listens: port 0 is any.
        BufReader::new(server.stdout.take().context("no output")?).read_line(&mut address)?;
        client(&address.trim().parse()?).await?;
        drop(stdin);
        let status = server.wait()?;
        if !status.success() {
            bail!("the server failed: {status}");
        }
    }
    Ok(())
}

/// Checks that there is a way to 127.0.0.1, which a new network namespace has not set up.
fn loopback() -> std::io::Result<()> {
    UdpSocket::bind(("127.0.0.1", 0))?.connect(("127.0.0.1", 1))
}
