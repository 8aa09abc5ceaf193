//! The command line, and the words of it that travel to the peer and into the report.

mod units;
mod words;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use units::{Pin, Size};
pub(crate) use words::{Bell, Bench, Call, Runtime, Touch, Transport, Trust, Wait};

/// Two-process benchmark of shmipc and of what else a user might pick.
#[derive(Debug, Parser)]
#[command(name = "ipcbench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ping-pong at depth one: a request and a reply of `size` bytes.
    Latency(Options),
    /// One way: `--batch` messages a publication, checked by the receiver.
    Throughput(Options),
    /// One way in both directions at once: a link and a thread of each process for each.
    Both(Options),
    /// Several clients of one server: as `parallel`, but each client is a process.
    FanIn {
        #[command(flatten)]
        options: Options,

        /// Clients.
        #[arg(long, value_delimiter = ',', default_value = "4", value_parser = positive)]
        clients: Vec<usize>,
    },
    /// One way at fixed rates, the same for all: how long after it was due a message is received.
    Load {
        #[command(flatten)]
        options: Options,

        /// Rates, in percent of what a Unix socket carries at most.
        #[arg(long, value_delimiter = ',', default_value = "10,50,90",
              value_parser = clap::value_parser!(u32).range(1..=1000))]
        percent: Vec<u32>,

        /// Instead: a message every so many microseconds.
        #[arg(long, value_delimiter = ',', conflicts_with = "percent",
              value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        every_us: Vec<u32>,
    },
    /// A quiet time, then one round trip.
    Quiet {
        #[command(flatten)]
        options: Options,

        /// How long nothing is sent.
        #[arg(long, default_value_t = 1000)]
        quiet_ms: u64,
    },
    /// Ping-pongs side by side: a thread of each process (on tokio: a task) and a link (shmipc: a stream of the
    /// one session; tonic-*: a call over the one connection) for each.
    Parallel {
        #[command(flatten)]
        options: Options,

        /// Ping-pongs at one time.
        #[arg(long, value_delimiter = ',', default_value = "1,8", value_parser = positive)]
        streams: Vec<usize>,
    },
    /// How late a timer task is whose runtime has a ping-pong to do; durations are those of the timer.
    Timers(Options),
    /// What this machine allows: wakes, lines, copies, kernel; and how the library waits on it.
    Limits(Limits),
    /// Measures the agreed matrix and writes it as JSON, as a page and as plots. Sizes, transports and wait modes
    /// are the matrix's.
    Report(Report),
    /// How long after a `SIGKILL` of the peer a call of shm-sync fails.
    Kills(Kills),
    /// The process that measures.
    #[command(hide = true)]
    Driver {
        #[arg(long)]
        parent: i32,
        #[arg(long)]
        cpu: Option<usize>,
        #[arg(long)]
        peer_cpu: Option<usize>,
        #[arg(long)]
        patience_ms: u64,
    },
    /// The other process; the driver starts it.
    #[command(hide = true)]
    Peer {
        #[arg(long)]
        parent: i32,
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// One of the clients of `fan-in`; the driver starts it.
    #[command(hide = true)]
    Client {
        #[arg(long)]
        parent: i32,
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// The process that `kills` kills.
    #[command(hide = true)]
    Victim {
        #[arg(long)]
        parent: i32,
        #[arg(long)]
        cpu: Option<usize>,
        #[arg(long)]
        socket: String,
        #[arg(long, value_enum)]
        wait: Wait,
        #[arg(long, value_enum)]
        call: Call,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// What to measure [default: all; parallel, fan-in, both: uds,shm-sync; timers: uds-async,shm-async;
    /// load: futex,uds,tcp,shm-sync,uds-async,shm-async].
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) transport: Vec<Transport>,

    /// Bytes in a message: 64, 4k, 64K, 1M.
    #[arg(long, value_delimiter = ',', default_value = "64,4k,64k,1M")]
    pub(crate) size: Vec<Size>,

    /// Messages of many sizes: from 64 bytes, each double as long half as often, up to `size`.
    #[arg(long)]
    pub(crate) mixed: bool,

    /// How shmipc waits (the controls wait in the one way that is theirs).
    #[arg(long, value_delimiter = ',', value_enum, default_value = "adaptive")]
    pub(crate) wait: Vec<Wait>,

    /// Whether shmipc copies out (untrusted) or reads in place (trusted).
    #[arg(long, value_enum, default_value_t = Trust::Untrusted)]
    pub(crate) trust: Trust,

    /// How shmipc wakes a sleeping peer.
    #[arg(long, value_enum, default_value_t = Bell::Socket)]
    pub(crate) bell: Bell,

    /// Messages a publication (throughput only).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(crate) batch: u64,

    /// Blocks of each arm.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) blocks: u32,

    /// Least duration of a block in milliseconds.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) block_ms: u64,

    /// CPU of the driver and CPU of the peer, or `none`.
    #[arg(long, default_value = "0,1")]
    pub(crate) pin: Pin,

    /// Whether payload is written and checked, or left alone.
    #[arg(long, value_enum, default_value_t = Touch::All)]
    pub(crate) touch: Touch,

    /// Further threads (shm-async: tasks) in each process waiting on idle streams of the same session.
    #[arg(long, default_value_t = 0)]
    pub(crate) parked: usize,

    /// Further streams of the same session, open on both sides and not used.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    pub(crate) open: Vec<usize>,

    /// Bytes of the queue of records of a shmipc session [default: the library's].
    #[arg(long)]
    pub(crate) ring: Option<Size>,

    /// The tokio runtime of uds-async, shm-async and tonic-* in both processes.
    #[arg(long, value_delimiter = ',', value_enum, default_value = "current")]
    pub(crate) runtime: Vec<Runtime>,

    /// One JSON object a line on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Limits {
    /// Blocks of each measurement.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) blocks: u32,

    /// Least duration of a block in milliseconds.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) block_ms: u64,

    /// The two CPUs between which wakes are measured, or `none`.
    #[arg(long, default_value = "0,1")]
    pub(crate) pin: Pin,

    /// One JSON object on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Report {
    #[command(flatten)]
    pub(crate) options: Options,

    /// How long nothing is sent before each round trip of `quiet`.
    #[arg(long, default_value_t = 1000)]
    pub(crate) quiet_ms: u64,

    /// Parts of the matrix, by name [default: all].
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Where to write.
    #[arg(long, default_value = "docs/results")]
    pub(crate) out: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Kills {
    /// Kills for each kind of call in each wait mode.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,

    /// How the survivor and the victim wait.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Wait::ALL)]
    pub(crate) wait: Vec<Wait>,

    /// What the survivor is calling.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Call::ALL)]
    pub(crate) call: Vec<Call>,

    /// CPU of the survivor and CPU of the victims, or `none`.
    #[arg(long, default_value = "0,1")]
    pub(crate) pin: Pin,

    /// One JSON object a line on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| format!("`{text}` is not a positive number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
