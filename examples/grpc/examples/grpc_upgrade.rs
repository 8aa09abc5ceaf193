//! A gRPC server that is replaced by new versions of itself while clients call it; no call is lost.
//!
//! ```text
//! cargo run --release --example grpc_upgrade                      twenty upgrades under load, one command
//! cargo run --release --example grpc_upgrade -- UPGRADES          as many as you like
//! cargo run --release --example grpc_upgrade -- server ADDRESS    by hand: start it again and again
//! ```

use std::error::Error;
use std::future::pending;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use examples_grpc::{EchoClient, EchoServer};
use shmipc_http::{Address, Incoming, grpc};
use tonic::transport::Server;

/// Calls at a time, over so many channels.
const CALLERS: usize = 64;
const CHANNELS: usize = 4;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => under_load(20).await,
        ["server", address] => server(address).await,
        [upgrades] => match upgrades.parse() {
            Ok(upgrades) => under_load(upgrades).await,
            Err(_) => Err("usage: grpc_upgrade [UPGRADES | server ADDRESS]".into()),
        },
        _ => Err("usage: grpc_upgrade [UPGRADES | server ADDRESS]".into()),
    };
    if let Err(error) = ended {
        eprintln!("grpc_upgrade: {error}");
        std::process::exit(1);
    }
}

/// Serves until the next one has taken over.
async fn server(address: &str) -> Result<(), Box<dyn Error>> {
    let server = Incoming::bind_upgradable(&address.parse()?).await?;
    println!("generation {}", server.generation());
    std::io::stdout().flush()?;
    let router = Server::builder().add_service(EchoServer);
    server
        .serve(|incoming| router.clone().serve_with_incoming_shutdown(incoming, pending()))
        .await?;
    Ok(())
}

/// What the clients have seen.
#[derive(Debug, Default)]
struct Calls {
    answered: AtomicU64,
    failed: AtomicU64,
    over: AtomicBool,
}

/// Replaces the server so many times while clients call it.
async fn under_load(upgrades: u64) -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let address = format!("shm:{}", directory.path().join("app.sock").display());
    let (mut running, _) = start(&address)?;

    let parsed: Address = address.parse()?;
    let calls = Arc::new(Calls::default());
    let mut callers = Vec::new();
    for _ in 0..CHANNELS {
        let channel = grpc::Repeat::new(grpc::connect(&parsed).await?);
        for number in 0..CALLERS / CHANNELS {
            let echo = EchoClient::new(channel.clone());
            callers.push(tokio::spawn(call(echo, number, Arc::clone(&calls))));
        }
    }
    // It keeps no server: the server closes what is idle.
    let mut idle = EchoClient::new(grpc::connect(&parsed).await?);
    idle.call(Bytes::from("once")).await?;

    for _ in 0..upgrades {
        let before = calls.answered.load(Ordering::Relaxed);
        let (next, generation) = start(&address)?;
        let mut old = std::mem::replace(&mut running, next);
        let status = tokio::task::spawn_blocking(move || old.wait()).await??;
        if !status.success() {
            return Err(format!("the server before {generation} failed: {status}").into());
        }
        // Each generation is called.
        while calls.answered.load(Ordering::Relaxed) < before + 10 * CALLERS as u64 {
            tokio::task::yield_now().await;
        }
    }
    calls.over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await?;
    }
    running.kill()?;
    running.wait()?;
    let (answered, failed) =
        (calls.answered.load(Ordering::Relaxed), calls.failed.load(Ordering::Relaxed));
    println!("{upgrades} upgrades: {answered} calls answered, {failed} failed");
    if failed > 0 { Err("calls were lost".into()) } else { Ok(()) }
}

/// Calls of 5 to 50 ms, one after another.
async fn call<C>(mut echo: EchoClient<C>, number: usize, calls: Arc<Calls>)
where
    C: tonic::client::GrpcService<tonic::body::Body>,
    C::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <C::ResponseBody as http_body::Body>::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    let mut millis = number;
    while !calls.over.load(Ordering::Relaxed) {
        millis = (millis * 7 + 3) % 46;
        let message = Bytes::from(vec![5 + millis as u8; 100]);
        match echo.slow(message.clone()).await {
            Ok(answer) if answer == message => calls.answered.fetch_add(1, Ordering::Relaxed),
            Ok(_) => {
                eprintln!("an answer differs from its request");
                calls.failed.fetch_add(1, Ordering::Relaxed)
            }
            Err(status) => {
                eprintln!("a call failed: {status}");
                calls.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

/// Starts a server, and waits until it can take over.
fn start(address: &str) -> Result<(Child, String), Box<dyn Error>> {
    let mut server = Command::new(std::env::current_exe()?)
        .args(["server", address])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let stdout: ChildStdout = server.stdout.take().ok_or("no output")?;
    BufReader::new(stdout).read_line(&mut line)?;
    Ok((server, line.trim().to_owned()))
}
