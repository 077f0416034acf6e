//! The records of the data lane and their numbers (PROTOCOL.md §9.1).

use bytes::Bytes;

use super::frame_error::FrameError;
use crate::protocol::{Class, Incarnation, Kind};

/// The tags of records. Those that are odd own payload.
pub mod tag {
    /// Values, whole ones.
    pub const SAMPLES: u8 = 1;
    /// A sequence starts on this link.
    pub const BEGIN: u8 = 2;
    /// A part of a value.
    pub const FRAGMENT: u8 = 3;
    /// Samples were left out.
    pub const SKIP: u8 = 4;
    /// Reserved: rows of a table that changed.
    pub const ROW_DELTA: u8 = 5;
    /// A sequence ends.
    pub const END: u8 = 6;
    /// Reserved: a call of a service.
    pub const CALL: u8 = 7;
    /// What was taken off the link.
    pub const RECEIVED: u8 = 8;
    /// Reserved: a reply to a call.
    pub const REPLY: u8 = 9;
    /// What the application has taken, and how much may be sent.
    pub const CREDIT: u8 = 10;
    /// Reserved: a schema.
    pub const SCHEMA: u8 = 11;
    /// Where a subscriber goes on.
    pub const RESUME: u8 = 12;
    /// The rest of a value in fragments will not come.
    pub const ABORT: u8 = 14;
    /// The subscriber's node cannot follow a sequence.
    pub const REFUSE: u8 = 16;
    /// Reserved: a table's snapshot begins.
    pub const SNAPSHOT: u8 = 18;
    /// Reserved: a table's catch-up is complete.
    pub const COMMIT: u8 = 20;
    /// Reserved: a call is given up.
    pub const CANCEL: u8 = 22;
    /// Reserved: asks for a schema.
    pub const SCHEMA_REQUEST: u8 = 24;
    /// With this bit a record that the receiver does not know ends its sequence, which is one of
    /// the sender's: what goes back to a publisher never has it.
    pub const MUST_UNDERSTAND: u8 = 0x80;
}

/// The tags of fields that may follow the fixed ones of a record.
pub mod field {
    /// Of Samples and the first Fragment: the headers.
    pub const HEADERS: u64 = 1;
    /// Reserved, of Samples: when they expire.
    pub const EXPIRES: u64 = 2;
    /// Reserved, of Begin: the hash of the schema.
    pub const SCHEMA_HASH: u64 = 1;
}

/// One record of a data frame, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A sequence starts on this link.
    Begin(Begin<'a>),
    /// Values that follow each other.
    Samples(Samples<'a>),
    /// A part of a value.
    Fragment(Fragment<'a>),
    /// Samples were left out.
    Skip(Skip),
    /// The sequence ends.
    End(End),
    /// The rest of a value will not come.
    Abort(Abort),
    /// On the reverse lane: what was taken off the link.
    Received(Received),
    /// On the reverse lane: how far a subscriber has come.
    Credit(Credit),
    /// On the reverse lane: where a subscriber goes on.
    Resume(Resume),
    /// On the reverse lane: the sequence cannot be followed.
    Refuse(Refuse),
    /// A record that this version does not know. `sequence` is none unless the record says
    /// that it must be understood.
    Unknown(Unknown),
}

/// A sequence starts on this link. A sequence has one id in all of its node's links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin<'a> {
    /// The sequence, a number that the publisher's node gives each publisher.
    pub sequence: u64,
    /// Counts how often the sequence began for this subscriber's node. What that node sends
    /// back repeats it.
    pub epoch: u64,
    /// The key.
    pub key: &'a str,
    /// Stream or state.
    pub kind: Kind,
    /// The media type of the payloads.
    pub encoding: &'a str,
    /// The publisher's incarnation.
    pub incarnation: Incarnation,
    /// The sequence number of the next sample, from 1.
    pub next_seq: u64,
    /// What the times of samples are counted from, in nanoseconds since 1970 by the
    /// publisher's clock.
    pub base_time_ns: u64,
    /// How urgent the samples are.
    pub class: Class,
    /// Nothing follows before the subscriber's node has sent [`Resume`].
    pub resume: bool,
}

/// Where the payload of a record lies in the [`Body`](super::Body) of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Payload {
    /// How many pieces come before that in which it begins.
    pub piece: usize,
    /// How many bytes of that piece come before it.
    pub offset: usize,
    /// Its length, in bytes.
    pub len: usize,
}

