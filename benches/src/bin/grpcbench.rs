//! Unary gRPC calls by tonic over shared memory and over a Unix socket, between two processes, and over an
//! in-memory pipe inside of one: what tonic itself costs.
//!
//! ```text
//! cargo run --release -p benches --features tonic --bin grpcbench -- --in-flight 1,64
//! ```
//!
//! The transports take turns, block by block. A figure is the median of those of the blocks, and
//! comes with its spread: half of the distance between their quartiles.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use examples_grpc::{EchoClient, EchoServer};
use futures_util::future::join_all;
use hdrhistogram::Histogram;
use hyper_util::rt::TokioIo;
use shmipc_core::config::{Config, WaitMode};
use shmipc_http::{Address, Connector, Incoming, grpc};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint, Server};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Measures unary calls.
#[derive(Debug, Parser)]
struct Arguments {
    /// Calls in flight at a time, each by a task of its own.
    #[arg(long, value_delimiter = ',', default_value = "1,64")]
    in_flight: Vec<usize>,
    /// Bytes of request and answer.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Runtimes, of clients and servers.
    #[arg(long, value_delimiter = ',', default_value = "current,multi")]
    runtime: Vec<Kind>,
    /// How a session waits: adaptive, spin or block.
    #[arg(long, default_value = "adaptive", value_parser = wait_mode)]
    wait: WaitMode,
    /// Blocks of each transport.
    #[arg(long, default_value_t = 10)]
    blocks: usize,
    /// Length of a block, milliseconds.
    #[arg(long, default_value_t = 300)]
    block_ms: u64,
    /// Serve at this address instead, until standard input is closed.
    #[arg(long, hide = true)]
    serve: Option<Address>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Current,
    Multi,
}

