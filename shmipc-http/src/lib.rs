//! HTTP and gRPC over shared memory: what tonic, hyper and axum need to run over [`shmipc_async`], and
//! over a socket just as well.
//!
//! A service is written once, and its [`Address`] decides what carries it:
//!
//! | address | carried by |
//! |---|---|
//! | `shm:PATH` | shared memory: a session per [`Connector`], a stream per connection |
//! | `unix:PATH` | a Unix socket |
//! | `http://HOST:PORT` | TCP, so the peer may run on another machine |
//!
//! `PATH` may be `@name`, an abstract address without a file.
//!
//! ```no_run
//! # #[cfg(feature = "tonic")]
//! # async fn example<S>(my_service: S) -> Result<(), Box<dyn std::error::Error>>
//! # where
//! #     S: tower_service::Service<
//! #             http::Request<tonic::body::Body>,
//! #             Response = http::Response<tonic::body::Body>,
//! #             Error = std::convert::Infallible,
//! #         > + tonic::server::NamedService + Clone + Send + Sync + 'static,
//! #     S::Future: Send,
//! # {
//! use shmipc_http::{Address, Incoming, grpc};
//!
//! let address: Address = std::env::var("APP_ADDRESS")?.parse()?;
//!
//! // One process:
//! let incoming = Incoming::bind(&address).await?;
//! tonic::transport::Server::builder()
//!     .add_service(my_service)
//!     .serve_with_incoming(incoming)
//!     .await?;
//!
//! // The other; to be given to a generated client:
//! let channel = grpc::connect(&address).await?;
//! # Ok(()) }
//! ```
//!
//! | with | the client | the server |
//! |---|---|---|
//! | tonic (feature `tonic`) | [`grpc::connect`], or an `Endpoint` with a [`Connector`] | [`Incoming`] in `serve_with_incoming` |
//! | hyper | [`Connector`], whose answer is hyper's `Read` and `Write` | [`Incoming::accept`], in a `TokioIo` |
//! | hyper-util's pool (feature `client`) | [`Connector`] | |
//! | axum (feature `axum`) | | [`Incoming`] in `axum::serve` |
//!
//! What needs no HTTP needs no adapter either: [`shmipc_async::Stream`] is `AsyncRead` and `AsyncWrite`, and
//! tokio-util's `Framed` takes it as it is.
//!
//! # Ends
//!
//! An [`Incoming`] over shared memory that is dropped leaves its sessions: connections that were accepted go
//! on, and clients connect anew for others. To end a server in good order, give it
//! [`incoming.until(signal)`](Incoming::until); to replace it while clients go on, use [`Incoming::bind_upgradable`].

#![forbid(unsafe_code)]

mod address;
#[cfg(feature = "axum")]
pub mod axum;
mod connection;
mod connector;
mod error;
#[cfg(feature = "tonic")]
pub mod grpc;
mod incoming;
mod sessions;
mod socket;
mod upgradable;

pub use address::{Address, AddressError};
pub use connection::{Connection, Peer};
pub use connector::Connector;
pub use error::{BindError, ConnectError};
pub use incoming::Incoming;
pub use upgradable::{ServeError, Upgradable};
