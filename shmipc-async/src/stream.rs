//! Whole streams.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use shmipc_core::error::{RecvError, SendError, TryError};
use shmipc_core::handle::{Message, RecvHalf, Reservation, SendHalf, Session};
use shmipc_core::session::StreamId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{Batch, RecvStream, SendStream};

/// A stream of messages, or of bytes, in both directions.
#[derive(Debug)]
pub struct Stream {
    send: SendStream,
    recv: RecvStream,
}

impl Stream {
    pub(crate) fn new(session: &Session, send: SendHalf, recv: RecvHalf) -> Self {
        Self { send: SendStream::new(session, send), recv: RecvStream::new(session, recv) }
    }
}

impl Stream {
    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.send.id()
    }

    /// Both halves, for two tasks.
    pub fn into_split(self) -> (SendStream, RecvStream) {
        (self.send, self.recv)
    }

    /// The sending half.
    pub fn sender(&mut self) -> &mut SendStream {
        &mut self.send
    }

    /// The receiving half.
    pub fn receiver(&mut self) -> &mut RecvStream {
        &mut self.recv
    }

    /// Largest message, bytes.
    pub fn max_message(&self) -> usize {
        self.send.max_message()
    }

    /// See [`SendStream::reserve`]. Cancel safe.
    ///
    /// # Errors
    /// As there.
    pub async fn reserve(&mut self, len: usize) -> Result<Reservation, SendError> {
        self.send.reserve(len).await
    }

    /// See [`SendStream::send`]. Cancel safe.
    ///
    /// # Errors
    /// As there.
    pub async fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.send.send(data).await
    }

    /// Sends one message if nothing has to be waited for; see [`SendStream::try_send`].
    ///
    /// # Errors
    /// [`TryError::WouldBlock`] if something has; else as [`send`](Self::send). Nothing was sent.
    pub fn try_send(&mut self, data: &[u8]) -> Result<(), TryError<SendError>> {
        self.send.try_send(data)
    }

    /// Reserves memory for a message if nothing has to be waited for; see [`SendStream::try_reserve`].
    ///
    /// # Errors
    /// [`TryError::WouldBlock`] if something has; else as [`reserve`](Self::reserve).
    pub fn try_reserve(&mut self, len: usize) -> Result<Reservation, TryError<SendError>> {
        self.send.try_reserve(len)
    }

    /// See [`SendStream::batch`].
    pub fn batch(&mut self) -> Batch<'_> {
        self.send.batch()
    }

    /// See [`SendStream::finish`].
    ///
    /// # Errors
    /// As there.
    pub fn finish(&mut self) -> Result<(), SendError> {
        self.send.finish()
    }

    /// See [`SendStream::finish_with`]. Cancel safe.
    ///
    /// # Errors
    /// As there.
    pub async fn finish_with(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.send.finish_with(data).await
    }

    /// See [`SendStream::reset`].
    pub fn reset(&mut self, code: u32) {
        self.send.reset(code);
    }

    /// See [`RecvStream::recv`]. Cancel safe.
    ///
    /// # Errors
    /// As there.
    pub async fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        self.recv.recv().await
    }

    /// See [`RecvStream::recv_into`]. Cancel safe.
    ///
    /// # Errors
    /// As there.
    pub async fn recv_into(&mut self, out: &mut [u8]) -> Result<Option<usize>, RecvError> {
        self.recv.recv_into(out).await
    }

    /// Receives the next message if it is there already; see [`RecvStream::try_recv`].
    ///
    /// # Errors
    /// [`TryError::WouldBlock`] if no message has come; else as [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Option<Message>, TryError<RecvError>> {
        self.recv.try_recv()
    }

    /// See [`RecvStream::stop`].
    pub fn stop(&mut self, code: u32) {
        self.recv.stop(code);
    }
}

/// As of its [`RecvStream`]; cancel safe.
impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().recv).poll_read(cx, buf)
    }
}

/// As of its [`SendStream`]; cancel safe as that is.
impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().send).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().send).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().send).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().send).poll_shutdown(cx)
    }
}
