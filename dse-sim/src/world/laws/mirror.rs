//! What an application knows of the bus if it only listens to the events.

use std::collections::{BTreeMap, BTreeSet};

use dse_core::protocol::{
    Config, Declaration, Event, Incarnation, Instant, InterestOptions, Key, LinkId, NodeId,
    PeerInfo, Role,
};

use serde::Serialize;

use super::history::Print;

type Index = BTreeMap<Key, Declaration>;

/// A member as the events tell of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
enum Seen {
    /// `fresh`: no word of its index came on this link, and none may be known yet.
    Up {
        incarnation: Incarnation,
        index: Index,
        print: Print,
        fresh: bool,
    },
    Down {
        incarnation: Incarnation,
    },
    Left {
        incarnation: Incarnation,
    },
}

/// The state that the events add up to. Each event must fit what was before.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Mirror {
    members: BTreeMap<NodeId, Seen>,
    open: BTreeMap<LinkId, PeerInfo>,
    /// The link in use with each peer.
    linked: BTreeMap<NodeId, LinkId>,
    /// Links of members that left, which live on for the data under way.
    draining: BTreeSet<LinkId>,
    routes: BTreeMap<(Key, LinkId), InterestOptions>,
    wanted: BTreeSet<Key>,
    /// Since when nobody wants a key of which no last interest was told.
    pub(super) lingering: BTreeMap<Key, Instant>,
    /// Members whose index was touched since the world looked.
    pub(crate) touched: BTreeSet<NodeId>,
}

