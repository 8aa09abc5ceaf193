//! What the examples share: starting two processes, how many sessions fit, and measuring a Unix socket for comparison.

pub mod descriptors;
pub mod round_trip;
pub mod two_processes;
