//! Streams of the tokio flavour, and their halves.

use std::io::{self, IoSlice, Read, Write};
use std::time::{Duration, Instant};

use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
use ::tokio::time::{timeout, timeout_at};
use futures_util::{FutureExt, StreamExt};
use shmipc_async::{RecvStream, SendStream};
use shmipc_core::error::{RecvError, SendError, TryError};
use shmipc_core::handle::{Message, Reservation};
use shmipc_core::session::StreamId;

use super::on::On;
use crate::flavour;

/// A stream, in halves.
#[derive(Debug)]
pub struct Stream {
    sender: On<SendStream>,
    receiver: On<RecvStream>,
}

impl Stream {
    pub(super) fn new(sender: On<SendStream>, receiver: On<RecvStream>) -> Self {
        Self { sender, receiver }
    }
}

impl flavour::Stream for Stream {
    type Sender = On<SendStream>;
    type Receiver = On<RecvStream>;

    fn id(&self) -> StreamId {
        self.sender.inner().id()
    }

    fn sender(&mut self) -> &mut Self::Sender {
        &mut self.sender
    }

    fn receiver(&mut self) -> &mut Self::Receiver {
        &mut self.receiver
    }

    fn into_split(self) -> (Self::Sender, Self::Receiver) {
        (self.sender, self.receiver)
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.receiver.read(out)
    }
}

impl Write for Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.sender.write(data)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.sender.write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sender.flush()
    }
}

impl flavour::Sender for On<SendStream> {
    fn max_message(&self) -> usize {
        self.inner().max_message()
    }

    fn reserve(&mut self, len: usize) -> Result<Reservation, SendError> {
        self.call(move |sender| sender.reserve(len).boxed())
    }

    fn reserve_timeout(&mut self, len: usize, time: Duration) -> Result<Reservation, SendError> {
        self.call(move |sender| {
            let reserved = async move { timeout(time, sender.reserve(len)).await };
            reserved.map(|reserved| reserved.unwrap_or(Err(SendError::TimedOut))).boxed()
        })
    }

    fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        let data = data.to_vec();
        self.call(move |sender| async move { sender.send(&data).await }.boxed())
    }

    fn try_send(&mut self, data: &[u8]) -> Result<(), TryError<SendError>> {
        let data = data.to_vec();
        self.call_now(move |sender| sender.try_send(&data))
    }

    fn try_reserve(&mut self, len: usize) -> Result<Reservation, TryError<SendError>> {
        self.call_now(move |sender| sender.try_reserve(len))
    }

    fn send_batch(&mut self, messages: &[&[u8]]) -> Result<(), SendError> {
        let messages: Vec<_> = messages.iter().map(|message| message.to_vec()).collect();
        self.call(move |sender| {
            async move {
                let mut batch = sender.batch();
                messages.iter().try_for_each(|message| batch.push(message))?;
                batch.commit().await
            }
            .boxed()
        })
    }

    fn finish_with(&mut self, data: &[u8]) -> Result<(), SendError> {
        let data = data.to_vec();
        self.call(move |sender| async move { sender.finish_with(&data).await }.boxed())
    }

    fn finish(&mut self) -> Result<(), SendError> {
        self.call_now(SendStream::finish)
    }

    fn reset(&mut self, code: u32) {
        self.call_now(move |sender| sender.reset(code));
    }
}

impl Write for On<SendStream> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let data = data.to_vec();
        self.call(move |sender| async move { sender.write(&data).await }.boxed())
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let buffers: Vec<_> = buffers.iter().map(|buffer| buffer.to_vec()).collect();
        self.call(move |sender| {
            async move {
                let buffers: Vec<_> = buffers.iter().map(|buffer| IoSlice::new(buffer)).collect();
                sender.write_vectored(&buffers).await
            }
            .boxed()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call(|sender| async move { sender.flush().await }.boxed())
    }
}

impl flavour::Receiver for On<RecvStream> {
    fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        self.call(|receiver| receiver.recv().boxed())
    }

    fn recv_timeout(&mut self, time: Duration) -> Result<Option<Message>, RecvError> {
        self.call(move |receiver| {
            let received = async move { timeout(time, receiver.recv()).await };
            received.map(|received| received.unwrap_or(Err(RecvError::TimedOut))).boxed()
        })
    }

    fn recv_deadline(&mut self, deadline: Instant) -> Result<Option<Message>, RecvError> {
        self.call(move |receiver| {
            let received = async move { timeout_at(deadline.into(), receiver.recv()).await };
            received.map(|received| received.unwrap_or(Err(RecvError::TimedOut))).boxed()
        })
    }

    fn recv_into(&mut self, out: &mut [u8]) -> Result<Option<usize>, RecvError> {
        let mut buffer = out.to_vec();
        let received = self.call(move |receiver| {
            async move { (receiver.recv_into(&mut buffer).await, buffer) }.boxed()
        });
        let (received, buffer) = received;
        out.copy_from_slice(&buffer);
        received
    }

    fn try_recv(&mut self) -> Result<Option<Message>, TryError<RecvError>> {
        self.call_now(RecvStream::try_recv)
    }

    fn messages(&mut self) -> impl Iterator<Item = Result<Message, RecvError>> + '_ {
        std::iter::from_fn(|| {
            self.call(|receiver| async move { receiver.messages().next().await }.boxed())
        })
    }

    fn stop(&mut self, code: u32) {
        self.call_now(move |receiver| receiver.stop(code));
    }
}

impl Read for On<RecvStream> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut buffer = out.to_vec();
        let read = self.call(move |receiver| {
            async move { (receiver.read(&mut buffer).await, buffer) }.boxed()
        });
        let (read, buffer) = read;
        out.copy_from_slice(&buffer);
        read
    }
}
