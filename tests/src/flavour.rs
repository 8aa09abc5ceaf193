//! What the conformance suite asks of a flavour: the calls that every flavour has, each of which
//! blocks. An asynchronous flavour implements them with its runtime's `block_on`, of the call or of a task that
//! makes it.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use shmipc_core::config::Config;
use shmipc_core::error::{
    AcceptError, ConnectError, DrainError, ListenError, OpenError, RecvError, SendError,
    SessionError, TryError,
};
use shmipc_core::handle::{Message, Reservation};
use shmipc_core::layout::Geometry;
use shmipc_core::session::{Stats, StreamId};

/// A flavour of the library.
pub trait Flavour: 'static {
    /// Its name, by which a peer process is told.
    const NAME: &'static str;
    /// Its listeners.
    type Listener: Send + Sync + 'static;
    /// Its sessions.
    type Session: Session;

    /// Listens at a path.
    fn bind(path: &Path, config: &Config) -> Self::Listener;
    /// Accepts the next session.
    fn accept(listener: &Self::Listener) -> Self::Session {
        Self::try_accept(listener).expect("the listener lives")
    }
    /// Accepts the next session, if the listener is not closed before.
    fn try_accept(listener: &Self::Listener) -> Result<Self::Session, ListenError>;
    /// Closes a listener.
    fn close(listener: &Self::Listener);
    /// Connects to a path.
    fn connect(path: &Path, config: &Config) -> Self::Session {
        Self::try_connect(path, config).expect("somebody listens")
    }
    /// Connects to a path where perhaps nobody listens.
    fn try_connect(path: &Path, config: &Config) -> Result<Self::Session, ConnectError>;
}

/// A session.
pub trait Session: Clone + Send + Sync + 'static {
    /// Its streams.
    type Stream: Stream;

    /// Opens a stream.
    fn open(&self) -> Result<Self::Stream, OpenError>;
    /// Opens a stream when there is a place.
    fn open_wait(&self) -> Result<Self::Stream, OpenError>;
    /// The same for at most `timeout`.
    fn open_timeout(&self, timeout: Duration) -> Result<Self::Stream, OpenError>;
    /// Accepts a stream.
    fn accept(&self) -> Result<Self::Stream, AcceptError>;
    /// Accepts a stream that comes before the time is over.
    fn accept_timeout(&self, timeout: Duration) -> Result<Self::Stream, AcceptError>;
    /// Leaves.
    fn leave(&self);
    /// Waits for the last streams, until the time is over.
    fn drained_timeout(&self, timeout: Duration) -> Result<(), DrainError>;
    /// Whether the peer leaves.
    fn is_peer_leaving(&self) -> bool;
    /// Closes the session.
    fn close(&self, code: u32);
    /// Whether the session is over.
    fn is_closed(&self) -> bool;
    /// Why the session is over, once it is.
    fn closed(&self) -> SessionError;
    /// Whether large messages are read in place.
    fn is_trusted(&self) -> bool;
    /// What was agreed for what we send.
    fn geometry(&self) -> Geometry;
    /// Counters.
    fn stats(&self) -> Stats;
}

/// A stream.
pub trait Stream: Read + Write + Sized + Send + 'static {
    /// Its sending half.
    type Sender: Sender;
    /// Its receiving half.
    type Receiver: Receiver;

    /// The stream's id.
    fn id(&self) -> StreamId;
    /// The sending half.
    fn sender(&mut self) -> &mut Self::Sender;
    /// The receiving half.
    fn receiver(&mut self) -> &mut Self::Receiver;
    /// Both halves.
    fn into_split(self) -> (Self::Sender, Self::Receiver);

    /// See [`Sender::send`].
    fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.sender().send(data)
    }
    /// See [`Sender::finish`].
    fn finish(&mut self) -> Result<(), SendError> {
        self.sender().finish()
    }
    /// See [`Receiver::recv`].
    fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        self.receiver().recv()
    }
    /// The next message as a vector; fails the test if there is none.
    fn expect(&mut self) -> Vec<u8> {
        self.receiver().expect()
    }
}

/// The sending half of a stream.
pub trait Sender: Write + Send + 'static {
    /// Largest message.
    fn max_message(&self) -> usize;
    /// Reserves memory for a message.
    fn reserve(&mut self, len: usize) -> Result<Reservation, SendError>;
    /// The same for at most `timeout`.
    fn reserve_timeout(&mut self, len: usize, timeout: Duration) -> Result<Reservation, SendError>;
    /// Sends a copy.
    fn send(&mut self, data: &[u8]) -> Result<(), SendError>;
    /// Sends a copy, if nothing has to be waited for.
    fn try_send(&mut self, data: &[u8]) -> Result<(), TryError<SendError>>;
    /// Reserves memory for a message, if nothing has to be waited for.
    fn try_reserve(&mut self, len: usize) -> Result<Reservation, TryError<SendError>>;
    /// Sends small messages together.
    fn send_batch(&mut self, messages: &[&[u8]]) -> Result<(), SendError>;
    /// Sends a last message and ends the direction.
    fn finish_with(&mut self, data: &[u8]) -> Result<(), SendError>;
    /// Ends the direction.
    fn finish(&mut self) -> Result<(), SendError>;
    /// Breaks the direction off.
    fn reset(&mut self, code: u32);
}

/// The receiving half of a stream.
pub trait Receiver: Read + Send + 'static {
    /// The next message.
    fn recv(&mut self) -> Result<Option<Message>, RecvError>;
    /// The same for at most `timeout`.
    fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Message>, RecvError>;
    /// The same until `deadline`.
    fn recv_deadline(&mut self, deadline: Instant) -> Result<Option<Message>, RecvError>;
    /// The next message, into a buffer.
    fn recv_into(&mut self, out: &mut [u8]) -> Result<Option<usize>, RecvError>;
    /// The next message if it is there.
    fn try_recv(&mut self) -> Result<Option<Message>, TryError<RecvError>>;
    /// All messages until the end.
    fn messages(&mut self) -> impl Iterator<Item = Result<Message, RecvError>> + '_;
    /// Asks the peer to stop.
    fn stop(&mut self, code: u32);
    /// The next message as a vector; fails the test if there is none.
    fn expect(&mut self) -> Vec<u8> {
        self.recv().expect("a message").expect("a message, not the end").to_vec()
    }
}
