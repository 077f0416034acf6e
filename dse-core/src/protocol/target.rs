//! What a node dials.

use serde::Serialize;

use super::names::{Endpoint, NodeId};

/// Something to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum Target {
    /// An endpoint where somebody on the bus is: tried for ever.
    Seed(Endpoint),
    /// An endpoint where somebody may be: tried a few times.
    Hint(Endpoint),
    /// A member that this node has no link with.
    Peer(NodeId),
}
