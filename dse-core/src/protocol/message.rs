//! The control-bus messages. PROTOCOL.md §3 gives each its bytes and its meaning.

use alloc::boxed::Box;
use alloc::vec::Vec;

use core::fmt;

use serde::{Deserialize, Serialize};

use super::declaration::{Declaration, IndexVersion};
use super::features::Features;
use super::key::{Key, KeyExpr};
use super::names::{BusId, Endpoint, Incarnation, NodeId};
use super::numbers::{leave, reject, role};
use super::options::InterestOptions;

/// One control-bus message. Serialized as it stands it is for comparing only; its bytes
/// on the wire are made by [`wire`](super::wire).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Message {
    /// First on every link, both ways.
    Hello(Hello),
    /// Opens the link.
    Open(Open),
    /// Refuses the link, or ends it.
    Reject(Reject),
    /// Tells whom to dial.
    Members(Members),
    /// Asks for [`Message::Members`].
    MembersRequest(MembersRequest),
    /// The sender's whole index.
    Snapshot(Snapshot),
    /// A change of the sender's index.
    Delta(Delta),
    /// Who serves this key expression?
    Request(Request),
    /// A node's reply to a request.
    Answer(Answer),
    /// Which of the receiver's keys the sender wants.
    Interest(Interest),
    /// The interest was not taken.
    InterestRefused(InterestRefused),
    /// The sender goes.
    Leave(Leave),
    /// The leave was seen.
    LeaveAck(LeaveAck),
    /// Asks for the receiver's counters.
    StatsRequest(StatsRequest),
    /// The counters.
    Stats(Stats),
    /// A node that the sender watches may be dead.
    Suspect(Suspect),
    /// A younger start of the receiver is alive.
    Rival(Rival),
    /// The sender does not yield to it.
    Stand(Stand),
}

/// Is a node part of the bus, or does it only ask?
///
/// On the wire its number; one that is not known counts as [`Role::Guest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Role {
    /// Declares, subscribes, answers.
    Member,
    /// Links to all and asks; nothing else.
    Guest,
}

impl Role {
    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Member => role::MEMBER,
            Self::Guest => role::GUEST,
        }
    }

    /// The role of a number on the wire.
    pub const fn from_number(number: u8) -> Self {
        match number {
            role::MEMBER => Self::Member,
            _ => Self::Guest,
        }
    }

    pub(super) const fn is_known(number: u8) -> bool {
        Self::from_number(number).number() == number
    }
}

/// What decides between two live nodes of one id (PROTOCOL.md §5.3). Constant while any
/// link is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Had links once and lost them all.
    pub returned: bool,
    /// The incarnation.
    pub incarnation: Incarnation,
    /// Random for each start of a node: tells two nodes of one id and one
    /// incarnation apart.
    pub nonce: u64,
}

/// First on every link, both ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hello {
    /// Lowest protocol version that the sender speaks.
    pub min_version: u8,
    /// Highest protocol version that the sender speaks.
    pub max_version: u8,
    /// What the sender can do beyond what every node can.
    pub features: Features,
    /// The sender's bus.
    pub bus: BusId,
    /// The sender's id.
    pub node: NodeId,
    /// Its claim to that id.
    pub claim: Claim,
    /// Member or guest.
    pub role: Role,
    /// The sender stays on the bus until it is told to leave; else it ends by itself.
    pub lasting: bool,
    /// Random for each link: the sender's name for this link.
    pub link_nonce: u64,
    /// Where the sender can be reached.
    pub endpoints: Vec<Endpoint>,
}

/// Opens the link, after the other's Hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Open {
    /// The link nonce of the other's Hello: proves that the sender is alive now.
    pub echo: u64,
    /// The receiver's nonce of the link that the sender already holds with it.
    pub held: Option<u64>,
    /// The incarnation and version of the receiver's index that the sender has.
    pub known: Option<(Incarnation, IndexVersion)>,
    /// Which members the sender has open or is dialling, without the receiver: the
    /// newest starts first.
    pub census: Vec<Span>,
}

