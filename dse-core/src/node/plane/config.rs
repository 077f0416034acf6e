//! What a data plane is started with, and what it asks of the driver.

use std::time::Duration;

use crate::protocol::{Incarnation, Key, NodeId, SubscriptionId};

/// What a data plane is started with.
#[derive(Clone, Debug)]
pub struct PlaneConfig {
    /// This node's id.
    pub node: NodeId,
    /// This start's incarnation.
    pub incarnation: Incarnation,
    /// For how long a publisher waits for a subscriber that makes no progress.
    pub stall_timeout: Duration,
}

/// What the end of a handle asks of the driver.
///
/// Their channel has no bound of its own and needs none. A handle is made by a call that
/// has a place in the bounded channel of calls, and the driver carries out all requests
/// there are before each call. So no more of them wait than a node may have declarations
/// and subscriptions, and calls in their channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaneRequest {
    /// A subscriber was dropped.
    Unsubscribe(SubscriptionId),
    /// A publisher was closed or dropped; its Ends are on their way.
    Undeclare(Key),
}
