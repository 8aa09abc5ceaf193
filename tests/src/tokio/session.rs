//! Sessions of the tokio flavour.

use std::time::Duration;

use ::tokio::time::timeout;
use futures_util::FutureExt;
use shmipc_async::Session;
use shmipc_core::error::{AcceptError, DrainError, OpenError, SessionError};
use shmipc_core::layout::Geometry;
use shmipc_core::session::Stats;

use super::on::On;
use super::stream::Stream;
use crate::flavour;

impl On<Session> {
    fn stream(&self, stream: shmipc_async::Stream) -> Stream {
        let (sender, receiver) = stream.into_split();
        Stream::new(self.with(sender), self.with(receiver))
    }
}

impl flavour::Session for On<Session> {
    type Stream = Stream;

    fn open(&self) -> Result<Stream, OpenError> {
        self.tell(Session::open).map(|stream| self.stream(stream))
    }

    fn open_wait(&self) -> Result<Stream, OpenError> {
        self.ask(|session| session.open_wait().boxed()).map(|stream| self.stream(stream))
    }

    fn open_timeout(&self, time: Duration) -> Result<Stream, OpenError> {
        let opened = self.ask(move |session| {
            let open = async move { timeout(time, session.open_wait()).await };
            open.map(|opened| opened.unwrap_or_else(|_| session.open())).boxed()
        });
        opened.map(|stream| self.stream(stream))
    }

    fn accept(&self) -> Result<Stream, AcceptError> {
        self.ask(|session| session.accept().boxed()).map(|stream| self.stream(stream))
    }

    fn accept_timeout(&self, time: Duration) -> Result<Stream, AcceptError> {
        let accepted = self.ask(move |session| {
            let accept = async move { timeout(time, session.accept()).await };
            accept.map(|accepted| accepted.unwrap_or(Err(AcceptError::TimedOut))).boxed()
        });
        accepted.map(|stream| self.stream(stream))
    }

    fn leave(&self) {
        self.tell(Session::leave);
    }

    fn drained_timeout(&self, time: Duration) -> Result<(), DrainError> {
        self.ask(move |session| {
            let drained = async move { timeout(time, session.drained()).await };
            drained.map(|drained| drained.unwrap_or(Err(DrainError::TimedOut))).boxed()
        })
    }

    fn is_peer_leaving(&self) -> bool {
        self.tell(Session::is_peer_leaving)
    }

    fn close(&self, code: u32) {
        self.tell(move |session| session.close(code));
    }

    fn is_closed(&self) -> bool {
        self.tell(Session::is_closed)
    }

    fn closed(&self) -> SessionError {
        self.ask(|session| session.closed().boxed())
    }

    fn is_trusted(&self) -> bool {
        self.inner().is_trusted()
    }

    fn geometry(&self) -> Geometry {
        self.inner().geometry()
    }

    fn stats(&self) -> Stats {
        self.inner().stats()
    }
}
