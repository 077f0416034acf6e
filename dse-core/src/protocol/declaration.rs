//! What a node exposes.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::key::Key;
use super::limits;
use super::numbers::kind;

/// The kind of a declaration: what a subscriber may expect of it.
///
/// On the wire its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub enum Kind {
    /// Samples from now on, in order, each once; a gap is reported.
    Stream,
    /// The present value, then changes; the latest wins.
    State,
    /// Rows under a key. Reserved: no node of this version declares one.
    Table,
    /// Request and reply. Reserved: no node of this version declares one.
    Service,
    /// A kind of a later version, by its number. It is kept and shown; no node of this
    /// version declares or receives one.
    Other(u8),
}

impl Kind {
    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Stream => kind::STREAM,
            Self::State => kind::STATE,
            Self::Table => kind::TABLE,
            Self::Service => kind::SERVICE,
            Self::Other(number) => number,
        }
    }

    /// The kind of a number on the wire.
    pub const fn from_number(number: u8) -> Self {
        match number {
            kind::STREAM => Self::Stream,
            kind::STATE => Self::State,
            kind::TABLE => Self::Table,
            kind::SERVICE => Self::Service,
            number => Self::Other(number),
        }
    }
}

impl From<u8> for Kind {
    fn from(number: u8) -> Self {
        Self::from_number(number)
    }
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> Self {
        kind.number()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream => f.write_str("stream"),
            Self::State => f.write_str("state"),
            Self::Table => f.write_str("table"),
            Self::Service => f.write_str("service"),
            Self::Other(number) => write!(f, "other-{number}"),
        }
    }
}

/// One thing that a node exposes under a key. A node declares a key once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Declaration {
    /// Where it is to be found.
    pub key: Key,
    /// What it is.
    pub kind: Kind,
    /// The media type of its payloads, such as `application/json`; at most 127 bytes.
    pub encoding: Box<str>,
    /// Free descriptions as name and value, in the order given.
    pub meta: Vec<(Box<str>, Box<str>)>,
}

impl Declaration {
    /// A declaration without metadata.
    pub fn new(key: Key, kind: Kind, encoding: &str) -> Self {
        Self { key, kind, encoding: encoding.into(), meta: Vec::new() }
    }

    /// Checks the bounds that all nodes agree on.
    ///
    /// # Errors
    /// Names the bound that is passed.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.encoding.len() > limits::ENCODING_BYTES {
            return Err("the encoding is longer than 127 bytes");
        }
        let meta: usize = self.meta.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
        let bytes = self.key.as_str().len() + self.encoding.len() + meta + 16;
        if bytes > limits::DECLARATION_BYTES {
            return Err("the declaration with its metadata is longer than 2048 bytes");
        }
        Ok(())
    }
}

/// The version of a node's index: grows by one with each announced change, from 0
/// for the empty index of a node that has just started.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct IndexVersion(pub u64);

impl IndexVersion {
    /// The version after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
