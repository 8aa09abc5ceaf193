//! The process that is killed.

use std::io;

use shmipc_sync::Session;

use super::config;
use crate::args::{Call, Wait};
use crate::process;

/// Does what `call` needs of the other side, until it is killed.
pub(crate) fn run(
    parent: i32,
    cpu: Option<usize>,
    socket: &str,
    wait: Wait,
    call: Call,
) -> io::Result<()> {
    process::die_with(parent)?;
    process::pin(cpu)?;
    let session = Session::connect_with(socket, &config(wait)?).map_err(io::Error::other)?;
    let mut stream = session.open().map_err(io::Error::other)?;
    stream.send(&[]).map_err(io::Error::other)?;
    match call {
        Call::Recv | Call::Accept | Call::Next => drop(stream.recv()),
        // Reads nothing of the stream, so its credit runs out.
        Call::Reserve => drop(session.accept()),
        Call::Echo => {
            while let Ok(Some(message)) = stream.recv() {
                stream.send(&message).map_err(io::Error::other)?;
            }
        }
    }
    Err(io::Error::other("the survivor let go of the session"))
}
