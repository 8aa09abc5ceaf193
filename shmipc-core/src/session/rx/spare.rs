//! Memory of small messages that were read, kept for others of the same size: traffic of one size, put into
//! inboxes by whoever drains, allocates nothing.

/// Pieces kept, and the largest, bytes.
const PIECES: usize = 8;
const LARGEST: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Spare(Vec<Box<[u8]>>);

impl Spare {
    /// A piece of that many bytes, with any contents.
    pub(super) fn take(&mut self, len: usize) -> Option<Box<[u8]>> {
        let index = self.0.iter().position(|piece| piece.len() == len)?;
        Some(self.0.remove(index))
    }

    /// Keeps a piece that nobody needs.
    pub(super) fn keep(&mut self, piece: Box<[u8]>) {
        if piece.len() > LARGEST {
            return;
        }
        if self.0.len() == PIECES {
            // Nobody has asked for the oldest.
            self.0.remove(0);
        }
        self.0.push(piece);
    }
}
