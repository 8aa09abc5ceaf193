//! Things of the flavour that are called on a runtime.

use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;

use ::tokio::runtime::Runtime;
use futures_util::future::BoxFuture;

use super::Kind;

/// A runtime, and how calls are made on it.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    runtime: Arc<Runtime>,
    in_tasks: bool,
}

impl Caller {
    pub(super) fn start<K: Kind>() -> Self {
        let runtime = Arc::new(K::start().expect("a runtime"));
        Self { runtime, in_tasks: K::IN_TASKS }
    }

    /// Waits for a call.
    pub(super) fn wait<R: Send + 'static>(
        &self,
        call: impl Future<Output = R> + Send + 'static,
    ) -> R {
        if !self.in_tasks {
            return self.runtime.block_on(call);
        }
        let task = self.runtime.spawn(call);
        self.runtime.block_on(task).unwrap_or_else(|error| resume_unwind(error.into_panic()))
    }
}

/// Something of the flavour and the runtime that it lives on.
#[derive(Clone, Debug)]
pub struct On<T> {
    // Dropped before its runtime; absent while a task has it.
    inner: Option<T>,
    caller: Caller,
}

const THERE: &str = "a call gives back what it has taken";

impl<T: Send + 'static> On<T> {
    pub(super) fn new(inner: T, caller: Caller) -> Self {
        Self { inner: Some(inner), caller }
    }

    /// Something else on the same runtime.
    pub(super) fn with<U: Send + 'static>(&self, inner: U) -> On<U> {
        On::new(inner, self.caller.clone())
    }

    pub(super) fn inner(&self) -> &T {
        self.inner.as_ref().expect(THERE)
    }

    /// Calls what may wait.
    pub(super) fn call<R: Send + 'static>(
        &mut self,
        call: impl for<'a> FnOnce(&'a mut T) -> BoxFuture<'a, R> + Send + 'static,
    ) -> R {
        let mut inner = self.inner.take().expect(THERE);
        let call = async move {
            let result = call(&mut inner).await;
            (inner, result)
        };
        let (inner, result) = self.caller.wait(call);
        self.inner = Some(inner);
        result
    }

    /// Calls what never waits: outside of the runtime, unless calls are made by tasks.
    pub(super) fn call_now<R: Send + 'static>(
        &mut self,
        call: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> R {
        if !self.caller.in_tasks {
            return call(self.inner.as_mut().expect(THERE));
        }
        self.call(|inner| Box::pin(async move { call(inner) }))
    }
}

/// The same for what is shared.
impl<T: Clone + Send + Sync + 'static> On<T> {
    /// Calls what may wait.
    pub(super) fn ask<R: Send + 'static>(
        &self,
        call: impl for<'a> FnOnce(&'a T) -> BoxFuture<'a, R> + Send + 'static,
    ) -> R {
        let inner = self.inner().clone();
        self.caller.wait(async move {
            let result = call(&inner).await;
            // Before the answer: it may be the handle that keeps a session open.
            drop(inner);
            result
        })
    }

    /// Calls what never waits.
    pub(super) fn tell<R: Send + 'static>(&self, call: impl FnOnce(&T) -> R + Send + 'static) -> R {
        if !self.caller.in_tasks {
            return call(self.inner());
        }
        self.ask(|inner| Box::pin(async move { call(inner) }))
    }
}
