//! Reading the fields of a frame's body, front to back.

/// What is left of a body. Every method answers `None` if the body is too short.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl<'a> Body<'a> {
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A length of 2 bytes and as many bytes of UTF-8 without control characters, at most `max`: text
    /// that can be shown to a user as it is.
    pub(super) fn text(&mut self, max: usize) -> Option<&'a str> {
        let len = usize::from(self.u16()?);
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        let text = std::str::from_utf8(text).ok()?;
        (text.len() <= max && !text.contains(char::is_control)).then_some(text)
    }

    /// Skips `N` bytes that must be zero.
    pub(super) fn zeros<const N: usize>(&mut self) -> Option<()> {
        self.array::<N>()?.iter().all(|byte| *byte == 0).then_some(())
    }

    /// The end of the body.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }
}
