//! What a server is not told by its listener and needs not know: why handshakes failed. `tracing` tells.

use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// Has the reason of each handshake that fails in this process told by `tell` from now on.
///
/// # Panics
/// If somebody subscribes already.
pub fn tell_of(tell: fn(&str)) {
    tracing::subscriber::set_global_default(Reasons(tell)).expect("nobody else subscribes");
}

struct Reasons(fn(&str));

struct Reason(String);

impl Visit for Reason {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "error" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Reasons {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "shmipc_core::listen::handshakes"
    }

    fn event(&self, event: &Event<'_>) {
        let mut reason = Reason(String::new());
        event.record(&mut reason);
        (self.0)(&reason.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
