//! Publish and subscribe: a service each way for each link, which loses nothing.

use std::io;
use std::os::fd::OwnedFd;

use ::iceoryx2::port::publisher::Publisher;
use ::iceoryx2::port::subscriber::Subscriber;
use ::iceoryx2::prelude::{Alignment, BackpressureStrategy, Node, ipc};

use super::{Waiting, name, node, settle};
use crate::legs::Lanes;
use crate::mem;
use crate::payload::Payload;
use crate::transport::bare_map::slots_for;
use crate::transport::shm::other;
use crate::transport::{Arm, Link, Offer, Side, Transport};

/// A subscriber connects to a publisher when it first looks for a message. Until then a publisher whose buffer is
/// full drops what it sends; so there is a message each way before any is measured.
const GREETING: u64 = 0;

#[derive(Debug)]
pub(crate) struct PubSub;

impl Transport for PubSub {
    type Ends = Lanes<Ports>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        settle(arm)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Self::Ends>> {
        let mut links = ports(std::slice::from_ref(arm), Side::Driver)?;
        let complete = move || {
            links.0.iter_mut().try_for_each(|link| link.recv(GREETING))?;
            links.0.iter_mut().try_for_each(|link| link.send(GREETING, 1))?;
            Ok(links)
        };
        Ok(Offer { fds: Vec::new(), complete: Box::new(complete) })
    }

    fn join(arm: &Arm, _fds: Vec<OwnedFd>) -> io::Result<Self::Ends> {
        let mut links = ports(&arm.clients(), Side::Peer)?;
        links.0.iter_mut().try_for_each(|link| link.send(GREETING, 1))?;
        links.0.iter_mut().try_for_each(|link| link.recv(GREETING))?;
        Ok(links)
    }
}

fn ports(arms: &[Arm], side: Side) -> io::Result<Lanes<Ports>> {
    let (node, mut links) = (node()?, Vec::new());
    for arm in arms {
        for number in 0..arm.streams {
            links.push(Ports::new(arm, &node, number, side)?);
        }
    }
    Ok(Lanes(links))
}

#[derive(Debug)]
pub(crate) struct Ports {
    publisher: Publisher<ipc::Service, [u8], ()>,
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    waiting: Waiting,
    payload: Payload,
}

impl Ports {
    fn new(arm: &Arm, node: &Node<ipc::Service>, number: usize, side: Side) -> io::Result<Self> {
        // So many that a batch fits while the one before is read: nobody waits without having woken the other.
        let slots = slots_for(arm);
        let service = |what| {
            let builder = node.service_builder(&name(arm, number, what)?);
            let builder = builder.publish_subscribe::<[u8]>().max_publishers(1).max_subscribers(1);
            let builder = builder.payload_alignment(Alignment::new(64).expect("a power of two"));
            let builder = builder.history_size(0).enable_safe_overflow(false);
            builder.subscriber_max_buffer_size(slots).open_or_create().map_err(other)
        };
        let (out, into) = side.orient("to-peer", "to-driver");
        let publisher = service(out)?
            .publisher_builder()
            .initial_max_slice_len(arm.size.0)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .map_err(other)?;
        let subscriber = service(into)?.subscriber_builder().create().map_err(other)?;
        let waiting = Waiting::new(arm, node, number, side)?;
        Ok(Self { publisher, subscriber, waiting, payload: arm.payload() })
    }
}

impl Link for Ports {
    #[inline]
    fn send(&mut self, first: u64, count: u64) -> io::Result<()> {
        for seq in first..first + count {
            let sample = self.publisher.loan_slice_uninit(self.payload.len(seq)).map_err(other)?;
            match mem::filled_sample(self.payload, sample, seq).send().map_err(other)? {
                1 => {}
                takers => return Err(other(format!("message {seq} was given to {takers} takers"))),
            }
        }
        self.waiting.wake()
    }

    #[inline]
    fn recv(&mut self, seq: u64) -> io::Result<()> {
        let sample = self.waiting.until(|| self.subscriber.receive().map_err(other))?;
        assert_eq!(sample.len(), self.payload.len(seq), "message {seq} has a wrong length");
        self.payload.check(&sample, seq);
        Ok(())
    }

    fn bells(&self) -> u64 {
        self.waiting.bells()
    }
}
