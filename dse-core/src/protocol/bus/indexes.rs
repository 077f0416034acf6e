//! Indexes on their way: announced to peers, taken from them (PROTOCOL.md §6).

use alloc::vec::Vec;

use super::ControlBus;
use crate::protocol::index::{Change, PeerIndex};
use crate::protocol::peers::Peer;
use crate::protocol::{
    CommandError, Declaration, Delta, Event, Incarnation, IndexVersion, Key, KeyExpr, LinkId,
    Match, Message, NodeId, Role, Snapshot, Timer,
};

impl ControlBus {
    pub(super) fn declare(&mut self, declaration: Declaration) -> Result<(), CommandError> {
        let key = declaration.key.clone();
        self.index.declare(declaration)?;
        self.announce_soon();
        self.route_new_key(&key);
        Ok(())
    }

    pub(super) fn redeclare(&mut self, declaration: Declaration) -> Result<(), CommandError> {
        self.index.redeclare(declaration)?;
        self.announce_soon();
        Ok(())
    }

    pub(super) fn undeclare(&mut self, key: &Key) -> Result<(), CommandError> {
        self.index.undeclare(key)?;
        self.announce_soon();
        self.unroute_key(key);
        Ok(())
    }

    /// Changes made in one turn go out together: the driver serves this timer, which is
    /// due at once, after the commands that wait already.
    fn announce_soon(&mut self) {
        self.timers.set(Timer::Announce, self.now);
    }

    /// Tells all open members what changed since the last announcement.
    pub(super) fn announce(&mut self) {
        self.timers.clear(&Timer::Announce);
        for delta in self.index.announce() {
            let message = Message::Delta(delta);
            for (_, link) in self.peers.open_members() {
                self.outbox.send(link, &message);
            }
        }
    }

    /// Brings a peer on a new link to the present version: nothing or a snapshot.
    pub(super) fn sync_index(
        &mut self,
        link: LinkId,
        node: &NodeId,
        known: Option<(Incarnation, IndexVersion)>,
    ) {
        let member = self.peers.get(node).is_some_and(|peer| peer.is_member());
        if !member || self.config.role == Role::Guest {
            return;
        }
        let known = known.filter(|(incarnation, _)| *incarnation == self.config.incarnation);
        let known = known.map_or(IndexVersion(0), |(_, version)| version);
        if known != self.index.version() {
            self.send_snapshot(link);
        }
    }

    fn send_snapshot(&mut self, link: LinkId) {
        for part in self.index.snapshot() {
            self.outbox.send(link, &Message::Snapshot(part));
        }
    }

    /// The old system's way, to be measured against: everything to everyone again.
    pub(super) fn reannounce(&mut self) {
        self.announce();
        let links: Vec<LinkId> = self.peers.open_members().map(|(_, link)| link).collect();
        for link in links {
            self.send_snapshot(link);
        }
    }

    pub(super) fn snapshot_received(
        &mut self,
        node: &NodeId,
        snapshot: Snapshot,
    ) -> Result<(), &'static str> {
        self.both_are_members(node)?;
        let changes = self.directory.snapshot(node, snapshot)?;
        self.index_changed(node, changes);
        Ok(())
    }

    pub(super) fn delta_received(
        &mut self,
        node: &NodeId,
        delta: Delta,
    ) -> Result<(), &'static str> {
        self.both_are_members(node)?;
        let changes = self.directory.delta(node, delta)?;
        self.index_changed(node, changes);
        Ok(())
    }

    fn both_are_members(&self, node: &NodeId) -> Result<(), &'static str> {
        let member = self.peers.get(node).is_some_and(Peer::is_member);
        if !member || self.config.role == Role::Guest {
            return Err("a guest neither has an index nor is told of one");
        }
        Ok(())
    }

    fn index_changed(&mut self, node: &NodeId, changes: Vec<Change>) {
        let Some(peer) = self.peers.get(node) else { return };
        let incarnation = peer.info.incarnation;
        if changes.is_empty() {
            return;
        }
        for change in changes {
            let node = node.clone();
            self.outbox.event(match change {
                Change::Declared(declaration) => Event::Declared { node, incarnation, declaration },
                Change::Changed(declaration) => Event::Changed { node, incarnation, declaration },
                Change::Undeclared(declaration) => {
                    Event::Undeclared { node, incarnation, declaration }
                }
            });
        }
        // Before any answer to a later request on the link (PROTOCOL.md §8.2).
        self.send_interest(node);
    }

    /// A peer is back and what was kept of its index is visible again.
    pub(super) fn declared_events(&mut self, node: &NodeId) {
        let Some(peer) = self.peers.get(node) else { return };
        for declaration in self.directory.get(node).into_iter().flat_map(PeerIndex::iter) {
            self.outbox.event(Event::Declared {
                node: node.clone(),
                incarnation: peer.info.incarnation,
                declaration: declaration.clone(),
            });
        }
    }

    /// What this node's directory holds under a key expression, its own declarations
    /// included, in order of node and key. Asks nobody.
    pub fn lookup(&self, keys: &KeyExpr) -> Vec<Match> {
        let mut matches = self.own_matches(keys);
        for (peer, _) in self.peers.open_members() {
            let index = self.directory.get(&peer.info.node).into_iter().flat_map(PeerIndex::iter);
            for declaration in index.filter(|d| keys.matches(&d.key)) {
                matches.push(Match {
                    node: peer.info.node.clone(),
                    incarnation: peer.info.incarnation,
                    declaration: declaration.clone(),
                });
            }
        }
        Match::sort(&mut matches);
        matches
    }

    pub(super) fn own_matches(&self, keys: &KeyExpr) -> Vec<Match> {
        let matching = self.index.iter().filter(|declaration| keys.matches(&declaration.key));
        matching
            .map(|declaration| Match {
                node: self.config.node.clone(),
                incarnation: self.config.incarnation,
                declaration: declaration.clone(),
            })
            .collect()
    }
}
