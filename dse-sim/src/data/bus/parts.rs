//! What the bus consists of: nodes, links and what is on the agenda.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use dse_core::data::DataFrame;
use dse_core::data::limits::Window;
use dse_core::data::receive::{Delivery, Wanted};
use dse_core::data::send::Report;
use dse_core::protocol::{ControlBus, NodeId};

use super::setup::{Pace, Path};
use crate::data::node::DataNode;

/// A place for a node, and what is known of it.
pub(super) struct Slot {
    pub(super) id: NodeId,
    pub(super) incarnation: u64,
    pub(super) node: Option<DataNode>,
    pub(super) paused: bool,
    pub(super) window: Window,
    pub(super) paces: BTreeMap<u64, Pace>,
    pub(super) timer: Option<u64>,
    /// Its control bus, where interest is not scripted.
    pub(super) core: Option<Box<ControlBus>>,
    /// Peers that have left, as the control bus says.
    pub(super) left: BTreeSet<NodeId>,
    /// It was told to leave, and its control bus has stopped.
    pub(super) leave_is_said: bool,
    pub(super) stopped: bool,
    /// Leaves as soon as its publishers are done.
    pub(super) leaving: bool,
    /// What came of its publishers, by key.
    pub(super) reports: BTreeMap<String, Report>,
    /// Deliveries, if they are kept.
    pub(super) taken: BTreeMap<u64, Vec<Delivery>>,
}

/// A link of two nodes.
pub(super) struct Link {
    pub(super) ends: [usize; 2],
    /// Does the end know the link?
    pub(super) up: [bool; 2],
    pub(super) path: Path,
    pub(super) lanes: [Lane; 2],
    pub(super) frozen: bool,
}

/// What goes to one end.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) queue: VecDeque<(u64, DataFrame)>,
    pub(super) bytes: usize,
    pub(super) busy_until: u64,
    /// A frame that the lane refused.
    pub(super) pending: Option<DataFrame>,
    pub(super) control: VecDeque<(u64, Said)>,
    /// The sender left in order after what is queued.
    pub(super) left: bool,
}

/// What goes over a control lane.
pub(super) enum Said {
    /// All that the sender wants, where interest is scripted.
    Wishes(Vec<Wanted>),
    /// A message of the control bus.
    Message(Bytes),
    /// The sender closes the link.
    Close,
}

/// What happens at some time.
#[derive(Debug)]
pub(super) enum Action {
    Arrive { link: usize, side: usize },
    Control { link: usize, side: usize },
    Fall { link: usize, side: usize },
    Reconnect { a: usize, b: usize },
    Probed { link: usize, side: usize },
    Timer { node: usize },
    App { node: usize, life: u64, subscription: u64 },
}

/// A time in nanoseconds.
pub(super) fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
