//! The data path as pure machines: what travels on a data lane (PROTOCOL.md §9), how samples
//! are sent and how they are received. No clock, no lock, no I/O: time is an argument, and what
//! is to be done comes out as values.
//!
//! * [`DataFrame`], [`FrameWriter`], [`Record`]: the records and how they are read and written.
//! * [`send`]: one [`send::Sequence`] a publisher; its log, and a route for each subscriber's
//!   node.
//! * [`link`]: one [`link::LinkSchedule`] a link: whose turn it is, what is in flight, and what
//!   goes back to the peer.
//! * [`receive`]: one [`receive::LinkReceiver`] a link and one [`receive::Feed`] a subscription.
//!
//! The runtime puts locks and tasks around them, the simulator a virtual network.

mod body;
mod frame;
mod frame_error;
mod frame_writer;
mod headers;
pub mod limits;
pub mod link;
pub mod receive;
mod record;
mod records;
mod samples;
pub mod send;
mod varint;

use alloc::boxed::Box;

use crate::protocol::{Incarnation, Key, Kind, NodeId};

pub use body::Body;
pub use frame::DataFrame;
pub use frame_error::FrameError;
pub use frame_writer::FrameWriter;
pub use headers::{HeaderError, Headers};
pub use record::{
    Abort, Begin, Credit, End, EndReason, Fragment, Payload, Received, Record, Refuse, Resume,
    Sample, Samples, Skip, SkipReason, Unknown, field, tag,
};
pub use records::Records;

/// What a sequence of samples is of: shared by all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Origin {
    /// The publisher's node.
    pub node: NodeId,
    /// The key.
    pub key: Key,
    /// The publisher's incarnation.
    pub incarnation: Incarnation,
    /// Stream or state.
    pub kind: Kind,
    /// The media type of the payloads.
    pub encoding: Box<str>,
}

impl Origin {
    /// An origin.
    pub fn new(
        node: NodeId,
        key: Key,
        incarnation: Incarnation,
        kind: Kind,
        encoding: impl Into<Box<str>>,
    ) -> Self {
        Self { node, key, incarnation, kind, encoding: encoding.into() }
    }
}

/// A rule of the data lane that a peer broke. It ends the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SequenceFault {
    /// A record of a sequence that was not begun, or has ended (PROTOCOL.md §9.3).
    #[error("sequence {sequence} was not begun")]
    Unknown {
        /// The sequence.
        sequence: u64,
    },
    /// A sequence was begun again without a new epoch (PROTOCOL.md §9.3).
    #[error("sequence {sequence} was begun twice")]
    BegunTwice {
        /// The sequence.
        sequence: u64,
    },
    /// There are more sequences than a link may have (PROTOCOL.md §11).
    #[error("the peer began more than {} sequences", limits::SEQUENCES_PER_LINK)]
    TooMany,
    /// Begin holds what cannot be (PROTOCOL.md §9.3).
    #[error("sequence {sequence} begins with an invalid {what}")]
    Begin {
        /// The sequence.
        sequence: u64,
        /// What is invalid.
        what: &'static str,
    },
    /// Numbers go up (PROTOCOL.md §9.3).
    #[error("sequence {sequence} goes back from {last_seq} to {seq}")]
    Backwards {
        /// The sequence.
        sequence: u64,
        /// The last number before.
        last_seq: u64,
        /// The number that came.
        seq: u64,
    },
    /// The fragments of a sample do not follow each other (PROTOCOL.md §9.7).
    #[error("sequence {sequence} has a fragment that does not follow the one before")]
    Fragment {
        /// The sequence.
        sequence: u64,
    },
    /// A sample is longer than it may be (PROTOCOL.md §11).
    #[error("sequence {sequence} has a sample of {len} bytes")]
    TooLong {
        /// The sequence.
        sequence: u64,
        /// Its length, in bytes.
        len: u64,
    },
    /// States and samples in fragments are more than a node keeps for a link (PROTOCOL.md §11).
    #[error(
        "the states of the peer and its samples in fragments have more than {} bytes",
        limits::LINK_KEPT_BYTES
    )]
    TooMuch,
    /// More was sent than was granted (PROTOCOL.md §9.4).
    #[error("sequence {sequence} has more unconfirmed than was granted")]
    BeyondCredit {
        /// The sequence.
        sequence: u64,
    },
    /// More is confirmed than was sent (PROTOCOL.md §9.4).
    #[error(
        "sequence {sequence} is confirmed up to {consumed_seq}, and was sent only up to {sent_seq}"
    )]
    CreditAhead {
        /// The sequence.
        sequence: u64,
        /// What the peer confirms.
        consumed_seq: u64,
        /// What it was sent.
        sent_seq: u64,
    },
    /// The end of a sequence is confirmed that goes on (PROTOCOL.md §9.3).
    #[error("the end of sequence {sequence} is confirmed, which has not ended")]
    EndAhead {
        /// The sequence.
        sequence: u64,
    },
    /// The peer goes on beyond what it was sent (PROTOCOL.md §9.9).
    #[error("sequence {sequence} is to go on at {next_seq}, and was sent only up to {sent_seq}")]
    ResumeAhead {
        /// The sequence.
        sequence: u64,
        /// Where the peer wants to go on.
        next_seq: u64,
        /// What it was sent.
        sent_seq: u64,
    },
    /// More was received than was sent (PROTOCOL.md §9.6).
    #[error("the peer has received {received} bytes of {written}")]
    ReceivedAhead {
        /// What the peer says.
        received: u64,
        /// What was written.
        written: u64,
    },
}