impl Payload {
    /// Takes a payload off the front.
    ///
    /// # Errors
    /// There is less, or it does not lie in one piece.
    #[inline]
    pub(super) fn take(&mut self, len: usize, pieces: &[Bytes]) -> Result<Self, FrameError> {
        let left = self.len.checked_sub(len).ok_or(FrameError::Truncated)?;
        while len > 0 && pieces.get(self.piece).is_some_and(|piece| piece.len() == self.offset) {
            (self.piece, self.offset) = (self.piece + 1, 0);
        }
        let taken = Self { len, ..*self };
        let end = self.offset + len;
        if len > 0 && pieces.get(self.piece).is_none_or(|piece| piece.len() < end) {
            return Err(FrameError::Truncated);
        }
        (self.offset, self.len) = (end, left);
        Ok(taken)
    }

    /// Takes payloads off the front that are so long together.
    ///
    /// # Errors
    /// There is less.
    pub(super) fn take_all(&mut self, len: usize, pieces: &[Bytes]) -> Result<Self, FrameError> {
        let left = self.len.checked_sub(len).ok_or(FrameError::Truncated)?;
        let taken = Self { len, ..*self };
        self.offset += len;
        while let Some(piece) = pieces.get(self.piece)
            && piece.len() < self.offset
        {
            (self.piece, self.offset) = (self.piece + 1, self.offset - piece.len());
        }
        self.len = left;
        Ok(taken)
    }
}

/// Samples of one sequence whose numbers follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Samples<'a> {
    /// Their sequence.
    pub sequence: u64,
    /// The number of the first one.
    pub seq: u64,
    /// When the first one was published, in nanoseconds after the sequence's base time.
    pub time_ns: i64,
    /// How many follow the first one.
    pub more: usize,
    /// The encoded headers of each of them; empty if there are none.
    pub headers: &'a [u8],
    /// The values, behind each other.
    pub payload: Payload,
    /// For each but the last: its length, and the time from it to the next one.
    pub(super) steps: &'a [u8],
    /// Where those begin in the head.
    pub(super) steps_at: usize,
    /// The body of the frame.
    pub(super) pieces: &'a [Bytes],
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// Its sequence.
    pub sequence: u64,
    /// Its place in the sequence.
    pub seq: u64,
    /// When it was published, in nanoseconds after the sequence's base time.
    pub time_ns: i64,
    /// The encoded headers; empty if there are none.
    pub headers: &'a [u8],
    /// The value.
    pub payload: Payload,
}

/// A part of a value. The parts of one follow each other from offset 0 without a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// What it is a part of. Headers are those of the first part.
    pub sample: Sample<'a>,
    /// Where the part begins.
    pub offset: u64,
    /// How long the whole value is, in bytes.
    pub total: u64,
}

impl Fragment<'_> {
    /// Is this the last part?
    pub fn is_last(&self) -> bool {
        self.offset + self.sample.payload.len as u64 == self.total
    }
}

/// Samples before `next_seq` that the subscriber has not got will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// The sequence.
    pub sequence: u64,
    /// The number of the next sample; 0 if it is not known yet.
    pub next_seq: u64,
    /// Why.
    pub reason: SkipReason,
}

/// Why samples do not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// The publisher drops for who is slow.
    Policy,
    /// The subscriber asked not to be waited for, or for fewer samples.
    Wish,
    /// A newer value took its place.
    Superseded,
    /// The subscriber made no progress for the stall timeout.
    Stalled,
    /// The sample's lifetime was over.
    Expired,
    /// A node had no room for it.
    Evicted,
    /// The link fell, and what was in flight was kept no longer.
    Lost,
    /// A reason that this version does not know.
    Other(u8),
}

