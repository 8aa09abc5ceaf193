//! Whole streams.

use std::io;
use std::time::Duration;

use shmipc_core::error::{RecvError, SendError};
use shmipc_core::handle::{Message, RecvHalf, SendHalf, Session, Trust, Trusted, Untrusted};
use shmipc_core::session::StreamId;

use crate::{Batch, RecvStream, Reservation, SendStream};

/// A stream of messages, or of bytes, in both directions.
#[derive(Debug)]
pub struct Stream<T: Trust = Untrusted> {
    send: SendStream,
    recv: RecvStream<T>,
}

impl Stream {
    pub(crate) fn new(session: &Session, send: SendHalf, recv: RecvHalf) -> Self {
        Self { send: SendStream::new(session, send), recv: RecvStream::new(session, recv) }
    }

    /// The same stream with zero-copy reading, if the configuration carries the promise
    /// ([`PeerTrust`](crate::PeerTrust)).
    ///
    /// # Errors
    /// The stream itself, of a session without the promise.
    #[expect(clippy::result_large_err, reason = "the stream itself comes back")]
    pub fn into_trusted(self) -> Result<Stream<Trusted>, Self> {
        let Self { send, recv } = self;
        match recv.into_trusted() {
            Ok(recv) => Ok(Stream { send, recv }),
            Err(recv) => Err(Self { send, recv }),
        }
    }
}

impl Stream<Trusted> {
    /// The same stream without zero-copy reading, for code that takes any.
    pub fn into_untrusted(self) -> Stream {
        Stream { send: self.send, recv: self.recv.into_untrusted() }
    }
}

impl<T: Trust> Stream<T> {
    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.send.id()
    }

    /// Both halves, each with its own timeout, for two threads.
    pub fn into_split(self) -> (SendStream, RecvStream<T>) {
        (self.send, self.recv)
    }

    /// The sending half.
    pub fn sender(&mut self) -> &mut SendStream {
        &mut self.send
    }

    /// The receiving half.
    pub fn receiver(&mut self) -> &mut RecvStream<T> {
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
    pub fn recv(&mut self) -> Result<Option<Message<T>>, RecvError> {
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
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Message<T>>, RecvError> {
        self.recv.recv_timeout(timeout)
    }

    /// See [`RecvStream::stop`].
    pub fn stop(&mut self, code: u32) {
        self.recv.stop(code);
    }
}

impl<T: Trust> io::Write for Stream<T> {
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

impl<T: Trust> io::Read for Stream<T> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.recv.read(out)
    }
}
