//! What can go wrong, in words for people.

use alloc::format;
use alloc::string::String;

use serde::Serialize;

use super::key::Key;
use super::message::RejectReason;
use super::names::{Endpoint, NodeId};

/// Why a dial led nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub enum DialError {
    /// No link came about.
    #[error("{0}")]
    Connect(String),
    /// The link fell before it opened.
    #[error("the link fell during the handshake: {0}")]
    Fell(String),
    /// The other end said no.
    #[error("refused: {0}")]
    Rejected(RejectReason),
    /// This node refused the other end.
    #[error("{}", refused_here(.0))]
    Refused(RejectReason),
}

/// A reason is worded for the one that is refused. Where that is the other end, a bus is
/// the wrong one the other way round.
fn refused_here(reason: &RejectReason) -> String {
    match reason {
        RejectReason::WrongBus { bus } => format!(
            "the node there is not on bus {bus}; choose the bus that it is on, or another endpoint"
        ),
        other => format!("refused by this node: {other}"),
    }
}

/// How the control bus ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub enum StopReason {
    /// It left, as asked.
    #[error("left the bus")]
    Left,
    /// Another live node has this node's id and the better claim.
    #[error("another live node has the id of this one, at {}; choose another id or stop that node", .winner.as_ref().map_or("an unknown endpoint", |e| e.as_str()))]
    Clash {
        /// Where that node can be reached, if it can.
        winner: Option<Endpoint>,
    },
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// This node declares the key already.
    #[error("this node declares {0} already; one node declares a key once")]
    AlreadyDeclared(Key),
    /// This node does not declare the key.
    #[error("this node does not declare {0}")]
    NotDeclared(Key),
    /// The declaration passes a bound.
    #[error("cannot declare {key}: {why}")]
    InvalidDeclaration {
        /// The key.
        key: Key,
        /// Which bound.
        why: &'static str,
    },
    /// The node has as many declarations as it may have.
    #[error("this node has {limit} declarations, which is the most a node may have")]
    TooManyDeclarations {
        /// The limit.
        limit: usize,
    },
    /// The node's declarations together are as long as they may be.
    #[error(
        "the declarations of this node would take more than {limit} bytes, which is the most a node may declare; shorten their keys and metadata, or use a second node"
    )]
    IndexTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The node has as many subscriptions as one interest can say.
    #[error("this node has {limit} subscriptions, which is the most a node may have")]
    TooManySubscriptions {
        /// The limit.
        limit: usize,
    },
    /// Guests only ask.
    #[error("a guest declares and subscribes nothing; join as a member")]
    Guest,
    /// The node is leaving or has left.
    #[error("this node has left the bus")]
    Stopped,
}

/// Why a node's counters did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatsError {
    /// No link to a node of this id.
    #[error("no node {0} is known here")]
    UnknownNode(NodeId),
    /// It did not answer in time, or its link fell.
    #[error("{0} did not answer")]
    NoAnswer(NodeId),
    /// As many requests of this node are out as it may have at a time.
    #[error("{limit} requests of this node are out, the most there may be; wait for some of them")]
    TooManyRequests {
        /// The limit.
        limit: usize,
    },
    /// This node has left.
    #[error("this node has left the bus")]
    Stopped,
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::protocol::BusId;

    #[test]
    fn who_dials_another_bus_is_told_what_to_do_whoever_refuses() {
        let bus = BusId::new("plant").expect("valid");
        let refused = DialError::Refused(RejectReason::WrongBus { bus: bus.clone() }).to_string();
        assert!(refused.contains("the node there is not on bus plant"), "{refused}");
        let rejected = DialError::Rejected(RejectReason::WrongBus { bus }).to_string();
        assert!(rejected.contains("this is bus plant"), "{rejected}");
        let full = DialError::Refused(RejectReason::Leaving).to_string();
        assert!(full.starts_with("refused by this node: "), "{full}");
    }
}
