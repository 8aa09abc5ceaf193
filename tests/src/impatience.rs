//! Futures that are given up before they are ready, at every point where they can be.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use crate::deadline::within;
use crate::payload::Random;

/// Gives futures up at random, and counts how often.
#[derive(Debug)]
pub struct Impatient {
    random: Random,
    given_up: u64,
}

impl Impatient {
    /// Gives up at the points of this seed.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), given_up: 0 }
    }

    /// Awaits `future` for a few polls. `None` if it was given up: before its first poll, while it waited,
    /// or after it had been woken and before it was polled again.
    pub async fn try_await<F: Future>(&mut self, future: F) -> Option<F::Output> {
        // Now and then it has the patience for what takes many.
        let most = if self.random.below(16) == 0 { 40 } else { 4 };
        let polls = self.random.below(most);
        let when_woken = self.random.below(2) == 0;
        let output = {
            let mut future = pin!(future);
            let mut polled = 0;
            poll_fn(|cx| {
                if polled == polls {
                    return Poll::Ready(None);
                }
                if let Poll::Ready(output) = future.as_mut().poll(cx) {
                    return Poll::Ready(Some(output));
                }
                polled += 1;
                if polled == polls && !when_woken { Poll::Ready(None) } else { Poll::Pending }
            })
            .await
        };
        if output.is_none() {
            self.given_up += 1;
            tokio::task::yield_now().await;
        }
        output
    }

    /// How many futures were given up.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }
}

/// Runs a test which says how many futures it has given up: thousands.
pub fn thousands(name: &'static str, test: fn() -> u64) {
    let given_up = within(name, test);
    println!("{name}: {given_up} given up");
    assert!(given_up > 2000, "{given_up}");
}

/// Begins an operation anew until it is awaited to its end: `retry!(impatient, stream.recv())`.
#[macro_export]
macro_rules! retry {
    ($impatient:expr, $operation:expr) => {
        loop {
            if let Some(output) = $impatient.try_await($operation).await {
                break output;
            }
        }
    };
}
