//! Sizes and CPUs as they are written on the command line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes, written with an optional `k` or `m` for the powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Size(pub(crate) usize);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, shift) = match text.char_indices().last() {
            Some((at, 'k' | 'K')) => (&text[..at], 10),
            Some((at, 'm' | 'M')) => (&text[..at], 20),
            _ => (text, 0),
        };
        let number: usize = digits.parse().map_err(|_| format!("`{text}` is not a size"))?;
        match number.checked_mul(1 << shift) {
            Some(bytes) if (8..=1 << 30).contains(&bytes) => Ok(Self(bytes)),
            _ => Err(format!("a message has between 8 bytes and 1024M, not `{text}`")),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            bytes if bytes % (1 << 20) == 0 => format!("{}M", bytes >> 20),
            bytes if bytes % (1 << 10) == 0 => format!("{}K", bytes >> 10),
            bytes => bytes.to_string(),
        };
        f.pad(&text)
    }
}

/// The CPUs that driver and peer are pinned to, if they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) driver: Option<usize>,
    pub(crate) peer: Option<usize>,
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self { driver: None, peer: None });
        }
        let both = text.split_once(',').and_then(|(driver, peer)| {
            let (driver, peer) = (driver.trim().parse().ok()?, peer.trim().parse().ok()?);
            Some(Self { driver: Some(driver), peer: Some(peer) })
        });
        both.ok_or_else(|| format!("`{text}` is neither two CPUs such as `0,1` nor `none`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_powers_of_1024() {
        let bytes = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!(bytes("64"), Ok(64));
        assert_eq!(bytes("4k"), Ok(4096));
        assert_eq!(bytes("64K"), Ok(65536));
        assert_eq!(bytes("1M"), Ok(1 << 20));
        for wrong in ["", "k", "4kb", "-1", "7", "1025M", "99999999999999999999M", "1 k"] {
            assert!(bytes(wrong).is_err(), "`{wrong}` was taken for a size");
        }
    }

    #[test]
    fn sizes_print_as_they_are_read() {
        for text in ["64", "4K", "64K", "1M", "100"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_pin_is_two_cpus() {
        assert_eq!("0,1".parse(), Ok(Pin { driver: Some(0), peer: Some(1) }));
        assert_eq!("none".parse(), Ok(Pin { driver: None, peer: None }));
        assert!("0".parse::<Pin>().is_err());
        assert!("0,1,2".parse::<Pin>().is_err());
    }
}
