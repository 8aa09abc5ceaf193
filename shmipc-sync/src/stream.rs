//! Streams, whole and in halves.

use std::io;
use std::task::Poll;
use std::time::{Duration, Instant};

use shmipc_core::error::{RecvError, SendError};
use shmipc_core::handle::{Message, RecvHalf, SendHalf, Session, Trust, Trusted, Untrusted};
use shmipc_core::queue::Flags;
use shmipc_core::session::StreamId;

pub use shmipc_core::handle::Reservation;

use crate::block::{For, block_on};

/// Largest piece that `write` sends as one record, bytes: a quarter of the default stream window, so
/// that a writer and a reader can work at the same time.
const WRITE_PIECE: usize = 64 << 10;

/// The sending half of a stream.
///
/// Dropped before [`finish`](Self::finish) it resets the stream, so that a reader never mistakes a
/// crash for the end.
#[derive(Debug)]
pub struct SendStream {
    session: Session,
    core: SendHalf,
    timeout: Option<Duration>,
    /// A message was begun by `write` and not ended.
    open_message: bool,
    /// The bytes of a batch in the making, and where each of its messages ends.
    staged: Vec<u8>,
    ends: Vec<usize>,
}

/// The receiving half of a stream. Dropped before its end it asks the peer to stop sending.
#[derive(Debug)]
pub struct RecvStream<T: Trust = Untrusted> {
    session: Session,
    core: RecvHalf<T>,
    timeout: Option<Duration>,
}

/// A stream of messages, or of bytes, in both directions.
#[derive(Debug)]
pub struct Stream<T: Trust = Untrusted> {
    send: SendStream,
    recv: RecvStream<T>,
}

fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    // The clock is read only if there is a limit.
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

impl SendStream {
    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.core.id()
    }

    /// Largest message, bytes.
    pub fn max_message(&self) -> usize {
        self.core.max_message()
    }

    /// How long sending calls wait at most. Default: without limit.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Reserves memory for a message of `len` bytes, to be filled in place and committed. **Blocks**
    /// for credit, queue space and memory: the only call that waits for the reader.
    ///
    /// Do not wait for another reservation of the same session while holding one.
    ///
    /// # Errors
    /// [`SendError`]; [`SendError::TooLarge`] at once for what can never fit.
    pub fn reserve(&mut self, len: usize) -> Result<Reservation, SendError> {
        self.reserve_until(len, deadline(self.timeout))
    }

    /// As [`reserve`](Self::reserve), for at most `timeout`.
    ///
    /// # Errors
    /// [`SendError::TimedOut`] too.
    pub fn reserve_timeout(
        &mut self,
        len: usize,
        timeout: Duration,
    ) -> Result<Reservation, SendError> {
        self.reserve_until(len, deadline(Some(timeout)))
    }

    fn reserve_until(
        &mut self,
        len: usize,
        deadline: Option<Instant>,
    ) -> Result<Reservation, SendError> {
        let mut reserving = self.core.reserve(len)?;
        block_on(&self.session, For::Room, deadline, |waker| reserving.poll(waker))
            .unwrap_or(Err(SendError::TimedOut))
    }

    /// Sends `data` as one message, copying it into shared memory. **Blocks** as
    /// [`reserve`](Self::reserve) does.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    #[inline]
    pub fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.send_flags(data, Flags::none())
    }

    /// Collects small messages, to be sent with one publication and at most one ring.
    pub fn batch(&mut self) -> Batch<'_> {
        self.staged.clear();
        self.ends.clear();
        Batch { stream: self, sent: 0 }
    }

    fn send_flags(&mut self, data: &[u8], flags: Flags) -> Result<(), SendError> {
        if !self.core.try_send(data, flags)? {
            let mut reservation = self.reserve(data.len())?;
            reservation.copy_from_slice(data);
            reservation.commit_flags(data.len(), flags)?;
        }
        self.open_message = flags.contains(Flags::MORE);
        Ok(())
    }

    /// Ends this direction in good order; the peer reads the end after what was sent. Never blocks.
    ///
    /// # Errors
    /// [`SendError::Ended`] the second time; [`SendError::Session`].
    pub fn finish(&mut self) -> Result<(), SendError> {
        self.open_message = false;
        self.core.finish()
    }

    /// Breaks this direction off; the peer's reads fail with `code` after what was sent. Never blocks.
    pub fn reset(&mut self, code: u32) {
        self.core.reset(code);
    }
}

