//! What must hold once calls and faults have stopped: L1 quiet, L2 convergence.

use std::collections::BTreeMap;

use dse_core::protocol::{Declaration, InterestOptions, Key, KeyExpr, LinkId, Match, Pattern};

use crate::world::{Node, World};

impl World {
    /// Checks every node.
    pub(in crate::world) fn check_all(&mut self) {
        for index in 0..self.nodes.len() {
            self.check(index);
        }
    }

    /// Every member holds the union of all members' declarations, and every pair, of
    /// members or of a guest and a member, has one link with an end at each (law L2).
    #[track_caller]
    pub fn assert_converged(&self) {
        let names = self.names_of_members();
        let members: Vec<_> = names.iter().map(String::as_str).collect();
        self.assert_converged_among(&members);
        for guest in self.nodes.iter().filter(|node| node.is_guest()) {
            for name in &members {
                self.assert_linked(&guest.name, name);
            }
        }
    }

    /// The same for these members, without a look at guests: those of one side of a
    /// partition, or before a guest has asked who else there is.
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

    /// Nothing is left over: no request is out, no link but those in use, and no timer (law
    /// L1).
    #[track_caller]
    pub fn assert_nothing_left_over(&self) {
        for node in self.nodes.iter().filter(|node| node.is_core()) {
            let due = node.bus().poll_timeout();
            assert!(due.is_none(), "L1: {} still waits: {due:?}", node.name);
            assert!(node.asked.is_empty(), "L4: {} is never told of a request", node.name);
            let told = node.stats_asked.is_empty();
            assert!(told, "L4: {} is never told of counters or why not", node.name);
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
        self.routes(from, to).into_iter().map(|(key, _)| key.to_string()).collect()
    }

    /// The same with what the peer asks of each route.
    pub fn routes(&self, from: &str, to: &str) -> Vec<(Key, InterestOptions)> {
        let node = self.node(from);
        let link = node.link_to(&self.node(to).config().node);
        let routes = node.mirror.routes().iter().filter(|((_, over), _)| Some(*over) == link);
        routes.map(|((key, _), options)| (key.clone(), *options)).collect()
    }

    /// Every member routes to every other exactly what that one wants, in the way in which
    /// its subscriptions together want it, and knows which of its keys anybody wants.
    #[track_caller]
    pub fn assert_routed(&self) {
        let names = self.names_of_members();
        let wants = |name: &str, key: &Key| {
            let all = self.node(name).subscriptions.values();
            let matching = all.filter(|pattern| pattern.keys.matches(key));
            matching.map(|pattern| pattern.options).reduce(InterestOptions::merge)
        };
        for from in &names {
            let own = self.node(from).own.keys();
            for to in names.iter().filter(|to| *to != from) {
                let wanted = own.clone().filter_map(|key| Some((key.clone(), wants(to, key)?)));
                let wanted: Vec<_> = wanted.collect();
                assert_eq!(self.routes(from, to), wanted, "routes from {from} to {to}");
            }
            let wanted = own.filter(|key| names.iter().any(|name| wants(name, key).is_some()));
            let wanted: Vec<_> = wanted.map(Key::to_string).collect();
            assert_eq!(self.wanted(from), wanted, "what is wanted of {from}");
        }
    }

    /// Has a node more to tell another of what it wants, once that one declares this key
    /// (PROTOCOL.md §8.1)?
    pub fn wants_more(&self, of: &str, at: &str, key: &Key) -> bool {
        let own = &self.node(at).own;
        let mut all: BTreeMap<&KeyExpr, InterestOptions> = BTreeMap::new();
        for Pattern { keys, options } in self.node(of).subscriptions.values() {
            let together = all.entry(keys).or_insert(*options);
            *together = together.merge(*options);
        }
        let matters = |keys: &KeyExpr| own.keys().any(|own| keys.matches(own));
        let (told, untold): (Vec<_>, Vec<_>) = all.into_iter().partition(|(keys, _)| matters(keys));
        untold.into_iter().any(|(keys, options)| {
            let covers = |(told, all): &(&KeyExpr, InterestOptions)| {
                told.includes(keys) && all.merge(options) == *all
            };
            keys.matches(key) && !told.iter().any(covers)
        })
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
