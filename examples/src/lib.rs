//! What the examples share: starting two processes, and measuring a Unix socket for comparison.

pub mod round_trip;
pub mod two_processes;