/// Messages that are sent together; see [`SendStream::batch`]. Dropped instead of committed, none of
/// them is sent.
#[derive(Debug)]
pub struct Batch<'a> {
    stream: &'a mut SendStream,
    /// Messages of the batch that were sent already.
    sent: usize,
}

impl Batch<'_> {
    /// Adds a message. It is kept in private memory until the batch is committed.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] for a message that does not fit inside of a record.
    #[inline]
    pub fn push(&mut self, message: &[u8]) -> Result<(), SendError> {
        let max = self.stream.core.inline_max();
        if message.len() > max {
            return Err(SendError::TooLarge { len: message.len(), max });
        }
        self.stream.staged.extend_from_slice(message);
        self.stream.ends.push(self.stream.staged.len());
        Ok(())
    }

    /// Messages not yet sent.
    pub fn len(&self) -> usize {
        self.stream.ends.len() - self.sent
    }

    /// True if there is no message left to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends the messages, in order. **Blocks** for room as [`SendStream::send`] does; the peer sees
    /// what was sent before.
    ///
    /// # Errors
    /// [`SendError`]. The messages that remain were not sent, and can be committed again.
    pub fn commit(&mut self) -> Result<(), SendError> {
        while !self.is_empty() {
            let (staged, ends) = (&self.stream.staged, &self.stream.ends);
            let message = |i: usize| {
                let start = if i == 0 { 0 } else { ends[i - 1] };
                &staged[start..ends[i]]
            };
            let sent = self.stream.core.try_send_all((self.sent..ends.len()).map(message))?;
            self.sent += sent;
            if sent == 0 {
                // Wait for room for one of them, in line with other threads.
                let next = message(self.sent).to_vec();
                self.stream.send(&next)?;
                self.sent += 1;
            }
        }
        Ok(())
    }
}

/// Writes are published before they return, as parts of one message that `flush` (or `finish`) ends.
/// A peer that reads bytes does not have to wait for either.
impl io::Write for SendStream {
    /// **Blocks** as [`reserve`](SendStream::reserve) does; writes 64 KiB at most.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let piece = &data[..data.len().min(WRITE_PIECE).min(self.max_message())];
        self.send_flags(piece, Flags::none().with_if(Flags::MORE, true))?;
        Ok(piece.len())
    }

    /// Ends the message that `write` began, if any. **Blocks** as [`reserve`](SendStream::reserve) does.
    fn flush(&mut self) -> io::Result<()> {
        if self.open_message {
            self.send_flags(&[], Flags::none())?;
        }
        Ok(())
    }
}

