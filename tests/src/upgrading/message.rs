//! Messages that say which they are, and can be checked by both ends.
//!
//! ```text
//!   client u32 │ stream u32 │ sequence u32 │ server u32 │ checksum u64 │ contents
//! ```
//!
//! The server is zero in a request; the checksum covers all but it and itself.

use crate::payload::fill;

/// The bytes before the contents.
const HEADER: usize = 24;
/// The shortest and the longest message.
pub const SIZES: (usize, usize) = (64, 1 << 20);

/// Which message it is: client, stream of the client, place in the stream.
pub type Name = [u32; 3];

/// A request of `len` bytes.
pub fn request(name: Name, len: usize) -> Vec<u8> {
    let mut message = vec![0; len];
    let [client, stream, sequence] = name.map(u64::from);
    fill(&mut message[HEADER..], client << 48 ^ stream << 20 ^ sequence);
    for (at, number) in name.into_iter().enumerate() {
        put(&mut message, at, number);
    }
    let checksum = checksum(&message);
    message[16..HEADER].copy_from_slice(&checksum.to_ne_bytes());
    message
}

/// Which one this is, if it is whole.
pub fn name(message: &[u8]) -> Option<Name> {
    let written = message.get(16..HEADER)?;
    (written == checksum(message).to_ne_bytes()).then(|| std::array::from_fn(|at| get(message, at)))
}

/// Makes the reply of this server from a request.
pub fn sign(message: &mut [u8], server: u32) {
    put(message, 3, server);
}

/// The server whose reply this is, if it is one to this request.
pub fn signature(reply: &[u8], request: &[u8]) -> Option<u32> {
    let same = reply.len() == request.len()
        && reply[..12] == request[..12]
        && reply[16..] == request[16..];
    same.then(|| get(reply, 3))
}

fn put(message: &mut [u8], at: usize, number: u32) {
    message[4 * at..4 * at + 4].copy_from_slice(&number.to_ne_bytes());
}

fn get(message: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(message[4 * at..4 * at + 4].try_into().expect("four bytes"))
}

fn checksum(message: &[u8]) -> u64 {
    let mut sum = message.len() as u64;
    for chunk in message[..12].chunks(8).chain(message[HEADER..].chunks(8)) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_ne_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    sum
}
