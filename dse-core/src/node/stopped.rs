//! How a node ends.

use crate::protocol::{Endpoint, StopReason};

/// Why a node does no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// It left, as asked.
    #[error("this node has left the bus")]
    Left,
    /// Another live node has this node's id and the better claim.
    #[error("another live node has the id of this one, at {}; choose another id or stop that node", .winner.as_ref().map_or("an unknown endpoint", |e| e.as_str()))]
    Clash {
        /// Where that node can be reached, if it can.
        winner: Option<Endpoint>,
    },
    /// The last [`Node`](super::Node) handle was dropped, or the tokio runtime that the
    /// node ran on has ended.
    #[error("this node was dropped without leaving the bus")]
    Dropped,
}

impl From<StopReason> for Stopped {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Left => Self::Left,
            StopReason::Clash { winner } => Self::Clash { winner },
        }
    }
}
