//! What an application knows of the bus if it only listens to the events.

use std::collections::{BTreeMap, BTreeSet};

use dse_core::protocol::{
    Config, Declaration, Event, Incarnation, Key, LinkId, NodeId, PeerInfo, Role,
};
use serde::Serialize;

type Index = BTreeMap<Key, Declaration>;

/// A member as the events tell of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Seen {
    Up { incarnation: Incarnation, index: Index },
    Down { incarnation: Incarnation },
    Left { incarnation: Incarnation },
}

/// The state that the events add up to. Each event must fit what was before.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Mirror {
    pub(super) members: BTreeMap<NodeId, Seen>,
    pub(super) open: BTreeMap<LinkId, PeerInfo>,
    /// Links of members that left, which live on for the data under way.
    draining: BTreeSet<LinkId>,
    routes: BTreeSet<(Key, LinkId)>,
    wanted: BTreeSet<Key>,
    /// Members whose index was touched since the world looked.
    pub(super) touched: BTreeSet<NodeId>,
}

impl Mirror {
    /// Takes an event in.
    pub(super) fn apply(
        &mut self,
        event: &Event,
        config: &Config,
        own: &Index,
    ) -> Result<(), String> {
        let fits = match event {
            Event::NodeUp { peer } => self.up(peer, config),
            Event::NodeDown { node, incarnation, .. } => self.down(node, *incarnation),
            Event::NodeLeft { node, incarnation, .. } => self.left(node, *incarnation),
            Event::Declared { node, incarnation, declaration } => {
                self.index(node, *incarnation).is_some_and(|index| {
                    index.insert(declaration.key.clone(), declaration.clone()).is_none()
                })
            }
            Event::Changed { node, incarnation, declaration } => {
                self.index(node, *incarnation).is_some_and(|index| {
                    let before = index.insert(declaration.key.clone(), declaration.clone());
                    before.is_some_and(|before| before != *declaration)
                })
            }
            Event::Undeclared { node, incarnation, declaration } => self
                .index(node, *incarnation)
                .is_some_and(|index| index.remove(&declaration.key).as_ref() == Some(declaration)),
            Event::LinkOpened { link, peer } => self.open.insert(*link, peer.clone()).is_none(),
            Event::LinkClosed { link, node } => {
                self.routes.retain(|(_, to)| to != link);
                self.draining.remove(link);
                self.open.remove(link).is_some_and(|peer| peer.node == *node)
            }
            Event::RouteAdded { key, link } => {
                own.contains_key(key)
                    && self.open.contains_key(link)
                    && self.routes.insert((key.clone(), *link))
            }
            Event::RouteRemoved { key, link } => self.routes.remove(&(key.clone(), *link)),
            Event::FirstInterest { key } => {
                own.contains_key(key) && self.wanted.insert(key.clone())
            }
            Event::LastInterest { key } => self.wanted.remove(key),
            _ => true,
        };
        if fits { Ok(()) } else { Err(format!("an event that does not fit: {event:?}")) }
    }

    fn up(&mut self, peer: &PeerInfo, config: &Config) -> bool {
        let fits = peer.role == Role::Member
            && peer.node != config.node
            && !matches!(self.members.get(&peer.node), Some(Seen::Up { .. }));
        let seen = Seen::Up { incarnation: peer.incarnation, index: Index::new() };
        self.members.insert(peer.node.clone(), seen);
        self.touched.insert(peer.node.clone());
        fits
    }

    fn down(&mut self, node: &NodeId, of: Incarnation) -> bool {
        let before = self.members.insert(node.clone(), Seen::Down { incarnation: of });
        matches!(before, Some(Seen::Up { incarnation, .. }) if incarnation == of)
    }

    fn left(&mut self, node: &NodeId, of: Incarnation) -> bool {
        let theirs = self.open.iter().filter(|(_, peer)| peer.node == *node);
        self.draining.extend(theirs.map(|(link, _)| *link));
        match self.members.insert(node.clone(), Seen::Left { incarnation: of }) {
            Some(Seen::Up { incarnation, .. } | Seen::Down { incarnation }) => incarnation == of,
            Some(Seen::Left { .. }) | None => false,
        }
    }

    fn index(&mut self, node: &NodeId, of: Incarnation) -> Option<&mut Index> {
        self.touched.insert(node.clone());
        match self.members.get_mut(node) {
            Some(Seen::Up { incarnation, index }) if *incarnation == of => Some(index),
            _ => None,
        }
    }

    /// The members that are up, with their incarnations and what they declare.
    pub(super) fn present(&self) -> impl Iterator<Item = (&NodeId, Incarnation, &Index)> {
        self.members.iter().filter_map(|(node, seen)| match seen {
            Seen::Up { incarnation, index } => Some((node, *incarnation, index)),
            Seen::Down { .. } | Seen::Left { .. } => None,
        })
    }

    /// The links with peers that have not left.
    pub(super) fn in_use(&self) -> impl Iterator<Item = (LinkId, &PeerInfo)> {
        let in_use = self.open.iter().filter(|(link, _)| !self.draining.contains(link));
        in_use.map(|(link, peer)| (*link, peer))
    }

    /// An own key is gone, and its routes and the interest in it with it.
    pub(super) fn undeclared(&mut self, gone: &Key) {
        self.routes.retain(|(key, _)| key != gone);
        self.wanted.remove(gone);
    }

    /// The routes that stand.
    pub(super) fn routes(&self) -> &BTreeSet<(Key, LinkId)> {
        &self.routes
    }

    /// The own keys that somebody wants.
    pub(super) fn wanted(&self) -> &BTreeSet<Key> {
        &self.wanted
    }
}
