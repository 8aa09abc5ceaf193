//! What two Hellos agree on.

use crate::config::{BellKind, Config, WaitMode};
use crate::error::Refusal;
use crate::layout::{self, Geometry};
use crate::wire::{Features, Hello};

/// The Hello of this process with this configuration.
pub fn hello(config: &Config) -> Hello {
    Hello {
        word_bits: u8::try_from(usize::BITS).unwrap_or(u8::MAX),
        little_endian: cfg!(target_endian = "little"),
        wait: config.wait,
        bell: config.bell,
        trusts: config.is_trusted(),
        features: Features::SUPPORTED,
        limits: config.limits,
        app_version: config.app_version,
        app_name: config.app_name.clone(),
    }
}

/// What both sides compute from the two Hellos (H2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The direction that we write.
    pub out: Geometry,
    /// The direction that the peer writes.
    pub incoming: Geometry,
    /// Optional parts of the protocol that both have.
    pub features: Features,
    /// The bell (H5).
    pub bell: BellKind,
    /// How the peer waits.
    pub peer_wait: WaitMode,
    /// Whether the peer trusts us.
    pub peer_trusts: bool,
    /// Version of the peer's application protocol.
    pub peer_app_version: u32,
}

impl Terms {
    /// # Errors
    /// The [`Refusal`] to tell the peer, if the two cannot work together.
    pub fn agree(ours: &Hello, theirs: &Hello) -> Result<Self, Refusal> {
        if !theirs.fits_this_machine() {
            return Err(Refusal::Architecture);
        }
        if ours.app_name != theirs.app_name {
            let (theirs, ours) = (theirs.app_name.clone(), ours.app_name.clone());
            return Err(Refusal::Application { theirs, ours });
        }
        let negotiate = |writer: &Hello, reader: &Hello| {
            layout::negotiate(&writer.limits, &reader.limits).map_err(|_| Refusal::Limits)
        };
        let features = ours.features.intersection(theirs.features);
        Ok(Self {
            out: negotiate(ours, theirs)?,
            incoming: negotiate(theirs, ours)?,
            features,
            bell: agree_on_bell(ours, theirs, features),
            peer_wait: theirs.wait,
            peer_trusts: theirs.trusts,
            peer_app_version: theirs.app_version,
        })
    }

    /// Bytes of our segment 0.
    pub(super) fn own_bytes(&self) -> usize {
        layout::segment_bytes(&self.out, &self.incoming)
    }

    /// Bytes of the peer's segment 0.
    pub(super) fn peer_bytes(&self) -> usize {
        layout::segment_bytes(&self.incoming, &self.out)
    }
}

fn agree_on_bell(ours: &Hello, theirs: &Hello, features: Features) -> BellKind {
    let wishes = |hello: &Hello| hello.bell == BellKind::Eventfd && hello.trusts;
    let both = wishes(ours) && wishes(theirs) && features.contains(Features::EVENTFD_BELL);
    if both { BellKind::Eventfd } else { BellKind::Socket }
}
