//! The driver's part: calls.

use std::io;

use bytes::Bytes;
use examples_grpc::EchoClient;
use tonic::transport::Channel;

use crate::payload::Payload;
use crate::transport::shm::other;
use crate::transport::{Arm, TaskLink};

/// Each caller counts from a number of its own, so that no two messages under way are the same.
const APART: u64 = 1 << 40;

/// One call at a time over a channel that all share.
#[derive(Debug)]
pub(crate) struct Caller {
    client: EchoClient,
    payload: Payload,
    size: usize,
    /// What its numbers begin with.
    base: u64,
    request: Bytes,
}

impl Caller {
    /// As many as the arm has streams.
    pub(super) fn all(arm: &Arm, channel: &Channel) -> Vec<Self> {
        let caller = |number| Self {
            client: EchoClient::new(channel.clone()),
            payload: arm.payload(),
            size: arm.size.0,
            base: number * APART,
            request: Bytes::new(),
        };
        (0..arm.streams as u64).map(caller).collect()
    }
}

impl TaskLink for Caller {
    /// It goes out with the call, which is made by whoever waits for the answer.
    async fn send(&mut self, seq: u64) -> io::Result<()> {
        let mut request = vec![0; self.size];
        self.payload.fill(&mut request, self.base + seq);
        self.request = request.into();
        Ok(())
    }

    async fn recv(&mut self, seq: u64) -> io::Result<()> {
        let request = std::mem::take(&mut self.request);
        let answer = self.client.call(request).await.map_err(other)?;
        assert_eq!(answer.len(), self.size, "message {seq} has a wrong length");
        self.payload.check(&answer, self.base + seq);
        Ok(())
    }
}
