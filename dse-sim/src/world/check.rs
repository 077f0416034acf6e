//! What must hold after every step, and what must hold once all is said.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use dse_core::protocol::{Config, Declaration, Incarnation, Key, LinkId, Match, NodeId, Role};

use super::{Node, World};

/// Every index that a node ever had, so that what others believe can be held against
/// it.
#[derive(Default)]
pub(super) struct History {
    indexes: BTreeMap<(NodeId, Incarnation), BTreeSet<Print>>,
}

impl History {
    /// A node starts, with nothing declared.
    pub(super) fn begin(&mut self, config: &Config) {
        self.remember(config, Print::default());
    }

    pub(super) fn remember(&mut self, config: &Config, index: Print) {
        let of = (config.node.clone(), config.incarnation);
        self.indexes.entry(of).or_default().insert(index);
    }

    /// Did the node ever have this index? A stranger, of whom nothing is known, did.
    fn had(&self, node: &NodeId, of: Incarnation, index: &BTreeMap<Key, Declaration>) -> bool {
        let mut print = Print::default();
        for declaration in index.values() {
            print.add(declaration);
        }
        let known = self.indexes.get(&(node.clone(), of));
        known.is_none_or(|prints| prints.contains(&print))
    }
}

/// A fingerprint of a set of declarations that is cheap to keep up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Print(u64);

impl Print {
    pub(super) fn add(&mut self, declaration: &Declaration) {
        self.0 = self.0.wrapping_add(hash(declaration));
    }

    pub(super) fn remove(&mut self, declaration: &Declaration) {
        self.0 = self.0.wrapping_sub(hash(declaration));
    }
}

fn hash(declaration: &Declaration) -> u64 {
    let Declaration { key, kind, encoding, meta } = declaration;
    let mut hasher = DefaultHasher::new();
    (key.as_str(), kind, encoding, meta).hash(&mut hasher);
    hasher.finish()
}

impl World {
    /// What must hold at a node after each of its steps.
    pub(super) fn check(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.is_running() || node.is_stranger() || node.leaving {
            return;
        }
        let touched = core::mem::take(&mut node.mirror.touched);
        let node = &self.nodes[index];
        for of in &touched {
            if let Some((incarnation, seen)) = node.mirror.index_of(of) {
                let had = self.history.had(of, incarnation, seen);
                assert!(had, "{} believes of {of} what never was: {seen:?}", node.name);
            }
        }
        one_link_for_each_pair(node);
        events_agree_with_state(node);
    }

    /// Checks every node.
    pub(super) fn check_all(&mut self) {
        for index in 0..self.nodes.len() {
            self.check(index);
        }
    }

    /// Every member holds the union of all members' declarations, and every pair has one
    /// link with an end at each (law L2).
    #[track_caller]
    pub fn assert_converged(&self) {
        let names = self.names_of_members();
        let members: Vec<_> = names.iter().map(String::as_str).collect();
        self.assert_converged_among(&members);
    }

    /// The same for the members of one side of a partition.
    #[track_caller]
    pub fn assert_converged_among(&self, names: &[&str]) {
        let mut union: Vec<Match> =
            names.iter().flat_map(|name| declared_by(self.node(name))).collect();
        union.sort_by(|a, b| (&a.node, &a.declaration.key).cmp(&(&b.node, &b.declaration.key)));
        for name in names {
            let found = self.node(name).lookup("**");
            assert!(found == union, "{name} knows {found:#?}\nbut there is {union:#?}");
            for other in names.iter().filter(|other| *other != name) {
                self.assert_linked(name, other);
            }
        }
        for guest in self.nodes.iter().filter(|node| node.is_guest()) {
            for name in names {
                self.assert_linked(&guest.name, name);
            }
        }
    }

