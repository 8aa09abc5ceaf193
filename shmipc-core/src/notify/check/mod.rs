//! Every interleaving of small cases of the wait protocol (see the invariants in [`super`]), visited by
//! `testing::explore`.
//!
//! | file | purpose |
//! |---|---|
//! | `rules` | what makes a case: who does what, over which bell, which rule is left out |
//! | `state` | what a state is made of, and its hash |
//! | `model` | who can take a step, and what must hold when nobody can |
//! | `ours`, `drive` | our threads, around the real [`WaitBook`](super::wait::WaitBook) and the real steps of [`settle`](super::event::settle) |
//! | `outside` | an event loop that sleeps on the session's descriptor |
//! | `peer` | the peer's threads, around the real comparison of [`Checks`](super::event::Checks) |
//! | `scenarios` | cases that hold |
//! | `twins` | cases that hold, and break as soon as one rule is weakened |
//! | `leaving` | going away ([`super::leaving`]): a model of its own |
//!
//! The ordinary test runs what ends within seconds; `SHMIPC_EXHAUSTIVE=1 cargo test --release -p
//! shmipc-core notify::check -- --nocapture --test-threads=1` runs everything (ten
//! minutes, 4 GB). `SHMIPC_TRACES=1` prints the shortest bad path of every twin.
//!
//! A step is one access to something shared, or one section of a lock in which nothing else
//! happens to be visible; memory is sequentially consistent (weak memory: `tests/loom_gate.rs`).
//! An edge-triggered eventfd latches a write until one wait returns it; a socket with unread
//! bytes keeps waking. An event loop is woken by what the thread inside has not taken yet, and finds
//! nothing to do: that turn is left out, because the thread is awake and takes it.

mod drive;
mod leaving;
mod model;
mod ours;
mod outside;
mod peer;
mod rules;
mod scenarios;
mod state;
mod twins;
