//! How far subscribers have come, and the count of those that have everything
//! (PROTOCOL.md §9.4).

use std::collections::BTreeSet;

use crate::node::publisher::Receipts;
use crate::protocol::NodeId;

/// How far the subscriber of a route has come. Of those that are gone it is what is left.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// The route's number.
    pub(super) route: u64,
    pub(super) node: NodeId,
    /// Up to where it has taken everything, or was told that it is lost. None if something
    /// was never sent.
    pub(super) taken_seq: Option<u64>,
    /// It has taken something.
    pub(super) served: bool,
    /// Nothing was dropped for it.
    pub(super) lossless: bool,
    /// It did not withdraw its interest.
    pub(super) wanted: bool,
}

impl Standing {
    /// Has it everything up to here, or the word that it is lost?
    pub(super) fn has_taken(&self, seq: u64) -> bool {
        self.taken_seq >= Some(seq)
    }

    /// Has it everything up to here?
    pub(super) fn has_all(&self, seq: u64) -> bool {
        self.lossless && self.has_taken(seq)
    }
}

/// Nodes that were waited for. Each counts once, whatever routes it had.
#[derive(Debug, Default)]
pub(super) struct Tally {
    served: BTreeSet<NodeId>,
    unserved: BTreeSet<NodeId>,
}

impl Tally {
    /// Notes one that is waited for no more. `served` says whether it has everything. One
    /// that has not, and does not want it any more, is neither.
    pub(super) fn note(&mut self, standing: &Standing, served: bool) {
        if served {
            self.served.insert(standing.node.clone());
        } else if standing.wanted {
            self.miss(&standing.node);
        }
    }

    /// Notes one of which nothing is known.
    pub(super) fn miss(&mut self, node: &NodeId) {
        self.unserved.insert(node.clone());
    }

    pub(super) fn receipts(&self) -> Receipts {
        Receipts {
            delivered: self.served.len(),
            undelivered: self.unserved.difference(&self.served).cloned().collect(),
        }
    }
}
