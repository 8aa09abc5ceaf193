//! Every interleaving of small cases of the wait protocol (see the invariants in [`super`]).
//!
//! | file | purpose |
//! |---|---|
//! | `explore` | visits all states of a model, finds shortest bad paths and cycles |
//! | `state` | what a state is made of, and its hash |
//! | `model` | the steps: our threads, around the real [`WaitBook`](super::wait::WaitBook) and the real step of [`settle`](super::event::settle), the peer's threads, the kernel |
//! | `scenarios` | cases that hold |
//! | `twins` | the same rules, each weakened, and the case that breaks |
//!
//! The ordinary test runs what ends within seconds; `SHMIPC_EXHAUSTIVE=1 cargo test --release -p
//! shmipc-core notify::check -- --nocapture --test-threads=1` runs everything (minutes, some GB).
//!
//! A step is one access to something shared, or one section of a lock in which nothing else
//! happens to be visible; memory is sequentially consistent (weak memory: `tests/loom_gate.rs`).
//! An edge-triggered eventfd latches a write until one wait returns it; a socket with unread
//! bytes keeps waking.

mod explore;
mod model;
mod scenarios;
mod state;
mod twins;
