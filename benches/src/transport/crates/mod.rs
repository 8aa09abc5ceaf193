//! Crates that a user might pick instead, each used as its own documentation recommends for speed. They are
//! built with the feature `peers` alone; without it their names are there and say so.

#[cfg(feature = "peers")]
mod iceoryx;
#[cfg(feature = "peers")]
mod ipc_channel;
#[cfg(feature = "peers")]
mod shmipc_rs;
#[cfg(feature = "peers")]
mod zeromq;

use super::Visitor;
use crate::args;

/// Calls `visitor` with the type that a transport of a crate names.
#[cfg(feature = "peers")]
pub(super) fn visit<V: Visitor>(transport: args::Transport, visitor: V) -> V::Output {
    match transport {
        args::Transport::IpcChannel => visitor.visit::<ipc_channel::IpcChannel>(),
        args::Transport::ShmipcRs | args::Transport::ShmipcRsEventfd => {
            visitor.visit::<shmipc_rs::ShmipcRs>()
        }
        args::Transport::Iceoryx2PubSub | args::Transport::Iceoryx2PubSubEvent => {
            visitor.visit::<iceoryx::PubSub>()
        }
        args::Transport::Iceoryx2ReqRes | args::Transport::Iceoryx2ReqResEvent => {
            visitor.visit::<iceoryx::ReqRes>()
        }
        _ => visitor.visit::<zeromq::Zeromq>(),
    }
}

#[cfg(not(feature = "peers"))]
pub(super) fn visit<V: Visitor>(_: args::Transport, visitor: V) -> V::Output {
    visitor.visit::<absent::Absent>()
}

#[cfg(not(feature = "peers"))]
mod absent {
    use std::io;
    use std::os::fd::OwnedFd;

    use super::super::{Arm, Link, Offer, Transport};

    /// What was not built.
    #[derive(Debug)]
    pub(crate) struct Absent;

    #[derive(Debug)]
    pub(crate) enum Nothing {}

    impl Transport for Absent {
        type Ends = Vec<Nothing>;

        fn settle(_: &mut Arm) -> Result<(), String> {
            Err("not built: cargo run --release -p benches --features peers --bin ipcbench".into())
        }

        fn offer(_: &Arm) -> io::Result<Offer<Self::Ends>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn join(_: &Arm, _: Vec<OwnedFd>) -> io::Result<Self::Ends> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    impl Link for Nothing {
        fn send(&mut self, _: u64, _: u64) -> io::Result<()> {
            match *self {}
        }

        fn recv(&mut self, _: u64) -> io::Result<()> {
            match *self {}
        }
    }
}
