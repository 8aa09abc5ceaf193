//! What happens to a client's sessions.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use shmipc_core::client::{ClientEvent, Reader};
use tokio::sync::futures::OwnedNotified;

use super::sessions::Sessions;

/// What happens to a client's sessions, in order; see [`Client::events`](crate::Client::events).
///
/// The client keeps the latest 256 events; who is further behind is told how many are gone
/// ([`ClientEvent::Missed`]). As a [`Stream`](futures_core::Stream) it ends when the client is closed.
#[derive(Debug)]
pub struct ClientEvents {
    sessions: Arc<Sessions>,
    reader: Reader,
    /// Ready when something has changed since the last look.
    changed: Option<Pin<Box<OwnedNotified>>>,
}

impl ClientEvents {
    pub(super) fn new(sessions: &Arc<Sessions>) -> Self {
        let (sessions, reader) = (Arc::clone(sessions), sessions.with(|lines| lines.reader()));
        Self { sessions, reader, changed: None }
    }

    /// The next event; `None` once the client is closed. Cancel safe: no event is lost.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// The next event, if there is one. Never waits.
    pub fn try_next(&mut self) -> Option<ClientEvent> {
        match self.sessions.with(|lines| lines.poll_event(&mut self.reader)) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<ClientEvent>> {
        loop {
            let changed = self.changed.get_or_insert_with(|| {
                let mut changed = Box::pin(Arc::clone(&self.sessions.changed).notified_owned());
                // Before the look: what happens in between is not missed.
                changed.as_mut().enable();
                changed
            });
            let event = self.sessions.with(|lines| lines.poll_event(&mut self.reader));
            if event.is_ready() {
                return event;
            }
            ready!(changed.as_mut().poll(cx));
            self.changed = None;
        }
    }
}

/// Cancel safe, as [`ClientEvents::next`] is.
impl futures_core::Stream for ClientEvents {
    type Item = ClientEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ClientEvent>> {
        self.get_mut().poll(cx)
    }
}
