//! What an operator should read in a log.

use tokio::sync::broadcast;

use super::stopped::Stopped;
use crate::protocol::{DialError, Endpoint, NodeId};

/// Something that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A dial led nowhere. A seed is dialled again and again, with growing pauses.
    DialFailed {
        /// Where.
        endpoint: Endpoint,
        /// Is it one of the endpoints to join?
        seed: bool,
        /// Why.
        error: DialError,
    },
    /// A peer was refused.
    PeerRefused {
        /// Where it came from, or which endpoint was dialled.
        remote: String,
        /// Who it said it is, if it got so far.
        node: Option<NodeId>,
        /// Why.
        why: String,
    },
    /// A peer did not take this node's interest: its samples do not come.
    InterestRefused {
        /// Who.
        node: NodeId,
        /// Why.
        why: String,
    },
    /// Nobody can reach this node at these endpoints any more.
    ListenerEnded {
        /// Where it listened.
        endpoints: Vec<Endpoint>,
        /// Why.
        why: String,
    },
    /// The node has stopped.
    Stopped(Stopped),
    /// The reader was too slow: so many notices are lost.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// A stream of notices. See [`Node::notices`](super::Node::notices).
#[derive(Debug)]
pub struct Notices {
    receiver: broadcast::Receiver<Notice>,
}

impl Notices {
    pub(super) fn new(receiver: broadcast::Receiver<Notice>) -> Self {
        Self { receiver }
    }

    /// The next notice; none once the node is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.receiver.recv().await {
            Ok(notice) => Some(notice),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Notice::Lagged { missed }),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
