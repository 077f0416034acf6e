//! What each node may choose for itself.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use serde::Serialize;

use super::features::Features;
use super::message::Role;
use super::names::{BusId, Endpoint, Incarnation, NodeId};

/// What a [`ControlBus`](super::ControlBus) is started with.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// The bus to be on.
    pub bus: BusId,
    /// This node's id.
    pub node: NodeId,
    /// This start's incarnation: larger than those before, if it can be.
    pub incarnation: Incarnation,
    /// Member or guest.
    pub role: Role,
    /// This node stays on the bus until it is told to leave; else it ends by itself.
    pub lasting: bool,
    /// What this node can do beyond what every node can.
    pub features: Features,
    /// Where this node can be reached; at most 16.
    pub endpoints: Vec<Endpoint>,
    /// Schemes that this node has a transport for. Endpoints of others are not dialled.
    pub schemes: Vec<Box<str>>,
    /// First pause before an endpoint is dialled again; doubles with each try, and each
    /// pause is shortened at random by up to a half.
    pub redial_min: Duration,
    /// Longest pause before an endpoint is dialled again.
    pub redial_max: Duration,
    /// How long a vanished peer is redialled and its index kept.
    pub forget_after: Duration,
    /// Most guests at a time.
    pub guests_max: usize,
    /// Most members of the bus; at most [`limits::PEERS_PER_BUS`](super::limits::PEERS_PER_BUS).
    pub peers_max: usize,
}

impl Config {
    /// The defaults, for a member of this name that nobody can dial.
    pub fn new(bus: BusId, node: NodeId, incarnation: Incarnation) -> Self {
        Self {
            bus,
            node,
            incarnation,
            role: Role::Member,
            lasting: true,
            features: Features::SUPPORTED,
            endpoints: Vec::new(),
            schemes: Vec::new(),
            redial_min: Duration::from_millis(100),
            redial_max: Duration::from_secs(10),
            forget_after: Duration::from_secs(600),
            guests_max: 64,
            peers_max: super::limits::PEERS_PER_BUS,
        }
    }
    /// Is there a transport here for this endpoint?
    pub(super) fn can_dial(&self, endpoint: &Endpoint) -> bool {
        self.schemes.iter().any(|scheme| **scheme == *endpoint.scheme())
    }
}
