//! What has come of a run.

use std::time::Duration;

use super::account::Sum;
use super::clients::THREADS;
use super::message::SIZES;
use crate::child::Peer;
use crate::proc::{Held, pss};

/// What a process holds, and its memory.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    /// Descriptors and mappings.
    pub held: Held,
    /// Memory that it pays for, KiB.
    pub kibibytes: u64,
}

impl Weight {
    pub(super) fn of(peer: &Peer) -> Self {
        Self { held: Held::by(peer.pid()), kibibytes: pss(peer.pid()) }
    }

    /// Whether nothing has piled up since. Memory alone has an allowance: what an allocator may keep of the
    /// largest message for each thread that sends or answers.
    fn is_like(self, before: Self) -> bool {
        let kept = 2 * THREADS as u64 * (SIZES.1 as u64 >> 10);
        self.held == before.held && self.kibibytes <= before.kibibytes + kept
    }
}

/// Of the server, the blocking and the tokio client.
pub type Weights = [Weight; 3];

/// What has come of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Messages.
    pub sum: Sum,
    /// The longest wait of any client, for each upgrade and each step at which somebody was killed.
    pub pauses: Vec<(&'static str, Duration)>,
    /// How long it took others to learn of a death, since the dead was reaped.
    pub learned: Vec<(&'static str, Duration)>,
    /// After the 10th upgrade and the last one.
    pub weights: Option<(Weights, Weights)>,
}

impl Report {
    /// Whether nobody holds more after the last upgrade than after the 10th.
    pub fn is_flat(&self) -> bool {
        let like = |(early, late): &(Weights, Weights)| {
            late.iter().zip(early).all(|(late, &early)| late.is_like(early))
        };
        self.weights.as_ref().is_none_or(like)
    }
}