impl Kind {
    fn start(self) -> std::io::Result<Runtime> {
        match self {
            Self::Current => Builder::new_current_thread(),
            Self::Multi => Builder::new_multi_thread(),
        }
        .enable_all()
        .build()
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.serve {
        Some(address) => serve(address, arguments.runtime[0], arguments.wait),
        None => arguments.runtime.iter().try_for_each(|kind| measure(&arguments, *kind)),
    }
}

fn serve(address: &Address, kind: Kind, wait: WaitMode) -> Result<()> {
    let runtime = kind.start()?;
    runtime.block_on(async {
        let incoming = Incoming::bind_with(address, config(wait)?).await?;
        println!("{}", incoming.address());
        std::io::stdout().flush()?;
        tokio::spawn(Server::builder().add_service(EchoServer).serve_with_incoming(incoming));
        let hung_up = || std::io::stdin().read_to_end(&mut Vec::new());
        tokio::task::spawn_blocking(hung_up).await??;
        Ok(())
    })
}

fn wait_mode(mode: &str) -> std::result::Result<WaitMode, String> {
    match mode {
        "adaptive" => Ok(WaitMode::Adaptive),
        "spin" => Ok(WaitMode::Spin),
        "block" => Ok(WaitMode::Block),
        _ => Err("adaptive, spin or block".to_owned()),
    }
}

fn config(wait: WaitMode) -> Result<Config> {
    Ok(Config::builder().wait(wait).build()?)
}

/// A process that serves; killed when dropped.
struct Process(Child);

impl Process {
    fn start(address: &str, kind: Kind, wait: WaitMode) -> Result<(Self, Address)> {
        let kind = kind.to_possible_value().ok_or("no name")?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", address, "--runtime", kind.get_name()])
            .args(["--wait", &format!("{wait:?}").to_lowercase()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let process = Self(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok((process, line.trim().parse()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What one transport has measured.
struct Arm {
    name: &'static str,
    client: EchoClient,
    /// p50 and p99 in nanoseconds, and calls a second, of each block.
    blocks: Vec<[f64; 3]>,
}

fn measure(arguments: &Arguments, kind: Kind) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (_shm_server, shm) = Process::start(&format!("shm:{}", path("shm")), kind, arguments.wait)?;
    let (_uds_server, uds) =
        Process::start(&format!("unix:{}", path("uds")), kind, arguments.wait)?;
    let runtime = kind.start()?;
    runtime.block_on(async {
        let arm = |name, channel| Arm { name, client: EchoClient::new(channel), blocks: vec![] };
        let connector = Connector::with_config(&shm, config(arguments.wait)?);
        let connected = grpc::endpoint(&shm).connect_with_connector(connector).await?;
        let mut arms = [
            arm("tonic-shm", connected),
            arm("tonic-uds", grpc::connect(&uds).await?),
            arm("tonic-duplex", duplex().await?),
        ];
        let length = Duration::from_millis(arguments.block_ms);
        for &in_flight in &arguments.in_flight {
            for block in 0..=arguments.blocks {
                for arm in &mut arms {
                    let figures = run(&arm.client, in_flight, arguments.size, length).await?;
                    // The first block warms up.
                    if block > 0 {
                        arm.blocks.push(figures);
                    }
                }
            }
            println!("{kind:?} runtime, {in_flight} in flight, {} B", arguments.size);
            println!("  {:<13} {:>16} {:>16} {:>18}", "", "p50 µs", "p99 µs", "calls/s");
            for arm in &mut arms {
                let [p50, p99, rate] = [0, 1, 2].map(|i| median_and_spread(&arm.blocks, i));
                println!(
                    "  {:<13} {:>9.1} ± {:>4.1} {:>9.1} ± {:>4.1} {:>10.0} ± {:>5.0}",
                    arm.name,
                    p50.0 / 1e3,
                    p50.1 / 1e3,
                    p99.0 / 1e3,
                    p99.1 / 1e3,
                    rate.0,
                    rate.1,
                );
                arm.blocks.clear();
            }
        }
        Ok(())
    })
}

/// A channel to a server of this runtime.
async fn duplex() -> Result<Channel> {
    let (ours, theirs) = tokio::io::duplex(256 << 10);
    let incoming = futures_util::stream::iter([Ok::<_, std::io::Error>(theirs)]);
    tokio::spawn(Server::builder().add_service(EchoServer).serve_with_incoming(incoming));
    let mut ours = Some(TokioIo::new(ours));
    let connect = move |_| std::future::ready(ours.take().ok_or("there is one connection"));
    let endpoint = Endpoint::from_static("http://localhost");
    Ok(endpoint.connect_with_connector(tower::service_fn(connect)).await?)
}

/// Calls for a while, so many at a time.
async fn run(
    client: &EchoClient,
    in_flight: usize,
    size: usize,
    length: Duration,
) -> Result<[f64; 3]> {
    let began = Instant::now();
    let callers = (0..in_flight).map(|caller| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let mut times = histogram();
            let mut contents = caller as u8;
            while began.elapsed() < length {
                contents = contents.wrapping_add(1);
                let message = Bytes::from(vec![contents; size]);
                let request = message.clone();
                let start = Instant::now();
                let answer = client.call(request).await.map_err(|status| status.to_string())?;
                times.saturating_record(start.elapsed().as_nanos() as u64);
                if answer != message {
                    return Err("an answer differs from its request".to_owned());
                }
            }
            Ok(times)
        })
    });
    let mut all = histogram();
    for times in join_all(callers.collect::<Vec<_>>()).await {
        all.add(times??)?;
    }
    let rate = all.len() as f64 / began.elapsed().as_secs_f64();
    Ok([all.value_at_quantile(0.5) as f64, all.value_at_quantile(0.99) as f64, rate])
}

fn median_and_spread(blocks: &[[f64; 3]], figure: usize) -> (f64, f64) {
    let mut values: Vec<f64> = blocks.iter().map(|block| block[figure]).collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| values[((values.len() - 1) as f64 * part).round() as usize];
    (at(0.5), (at(0.75) - at(0.25)) / 2.0)
}

/// Of nanoseconds, to a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds and digits are in order")
}
