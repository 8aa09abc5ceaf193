//! A gRPC service by hand, so that a build needs no protoc: what `tonic-build` would make of
//!
//! ```text
//! service Echo {
//!     rpc Call (bytes) returns (bytes);
//!     rpc Slow (bytes) returns (bytes);            // after as many milliseconds as its first byte says
//!     rpc Repeat (bytes) returns (stream bytes);   // as often as its first byte says
//! }
//! ```
//!
//! Messages are plain bytes. A service with generated code runs over every address just the same.

pub mod client;
pub mod codec;
pub mod server;

pub use client::EchoClient;
pub use server::EchoServer;
