//! Names: of buses, nodes, incarnations and endpoints. Each is checked once,
//! where it enters, and is right from then on.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::limits;

/// Why a text is not a valid name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {text:?}: {why}")]
pub struct NameError {
    /// What the text should have been: "node id", "bus id", "endpoint", "key" or
    /// "key expression".
    pub what: &'static str,
    /// The text, cut to 80 characters.
    pub text: String,
    /// What is wrong with it, and what would be right.
    pub why: &'static str,
}

impl NameError {
    pub(super) fn new(what: &'static str, text: &str, why: &'static str) -> Self {
        Self { what, text: text.chars().take(80).collect(), why }
    }
}

/// Implements what all validated text types share. `$check` returns why not.
macro_rules! text_newtype {
    ($name:ident, $what:literal, $check:path) => {
        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            /// Says what is wrong and what would be right.
            pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
                let text = text.as_ref();
                match $check(text) {
                    Ok(()) => Ok(Self(Arc::from(text))),
                    Err(why) => Err(NameError::new($what, text, why)),
                }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl core::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = alloc::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(text).map_err(|error| serde::de::Error::custom(error.to_string()))
            }
        }
    };
}
pub(super) use text_newtype;

/// The name of one isolated domain of nodes: `[A-Za-z0-9._-]{1,64}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusId(Arc<str>);
text_newtype!(BusId, "bus id", check_id);

/// A node's name, unique on its bus: `[A-Za-z0-9._-]{1,64}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);
text_newtype!(NodeId, "node id", check_id);

/// Where a node can be reached: `scheme://address`. What the address means is the
/// transport's business; the protocol only compares and passes it on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint(Arc<str>);
text_newtype!(Endpoint, "endpoint", check_endpoint);

impl Endpoint {
    /// The part before `://`.
    pub fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// The part after `://`.
    pub fn address(&self) -> &str {
        self.0.split_once("://").map_or("", |(_, address)| address)
    }
}

/// A number that grows each time a node (re)starts. Usually milliseconds since
/// 1970, so that it grows without storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn check_id(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty; use 1 to 64 of A-Z a-z 0-9 . _ -");
    }
    if text.len() > limits::NODE_ID_BYTES {
        return Err("it is longer than 64 bytes");
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if text.bytes().all(allowed) { Ok(()) } else { Err("use only A-Z a-z 0-9 . _ -") }
}

fn check_endpoint(text: &str) -> Result<(), &'static str> {
    if text.len() > limits::ENDPOINT_BYTES {
        return Err("it is longer than 300 bytes");
    }
    let Some((scheme, address)) = text.split_once("://") else {
        return Err("write scheme://address, for example quic://127.0.0.1:7447");
    };
    if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Err("the scheme before :// is not lower-case letters and digits");
    }
    if address.is_empty() {
        return Err("the address after :// is missing");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("it holds white space or control characters");
    }
    Ok(())
}
