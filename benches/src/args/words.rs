//! Words that are the same on the command line, on the control channel and in the report.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

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
    /// Messages go one way, and nobody replies.
    pub(crate) fn is_one_way(self) -> bool {
        self == Self::Throughput
    }

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
        /// The payload in place in a shared mapping, woken by a futex.
        Futex = "futex",
        /// A Unix stream socket.
        Uds = "uds",
        /// A Unix socket that keeps the bounds of messages.
        Seqpacket = "seqpacket",
        /// TCP over the loopback, without delay.
        Tcp = "tcp",
        /// POSIX message queues.
        Mqueue = "mqueue",
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
