//! Interest and routes (PROTOCOL.md §8): what this node wants of others, and which of
//! its keys others want.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

use super::bus::ControlBus;
use super::errors::CommandError;
use super::ids::{LinkId, SubscriptionId};
use super::index::parts;
use super::io::Event;
use super::key::Key;
use super::limits;
use super::message::{Interest, InterestRefused, Message, Pattern};
use super::names::NodeId;
use super::patterns::Patterns;
use super::timers::Timer;
use super::wire;

/// This node's subscriptions, and which of its own keys are wanted.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct LocalInterest {
    subscriptions: BTreeMap<SubscriptionId, Pattern>,
    /// Those of the subscriptions, each expression once.
    #[serde(skip)]
    patterns: Patterns,
    /// Own keys whose application was told of a first interest and of no last one.
    wanted: BTreeSet<Key>,
}

impl LocalInterest {
    fn changed(&mut self) {
        self.patterns = self.subscriptions.values().cloned().collect();
    }
}

/// What a peer was told of this node's interest, on its open link.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct SentInterest {
    version: u64,
    patterns: Vec<Pattern>,
}

/// What a peer wants of this node, on its open link.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Wants {
    version: u64,
    patterns: Patterns,
    partial: Vec<Pattern>,
    parts: u32,
}

impl Wants {
    /// Takes a part; true at the last.
    fn collect(&mut self, interest: Interest) -> Result<bool, &'static str> {
        if interest.version != self.version + 1 || interest.part != self.parts {
            return Err("the parts or versions of an interest do not follow each other");
        }
        if self.partial.len() <= limits::PATTERNS_PER_INTEREST {
            self.partial.extend(interest.patterns);
        }
        self.parts += 1;
        if interest.last {
            self.version = interest.version;
            self.parts = 0;
        }
        Ok(interest.last)
    }
}

impl ControlBus {
    pub(super) fn subscribe(
        &mut self,
        subscription: SubscriptionId,
        pattern: Pattern,
    ) -> Result<(), CommandError> {
        let limit = limits::PATTERNS_PER_INTEREST;
        if self.interest.subscriptions.len() >= limit {
            return Err(CommandError::TooManySubscriptions { limit });
        }
        self.interest.subscriptions.insert(subscription, pattern);
        self.subscriptions_changed();
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, subscription: SubscriptionId) {
        if self.interest.subscriptions.remove(&subscription).is_some() {
            self.subscriptions_changed();
        }
    }

    fn subscriptions_changed(&mut self) {
        self.interest.changed();
        let nodes: Vec<NodeId> =
            self.peers.open_members().map(|(peer, _)| peer.info.node.clone()).collect();
        for node in nodes {
            self.send_interest(&node);
        }
        let own: Vec<Key> = self.index.iter().map(|declaration| declaration.key.clone()).collect();
        self.wanted_changed(&own);
    }

    /// Tells a peer what this node wants of it, if that is news on its open link.
    pub(super) fn send_interest(&mut self, node: &NodeId) {
        let Some(peer) = self.peers.get_mut(node) else { return };
        let Some(open) = peer.open.filter(|_| peer.is_member()) else { return };
        let patterns = self.interest.patterns.that_match(&peer.index);
        if patterns == peer.sent.patterns {
            return;
        }
        peer.sent.version += 1;
        peer.sent.patterns = patterns.clone();
        let version = peer.sent.version;
        let mut lists = parts(patterns, wire::encoded_len);
        if lists.is_empty() {
            lists.push(Vec::new());
        }
        let count = lists.len() as u32;
        for (patterns, part) in lists.into_iter().zip(0..) {
            let last = part + 1 == count;
            let message = Message::Interest(Interest { version, part, last, patterns });
            self.outbox.send(open.link, &message);
        }
    }

