//! The tokio flavour: every call blocks on a runtime of its own for each end of a session, and is made there, or
//! by a task of the runtime.

mod kind;
mod on;
mod session;
mod stream;

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use shmipc_async::{Config, Listener, Session};
use shmipc_core::error::{ConnectError, ListenError};

use crate::flavour::Flavour;
use futures_util::FutureExt;
use on::{Caller, On};

pub use kind::{CurrentThread, InTasks, Kind, MultiThread};

/// `shmipc_async` on a kind of runtime.
#[derive(Debug)]
pub struct Tokio<K>(PhantomData<K>);

impl<K: Kind> Flavour for Tokio<K> {
    const NAME: &'static str = K::NAME;
    type Listener = On<Arc<Listener>>;
    type Session = On<Session>;

    fn bind(path: &Path, config: &Config) -> Self::Listener {
        let caller = Caller::start::<K>();
        let builder = Listener::builder().config(config.clone());
        let path = path.to_owned();
        let bind = async move { builder.bind(path).expect("the path is free") };
        let listener = caller.wait(bind);
        On::new(Arc::new(listener), caller)
    }

    fn try_accept(listener: &Self::Listener) -> Result<Self::Session, ListenError> {
        let accepted = listener.ask(|listener| listener.accept().boxed());
        Ok(listener.with(accepted?))
    }

    fn close(listener: &Self::Listener) {
        listener.tell(|listener| listener.close());
    }

    fn try_connect(path: &Path, config: &Config) -> Result<Self::Session, ConnectError> {
        let caller = Caller::start::<K>();
        let (path, config) = (path.to_owned(), config.clone());
        let connect = async move { Session::connect_with(path, &config).await };
        let session = caller.wait(connect)?;
        Ok(On::new(session, caller))
    }
}
