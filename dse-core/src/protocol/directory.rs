//! What the peers expose, as each of them said on its own link (PROTOCOL.md §6, law L3).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::Serialize;

use super::declaration::IndexVersion;
use super::index::{Change, PeerIndex};
use super::message::{Delta, Snapshot};
use super::names::NodeId;

/// The index of each peer. That of one that is down stays, invisible, for a resync
/// (PROTOCOL.md §6.4).
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Directory {
    by_node: BTreeMap<NodeId, PeerIndex>,
}

impl Directory {
    pub(super) fn get(&self, node: &NodeId) -> Option<&PeerIndex> {
        self.by_node.get(node)
    }

    /// How far this node knows the index of a peer.
    pub(super) fn version(&self, node: &NodeId) -> Option<IndexVersion> {
        self.get(node).map(PeerIndex::version)
    }

    /// A link with a peer opened, with the first of this start of it if it is `new`.
    pub(super) fn link_opened(&mut self, node: &NodeId, new: bool) {
        if new {
            self.by_node.insert(node.clone(), PeerIndex::default());
        } else if let Some(index) = self.by_node.get_mut(node) {
            index.new_link();
        }
    }

    /// Takes a part of a snapshot; gives the changes at the last.
    pub(super) fn snapshot(
        &mut self,
        node: &NodeId,
        part: Snapshot,
    ) -> Result<Vec<Change>, &'static str> {
        self.by_node.get_mut(node).map_or(Ok(Vec::new()), |index| index.snapshot(part))
    }

    /// Takes a part of a delta; gives the changes at the last.
    pub(super) fn delta(
        &mut self,
        node: &NodeId,
        part: Delta,
    ) -> Result<Vec<Change>, &'static str> {
        self.by_node.get_mut(node).map_or(Ok(Vec::new()), |index| index.delta(part))
    }

    /// A peer broke the protocol: nothing that it said is kept.
    pub(super) fn doubt(&mut self, node: &NodeId) {
        if let Some(index) = self.by_node.get_mut(node) {
            *index = PeerIndex::default();
        }
    }

    pub(super) fn peers(&self) -> usize {
        self.by_node.len()
    }

    pub(super) fn forget(&mut self, node: &NodeId) {
        self.by_node.remove(node);
    }
}
