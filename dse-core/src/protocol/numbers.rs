//! Every number that the control lane gives a meaning, in one place (PROTOCOL.md §3).
//!
//! A number is never given to anything else. A *reserved* one has its place and its skip
//! rule, and this version neither sends nor reads it: it is skipped and counted as any other
//! that this version does not know.

/// Kinds of messages: the second byte of each.
pub mod message {
    /// Opens every link, both ways.
    pub const HELLO: u8 = 1;
    /// Opens the link.
    pub const OPEN: u8 = 2;
    /// Refuses the link, or ends it.
    pub const REJECT: u8 = 3;
    /// Members to dial.
    pub const MEMBERS: u8 = 4;
    /// Asks for members.
    pub const MEMBERS_REQUEST: u8 = 5;
    /// A whole index.
    pub const SNAPSHOT: u8 = 6;
    /// A change of an index.
    pub const DELTA: u8 = 7;
    /// A discovery query.
    pub const REQUEST: u8 = 8;
    /// A node's reply to it.
    pub const ANSWER: u8 = 9;
    /// What the sender wants.
    pub const INTEREST: u8 = 10;
    /// The interest was not taken.
    pub const INTEREST_REFUSED: u8 = 11;
    /// The sender leaves.
    pub const LEAVE: u8 = 12;
    /// The leave was seen.
    pub const LEAVE_ACK: u8 = 13;
    /// Asks for counters.
    pub const STATS_REQUEST: u8 = 14;
    /// Counters.
    pub const STATS: u8 = 15;
    /// A node may be dead.
    pub const SUSPECT: u8 = 16;
    /// A younger instance of the receiver lives.
    pub const RIVAL: u8 = 17;
    /// The sender does not yield.
    pub const STAND: u8 = 18;
    /// Reserved: invites a node to dial another.
    pub const INVITE: u8 = 19;
    /// Reserved: the sender's endpoints changed.
    pub const ENDPOINTS_CHANGED: u8 = 20;
    /// Reserved: asks for a new certificate.
    pub const CERTIFICATE_REQUEST: u8 = 21;
    /// Reserved: the certificate.
    pub const CERTIFICATE: u8 = 22;
}

/// Bits of a message's flags: its third byte.
pub mod flag {
    /// The receiver must understand the message, or what the sender is after does not happen.
    pub const MUST_UNDERSTAND: u8 = 1;
}

/// Tags, for each place that may carry some.
pub mod tag {
    /// Of a Hello, reserved: the address that the sender saw the receiver at.
    pub const HELLO_OBSERVED: u32 = 1;
    /// Of a declaration, reserved: the hash of its schema, 8 bytes.
    pub const DECLARATION_SCHEMA: u32 = 1;
    /// Of a declaration, reserved: the key that it is derived from.
    pub const DECLARATION_DERIVED_FROM: u32 = 2;
    /// Of a pattern: never wait for this subscriber (bool).
    pub const PATTERN_NEVER_WAIT: u32 = 1;
    /// Of a pattern: the least time between two samples of a key, in ms (u64).
    pub const PATTERN_MIN_INTERVAL: u32 = 2;
    /// Of a pattern: the class of its routes (u8).
    pub const PATTERN_CLASS: u32 = 3;
    /// Of a pattern, reserved: a filter.
    pub const PATTERN_FILTER: u32 = 4;
    /// Of a pattern, reserved: a group of subscribers that share the samples.
    pub const PATTERN_GROUP: u32 = 5;
    /// Of a discovery query, reserved: answers are to name subscriptions, too.
    pub const REQUEST_SUBSCRIPTIONS: u32 = 1;
    /// Of an answer, reserved: the answerer's subscriptions.
    pub const ANSWER_SUBSCRIPTIONS: u32 = 1;
    /// Of an answer, reserved: the nodes that the answerer cannot reach, and why.
    pub const ANSWER_UNREACHABLE: u32 = 2;
}

/// Reasons of a Reject.
pub mod reject {
    /// The receiver belongs to another bus.
    pub const WRONG_BUS: u8 = 0;
    /// No protocol version in common.
    pub const NO_COMMON_VERSION: u8 = 1;
    /// Another live node has the id and the better claim.
    pub const CLASH: u8 = 2;
    /// The dialler reached itself.
    pub const YOURSELF: u8 = 3;
    /// The pair has a link already.
    pub const DUPLICATE: u8 = 4;
    /// The sender leaves.
    pub const LEAVING: u8 = 5;
    /// No room for another member.
    pub const BUS_FULL: u8 = 6;
    /// No room for another guest.
    pub const GUESTS_FULL: u8 = 7;
    /// The id does not fit the certificate.
    pub const WRONG_IDENTITY: u8 = 8;
    /// The receiver broke the protocol.
    pub const FAULT: u8 = 9;
    /// Reserved: the id conflicts with that of the node at these endpoints.
    pub const CONFLICT: u8 = 10;
}

/// Reasons of a Leave.
pub mod leave {
    /// It was asked to.
    pub const ASKED: u8 = 0;
    /// It lost its id.
    pub const CLASH: u8 = 1;
}

/// Roles of nodes.
pub mod role {
    /// Takes part.
    pub const MEMBER: u8 = 0;
    /// Only asks.
    pub const GUEST: u8 = 1;
}

/// Kinds of declarations.
pub mod kind {
    /// Samples, in order, each once.
    pub const STREAM: u8 = 0;
    /// The present value.
    pub const STATE: u8 = 1;
    /// Rows under a key.
    pub const TABLE: u8 = 2;
    /// Request and reply.
    pub const SERVICE: u8 = 3;
}

/// From where an endpoint can be reached.
pub mod scope {
    /// From anywhere.
    pub const ANYWHERE: u8 = 0;
    /// From the same host only.
    pub const THIS_HOST: u8 = 1;
    /// From the same link only.
    pub const LINK_LOCAL: u8 = 2;
}