/// Some of the members that a node has open or is dialling: those of one span of
/// incarnations, told by a sum, so that two nodes can see where they differ
/// (PROTOCOL.md §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The lowest incarnation of the span. It ends where the one before begins.
    pub from: Incarnation,
    /// The sum of the members' fingerprints, mod 2^64.
    pub sum: u64,
}

/// Why a link was refused or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// The sender belongs to another bus.
    #[error("this is bus {bus}; join it under this name, or use another endpoint")]
    WrongBus {
        /// The bus of the rejecting node.
        bus: BusId,
    },
    /// No protocol version in common.
    #[error("it speaks protocol versions {min} to {max} only; run the same release on both")]
    NoCommonVersion {
        /// Lowest version of the rejecting node.
        min: u8,
        /// Highest version of the rejecting node.
        max: u8,
    },
    /// Another live node has this id and the better claim.
    #[error("another live node has this id, at {}; choose another id or stop that node", .winner.as_ref().map_or("an unknown endpoint", |e| e.as_str()))]
    Clash {
        /// Where the winner can be reached, if it can.
        winner: Option<Endpoint>,
    },
    /// The dialler reached itself.
    #[error("that endpoint is this node itself")]
    Yourself,
    /// The pair has a link already.
    #[error("the two nodes have a link already")]
    Duplicate,
    /// The rejecting node is leaving the bus.
    #[error("that node is leaving the bus")]
    Leaving,
    /// The bus has as many members as it may have.
    #[error("the bus is full: it has {limit} members")]
    BusFull {
        /// The limit.
        limit: u32,
    },
    /// The node has as many guests as it takes.
    #[error("that node serves {limit} guests already; try again later")]
    GuestsFull {
        /// The limit.
        limit: u32,
    },
    /// The node id does not fit the authenticated name.
    #[error(
        "the certificate is for {certified}, which does not allow this node id; the id must be that name or start with it and a dot"
    )]
    WrongIdentity {
        /// The name in the certificate.
        certified: Box<str>,
    },
    /// The sender broke the protocol.
    #[error("protocol fault: {fault}")]
    Fault {
        /// Which rule was broken.
        fault: Box<str>,
    },
    /// A reason of a later version.
    #[error("it gives reason {number}, which this version does not know: {}", if .words.is_empty() { "run the same release on both" } else { .words })]
    Other {
        /// The number of the reason.
        number: u8,
        /// The reason in words, as the peer put it; may be empty.
        words: Box<str>,
    },
}

impl RejectReason {
    /// Its number on the wire.
    pub const fn number(&self) -> u8 {
        match self {
            Self::WrongBus { .. } => reject::WRONG_BUS,
            Self::NoCommonVersion { .. } => reject::NO_COMMON_VERSION,
            Self::Clash { .. } => reject::CLASH,
            Self::Yourself => reject::YOURSELF,
            Self::Duplicate => reject::DUPLICATE,
            Self::Leaving => reject::LEAVING,
            Self::BusFull { .. } => reject::BUS_FULL,
            Self::GuestsFull { .. } => reject::GUESTS_FULL,
            Self::WrongIdentity { .. } => reject::WRONG_IDENTITY,
            Self::Fault { .. } => reject::FAULT,
            Self::Other { number, .. } => *number,
        }
    }
}

/// Refuses the link, or ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reject {
    /// The link nonce of the other's Hello.
    pub echo: u64,
    /// Why.
    pub reason: RejectReason,
}

/// A member that the sender has an open link to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its id.
    pub node: NodeId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Where it can be reached.
    pub endpoints: Vec<Endpoint>,
}

/// Tells whom to dial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Members {
    /// The [`MembersRequest`] that this answers, or none after an Open.
    pub request: Option<u64>,
    /// No further part follows.
    pub last: bool,
    /// The members.
    pub members: Vec<Member>,
}

/// Asks for all members that the receiver has open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MembersRequest {
    /// Chosen by the asker.
    pub request: u64,
}

