//! Where a service is found, and what carries it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// Where a service is found: `shm:PATH`, `unix:PATH` or `http://HOST:PORT`.
///
/// ```
/// use shmipc_http::Address;
///
/// let address: Address = "shm:/run/app.sock".parse()?;
/// assert_eq!(address, Address::Shm("/run/app.sock".into()));
/// assert_eq!(address, "shm:///run/app.sock".parse()?);
/// # Ok::<_, shmipc_http::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Shared memory, negotiated over the socket at this path; `@name` for an abstract one.
    Shm(PathBuf),
    /// A Unix socket; `@name` for an abstract one.
    Unix(PathBuf),
    /// HTTP over TCP, without TLS; port 80 if there is none.
    Http(Authority),
}

/// Why an address was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It begins with none of the three.
    #[error("`{address}` is not an address: write shm:PATH, unix:PATH or http://HOST:PORT")]
    UnknownScheme {
        /// The address.
        address: String,
    },
    /// There is no path.
    #[error("`{address}` has no path: write shm:PATH or unix:PATH")]
    NoPath {
        /// The address.
        address: String,
    },
    /// What follows `http://` is more, or less, than a host and a port.
    #[error("`{address}` is not of the form http://HOST:PORT")]
    BadHost {
        /// The address.
        address: String,
    },
}

impl Address {
    /// The origin that requests to this address carry: `http://HOST:PORT`, and `http://localhost` where
    /// there is no host.
    pub fn origin(&self) -> Uri {
        let authority = match self {
            Self::Http(authority) => authority.clone(),
            Self::Shm(_) | Self::Unix(_) => Authority::from_static("localhost"),
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(authority);
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
        Uri::from_parts(parts).expect("scheme, authority and path are a URI")
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(address: &str) -> Result<Self, AddressError> {
        let path = |path: &str| {
            // `shm:///run/app.sock` is the same as `shm:/run/app.sock`.
            let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
            match path {
                "" | "@" => Err(AddressError::NoPath { address: address.to_owned() }),
                path => Ok(Path::new(path).to_owned()),
            }
        };
        if let Some(rest) = address.strip_prefix("shm:") {
            path(rest).map(Self::Shm)
        } else if let Some(rest) = address.strip_prefix("unix:") {
            path(rest).map(Self::Unix)
        } else if let Some(rest) = address.strip_prefix("http://") {
            let authority = rest.strip_suffix('/').unwrap_or(rest).parse().ok();
            authority
                .filter(is_host_and_port)
                .map(Self::Http)
                .ok_or_else(|| AddressError::BadHost { address: address.to_owned() })
        } else {
            Err(AddressError::UnknownScheme { address: address.to_owned() })
        }
    }
}

/// An authority may name a user, too, and its port is not known to be a number.
fn is_host_and_port(authority: &Authority) -> bool {
    let port = authority.port().map_or(String::new(), |port| format!(":{port}"));
    let host = authority.host();
    !host.is_empty() && authority.as_str() == format!("{host}{port}")
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shm(path) => write!(f, "shm:{}", path.display()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(authority) => write!(f, "http://{authority}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        for address in [
            "shm:/run/app.sock",
            "shm:@name",
            "shm:relative",
            "unix:/run/app.sock",
            "http://localhost:80",
            "http://localhost",
            "http://[::1]:5000",
        ] {
            let parsed: Address = address.parse().expect(address);
            assert_eq!(parsed.to_string(), address);
        }
        assert_eq!("unix:///a".parse(), Ok(Address::Unix("/a".into())));
        assert_eq!("http://h:1/".parse(), "http://h:1".parse::<Address>());
    }

    #[test]
    fn what_is_no_address_is_named() {
        let error = |address: &str| address.parse::<Address>().expect_err(address);
        for address in ["", "/run/app.sock", "https://host:1", "tcp:host:1"] {
            assert_eq!(error(address), AddressError::UnknownScheme { address: address.to_owned() });
        }
        for address in ["shm:", "unix:", "shm:@"] {
            assert_eq!(error(address), AddressError::NoPath { address: address.to_owned() });
        }
        for host in ["", ":80", "host:", "host:65536", "user@host:1", "host:1/path", "a b:1"] {
            let address = format!("http://{host}");
            assert_eq!(error(&address), AddressError::BadHost { address });
        }
    }

    #[test]
    fn requests_carry_an_origin() {
        let origin = |address: &str| address.parse::<Address>().expect(address).origin();
        assert_eq!(origin("shm:/a"), "http://localhost/");
        assert_eq!(origin("http://host:81"), "http://host:81/");
    }
}