    /// Two nodes hold the same link, each one end of it.
    #[track_caller]
    pub fn assert_linked(&self, a: &str, b: &str) {
        let (one, other) = (self.node(a), self.node(b));
        let there = one.link_to(&other.config().node).map(|link| self.other_end(link).1);
        let here = other.link_to(&one.config().node);
        assert!(here.is_some(), "{b} has no link to {a}");
        assert_eq!(there, here, "{a} and {b} hold different links to each other");
    }

    /// The links that a node has open, by what its events said.
    pub fn open_links(&self, name: &str) -> Vec<LinkId> {
        self.node(name).mirror.open.keys().copied().collect()
    }

    /// The keys that a node routes to a peer, by what its events said.
    pub fn routed(&self, from: &str, to: &str) -> Vec<String> {
        let node = self.node(from);
        let link = node.link_to(&self.node(to).config().node);
        let routes = node.mirror.routes().iter().filter(|(_, over)| Some(*over) == link);
        routes.map(|(key, _)| key.to_string()).collect()
    }

    /// Every member routes to every other exactly what that one wants, and knows which of
    /// its keys anybody wants.
    #[track_caller]
    pub fn assert_routed(&self) {
        let names = self.names_of_members();
        let wants = |name: &str, key: &Key| {
            self.node(name).subscriptions.values().any(|keys| keys.matches(key))
        };
        for from in &names {
            let own = self.node(from).own.keys();
            for to in names.iter().filter(|to| *to != from) {
                let wanted = own.clone().filter(|key| wants(to, key));
                let wanted: Vec<_> = wanted.map(Key::to_string).collect();
                assert_eq!(self.routed(from, to), wanted, "routes from {from} to {to}");
            }
            let wanted = own.filter(|key| names.iter().any(|name| wants(name, key)));
            let wanted: Vec<_> = wanted.map(Key::to_string).collect();
            assert_eq!(self.wanted(from), wanted, "what is wanted of {from}");
        }
    }

    /// The keys of a node that somebody wants, by what its events said.
    pub fn wanted(&self, name: &str) -> Vec<String> {
        self.node(name).mirror.wanted().iter().map(Key::to_string).collect()
    }
}

/// What a node declares itself, as others should know it.
fn declared_by(node: &Node) -> Vec<Match> {
    let config = node.config();
    let found = |declaration: &Declaration| Match {
        node: config.node.clone(),
        incarnation: config.incarnation,
        declaration: declaration.clone(),
    };
    node.own.values().map(found).collect()
}

/// No peer has two links in use, and members are up exactly while they have one.
fn one_link_for_each_pair(node: &Node) {
    let mut linked = BTreeMap::new();
    for (link, peer) in node.mirror.in_use().filter(|(_, peer)| peer.role == Role::Member) {
        let twice = linked.insert(&peer.node, (link, peer.incarnation)).is_some();
        assert!(!twice, "{} has two open links to {}", node.name, peer.node);
    }
    for peer in node.peers().into_iter().filter(|peer| peer.info.role == Role::Member) {
        let told = linked.get(&peer.info.node).map(|(link, _)| *link);
        assert_eq!(peer.link, told, "{}: its link to {}", node.name, peer.info.node);
    }
    if !node.is_guest() {
        let linked: Vec<_> = linked.into_iter().map(|(id, (_, at))| (id, at)).collect();
        let up: Vec<_> = node.mirror.present().map(|(id, at, _)| (id, at)).collect();
        assert_eq!(up, linked, "{}: who is up, and who has a link", node.name);
    }
}

/// The directory is what the events add up to.
fn events_agree_with_state(node: &Node) {
    let mut told = declared_by(node);
    for (id, incarnation, index) in node.mirror.present() {
        let found = |declaration: &Declaration| Match {
            node: id.clone(),
            incarnation,
            declaration: declaration.clone(),
        };
        told.extend(index.values().map(found));
    }
    told.sort_by(|a, b| (&a.node, &a.declaration.key).cmp(&(&b.node, &b.declaration.key)));
    let found = node.lookup("**");
    assert!(found == told, "{}: events say {told:#?}\nlookup says {found:#?}", node.name);
}
