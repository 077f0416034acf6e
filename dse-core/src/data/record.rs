//! The records of the data lane.

use alloc::boxed::Box;

use bytes::Bytes;

use crate::protocol::{Incarnation, Key, Kind};

/// One record of a data frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A sequence starts on this link.
    Begin(Begin),
    /// A value.
    Sample(Sample),
    /// Samples were left out.
    Skip(Skip),
    /// The sequence ends.
    End(End),
    /// On the reverse lane: how far a subscriber has come.
    Credit(Credit),
}

/// A sequence starts on this link: defines its alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Stands for the key on this link, in this direction, until its [`End`]. Chosen by
    /// the publisher, small numbers first.
    pub alias: u32,
    /// The key.
    pub key: Key,
    /// Stream or state.
    pub kind: Kind,
    /// The media type of the payloads.
    pub encoding: Box<str>,
    /// The publisher's incarnation.
    pub incarnation: Incarnation,
    /// The sequence number of the next sample, from 1.
    pub next_seq: u64,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its sequence.
    pub alias: u32,
    /// Its place in the sequence.
    pub seq: u64,
    /// When it was published, in nanoseconds since 1970 by the publisher's clock.
    pub time_ns: u64,
    /// The value.
    pub payload: Bytes,
}

/// Samples before `next_seq` that the subscriber has not got will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// The sequence.
    pub alias: u32,
    /// The sequence number of the next sample.
    pub next_seq: u64,
}

/// The sequence ends; its alias is free again once the receipt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The sequence.
    pub alias: u32,
    /// The last sequence number that was published before, 0 if none was.
    pub last_seq: u64,
    /// Why.
    pub reason: EndReason,
}

/// Why a sequence ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EndReason {
    /// The publisher closed it.
    Closed = 0,
    /// The subscriber's interest is gone.
    NoInterest = 1,
}

/// How far a subscriber has come, and how far the publisher may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// The publisher's alias.
    pub alias: u32,
    /// All up to here was taken by the application or reported to it as lost.
    pub consumed_seq: u64,
    /// How many samples beyond that the publisher may have under way; 0 is the receipt for
    /// the End, and the last credit for the alias.
    pub window: u32,
}
