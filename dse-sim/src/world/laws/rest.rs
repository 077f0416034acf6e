//! What must hold once calls and faults have stopped: L1 quiet, L2 convergence.

use dse_core::protocol::{Declaration, Key, LinkId, Match};

use crate::world::{Node, World};

impl World {
    /// Checks every node.
    pub(in crate::world) fn check_all(&mut self) {
        for index in 0..self.nodes.len() {
            self.check(index, true);
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

    /// Nothing is left over: no request is out, and no link but those in use.
    #[track_caller]
    pub fn assert_nothing_left_over(&self) {
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            assert!(node.asked.is_empty(), "L4: {} is never told of a request", node.name);
            let used = node.mirror.linked().len();
            assert_eq!(node.ends.len(), used, "{}: link ends, and those in use", node.name);
        }
    }

    /// The links that a node has open, by what its events said.
    pub fn open_links(&self, name: &str) -> Vec<LinkId> {
        self.node(name).mirror.open().keys().copied().collect()
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
