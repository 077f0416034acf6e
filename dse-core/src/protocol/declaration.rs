//! What a node exposes.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::key::Key;
use super::limits;

/// The kind of a declaration: what a subscriber may expect of it.
///
/// On the wire the number of the variant: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Samples from now on, in order, each once; a gap is reported.
    Stream,
    /// The present value, then changes; the latest wins.
    State,
    /// Rows under a key. Reserved: no node of this version declares one.
    Table,
    /// Request and reply. Reserved: no node of this version declares one.
    Service,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream => "stream",
            Self::State => "state",
            Self::Table => "table",
            Self::Service => "service",
        })
    }
}

/// One thing that a node exposes under a key. A node declares a key once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