/// The sender's whole index, in parts that are applied at the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// The version of the index.
    pub version: IndexVersion,
    /// This part's number, from 0.
    pub part: u32,
    /// No further part follows.
    pub last: bool,
    /// Declarations, in order of their keys.
    pub declarations: Vec<Declaration>,
}

/// A change of the sender's index, in parts that are applied at the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delta {
    /// The version that this is a change of.
    pub from: IndexVersion,
    /// The version that it leads to.
    pub to: IndexVersion,
    /// This part's number, from 0.
    pub part: u32,
    /// No further part follows.
    pub last: bool,
    /// Declarations that are new or changed.
    pub set: Vec<Declaration>,
    /// Keys that are no longer declared.
    pub unset: Vec<Key>,
}

/// Who serves this key expression?
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Chosen by the asker.
    pub request: u64,
    /// What is sought.
    pub keys: KeyExpr,
}

/// A node's reply to a request: its matching declarations, also when none match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The request.
    pub request: u64,
    /// This part's number, from 0.
    pub part: u32,
    /// No further part follows.
    pub last: bool,
    /// Hash of the members that the answerer has open, itself included
    /// (PROTOCOL.md §7.2).
    pub membership: u64,
    /// The matching declarations.
    pub declarations: Vec<Declaration>,
}

/// Which of the receiver's keys the sender wants: replaces what it said before, in
/// parts that are applied at the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interest {
    /// Grows by one with each change on this link, from 1.
    pub version: u64,
    /// This part's number, from 0.
    pub part: u32,
    /// No further part follows.
    pub last: bool,
    /// The patterns; none means no interest.
    pub patterns: Vec<Pattern>,
}

/// Keys that a node wants, and what it asks of the routes that bring them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Pattern {
    /// The keys.
    pub keys: KeyExpr,
    /// What is asked of their routes.
    pub options: InterestOptions,
}

/// Nothing special is asked.
impl From<KeyExpr> for Pattern {
    fn from(keys: KeyExpr) -> Self {
        Self { keys, options: InterestOptions::default() }
    }
}

/// The interest was not taken; the one before it stays in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterestRefused {
    /// The version of the refused interest.
    pub version: u64,
    /// Why, in words.
    pub why: Box<str>,
}

/// Why a node leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum LeaveReason {
    /// It was asked to.
    Asked,
    /// It lost its id to another live node.
    Clash,
    /// A reason of a later version, by its number: as good as any.
    Other(u8),
}

impl LeaveReason {
    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Asked => leave::ASKED,
            Self::Clash => leave::CLASH,
            Self::Other(number) => number,
        }
    }

    /// The reason of a number on the wire.
    pub const fn from_number(number: u8) -> Self {
        match number {
            leave::ASKED => Self::Asked,
            leave::CLASH => Self::Clash,
            number => Self::Other(number),
        }
    }
}

impl fmt::Display for LeaveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("asked"),
            Self::Clash => f.write_str("clash"),
            Self::Other(number) => write!(f, "other-{number}"),
        }
    }
}

/// The sender goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leave {
    /// Why.
    pub reason: LeaveReason,
}

/// The leave was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaveAck {}

/// Asks for the receiver's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatsRequest {
    /// Chosen by the asker.
    pub request: u64,
}

/// The sender's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// The request.
    pub request: u64,
    /// Counters by name.
    pub counters: Vec<(Box<str>, u64)>,
}

/// The sender lost its link with a node that it watches. A hint to probe one's own link
/// with that node, nothing more: it is not stored, not relayed, not answered
/// (PROTOCOL.md §10.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suspect {
    /// Who.
    pub node: NodeId,
    /// Which incarnation of it.
    pub incarnation: Incarnation,
}

/// The sender has met a younger start of the receiver that is alive. The receiver decides
/// which of the two goes: it ends, or it answers with [`Stand`] (PROTOCOL.md §5.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rival {
    /// The claim of the younger one.
    pub claim: Claim,
    /// Where it can be reached, if it can.
    pub endpoint: Option<Endpoint>,
}

/// The sender yields its id to no younger start of itself, from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stand {}
