//! The tokio flavour: every call blocks on a runtime of its own for each end of a session.

use std::future::Future;
use std::io::{self, IoSlice, Read, Write};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
use ::tokio::runtime::{Builder, Runtime};
use ::tokio::time::{timeout, timeout_at};
use futures_util::StreamExt;
use shmipc_async::{Config, RecvStream, SendStream};
use shmipc_core::error::{
    AcceptError, ConnectError, DrainError, ListenError, OpenError, RecvError, SendError,
    SessionError,
};
use shmipc_core::handle::{Message, Reservation, Trust, Trusted};
use shmipc_core::layout::Geometry;
use shmipc_core::session::{Stats, StreamId};

use crate::flavour::{self, Flavour};

/// A kind of runtime.
pub trait Kind: Send + Sync + 'static {
    /// The flavour's name.
    const NAME: &'static str;
    /// Starts a runtime.
    fn start() -> io::Result<Runtime>;
}

/// A runtime on one thread: whichever blocks on it.
#[derive(Debug)]
pub enum CurrentThread {}

impl Kind for CurrentThread {
    const NAME: &'static str = "tokio-current";

    fn start() -> io::Result<Runtime> {
        Builder::new_current_thread().enable_all().build()
    }
}

/// A runtime with two workers, of which those who block on it are none.
#[derive(Debug)]
pub enum MultiThread {}

impl Kind for MultiThread {
    const NAME: &'static str = "tokio-multi";

    fn start() -> io::Result<Runtime> {
        Builder::new_multi_thread().worker_threads(2).enable_all().build()
    }
}

/// `shmipc_async` on a kind of runtime.
#[derive(Debug)]
pub struct Tokio<K>(PhantomData<K>);

/// Something of the flavour and the runtime that it lives on.
#[derive(Clone, Debug)]
pub struct On<T> {
    // Dropped before its runtime.
    inner: T,
    runtime: Arc<Runtime>,
}

/// A stream, in halves.
#[derive(Debug)]
pub struct Stream {
    sender: On<SendStream>,
    receiver: On<RecvStream>,
}

impl<T> On<T> {
    fn block_on<R>(&self, future: impl Future<Output = R>) -> R {
        self.runtime.block_on(future)
    }

    fn with<U>(&self, inner: U) -> On<U> {
        On { inner, runtime: Arc::clone(&self.runtime) }
    }
}

impl<K: Kind> Flavour for Tokio<K> {
    const NAME: &'static str = K::NAME;
    type Listener = On<shmipc_async::Listener>;
    type Session = On<shmipc_async::Session>;

    fn bind(path: &Path, config: &Config) -> Self::Listener {
        let runtime = Arc::new(K::start().expect("a runtime"));
        let inner = {
            let _entered = runtime.enter();
            let builder = shmipc_async::Listener::builder().config(config.clone());
            builder.bind(path).expect("the path is free")
        };
        On { inner, runtime }
    }

    fn try_accept(listener: &Self::Listener) -> Result<Self::Session, ListenError> {
        Ok(listener.with(listener.block_on(listener.inner.accept())?))
    }

    fn close(listener: &Self::Listener) {
        listener.inner.close();
    }

    fn try_connect(path: &Path, config: &Config) -> Result<Self::Session, ConnectError> {
        let runtime = Arc::new(K::start().expect("a runtime"));
        let inner = runtime.block_on(shmipc_async::Session::connect_with(path, config))?;
        Ok(On { inner, runtime })
    }
}

impl On<shmipc_async::Session> {
    fn stream(&self, stream: shmipc_async::Stream) -> Stream {
        let (sender, receiver) = stream.into_split();
        Stream { sender: self.with(sender), receiver: self.with(receiver) }
    }
}

impl flavour::Session for On<shmipc_async::Session> {
    type Stream = Stream;

    fn open(&self) -> Result<Stream, OpenError> {
        self.inner.open().map(|stream| self.stream(stream))
    }

    fn open_wait(&self) -> Result<Stream, OpenError> {
        self.block_on(self.inner.open_wait()).map(|stream| self.stream(stream))
    }

    fn open_timeout(&self, time: Duration) -> Result<Stream, OpenError> {
        let opened = self.block_on(async { timeout(time, self.inner.open_wait()).await });
        opened.unwrap_or_else(|_| self.inner.open()).map(|stream| self.stream(stream))
    }

    fn accept(&self) -> Result<Stream, AcceptError> {
        self.block_on(self.inner.accept()).map(|stream| self.stream(stream))
    }

