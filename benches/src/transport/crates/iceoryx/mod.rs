//! `iceoryx2-pubsub` and `iceoryx2-reqres`, which poll as their examples do, and the same with `-event`, whose
//! receiver sleeps in a listener until the sender's notifier wakes it.
//!
//! Payload is written in place in a loaned sample that was not zeroed before, and checked in place. Services are
//! those for a single thread, which take no locks: links side by side are served in turn by one thread.

mod pubsub;
mod reqres;

pub(crate) use pubsub::PubSub;
pub(crate) use reqres::ReqRes;

use std::hint;
use std::io;
use std::time::Duration;

use ::iceoryx2::port::listener::Listener;
use ::iceoryx2::port::notifier::Notifier;
use ::iceoryx2::prelude::{
    LogLevel, Node, NodeBuilder, ServiceName, SignalHandlingMode, ipc, set_log_level,
};

use super::super::{Arm, Side};
use crate::args::{Bell, Trust, Wait};
use crate::transport::args::Transport;
use crate::transport::shm::other;

/// Services that one node has side by side here: each has files of its own, and to make thousands takes minutes.
const AT_MOST: usize = 200;

/// How often a sleeper looks on its own. The listener of 0.10.0 may take the datagram of a notification whose
/// notifier has yet to say that it has sent one, and then nobody sends it another: it would sleep for good. To
/// wait for a time takes it the same system calls as to wait for ever.
const AT_LEAST_EVERY: Duration = Duration::from_millis(10);

fn settle(arm: &mut Arm) -> Result<(), String> {
    use Transport::{Iceoryx2PubSubEvent, Iceoryx2ReqResEvent};
    let event = matches!(arm.transport, Iceoryx2PubSubEvent | Iceoryx2ReqResEvent);
    (arm.wait, arm.bell) =
        if event { (Wait::Block, Bell::Socket) } else { (Wait::Spin, Bell::None) };
    arm.trust = Trust::Trusted;
    arm.without_session();
    arm.one_thread()?;
    match arm.streams <= AT_MOST {
        true => Ok(()),
        false => Err(format!(
            "not supported: at most {AT_MOST} side by side, which it takes long to make"
        )),
    }
}

fn node() -> io::Result<Node<ipc::Service>> {
    set_log_level(LogLevel::Error);
    let builder = NodeBuilder::new().signal_handling_mode(SignalHandlingMode::Disabled);
    builder.create::<ipc::Service>().map_err(other)
}

/// The name of what link `number` has for `what`.
fn name(arm: &Arm, number: usize, what: &str) -> io::Result<ServiceName> {
    let name = format!("{}/{}/{number}/{what}", arm.socket, arm.transport);
    ServiceName::new(&name).map_err(other)
}

/// How a side waits, and wakes the other.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each link, which lasts")]
enum Waiting {
    Polling,
    Sleeping { notifier: Notifier<ipc::Service>, listener: Listener<ipc::Service>, bells: u64 },
}

impl Waiting {
    fn new(arm: &Arm, node: &Node<ipc::Service>, number: usize, side: Side) -> io::Result<Self> {
        if arm.wait == Wait::Spin {
            return Ok(Self::Polling);
        }
        let service = |what| {
            let builder = node.service_builder(&name(arm, number, what)?).event();
            let builder = builder.disable_notifier_created_event().disable_notifier_dropped_event();
            builder.open_or_create().map_err(other)
        };
        let (out, into) = side.orient("wake-peer", "wake-driver");
        Ok(Self::Sleeping {
            notifier: service(out)?.notifier_builder().create().map_err(other)?,
            listener: service(into)?.listener_builder().create().map_err(other)?,
            bells: 0,
        })
    }

    /// After something was sent.
    #[inline]
    fn wake(&mut self) -> io::Result<()> {
        if let Self::Sleeping { notifier, bells, .. } = self {
            *bells += 1;
            notifier.notify().map_err(other)?;
        }
        Ok(())
    }

    /// Waits until `receive` gives something.
    #[inline]
    fn until<T>(&self, mut receive: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
        loop {
            if let Some(received) = receive()? {
                return Ok(received);
            }
            match self {
                Self::Polling => hint::spin_loop(),
                Self::Sleeping { listener, .. } => {
                    listener.timed_wait(|_| (), AT_LEAST_EVERY).map_err(other)?;
                }
            }
        }
    }

    fn bells(&self) -> u64 {
        match self {
            Self::Polling => 0,
            Self::Sleeping { bells, .. } => *bells,
        }
    }
}
