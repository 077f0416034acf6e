//! Who watches whom closely, and what follows from a death (PROTOCOL.md §10.1, §10.2).

use alloc::vec::Vec;

use super::{ControlBus, Phase};
use crate::protocol::watchers::Left;
use crate::protocol::{Incarnation, LinkId, Message, NodeId, Output, Role, Suspect};

impl ControlBus {
    /// A member has an open link now and had none before.
    pub(super) fn watch_with(&mut self, node: &NodeId) {
        if self.config.role == Role::Guest {
            return;
        }
        let changed = self.watchers.join(node, &self.config.node);
        self.watch_anew(&changed);
    }

    fn watch_anew(&mut self, changed: &[NodeId]) {
        for node in changed {
            let Some(peer) = self.peers.get(node) else { continue };
            let Some(open) = peer.open else { continue };
            let watch = self.watchers.watch_of(&peer.info, &self.config.node);
            self.outbox.push(Output::Watch { link: open.link, watch });
        }
    }

    /// A member has no open link any more: others watch whom it watched. Gives their
    /// links.
    pub(super) fn watch_without(&mut self, node: &NodeId) -> Vec<LinkId> {
        let Left { watched, changed } = self.watchers.leave(node, &self.config.node);
        self.watch_anew(&changed);
        watched.iter().filter_map(|other| self.peers.link_of(other)).collect()
    }

    /// A member is gone without a word. Its watchers tell the others, and everybody looks
    /// after those whom it watched, who may have died with it.
    pub(super) fn member_died(&mut self, node: &NodeId, incarnation: Incarnation) {
        let watched = self.watchers.watches(&self.config.node, node);
        let left_alone = self.watch_without(node);
        if self.phase != Phase::Running {
            return;
        }
        if watched {
            let message = Message::Suspect(Suspect { node: node.clone(), incarnation });
            for (_, link) in self.peers.open_members() {
                self.outbox.send(link, &message);
            }
        }
        for link in left_alone {
            self.outbox.push(Output::Probe { link });
        }
    }

    /// A peer lost its link with a node that it watches. Only this node's own link says
    /// whether the node is down for this one.
    pub(super) fn suspected(&mut self, suspect: &Suspect) {
        let Some(peer) = self.peers.get(&suspect.node) else { return };
        let open = peer.open.filter(|_| peer.info.incarnation == suspect.incarnation);
        if let Some(open) = open {
            self.outbox.push(Output::Probe { link: open.link });
        }
    }
}
