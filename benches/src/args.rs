//! The command line, and the words of it that travel to the peer and into the report.

use std::fmt;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

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
    /// How long after a `SIGKILL` of the peer a call of shm-sync fails.
    Kills(Kills),
    /// The other process; the driver starts it.
    #[command(hide = true)]
    Peer {
        #[arg(long)]
        driver: i32,
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// The process that `kills` kills.
    #[command(hide = true)]
    Victim {
        #[arg(long)]
        driver: i32,
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
    /// What to measure [default: all; parallel: uds,shm-sync; timers: uds-async,shm-async].
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) transport: Vec<Transport>,

    /// Bytes in a message: 64, 4k, 64K, 1M.
    #[arg(long, value_delimiter = ',', default_value = "64,4k,64k,1M")]
    pub(crate) size: Vec<Size>,

    /// How shmipc waits (the controls wait in the one way that is theirs).
    #[arg(long, value_enum, default_value_t = Wait::Adaptive)]
    pub(crate) wait: Wait,

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

/// Defines an enumeration whose words are the same on the command line, on the control channel
/// and in the report.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
        pub(crate) enum $name {
            $($(#[$variant_doc])* #[value(name = $word)] #[serde(rename = $word)] $variant),+
        }

        impl $name {
            #[allow(dead_code, reason = "for those that are a default of the command line")]
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words!(
    /// Which benchmark.
    Bench { Latency = "latency", Throughput = "throughput", Parallel = "parallel", Timers = "timers" }
);

impl Bench {
    /// Its figure is a duration, not a rate.
    pub(crate) fn is_about_durations(self) -> bool {
        matches!(self, Self::Latency | Self::Timers)
    }
}

words!(
    /// What carries the messages.
    Transport {
        /// One cache line handed over and back, spinning: the physical limit.
        Cacheline = "cacheline",
        /// The payload in place in a plain shared mapping, with a spin flag.
        BareMap = "bare-map",
        /// A fixed ring of records without session, stream, credit or gate.
        BareRing = "bare-ring",
        /// The payload in place in a shared mapping, woken by a blocking eventfd.
        Eventfd = "eventfd",
        /// Two pipes.
        Pipe = "pipe",
        /// A Unix stream socket.
        Uds = "uds",
        /// shmipc, blocking flavour.
        ShmSync = "shm-sync",
        /// shmipc, blocking flavour, a stream opened, used once and closed for each round trip.
        ShmStreams = "shm-streams",
        /// A Unix stream socket of tokio.
        UdsAsync = "uds-async",
        /// shmipc, tokio flavour.
        ShmAsync = "shm-async",
        /// Unary gRPC calls by tonic, over shmipc.
        TonicShm = "tonic-shm",
        /// The same over a Unix stream socket.
        TonicUds = "tonic-uds",
        /// The same in one process over a pipe in its memory.
        TonicDuplex = "tonic-duplex",
    }
);

impl Transport {
    /// What `parallel` compares unless told otherwise.
    pub(crate) const SIDE_BY_SIDE: &[Self] = &[Self::Uds, Self::ShmSync];

    /// What `timers` compares unless told otherwise.
    pub(crate) const ON_TOKIO: &[Self] = &[Self::UdsAsync, Self::ShmAsync];

    pub(crate) fn is_grpc(self) -> bool {
        matches!(self, Self::TonicShm | Self::TonicUds | Self::TonicDuplex)
    }

    /// It has tasks, and a runtime.
    pub(crate) fn has_tasks(self) -> bool {
        Self::ON_TOKIO.contains(&self) || self.is_grpc()
    }

    /// Transports of one family differ in how one thing is used, or in what carries the same calls.
    pub(crate) fn family(self) -> Self {
        match self {
            Self::ShmStreams => Self::ShmSync,
            Self::TonicUds | Self::TonicDuplex => Self::TonicShm,
            other => other,
        }
    }
}

words!(
    /// How a process waits for a message.
    Wait { Spin = "spin", Adaptive = "adaptive", Block = "block" }
);

words!(
    /// Where the tasks of a process run.
    Runtime {
        /// A current-thread runtime; the caller is a task.
        Current = "current",
        /// A multi-thread runtime with its defaults; the caller is a task.
        Multi = "multi",
        /// The same runtime; the caller is the one in `block_on`, as in `main`.
        Main = "main",
        /// There are no tasks.
        #[value(skip)]
        None = "none",
    }
);

words!(
    /// What the survivor of a kill is calling.
    Call {
        /// Waiting for a message.
        Recv = "recv",
        /// Waiting for a stream.
        Accept = "accept",
        /// Waiting for room, as the victim reads nothing.
        Reserve = "reserve",
        /// In the middle of a ping-pong.
        Echo = "echo",
        /// Nothing; then the first `recv` after the death.
        Next = "next",
    }
);

words!(
    /// Whether the reader copies a message out before it looks at it.
    Trust { Untrusted = "untrusted", Trusted = "trusted" }
);

words!(
    /// What wakes a sleeping peer.
    Bell {
        Socket = "socket",
        Eventfd = "eventfd",
        /// Nothing of its own: the transport spins, or the kernel wakes as it carries bytes.
        #[value(skip)]
        None = "none",
    }
);

words!(
    /// Whether payload bytes are written and checked.
    Touch { All = "all", None = "none" }
);

/// A number of bytes, written with an optional `k` or `m` for the powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Size(pub(crate) usize);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, shift) = match text.char_indices().last() {
            Some((at, 'k' | 'K')) => (&text[..at], 10),
            Some((at, 'm' | 'M')) => (&text[..at], 20),
            _ => (text, 0),
        };
        let number: usize = digits.parse().map_err(|_| format!("`{text}` is not a size"))?;
        match number.checked_mul(1 << shift) {
            Some(bytes) if (8..=1 << 30).contains(&bytes) => Ok(Self(bytes)),
            _ => Err(format!("a message has between 8 bytes and 1024M, not `{text}`")),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            bytes if bytes % (1 << 20) == 0 => format!("{}M", bytes >> 20),
            bytes if bytes % (1 << 10) == 0 => format!("{}K", bytes >> 10),
            bytes => bytes.to_string(),
        };
        f.pad(&text)
    }
}

/// The CPUs that driver and peer are pinned to, if they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) driver: Option<usize>,
    pub(crate) peer: Option<usize>,
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self { driver: None, peer: None });
        }
        let both = text.split_once(',').and_then(|(driver, peer)| {
            let (driver, peer) = (driver.trim().parse().ok()?, peer.trim().parse().ok()?);
            Some(Self { driver: Some(driver), peer: Some(peer) })
        });
        both.ok_or_else(|| format!("`{text}` is neither two CPUs such as `0,1` nor `none`"))
    }
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| format!("`{text}` is not a positive number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_powers_of_1024() {
        let bytes = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!(bytes("64"), Ok(64));
        assert_eq!(bytes("4k"), Ok(4096));
        assert_eq!(bytes("64K"), Ok(65536));
        assert_eq!(bytes("1M"), Ok(1 << 20));
        for wrong in ["", "k", "4kb", "-1", "7", "1025M", "99999999999999999999M", "1 k"] {
            assert!(bytes(wrong).is_err(), "`{wrong}` was taken for a size");
        }
    }

    #[test]
    fn sizes_print_as_they_are_read() {
        for text in ["64", "4K", "64K", "1M", "100"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_pin_is_two_cpus() {
        assert_eq!("0,1".parse(), Ok(Pin { driver: Some(0), peer: Some(1) }));
        assert_eq!("none".parse(), Ok(Pin { driver: None, peer: None }));
        assert!("0".parse::<Pin>().is_err());
        assert!("0,1,2".parse::<Pin>().is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
