//! Memory of messages that were read, kept for others of the same size: traffic of one size, put into inboxes by
//! whoever drains, allocates nothing, be it of one stream or of hundreds.

use std::collections::VecDeque;

/// Bytes kept at most.
const KEPT: usize = 64 << 10;

/// The largest piece: what travels inside of records by default.
const LARGEST: usize = 4096;

/// What a piece takes beside its bytes.
const OVERHEAD: usize = 64;

/// So many of the pieces kept last are looked at for one of the right size.
const LOOKED_AT: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Spare {
    pieces: VecDeque<Box<[u8]>>,
    /// What they take.
    size: usize,
}

impl Spare {
    /// A piece of that many bytes, with any contents.
    pub(super) fn take(&mut self, len: usize) -> Option<Box<[u8]>> {
        let last = self.pieces.iter().rev().take(LOOKED_AT);
        let back = last.map(|piece| piece.len()).position(|found| found == len)?;
        self.size -= len + OVERHEAD;
        self.pieces.swap_remove_back(self.pieces.len() - 1 - back)
    }

    /// Keeps a piece that nobody needs.
    pub(super) fn keep(&mut self, piece: Box<[u8]>) {
        if piece.len() > LARGEST {
            return;
        }
        self.size += piece.len() + OVERHEAD;
        self.pieces.push_back(piece);
        while self.size > KEPT {
            // The oldest, whose size is asked for least.
            let Some(old) = self.pieces.pop_front() else { break };
            self.size -= old.len() + OVERHEAD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_the_size_that_is_asked_for() {
        let mut spare = Spare::default();
        for len in [10, 20, 30, 20] {
            spare.keep(vec![1; len].into());
        }
        for (len, there) in
            [(20, true), (20, true), (20, false), (10, true), (30, true), (30, false)]
        {
            assert_eq!(spare.take(len).map(|piece| piece.len()), there.then_some(len));
        }
        assert_eq!(spare.size, 0);
    }

    /// Whatever sizes come, their pieces and what is counted stay within the limit.
    #[test]
    fn what_is_kept_has_a_limit() {
        let mut spare = Spare::default();
        for _ in 0..2 {
            for len in [0, 1, LARGEST, LARGEST + 1, 64] {
                for _ in 0..2000 {
                    spare.keep(vec![1; len].into());
                    let size: usize = spare.pieces.iter().map(|piece| piece.len() + OVERHEAD).sum();
                    assert!(size == spare.size && size <= KEPT && spare.pieces.len() <= 1024);
                }
            }
        }
        // What came last, hundreds of them.
        for _ in 0..400 {
            assert_eq!(spare.take(64).map(|piece| piece.len()), Some(64));
        }
        assert!(spare.take(LARGEST + 1).is_none());
    }
}
