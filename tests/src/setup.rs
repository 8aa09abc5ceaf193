//! Configurations of the tests.

use std::str::FromStr;
use std::time::Duration;

use shmipc_core::mem::PeerTrust;
use shmipc_sync::{BellKind, Config, WaitMode};

/// Which limits a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The defaults.
    Default,
    /// The smallest that make sense: every bound is met quickly.
    Tiny,
    /// Much credit and little memory for payload, which goes back to the kernel at once.
    Scarce,
    /// A record queue of the smallest size and no other bound that is met soon: what is waited for is room
    /// in the queue.
    SmallRing,
    /// Ten thousand streams.
    Many,
}

/// A configuration that can be told to another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The limits.
    pub size: Size,
    /// How to wait.
    pub wait: WaitMode,
    /// How to wake.
    pub bell: BellKind,
    /// Whether to trust the peer.
    pub trusted: bool,
}

impl Setup {
    /// Defaults with these limits.
    pub const fn new(size: Size) -> Self {
        Self { size, wait: WaitMode::Adaptive, bell: BellKind::Socket, trusted: false }
    }

    /// The same with another way to wait.
    pub const fn wait(self, wait: WaitMode) -> Self {
        Self { wait, ..self }
    }

    /// The same with a trusted peer.
    pub const fn trusted(self) -> Self {
        Self { trusted: true, ..self }
    }

    /// The same with a trusted peer and the eventfd bell.
    pub const fn eventfd(self) -> Self {
        Self { trusted: true, bell: BellKind::Eventfd, ..self }
    }

    /// The configuration.
    pub fn config(self) -> Config {
        let mut builder = Config::builder().wait(self.wait).bell(self.bell);
        if self.trusted {
            builder = builder.trust(trust());
        }
        builder = match self.size {
            Size::Default => builder,
            Size::Tiny => builder
                .ring_bytes(4 << 10)
                .max_streams(4)
                .inline_max(240)
                .max_lent(256)
                .stream_window(4 << 10)
                .unread_max(8 << 10)
                .arena_max(8 << 20)
                .max_message(1 << 20),
            Size::Scarce => builder
                .arena_max(8 << 20)
                .max_message(1 << 20)
                .stream_window(16 << 20)
                .unread_max(64 << 20)
                .idle_memory_timeout(Duration::from_millis(20)),
            Size::SmallRing => builder.ring_bytes(4 << 10).max_streams(4),
            Size::Many => builder.ring_bytes(4 << 20).max_streams(10_000),
        };
        builder.build().expect("the limits are valid")
    }
}

/// Little queue space and memory, and credit for far more.
pub fn left_alone_config() -> Config {
    let builder = Config::builder().ring_bytes(4 << 10).max_streams(4).inline_max(240);
    let builder = builder.arena_max(8 << 20).max_message(1 << 20);
    builder.stream_window(8 << 20).unread_max(16 << 20).build().expect("the limits are valid")
}

/// The promise to trust the peer.
#[allow(unsafe_code)]
pub(crate) fn trust() -> PeerTrust {
    // SAFETY: every peer of these tests runs this library, which leaves lent memory alone.
    unsafe { PeerTrust::promise() }
}

impl std::fmt::Display for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { size, wait, bell, trusted } = self;
        write!(f, "{size:?},{wait:?},{bell:?},{trusted}")
    }
}

impl FromStr for Setup {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Size::Default, Size::Tiny, Size::Scarce, Size::SmallRing, Size::Many];
        let all = all.into_iter().flat_map(|size| {
            let waits = [WaitMode::Adaptive, WaitMode::Spin, WaitMode::Block];
            waits.into_iter().flat_map(move |wait| {
                let setup = Self::new(size).wait(wait);
                [setup, setup.trusted(), setup.eventfd()]
            })
        });
        let mut all = all.filter(|setup| setup.to_string() == text);
        all.next().ok_or_else(|| format!("`{text}` is no setup"))
    }
}