impl SkipReason {
    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Policy => 0,
            Self::Wish => 1,
            Self::Superseded => 2,
            Self::Stalled => 3,
            Self::Expired => 4,
            Self::Evicted => 5,
            Self::Lost => 6,
            Self::Other(number) => number,
        }
    }

    /// The reason of a number on the wire.
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Policy,
            1 => Self::Wish,
            2 => Self::Superseded,
            3 => Self::Stalled,
            4 => Self::Expired,
            5 => Self::Evicted,
            6 => Self::Lost,
            other => Self::Other(other),
        }
    }
}

impl core::fmt::Display for SkipReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Policy => f.write_str("policy"),
            Self::Wish => f.write_str("wish"),
            Self::Superseded => f.write_str("superseded"),
            Self::Stalled => f.write_str("stalled"),
            Self::Expired => f.write_str("expired"),
            Self::Evicted => f.write_str("evicted"),
            Self::Lost => f.write_str("lost"),
            Self::Other(number) => write!(f, "reason-{number}"),
        }
    }
}

/// The sequence ends for this subscriber's node, which answers with a last [`Credit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The sequence.
    pub sequence: u64,
    /// The last sequence number that was published before, 0 if none was.
    pub last_seq: u64,
    /// Why.
    pub reason: EndReason,
}

/// Why a sequence ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// The publisher closed it.
    Closed,
    /// The subscriber's interest is gone.
    NoInterest,
    /// The subscriber's node cannot follow it.
    Refused,
    /// A reason that this version does not know.
    Other(u8),
}

impl EndReason {
    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::NoInterest => 1,
            Self::Refused => 2,
            Self::Other(number) => number,
        }
    }

    /// The reason of a number on the wire.
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Closed,
            1 => Self::NoInterest,
            2 => Self::Refused,
            other => Self::Other(other),
        }
    }
}

/// The rest of a value in fragments will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// The sequence.
    pub sequence: u64,
    /// The value.
    pub seq: u64,
    /// Why.
    pub reason: SkipReason,
}

/// What a node has taken off a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Received {
    /// The bytes of all frames that count (PROTOCOL.md §9.6), since the link began.
    pub bytes: u64,
    /// How long ago the last of them was taken, in microseconds: what is left of the time
    /// since it was sent is the round trip.
    pub delay_us: u64,
}

/// How far a subscriber's node has come, and how far the publisher may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Credit {
    /// The sequence.
    pub sequence: u64,
    /// Its epoch.
    pub epoch: u64,
    /// All up to here was handed to the application or reported to it as lost.
    pub consumed_seq: u64,
    /// How many samples beyond that may be sent.
    pub samples: u32,
    /// How many payload bytes beyond that may be sent; one sample always.
    pub bytes: u32,
    /// How many samples came in this epoch that some subscription was not handed: they were
    /// reported to it as lost, or wait for one that is left out.
    pub missed: u64,
    /// Everything up to End was taken: the last credit of the epoch.
    pub last: bool,
}

/// Where a subscriber's node goes on, in answer to a [`Begin`] that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resume {
    /// The sequence.
    pub sequence: u64,
    /// Its epoch.
    pub epoch: u64,
    /// The number of the first sample that it lacks; 0 if it knows nothing of the sequence.
    pub next_seq: u64,
}

/// The subscriber's node cannot follow a sequence: the publisher ends it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refuse {
    /// The sequence.
    pub sequence: u64,
    /// Its epoch; 0 if it was begun by no record that the node knows.
    pub epoch: u64,
    /// The tag of the record that it does not know.
    pub tag: u8,
}

/// A record that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Its tag, without the bit that says whether it must be understood.
    pub tag: u8,
    /// The sequence that ends with it, if it must be understood.
    pub sequence: Option<u64>,
}