    fn accept_timeout(&self, time: Duration) -> Result<Stream, AcceptError> {
        let accepted = self.block_on(async { timeout(time, self.inner.accept()).await });
        accepted.unwrap_or(Err(AcceptError::TimedOut)).map(|stream| self.stream(stream))
    }

    fn leave(&self) {
        self.inner.leave();
    }

    fn drained_timeout(&self, time: Duration) -> Result<(), DrainError> {
        let drained = self.block_on(async { timeout(time, self.inner.drained()).await });
        drained.unwrap_or(Err(DrainError::TimedOut))
    }

    fn is_peer_leaving(&self) -> bool {
        self.inner.is_peer_leaving()
    }

    fn close(&self, code: u32) {
        self.inner.close(code);
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    fn closed(&self) -> SessionError {
        self.block_on(self.inner.closed())
    }

    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }
}

impl flavour::Stream for Stream {
    type Sender = On<SendStream>;
    type Receiver = On<RecvStream>;
    type InPlace = On<RecvStream<Trusted>>;

    fn id(&self) -> StreamId {
        self.sender.inner.id()
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

    fn into_trusted(self) -> Result<(Self::Sender, Self::InPlace), Self> {
        let On { inner, runtime } = self.receiver;
        match inner.into_trusted() {
            Ok(inner) => Ok((self.sender, On { inner, runtime })),
            Err(inner) => Err(Self { sender: self.sender, receiver: On { inner, runtime } }),
        }
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
        self.inner.max_message()
    }

    fn reserve(&mut self, len: usize) -> Result<Reservation, SendError> {
        self.runtime.block_on(self.inner.reserve(len))
    }

    fn reserve_timeout(&mut self, len: usize, time: Duration) -> Result<Reservation, SendError> {
        let reserved =
            self.runtime.block_on(async { timeout(time, self.inner.reserve(len)).await });
        reserved.unwrap_or(Err(SendError::TimedOut))
    }

    fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.runtime.block_on(self.inner.send(data))
    }

    fn send_batch(&mut self, messages: &[&[u8]]) -> Result<(), SendError> {
        let mut batch = self.inner.batch();
        messages.iter().try_for_each(|message| batch.push(message))?;
        self.runtime.block_on(batch.commit())
    }

    fn finish_with(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.runtime.block_on(self.inner.finish_with(data))
    }

    fn finish(&mut self) -> Result<(), SendError> {
        self.inner.finish()
    }

    fn reset(&mut self, code: u32) {
        self.inner.reset(code);
    }
}

impl Write for On<SendStream> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.runtime.block_on(self.inner.write(data))
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.runtime.block_on(self.inner.write_vectored(buffers))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.runtime.block_on(self.inner.flush())
    }
}

impl<T: Trust> flavour::Receiver<T> for On<RecvStream<T>> {
    fn recv(&mut self) -> Result<Option<Message<T>>, RecvError> {
        self.runtime.block_on(self.inner.recv())
    }

    fn recv_timeout(&mut self, time: Duration) -> Result<Option<Message<T>>, RecvError> {
        let received = self.runtime.block_on(async { timeout(time, self.inner.recv()).await });
        received.unwrap_or(Err(RecvError::TimedOut))
    }

    fn recv_deadline(&mut self, deadline: Instant) -> Result<Option<Message<T>>, RecvError> {
        let received =
            self.runtime.block_on(async { timeout_at(deadline.into(), self.inner.recv()).await });
        received.unwrap_or(Err(RecvError::TimedOut))
    }

    fn recv_into(&mut self, out: &mut [u8]) -> Result<Option<usize>, RecvError> {
        self.runtime.block_on(self.inner.recv_into(out))
    }

    fn try_recv(&mut self) -> Poll<Result<Option<Message<T>>, RecvError>> {
        self.inner.try_recv()
    }

    fn messages(&mut self) -> impl Iterator<Item = Result<Message<T>, RecvError>> + '_ {
        std::iter::from_fn(|| self.runtime.block_on(self.inner.messages().next()))
    }

    fn stop(&mut self, code: u32) {
        self.inner.stop(code);
    }
}

impl<T: Trust> Read for On<RecvStream<T>> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.runtime.block_on(self.inner.read(out))
    }
}

/// A test of each of these on both kinds of runtime: `$run` gets its name, and the function for that runtime.
#[macro_export]
macro_rules! on_both_runtimes {
    ($run:ident: $($test:ident)*) => {
        mod current_thread {
            $(#[test]
            fn $test() {
                super::$run(stringify!($test), super::$test::<tests::tokio::CurrentThread>);
            })*
        }
        mod multi_thread {
            $(#[test]
            fn $test() {
                super::$run(stringify!($test), super::$test::<tests::tokio::MultiThread>);
            })*
        }
    };
}
