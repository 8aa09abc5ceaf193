//! Whole streams.

use std::io;
use std::time::Duration;

use shmipc_core::error::{RecvError, SendError, TryError};
use shmipc_core::handle::{Message, RecvHalf, SendHalf, Session};
use shmipc_core::session::StreamId;

use crate::{Batch, RecvStream, Reservation, SendStream};

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

    /// Both halves, each with its own timeout, for two threads.
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

    /// How long calls wait at most, in both directions. Default: without limit.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.send.set_timeout(timeout);
        self.recv.set_timeout(timeout);
    }

    /// See [`SendStream::reserve`].
    ///
    /// # Errors
    /// As there.
    pub fn reserve(&mut self, len: usize) -> Result<Reservation, SendError> {
        self.send.reserve(len)
    }

    /// See [`SendStream::send`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.send.send(data)
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

    /// See [`SendStream::finish_with`].
    ///
    /// # Errors
    /// As there.
    pub fn finish_with(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.send.finish_with(data)
    }

    /// See [`SendStream::reset`].
    pub fn reset(&mut self, code: u32) {
        self.send.reset(code);
    }

    /// See [`RecvStream::recv`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        self.recv.recv()
    }

    /// See [`RecvStream::recv_into`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn recv_into(&mut self, out: &mut [u8]) -> Result<Option<usize>, RecvError> {
        self.recv.recv_into(out)
    }

    /// See [`RecvStream::recv_timeout`].
    ///
    /// # Errors
    /// As there.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Message>, RecvError> {
        self.recv.recv_timeout(timeout)
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

impl io::Write for Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.send.write(data)
    }

    fn write_vectored(&mut self, buffers: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.send.write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send.flush()
    }
}

impl io::Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.recv.read(out)
    }
}
