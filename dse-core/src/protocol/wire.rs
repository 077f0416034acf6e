//! The envelope and the codec (PROTOCOL.md §2).
//!
//! ```text
//! version u8 | kind u8 | flags u8 | fields | tags
//! ```
//!
//! What a later version adds is skipped and counted (law L11): kinds of messages, flags,
//! tags behind the fields of a body or of an item, numbers of kinds, reasons, roles, scopes
//! and classes, and bits of features.

mod bodies;
mod codec;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::AddAssign;

use bytes::Bytes;
use serde::Serialize;

use self::codec::{Fields, Item, Malformed, Reader, Writer};
use super::limits;
use super::message::Message;
use super::numbers::{flag, message as number};

/// The protocol version of this code, and the lowest that it speaks.
pub const VERSION: u8 = 1;

/// Bytes of the envelope: what precedes the body.
pub const ENVELOPE_BYTES: usize = 3;

/// Why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Longer than [`limits::CONTROL_MESSAGE_BYTES`].
    #[error("the message has {len} bytes, more than the 65536 that a message may have")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// It ends inside the envelope.
    #[error("the message is cut short")]
    Truncated,
    /// It is of a protocol version that was not agreed on.
    #[error("the message is of protocol version {version}")]
    Version {
        /// The version.
        version: u8,
    },
    /// The body is not what its kind demands.
    #[error("the body of a message of kind {kind} is malformed: {error}")]
    Body {
        /// The kind's number.
        kind: u8,
        /// What the decoder says.
        error: String,
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
        /// Its sender said that it must be understood.
        must_understand: bool,
    },
}

/// What was skipped inside messages, by level: a later version has it, and this one does
/// not know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// Bits of flags.
    pub flags: u64,
    /// Tags of bodies and of items.
    pub tags: u64,
    /// Numbers of kinds of declarations, which are kept as [`Kind::Other`](super::Kind).
    pub kinds: u64,
    /// Numbers of reasons of a Reject or a Leave.
    pub reasons: u64,
    /// Numbers of roles, which count as [`Role::Guest`](super::Role).
    pub roles: u64,
    /// Bits of features.
    pub features: u64,
    /// Endpoints of a scope without a meaning: left out of their list.
    pub scopes: u64,
    /// Numbers of classes, which count as [`Class::Normal`](super::Class).
    pub classes: u64,
}

impl Skipped {
    /// All levels together.
    pub fn total(&self) -> u64 {
        let Self { flags, tags, kinds, reasons, roles, features, scopes, classes } = self;
        [flags, tags, kinds, reasons, roles, features, scopes, classes].into_iter().sum()
    }
}

impl AddAssign for Skipped {
    fn add_assign(&mut self, more: Self) {
        self.flags += more.flags;
        self.tags += more.tags;
        self.kinds += more.kinds;
        self.reasons += more.reasons;
        self.roles += more.roles;
        self.features += more.features;
        self.scopes += more.scopes;
        self.classes += more.classes;
    }
}

/// One line for each kind and its number.
macro_rules! kinds {
    ($($number:ident $kind:ident)*) => {
        /// The number of a message's kind on the wire.
        pub fn kind(message: &Message) -> u8 {
            match message { $(Message::$kind(_) => number::$number,)* }
        }

        fn write_body(message: &Message, to: &mut Writer) {
            match message { $(Message::$kind(body) => body.write(to),)* }
        }

        fn read_body(kind: u8, from: &mut Reader<'_>) -> Result<Option<Message>, Malformed> {
            Ok(Some(match kind {
                $(number::$number => Message::$kind(Fields::read(from)?),)*
                _ => return Ok(None),
            }))
        }
    };
}

kinds! {
    HELLO Hello
    OPEN Open
    REJECT Reject
    MEMBERS Members
    MEMBERS_REQUEST MembersRequest
    SNAPSHOT Snapshot
    DELTA Delta
    REQUEST Request
    ANSWER Answer
    INTEREST Interest
    INTEREST_REFUSED InterestRefused
    LEAVE Leave
    LEAVE_ACK LeaveAck
    STATS_REQUEST StatsRequest
    STATS Stats
    SUSPECT Suspect
    RIVAL Rival
    STAND Stand
}

/// Encodes a message.
///
/// The caller keeps it within [`limits::CONTROL_MESSAGE_BYTES`] by cutting lists into
/// parts.
pub fn encode(message: &Message) -> Bytes {
    let mut to = Writer::new(Vec::from([VERSION, kind(message), 0]));
    write_body(message, &mut to);
    debug_assert!(to.len() <= limits::CONTROL_MESSAGE_BYTES, "a message is too long");
    to.into_bytes().into()
}

/// Decodes a message. Never allocates more than a small multiple of its length.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<Decoded, WireError> {
    decode_counting(bytes).map(|(decoded, _)| decoded)
}

/// Decodes a message as [`decode`] does, and counts what it skips.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode_counting(bytes: &[u8]) -> Result<(Decoded, Skipped), WireError> {
    if bytes.len() > limits::CONTROL_MESSAGE_BYTES {
        return Err(WireError::TooLong { len: bytes.len() });
    }
    let [version, kind, flags, body @ ..] = bytes else {
        return Err(WireError::Truncated);
    };
    if *version != VERSION {
        return Err(WireError::Version { version: *version });
    }
    let mut from = Reader::new(body);
    from.skipped.flags = (flags & !flag::MUST_UNDERSTAND).count_ones().into();
    let message = read_whole(*kind, &mut from)
        .map_err(|error| WireError::Body { kind: *kind, error: error.to_string() })?;
    let must_understand = flags & flag::MUST_UNDERSTAND != 0;
    let unknown = Decoded::Unknown { kind: *kind, must_understand };
    Ok((message.map_or(unknown, Decoded::Known), from.skipped))
}

/// The fields and the tags of a body. Nothing is looked at in one of an unknown kind.
fn read_whole(kind: u8, from: &mut Reader<'_>) -> Result<Option<Message>, Malformed> {
    let message = read_body(kind, from)?;
    if message.is_some() {
        from.skip_tags()?;
    }
    Ok(message)
}

/// The length that an item of a list takes on the wire, in bytes: for cutting lists into
/// parts.
pub fn encoded_len<T: Item>(item: &T) -> usize {
    let mut to = Writer::default();
    to.item(|to| item.write_item(to));
    to.len()
}

/// Cuts a list so that no part is longer than [`limits::PART_BYTES`] on the wire.
pub(super) fn parts<T: Item>(items: impl IntoIterator<Item = T>) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for item in items {
        let bytes = encoded_len(&item);
        match parts.last_mut() {
            Some(part) if bytes <= room => part.push(item),
            _ => {
                parts.push(alloc::vec![item]);
                room = limits::PART_BYTES;
            }
        }
        room = room.saturating_sub(bytes);
    }
    parts
}

/// A list in as many messages as it takes, at least one. Each is made of its number, whether
/// it is the last, and its part.
pub(super) fn in_parts<T: Item, M>(
    items: impl IntoIterator<Item = T>,
    message: impl Fn(u32, bool, Vec<T>) -> M,
) -> Vec<M> {
    let mut parts = parts(items);
    if parts.is_empty() {
        parts.push(Vec::new());
    }
    let count = parts.len() as u32;
    (0..).zip(parts).map(|(number, part)| message(number, number + 1 == count, part)).collect()
}

/// The length that a value without lists takes on the wire, in bytes.
pub fn plain_len<T: Serialize>(value: &T) -> usize {
    let mut to = Writer::default();
    to.plain(value);
    to.len()
}
