//! The blocking flavour.

use std::path::Path;
use std::time::{Duration, Instant};

use shmipc_core::error::{
    AcceptError, ConnectError, DrainError, ListenError, OpenError, RecvError, SendError,
    SessionError, TryError,
};
use shmipc_core::handle::{Message, Reservation};
use shmipc_core::layout::Geometry;
use shmipc_core::session::{Stats, StreamId};
use shmipc_sync::{Config, Listener, RecvStream, SendStream, Session, Stream};

use crate::flavour::{self, Flavour};

/// `shmipc_sync`.
#[derive(Debug)]
pub enum Blocking {}

impl Flavour for Blocking {
    const NAME: &'static str = "blocking";
    type Listener = Listener;
    type Session = Session;

    fn bind(path: &Path, config: &Config) -> Listener {
        Listener::builder().config(config.clone()).bind(path).expect("the path is free")
    }

    fn try_accept(listener: &Listener) -> Result<Session, ListenError> {
        listener.accept()
    }

    fn close(listener: &Listener) {
        listener.close();
    }

    fn try_connect(path: &Path, config: &Config) -> Result<Session, ConnectError> {
        Session::connect_with(path, config)
    }
}

impl flavour::Session for Session {
    type Stream = Stream;

    fn open(&self) -> Result<Stream, OpenError> {
        self.open()
    }

    fn open_wait(&self) -> Result<Stream, OpenError> {
        self.open_wait()
    }

    fn open_timeout(&self, timeout: Duration) -> Result<Stream, OpenError> {
        self.open_timeout(timeout)
    }

    fn accept(&self) -> Result<Stream, AcceptError> {
        self.accept()
    }

    fn accept_timeout(&self, timeout: Duration) -> Result<Stream, AcceptError> {
        self.accept_timeout(timeout)
    }

    fn leave(&self) {
        self.leave();
    }

    fn drained_timeout(&self, timeout: Duration) -> Result<(), DrainError> {
        self.drained_timeout(timeout)
    }

    fn is_peer_leaving(&self) -> bool {
        self.is_peer_leaving()
    }

    fn close(&self, code: u32) {
        self.close(code);
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }

    fn closed(&self) -> SessionError {
        self.closed()
    }

    fn is_trusted(&self) -> bool {
        self.is_trusted()
    }

    fn geometry(&self) -> Geometry {
        self.geometry()
    }

    fn stats(&self) -> Stats {
        self.stats()
    }
}

impl flavour::Stream for Stream {
    type Sender = SendStream;
    type Receiver = RecvStream;

    fn id(&self) -> StreamId {
        self.id()
    }

    fn sender(&mut self) -> &mut SendStream {
        self.sender()
    }

    fn receiver(&mut self) -> &mut RecvStream {
        self.receiver()
    }

    fn into_split(self) -> (SendStream, RecvStream) {
        self.into_split()
    }
}

impl flavour::Sender for SendStream {
    fn max_message(&self) -> usize {
        self.max_message()
    }

    fn reserve(&mut self, len: usize) -> Result<Reservation, SendError> {
        self.reserve(len)
    }

    fn reserve_timeout(&mut self, len: usize, timeout: Duration) -> Result<Reservation, SendError> {
        self.reserve_timeout(len, timeout)
    }

    fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.send(data)
    }

    fn try_send(&mut self, data: &[u8]) -> Result<(), TryError<SendError>> {
        self.try_send(data)
    }

    fn try_reserve(&mut self, len: usize) -> Result<Reservation, TryError<SendError>> {
        self.try_reserve(len)
    }

    fn send_batch(&mut self, messages: &[&[u8]]) -> Result<(), SendError> {
        let mut batch = self.batch();
        messages.iter().try_for_each(|message| batch.push(message))?;
        batch.commit()
    }

    fn finish_with(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.finish_with(data)
    }

    fn finish(&mut self) -> Result<(), SendError> {
        self.finish()
    }

    fn reset(&mut self, code: u32) {
        self.reset(code);
    }
}

impl flavour::Receiver for RecvStream {
    fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        self.recv()
    }

    fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Message>, RecvError> {
        self.recv_timeout(timeout)
    }

    fn recv_deadline(&mut self, deadline: Instant) -> Result<Option<Message>, RecvError> {
        self.recv_deadline(deadline)
    }

    fn recv_into(&mut self, out: &mut [u8]) -> Result<Option<usize>, RecvError> {
        self.recv_into(out)
    }

    fn try_recv(&mut self) -> Result<Option<Message>, TryError<RecvError>> {
        self.try_recv()
    }

    fn messages(&mut self) -> impl Iterator<Item = Result<Message, RecvError>> + '_ {
        self.messages()
    }

    fn stop(&mut self, code: u32) {
        self.stop(code);
    }
}
