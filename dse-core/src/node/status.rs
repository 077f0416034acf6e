//! What a node knows of another.

use std::time::Duration;

use crate::protocol::{Endpoint, Incarnation, NodeId, Role};

/// Another node, as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its id.
    pub node: NodeId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Member or guest.
    pub role: Role,
    /// Where it says it can be reached.
    pub endpoints: Vec<Endpoint>,
    /// The open link to it; none while it is down.
    pub link: Option<LinkStatus>,
}

/// An open link, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// The scheme of the transport that carries it.
    pub transport: &'static str,
    /// The endpoint that was dialled, or where the peer came from.
    pub remote: Box<str>,
    /// The round-trip time of the last probe; none before the first.
    pub rtt: Option<Duration>,
}