    pub(super) fn interest_received(
        &mut self,
        link: LinkId,
        node: &NodeId,
        interest: Interest,
    ) -> Result<(), &'static str> {
        let Some(peer) = self.peers.get_mut(node) else { return Ok(()) };
        if !peer.is_member() {
            return Err("a guest has no interest");
        }
        if !peer.wants.collect(interest)? {
            return Ok(());
        }
        let patterns = core::mem::take(&mut peer.wants.partial);
        if patterns.len() > limits::PATTERNS_PER_INTEREST {
            let why = "an interest has at most 1024 patterns".into();
            let refused = InterestRefused { version: peer.wants.version, why };
            self.outbox.send(link, &Message::InterestRefused(refused));
            return Ok(());
        }
        peer.wants.patterns = patterns.into_iter().collect();
        match peer.rests_until.filter(|until| self.now < *until) {
            Some(until) => self.timers.set(Timer::Interest(node.clone()), until),
            None => self.routes_changed(node),
        }
        Ok(())
    }

    /// A peer answered a request: what it wanted before counts from now on at the latest
    /// (PROTOCOL.md §8.2).
    pub(super) fn interest_is_due(&mut self, node: &NodeId) {
        let timer = Timer::Interest(node.clone());
        if self.timers.is_set(&timer) {
            self.timers.clear(&timer);
            self.routes_changed(node);
        }
    }

    pub(super) fn interest_refused(&mut self, node: &NodeId, refused: InterestRefused) {
        let why = String::from(refused.why);
        self.outbox.event(Event::InterestRefused { node: node.clone(), why });
    }

    /// Brings the routes to a peer in line with what it wants. If that cost much it is not
    /// done again for a while, or a peer that wants something else each time could keep this
    /// node busy with few bytes.
    pub(super) fn routes_changed(&mut self, node: &NodeId) {
        let others = self.peers.member_count();
        let Some(peer) = self.peers.get_mut(node) else { return };
        let Some(open) = peer.open else { return };
        let wanted = peer.wants.patterns.keys_of(&self.index);
        let link = open.link;
        let (mut changed, mut other_options) = (BTreeSet::new(), 0);
        for (key, options) in &wanted {
            let (key, options) = (key.clone(), *options);
            match peer.routes.get(&key) {
                None => {
                    changed.insert(key.clone());
                    self.outbox.event(Event::RouteAdded { key, link, options });
                }
                Some(before) if *before != options => {
                    other_options += 1;
                    self.outbox.event(Event::RouteChanged { key, link, options });
                }
                Some(_) => {}
            }
        }
        for key in peer.routes.keys().filter(|key| !wanted.contains_key(*key)) {
            changed.insert(key.clone());
            self.outbox.event(Event::RouteRemoved { key: key.clone(), link });
        }
        peer.routes = wanted;
        let compared = self.index.len() * peer.wants.patterns.wild_count();
        let work = compared + changed.len() * others + other_options;
        let rest = limits::INTEREST_REST * u32::try_from(work).unwrap_or(u32::MAX);
        peer.rests_until = (work > limits::INTEREST_WORK).then(|| self.now + rest);
        self.wanted_changed(&changed);
    }

    /// A key of our own is new: route it to those who wanted it before it was there.
    pub(super) fn route_new_key(&mut self, key: &Key) {
        for peer in self.peers.iter_mut() {
            let Some(open) = peer.open else { continue };
            let Some(options) = peer.wants.patterns.options_of(key) else { continue };
            if peer.routes.insert(key.clone(), options).is_none() {
                let (key, link) = (key.clone(), open.link);
                self.outbox.event(Event::RouteAdded { key, link, options });
            }
        }
        self.wanted_changed_for(key);
    }

    /// A key of our own is no more: its routes end with it, without a word.
    pub(super) fn unroute_key(&mut self, key: &Key) {
        for peer in self.peers.iter_mut() {
            peer.routes.remove(key);
        }
        self.interest.wanted.remove(key);
        self.timers.clear(&Timer::Linger(key.clone()));
    }

    /// Looks at own keys for a first or a last interest: those of which somebody began or
    /// ceased to want.
    pub(super) fn wanted_changed<'a>(&mut self, keys: impl IntoIterator<Item = &'a Key>) {
        for key in keys {
            self.wanted_changed_for(key);
        }
    }

    fn wanted_changed_for(&mut self, key: &Key) {
        let linger = Timer::Linger(key.clone());
        if self.is_wanted(key) {
            self.timers.clear(&linger);
            if self.interest.wanted.insert(key.clone()) {
                self.outbox.event(Event::FirstInterest { key: key.clone() });
            }
        } else if self.interest.wanted.contains(key) && !self.timers.is_set(&linger) {
            self.timers.set(linger, self.now + limits::INTEREST_LINGER);
        }
    }

    /// Nobody has wanted a key for the linger time.
    pub(super) fn linger_over(&mut self, key: Key) {
        if !self.is_wanted(&key) && self.interest.wanted.remove(&key) {
            self.outbox.event(Event::LastInterest { key });
        }
    }

    fn is_wanted(&self, key: &Key) -> bool {
        self.interest.patterns.matches(key)
            || self.peers.iter().any(|peer| peer.routes.contains_key(key))
    }
}