impl<T: Trust> RecvStream<T> {
    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.core.id()
    }

    /// How long receiving calls wait at most. Default: without limit.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Receives the next message; `None` after the peer's finish. **Blocks** until there is one.
    ///
    /// # Errors
    /// [`RecvError`], after everything that was sent before has been received.
    #[inline]
    pub fn recv(&mut self) -> Result<Option<Message<T>>, RecvError> {
        let deadline = deadline(self.timeout);
        self.recv_until(deadline)
    }

    /// As [`recv`](Self::recv), for at most `timeout`. What has arrived of a message is kept.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`] too.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Message<T>>, RecvError> {
        self.recv_until(deadline(Some(timeout)))
    }

    /// As [`recv`](Self::recv), until `deadline`.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`] too.
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Option<Message<T>>, RecvError> {
        self.recv_until(Some(deadline))
    }

    #[inline]
    fn recv_until(&mut self, deadline: Option<Instant>) -> Result<Option<Message<T>>, RecvError> {
        let core = &mut self.core;
        block_on(&self.session, For::Record, deadline, |waker| core.poll_recv(waker))
            .unwrap_or(Err(RecvError::TimedOut))
    }

    /// Receives the next message into `out` and gives its length; `None` after the peer's finish.
    /// **Blocks** until there is one. The cheapest way to receive small messages: no memory is
    /// allocated.
    ///
    /// # Errors
    /// [`RecvError::TooLarge`] for a message longer than `out`, which stays the next message.
    #[inline]
    pub fn recv_into(&mut self, out: &mut [u8]) -> Result<Option<usize>, RecvError> {
        let (core, deadline) = (&mut self.core, deadline(self.timeout));
        block_on(&self.session, For::Record, deadline, |waker| core.poll_recv_into(out, waker))
            .unwrap_or(Err(RecvError::TimedOut))
    }

    /// Receives the next message if it is there already; `Poll::Pending` if not. Never blocks.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Poll<Result<Option<Message<T>>, RecvError>> {
        let polled = self.core.poll_recv(None);
        if polled.is_pending() {
            self.session.glance();
        }
        polled
    }

    /// Asks the peer to stop sending, with a code for its application. Never blocks.
    pub fn stop(&mut self, code: u32) {
        self.core.stop(code);
    }

    /// An iterator over the messages until the peer's finish.
    pub fn messages(&mut self) -> Messages<'_, T> {
        Messages { stream: self }
    }
}

/// Messages until the peer's finish; see [`RecvStream::messages`].
#[derive(Debug)]
pub struct Messages<'a, T: Trust = Untrusted> {
    stream: &'a mut RecvStream<T>,
}

impl<T: Trust> Iterator for Messages<'_, T> {
    type Item = Result<Message<T>, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.stream.recv().transpose()
    }
}

/// Reads bytes and ignores the bounds of messages. `Ok(0)` comes after the peer's finish only.
impl<T: Trust> io::Read for RecvStream<T> {
    /// **Blocks** until there is a byte, or the end.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (core, deadline) = (&mut self.core, deadline(self.timeout));
        block_on(&self.session, For::Record, deadline, |waker| core.poll_read(out, waker))
            .unwrap_or(Err(RecvError::TimedOut))
            .map_err(Into::into)
    }
}

impl Stream {
    pub(crate) fn new(session: &Session, send: SendHalf, recv: RecvHalf) -> Self {
        let (timeout, open_message) = (None, false);
        let (staged, ends) = (Vec::new(), Vec::new());
        let session_of_send = session.clone();
        let send = SendStream {
            session: session_of_send,
            core: send,
            timeout,
            open_message,
            staged,
            ends,
        };
        Self { send, recv: RecvStream { session: session.clone(), core: recv, timeout } }
    }

    /// The same stream with zero-copy reading, if the configuration carries the promise
    /// ([`PeerTrust`](crate::PeerTrust)).
    ///
    /// # Errors
    /// The stream itself, of a session without the promise.
    #[expect(clippy::result_large_err, reason = "the stream itself comes back")]
    pub fn into_trusted(self) -> Result<Stream<Trusted>, Self> {
        let Self { send, recv } = self;
        let RecvStream { session, core, timeout } = recv;
        match core.into_trusted() {
            Ok(core) => Ok(Stream { send, recv: RecvStream { session, core, timeout } }),
            Err(core) => Err(Self { send, recv: RecvStream { session, core, timeout } }),
        }
    }
}

impl Stream<Trusted> {
    /// The same stream without zero-copy reading, for code that takes any.
    pub fn into_untrusted(self) -> Stream {
        let RecvStream { session, core, timeout } = self.recv;
        let core = core.into_untrusted();
        Stream { send: self.send, recv: RecvStream { session, core, timeout } }
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

    fn flush(&mut self) -> io::Result<()> {
        self.send.flush()
    }
}

impl<T: Trust> io::Read for Stream<T> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.recv.read(out)
    }
}