impl Mirror {
    /// Takes an event in.
    pub(crate) fn apply(
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
                self.set(node, *incarnation, declaration).is_some_and(|before| before.is_none())
            }
            Event::Changed { node, incarnation, declaration } => {
                let before = self.set(node, *incarnation, declaration).flatten();
                before.is_some_and(|before| before != *declaration)
            }
            Event::Undeclared { node, incarnation, declaration } => {
                self.unset(node, *incarnation, declaration)
            }
            Event::LinkOpened { link, peer } => {
                self.linked.insert(peer.node.clone(), *link);
                self.open.insert(*link, peer.clone()).is_none()
            }
            Event::LinkClosed { link, node } => self.closed(*link, node),
            Event::RouteAdded { key, link, options } => {
                own.contains_key(key)
                    && self.open.contains_key(link)
                    && self.routes.insert((key.clone(), *link), *options).is_none()
            }
            Event::RouteChanged { key, link, options } => {
                let before = self.routes.insert((key.clone(), *link), *options);
                before.is_some_and(|before| before != *options)
            }
            Event::RouteRemoved { key, link } => {
                self.routes.remove(&(key.clone(), *link)).is_some()
            }
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
        let incarnation = peer.incarnation;
        let print = Print::default();
        let seen = Seen::Up { incarnation, index: Index::new(), print, fresh: true };
        self.members.insert(peer.node.clone(), seen);
        self.touched.insert(peer.node.clone());
        fits
    }

    fn down(&mut self, node: &NodeId, of: Incarnation) -> bool {
        let before = self.members.insert(node.clone(), Seen::Down { incarnation: of });
        matches!(before, Some(Seen::Up { incarnation, .. }) if incarnation == of)
    }

    /// The link of a member that left lives on for the data under way, but is in use no
    /// more.
    fn left(&mut self, node: &NodeId, of: Incarnation) -> bool {
        self.draining.extend(self.linked.remove(node));
        match self.members.insert(node.clone(), Seen::Left { incarnation: of }) {
            Some(Seen::Up { incarnation, .. } | Seen::Down { incarnation }) => incarnation == of,
            Some(Seen::Left { .. }) | None => false,
        }
    }

    fn closed(&mut self, link: LinkId, node: &NodeId) -> bool {
        self.routes.retain(|(_, to), _| *to != link);
        self.draining.remove(&link);
        if self.linked.get(node) == Some(&link) {
            self.linked.remove(node);
        }
        self.open.remove(&link).is_some_and(|peer| peer.node == *node)
    }

    fn set(
        &mut self,
        node: &NodeId,
        of: Incarnation,
        declaration: &Declaration,
    ) -> Option<Option<Declaration>> {
        self.touched.insert(node.clone());
        match self.members.get_mut(node) {
            Some(Seen::Up { incarnation, index, print, fresh }) if *incarnation == of => {
                *fresh = false;
                let before = index.insert(declaration.key.clone(), declaration.clone());
                print.add(declaration);
                before.iter().for_each(|before| print.remove(before));
                Some(before)
            }
            _ => None,
        }
    }

    fn unset(&mut self, node: &NodeId, of: Incarnation, declaration: &Declaration) -> bool {
        self.touched.insert(node.clone());
        match self.members.get_mut(node) {
            Some(Seen::Up { incarnation, index, print, .. }) if *incarnation == of => {
                print.remove(declaration);
                index.remove(&declaration.key).as_ref() == Some(declaration)
            }
            _ => false,
        }
    }

    /// The members that are up, with their incarnations and what they declare.
    pub(crate) fn present(&self) -> impl Iterator<Item = (&NodeId, Incarnation, &Index)> {
        self.members.iter().filter_map(|(node, seen)| match seen {
            Seen::Up { incarnation, index, .. } => Some((node, *incarnation, index)),
            Seen::Down { .. } | Seen::Left { .. } => None,
        })
    }

    /// The fingerprint of what a member that is up declares, once it has said so.
    pub(super) fn index_of(&self, node: &NodeId) -> Option<Print> {
        match self.members.get(node)? {
            Seen::Up { print, fresh: false, .. } => Some(*print),
            _ => None,
        }
    }

    pub(crate) fn has_left(&self, node: &NodeId) -> bool {
        matches!(self.members.get(node), Some(Seen::Left { .. }))
    }

    pub(crate) fn is_down(&self, node: &NodeId) -> bool {
        matches!(self.members.get(node), Some(Seen::Down { .. }))
    }

    pub(super) fn is_up(&self, node: &NodeId) -> bool {
        matches!(self.members.get(node), Some(Seen::Up { .. }))
    }

    /// All links that are open.
    pub(crate) fn open(&self) -> &BTreeMap<LinkId, PeerInfo> {
        &self.open
    }

    /// The links with peers that have not left: there is one for each.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = (LinkId, &PeerInfo)> {
        let in_use = self.open.iter().filter(|(link, _)| !self.draining.contains(link));
        in_use.map(|(link, peer)| (*link, peer))
    }

    /// The links in use, by peer.
    pub(crate) fn linked(&self) -> &BTreeMap<NodeId, LinkId> {
        &self.linked
    }

    /// An own key is gone, and its routes and the interest in it with it.
    pub(crate) fn undeclared(&mut self, gone: &Key) {
        self.routes.retain(|(key, _), _| key != gone);
        self.wanted.remove(gone);
        self.lingering.remove(gone);
    }

    /// The routes that stand, and what is asked of each.
    pub(crate) fn routes(&self) -> &BTreeMap<(Key, LinkId), InterestOptions> {
        &self.routes
    }

    /// Does a route for this key stand, to a peer that has not left?
    pub(super) fn is_routed(&self, key: &Key) -> bool {
        let routes = self.routes.range((key.clone(), LinkId(0))..);
        let in_use = |link: &LinkId| {
            let peer = self.open.get(link);
            peer.is_some_and(|peer| self.linked.get(&peer.node) == Some(link))
        };
        routes.take_while(|((routed, _), _)| routed == key).any(|((_, link), _)| in_use(link))
    }

    /// The node stood still, and its timers with it.
    pub(crate) fn goes_on(&mut self) {
        self.lingering.clear();
    }

    /// The own keys that somebody wants.
    pub(crate) fn wanted(&self) -> &BTreeSet<Key> {
        &self.wanted
    }
}
