//! What a run consists of: how many upgrades, and who is killed at which step of them.

use std::time::Duration;

/// What a run consists of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The binary `upgrades`.
    pub program: &'static str,
    /// How many servers follow the first one.
    pub upgrades: u32,
    /// Who is killed, if anybody is.
    pub kill: Option<Kill>,
    /// Each thread of a client sends so often; if not given, half as often as is possible.
    pub interval: Option<Duration>,
    /// Between upgrades.
    pub rest: Duration,
    /// Whether to compare what everybody holds after the 10th upgrade and at the end.
    pub weigh: bool,
    /// Whether to say how it goes.
    pub talkative: bool,
}

/// Who is killed. Each upgrade is another step of the protocol's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// The one that takes over; another one follows, which is not killed.
    Successor,
    /// The one that is taken over from.
    Predecessor,
    /// Nobody: either stops for a while, where it would have been killed.
    Nobody,
}

/// Where the one that takes over is when somebody is killed.
pub(super) const PAUSES: [&str; 4] = ["starting", "bound", "asked", "serving"];
/// What the one that takes over does when it stops by itself.
pub(super) const OF_SUCCESSOR: [&str; 6] =
    ["ClaimUnsent", "ClaimSent", "ReadyUnsent", "ReadySent", "ServingUnsent", "ServingSent"];
/// The same of the one that is taken over from.
pub(super) const OF_PREDECESSOR: [&str; 4] =
    ["OfferUnsent", "OfferSent", "YieldUnsent", "YieldSent"];
/// The same if it has a predecessor itself.
pub(super) const OF_BOTH: [&str; 2] = ["ReleaseUnsent", "ReleaseSent"];
impl Kill {
    /// The steps, which take turns.
    fn steps(self) -> Vec<&'static str> {
        match self {
            Self::Successor => [&PAUSES[..], &OF_SUCCESSOR].concat(),
            Self::Predecessor => [&PAUSES[..], &OF_PREDECESSOR, &OF_BOTH].concat(),
            Self::Nobody => [&OF_SUCCESSOR[..], &OF_PREDECESSOR, &OF_BOTH].concat(),
        }
    }

    /// The step at which somebody is killed in that upgrade.
    pub(super) fn step(self, upgrade: u32) -> &'static str {
        let steps = self.steps();
        steps[(upgrade as usize - 1) % steps.len()]
    }

    /// Upgrades until each step had its turn.
    pub fn round(self) -> u32 {
        self.steps().len() as u32
    }
}

/// The step of an upgrade in which nobody is killed.
pub const UPGRADE: &str = "upgrade";

/// Where a server stops as the predecessor of that upgrade, if it does.
pub(super) fn own_step(plan: &Plan, upgrade: u32) -> &'static str {
    let step = plan.kill.map_or("", |kill| kill.step(upgrade));
    if OF_PREDECESSOR.contains(&step) { step } else { "" }
}
