//! Headers: names and values that travel with a sample.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::limits::{HEADER_NAME_BYTES, HEADERS_BYTES, HEADERS_PER_SAMPLE};
use super::varint::{Reader, put_varint};

/// The headers of a sample: up to 16 names `[a-z0-9-]{1,64}` with values of any bytes, 4 KiB
/// together. Names that begin with `dse-` are reserved for the bus. Without any it costs
/// nothing.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Headers {
    /// As on the wire; none if there are none.
    encoded: Option<Bytes>,
}

/// Why headers are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The name has other characters, none, or too many.
    #[error("the header name {name:?} is invalid: use 1 to 64 of a-z, 0-9 and -")]
    InvalidName {
        /// The name.
        name: alloc::string::String,
    },
    /// The name is reserved.
    #[error("the header name {name:?} is reserved: names of the bus itself begin with dse-")]
    ReservedName {
        /// The name.
        name: alloc::string::String,
    },
    /// There are too many.
    #[error("a sample has at most {HEADERS_PER_SAMPLE} headers")]
    TooMany,
    /// They are too long.
    #[error("the headers have {len} bytes; names and values have at most {HEADERS_BYTES} together")]
    TooLong {
        /// Names and values together, in bytes.
        len: usize,
    },
}

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self { encoded: None }
    }

    /// Headers of these names and values, in this order.
    ///
    /// # Errors
    /// A name is invalid or reserved, or there is too much.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<[u8]>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, HeaderError> {
        let mut encoded = Vec::new();
        let (mut count, mut len) = (0, 0);
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            check_name(name)?;
            count += 1;
            len += name.len() + value.len();
            put_varint(&mut encoded, name.len() as u64);
            encoded.extend_from_slice(name.as_bytes());
            put_varint(&mut encoded, value.len() as u64);
            encoded.extend_from_slice(value);
        }
        if count > HEADERS_PER_SAMPLE {
            return Err(HeaderError::TooMany);
        }
        if len > HEADERS_BYTES {
            return Err(HeaderError::TooLong { len });
        }
        Ok(Self::from_encoded(encoded.into()))
    }

    /// Headers as they came in. What is malformed there ends the list.
    pub(super) fn from_encoded(encoded: Bytes) -> Self {
        Self { encoded: (!encoded.is_empty()).then_some(encoded) }
    }

    pub(super) fn encoded(&self) -> &[u8] {
        self.encoded.as_deref().unwrap_or_default()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.encoded.is_none()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = Reader::new(self.encoded());
        core::iter::from_fn(move || {
            let name = core::str::from_utf8(rest.counted().ok()?).ok()?;
            Some((name, rest.counted().ok()?))
        })
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(it, _)| *it == name).map(|(_, value)| value)
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

fn check_name(name: &str) -> Result<(), HeaderError> {
    let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if !(1..=HEADER_NAME_BYTES).contains(&name.len()) || !name.bytes().all(is_allowed) {
        return Err(HeaderError::InvalidName { name: name.into() });
    }
    if name.starts_with("dse-") {
        return Err(HeaderError::ReservedName { name: name.into() });
    }
    Ok(())
}
