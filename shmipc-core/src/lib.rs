//! The protocol core of shmipc: zero-copy inter-process communication over shared memory on Linux.
//!
//! A *session* joins two processes. Many *streams* run over it. Payload lives in shared memory,
//! small records in a queue describe it, and the kernel is entered only to wake a peer that really
//! sleeps. This crate holds everything that the blocking flavour (`shmipc-sync`) and the tokio
//! flavour have in common; applications use one of those.
//!
//! Reading order, bottom up:
//!
//! | module | purpose |
//! |---|---|
//! | [`config`], [`error`], [`layout`] | limits with defaults, named errors, the one computation of the shared layout |
//! | [`mem`] | sealed memory, words, extents, owned descriptors: the only `unsafe` code |
//! | [`queue`] | records to the peer, and from it |
//! | [`pool`] | segments, the private allocator, the return queue |
//! | [`notify`] | event words, who waits where, bells, spinning |
//! | [`wire`], [`handshake`] | control frames on the socket; how a session comes to be |
//! | [`upgrade`] | how a server hands over to its successor |
//! | [`listen`] | socket files, many handshakes side by side, upgrades |
//! | [`session`] | streams, credit, sending and receiving, the state machines |
//! | [`link`] | every non-blocking system call on a session's descriptors |
//! | [`client`] | what a client decides: connecting, repeating, moving |
//! | [`handle`] | the runtime-neutral session: locks, wakers, `drive`, `poll_*` |
//! | `steps` | where a test can make a process stop (feature `steps`) |
//! | `testing` | memories and peers for tests (feature `testing`) |

#[cfg(not(target_os = "linux"))]
compile_error!(
    "shmipc needs Linux 5.1 or newer: memfd seals, pidfd and eventfd have no counterpart elsewhere"
);
#[cfg(not(target_pointer_width = "64"))]
compile_error!("shmipc supports 64-bit targets (x86-64, aarch64): cursors are 64-bit atomics");

pub mod client;
pub mod config;
pub mod error;
pub mod handle;
pub mod handshake;
pub mod layout;
pub mod link;
pub mod listen;
mod log;
pub mod mem;
pub mod notify;
pub mod pool;
pub mod queue;
pub mod session;
#[cfg(feature = "steps")]
pub mod steps;
#[cfg(not(feature = "steps"))]
mod steps;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod upgrade;
pub mod wire;
