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
    Bench {
        Latency = "latency",
        Throughput = "throughput",
        Both = "both",
        Parallel = "parallel",
        FanIn = "fan-in",
        Load = "load",
        Quiet = "quiet",
        Timers = "timers",
    }
);

impl Bench {
    /// Messages go one way, and nobody replies.
    pub(crate) fn is_one_way(self) -> bool {
        matches!(self, Self::Throughput | Self::Both | Self::Load)
    }

    /// Links are used side by side, by a thread or a task each.
    pub(crate) fn is_side_by_side(self) -> bool {
        matches!(self, Self::Parallel | Self::FanIn)
    }

    /// Its figure is a duration, not a rate.
    pub(crate) fn is_about_durations(self) -> bool {
        matches!(self, Self::Latency | Self::Timers | Self::Load | Self::Quiet)
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
        /// A Unix stream socket, connected, used once and closed for each round trip.
        UdsConnect = "uds-connect",
        /// The same over TCP, reset at its end so that no port stays taken.
        TcpConnect = "tcp-connect",
        /// A session of shmipc with one stream, connected, used once and closed for each round trip.
        ShmConnect = "shm-connect",
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
        /// The crate shmipc 0.2 (shmipc-rs), in its default mode.
        ShmipcRs = "shmipc-rs",
        /// The same with eventfds, which it recommends for small messages.
        ShmipcRsEventfd = "shmipc-rs-eventfd",
        /// The crate iceoryx2, publish and subscribe, polling.
        Iceoryx2PubSub = "iceoryx2-pubsub",
        /// The same, woken by its events.
        Iceoryx2PubSubEvent = "iceoryx2-pubsub-event",
        /// The crate iceoryx2, request and response, polling.
        Iceoryx2ReqRes = "iceoryx2-reqres",
        /// The same, woken by its events.
        Iceoryx2ReqResEvent = "iceoryx2-reqres-event",
        /// ZeroMQ over ipc.
        Zmq = "zmq",
        /// The crate ipc-channel.
        IpcChannel = "ipc-channel",
    }
);

impl Transport {
    /// What can also be given a rate, and is unless told otherwise.
    pub(crate) const PACED: &[Self] =
        &[Self::Futex, Self::Uds, Self::Tcp, Self::ShmSync, Self::UdsAsync, Self::ShmAsync];

    /// What `parallel` compares unless told otherwise.
    pub(crate) const SIDE_BY_SIDE: &[Self] = &[Self::Uds, Self::ShmSync];

    /// What is measured unless told otherwise: all but the crates that are not built, the last eight.
    pub(crate) const BUILT: &[Self] = match cfg!(feature = "peers") {
        true => Self::ALL,
        false => Self::ALL.split_at(Self::ALL.len() - 8).0,
    };

    /// Those crates.
    pub(crate) const CRATES: &[Self] = Self::ALL.split_at(Self::ALL.len() - 8).1;

    /// What `timers` compares unless told otherwise.
    pub(crate) const ON_TOKIO: &[Self] = &[Self::UdsAsync, Self::ShmAsync];

    /// shmipc carries it.
    pub(crate) fn is_ours(self) -> bool {
        use Transport::{ShmAsync, ShmConnect, ShmStreams, ShmSync, TonicShm};
        matches!(self, ShmSync | ShmStreams | ShmConnect | ShmAsync | TonicShm)
    }

    pub(crate) fn is_grpc(self) -> bool {
        matches!(self, Self::TonicShm | Self::TonicUds | Self::TonicDuplex)
    }

    /// It has tasks, and a runtime.
    pub(crate) fn has_tasks(self) -> bool {
        let on_tokio = [Self::UdsAsync, Self::ShmAsync, Self::ShmipcRs, Self::ShmipcRsEventfd];
        on_tokio.contains(&self) || self.is_grpc()
    }

    /// Transports of one family differ in how one thing is used, or in what carries the same calls.
    pub(crate) fn family(self) -> Self {
        match self {
            Self::ShmStreams => Self::ShmSync,
            Self::TcpConnect | Self::ShmConnect => Self::UdsConnect,
            Self::ShmipcRsEventfd => Self::ShmipcRs,
            Self::Iceoryx2PubSubEvent => Self::Iceoryx2PubSub,
            Self::Iceoryx2ReqResEvent => Self::Iceoryx2ReqRes,
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
