//! The envelope and the codec (PROTOCOL.md §2).
//!
//! ```text
//! version u8 | kind u8 | flags u8 | body length, LEB128 u32 | body (postcard) | extensions
//! ```
//!
//! With flag bit 0 the rest of the message after the body is a list of extensions,
//! each `tag LEB128 u32 | length LEB128 u32 | bytes`, which readers that do not know
//! the tag skip. Without it nothing may follow the body.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::limits;
use super::message::Message;

/// The protocol version of this code, and the lowest that it speaks.
pub const VERSION: u8 = 1;

const FLAG_EXTENSIONS: u8 = 1;

/// Why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Longer than [`limits::CONTROL_MESSAGE_BYTES`].
    #[error("the message has {len} bytes, more than the 65536 that a message may have")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// It ends inside the envelope or the body.
    #[error("the message is cut short")]
    Truncated,
    /// It is of a protocol version that was not agreed on.
    #[error("the message is of protocol version {version}")]
    Version {
        /// The version.
        version: u8,
    },
    /// A flag is set that has no meaning.
    #[error("the message has unknown flags {flags:#04x}")]
    Flags {
        /// The flags.
        flags: u8,
    },
    /// The body is not what its kind demands.
    #[error("the body of a message of kind {kind} is malformed: {error}")]
    Body {
        /// The kind's number.
        kind: u8,
        /// What the decoder says.
        error: String,
    },
    /// Something follows where nothing may.
    #[error("the message has {len} bytes too many")]
    Trailing {
        /// How many.
        len: usize,
    },
}

/// A message as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A message of a known kind.
    Known(Message),
    /// A message of a kind that a later version has: to be counted and skipped.
    Unknown {
        /// Its kind's number.
        kind: u8,
    },
}

/// One line for each kind: its number on the wire, for ever.
macro_rules! kinds {
    ($($number:literal $kind:ident)*) => {
        /// The number of a message's kind on the wire.
        pub fn kind(message: &Message) -> u8 {
            match message { $(Message::$kind(_) => $number,)* }
        }

        fn encode_body(message: &Message) -> Result<Vec<u8>, postcard::Error> {
            match message { $(Message::$kind(body) => postcard::to_allocvec(body),)* }
        }

        fn decode_body(kind: u8, body: &[u8]) -> Result<Option<Message>, postcard::Error> {
            Ok(Some(match kind {
                $($number => Message::$kind(exact(body)?),)*
                _ => return Ok(None),
            }))
        }
    };
}

kinds! {
    1 Hello
    2 Open
    3 Reject
    4 Members
    5 MembersRequest
    6 Snapshot
    7 Delta
    8 Request
    9 Answer
    10 Interest
    11 InterestRefused
    12 Leave
    13 LeaveAck
    14 StatsRequest
    15 Stats
    16 Suspect
    17 Rival
    18 Stand
}

/// Encodes a message.
///
/// The caller keeps it within [`limits::CONTROL_MESSAGE_BYTES`] by cutting lists into
/// parts.
pub fn encode(message: &Message) -> Bytes {
    // postcard fails only for lists of unknown length and custom errors; no body here
    // has either, so an empty body never stands for a lost one.
    let body = encode_body(message).unwrap_or_default();
    let mut out = Vec::with_capacity(body.len() + 8);
    out.extend_from_slice(&[VERSION, kind(message), 0]);
    put_varint(&mut out, body.len() as u32);
    out.extend_from_slice(&body);
    debug_assert!(out.len() <= limits::CONTROL_MESSAGE_BYTES, "a message is too long");
    out.into()
}

/// Decodes a message. Never allocates more than a small multiple of its length.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<Decoded, WireError> {
    if bytes.len() > limits::CONTROL_MESSAGE_BYTES {
        return Err(WireError::TooLong { len: bytes.len() });
    }
    let [version, kind, flags, rest @ ..] = bytes else {
        return Err(WireError::Truncated);
    };
    if *version != VERSION {
        return Err(WireError::Version { version: *version });
    }
    if flags & !FLAG_EXTENSIONS != 0 {
        return Err(WireError::Flags { flags: *flags });
    }
    let (body, rest) = take_counted(rest)?;
    if flags & FLAG_EXTENSIONS != 0 {
        skip_extensions(rest)?;
    } else if !rest.is_empty() {
        return Err(WireError::Trailing { len: rest.len() });
    }
    match decode_body(*kind, body) {
        Ok(Some(message)) => Ok(Decoded::Known(message)),
        Ok(None) => Ok(Decoded::Unknown { kind: *kind }),
        Err(error) => Err(WireError::Body { kind: *kind, error: error.to_string() }),
    }
}

/// The length that a value takes on the wire, in bytes: for cutting lists into parts.
pub fn encoded_len<T: Serialize>(value: &T) -> usize {
    postcard::experimental::serialized_size(value).unwrap_or(0)
}

/// postcard ignores what follows a value; here nothing may.
fn exact<T: DeserializeOwned>(body: &[u8]) -> Result<T, postcard::Error> {
    let (value, rest) = postcard::take_from_bytes(body)?;
    if rest.is_empty() { Ok(value) } else { Err(postcard::Error::DeserializeBadEncoding) }
}

fn skip_extensions(mut rest: &[u8]) -> Result<(), WireError> {
    while !rest.is_empty() {
        let (_tag, after_tag) = take_varint(rest)?;
        (_, rest) = take_counted(after_tag)?;
    }
    Ok(())
}

fn take_counted(bytes: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (len, rest) = take_varint(bytes)?;
    rest.split_at_checked(len as usize).ok_or(WireError::Truncated)
}

fn take_varint(bytes: &[u8]) -> Result<(u32, &[u8]), WireError> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).map_err(|_| WireError::Truncated)?;
            return Ok((value, &bytes[place + 1..]));
        }
    }
    Err(WireError::Truncated)
}

fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
