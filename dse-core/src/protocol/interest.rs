//! Interest and routes (PROTOCOL.md §8): what this node wants of others, and which of
//! its keys others want.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use serde::Serialize;

use super::errors::CommandError;
use super::ids::{LinkId, SubscriptionId};
use super::index::{LocalIndex, PeerIndex};
use super::io::Event;
use super::key::Key;
use super::limits;
use super::message::{Interest, InterestRefused, Pattern};
use super::names::NodeId;
use super::options::InterestOptions;
use super::patterns::Patterns;
use super::time::Instant;
use super::wire;

/// This node's subscriptions, what each peer wants, and which of this node's keys are
/// wanted.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Interests {
    subscriptions: BTreeMap<SubscriptionId, Pattern>,
    /// Those of the subscriptions, each expression once.
    #[serde(skip)]
    patterns: Patterns,
    /// Own keys whose application was told of a first interest and of no last one.
    wanted: BTreeSet<Key>,
    by_peer: BTreeMap<NodeId, PeerInterest>,
}

/// What a peer and this node want of each other.
#[derive(Clone, Debug, Default, Serialize)]
struct PeerInterest {
    /// What it wants of us.
    wants: Wants,
    /// Until then what it wants is not looked at again, for the last look cost much.
    rests_until: Option<Instant>,
    /// Our keys that are routed to it, on its open link, and what it asks of each route.
    routes: BTreeMap<Key, InterestOptions>,
    sent: SentInterest,
}

/// What a peer was told of this node's interest, on its open link.
#[derive(Clone, Debug, Default, Serialize)]
struct SentInterest {
    version: u64,
    patterns: Vec<Pattern>,
}

/// What a peer wants of this node, on its open link.
#[derive(Clone, Debug, Default, Serialize)]
struct Wants {
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

/// What became of a part of a peer's interest.
pub(super) enum Taken {
    /// Others are to follow.
    Part,
    /// It is too large: what the peer wanted before stands.
    Refused(InterestRefused),
    /// It is whole: the routes change at once, or then.
    Now,
    Later(Instant),
}

impl Interests {
    pub(super) fn subscribe(
        &mut self,
        subscription: SubscriptionId,
        pattern: Pattern,
    ) -> Result<(), CommandError> {
        let limit = limits::PATTERNS_PER_INTEREST;
        if self.subscriptions.len() >= limit {
            return Err(CommandError::TooManySubscriptions { limit });
        }
        self.subscriptions.insert(subscription, pattern);
        self.patterns = self.subscriptions.values().cloned().collect();
        Ok(())
    }

    /// True if it was there.
    pub(super) fn unsubscribe(&mut self, subscription: SubscriptionId) -> bool {
        let was = self.subscriptions.remove(&subscription).is_some();
        self.patterns = self.subscriptions.values().cloned().collect();
        was
    }

    /// A link with a peer opened, with the first of this start of it if it is `new`. Gives
    /// the keys that were routed to the link before.
    pub(super) fn link_opened(&mut self, node: &NodeId, new: bool) -> Vec<Key> {
        let peer = self.by_peer.entry(node.clone()).or_default();
        let before = core::mem::take(peer);
        peer.rests_until = before.rests_until.filter(|_| !new);
        before.routes.into_keys().collect()
    }

    /// The open link of a peer is no more. Gives the keys that were routed to it.
    pub(super) fn take_routes(&mut self, node: &NodeId) -> Vec<Key> {
        let routes = self.by_peer.get_mut(node).map(|peer| core::mem::take(&mut peer.routes));
        routes.unwrap_or_default().into_keys().collect()
    }

    pub(super) fn peers(&self) -> usize {
        self.by_peer.len()
    }

    pub(super) fn forget(&mut self, node: &NodeId) {
        self.by_peer.remove(node);
    }

    /// What this node wants of a peer with this index, in parts, if that is news on its
    /// open link.
    pub(super) fn news_for(&mut self, node: &NodeId, index: &PeerIndex) -> Vec<Interest> {
        let Some(PeerInterest { sent, .. }) = self.by_peer.get_mut(node) else {
            return Vec::new();
        };
        let patterns = self.patterns.that_match(index);
        if patterns == sent.patterns {
            return Vec::new();
        }
        sent.version += 1;
        sent.patterns = patterns.clone();
        let version = sent.version;
        wire::in_parts(patterns, |part, last, patterns| Interest { version, part, last, patterns })
    }

    /// Takes a part of what a peer wants.
    pub(super) fn take(
        &mut self,
        node: &NodeId,
        interest: Interest,
        now: Instant,
    ) -> Result<Taken, &'static str> {
        let Some(peer) = self.by_peer.get_mut(node) else { return Ok(Taken::Part) };
        if !peer.wants.collect(interest)? {
            return Ok(Taken::Part);
        }
        let patterns = core::mem::take(&mut peer.wants.partial);
        if patterns.len() > limits::PATTERNS_PER_INTEREST {
            let why = "an interest has at most 1024 patterns".into();
            return Ok(Taken::Refused(InterestRefused { version: peer.wants.version, why }));
        }
        peer.wants.patterns = patterns.into_iter().collect();
        let later = peer.rests_until.filter(|until| now < *until);
        Ok(later.map_or(Taken::Now, Taken::Later))
    }

    /// Brings the routes to a peer in line with what it wants: gives what the application is
    /// told, and the keys that it began or ceased to want. If that cost much it is not done
    /// again for a while, or a peer that wants something else each time could keep this node
    /// busy with few bytes. To be told of a key costs a look at each of the `others`.
    pub(super) fn reroute(
        &mut self,
        node: &NodeId,
        link: LinkId,
        own: &LocalIndex,
        others: usize,
        now: Instant,
    ) -> (Vec<Event>, BTreeSet<Key>) {
        let (mut events, mut changed, mut other_options) = (Vec::new(), BTreeSet::new(), 0);
        let Some(peer) = self.by_peer.get_mut(node) else { return (events, changed) };
        let wanted = peer.wants.patterns.keys_of(own);
        for (key, options) in &wanted {
            let (key, options) = (key.clone(), *options);
            match peer.routes.get(&key) {
                None => {
                    changed.insert(key.clone());
                    events.push(Event::RouteAdded { key, link, options });
                }
                Some(before) if *before != options => {
                    other_options += 1;
                    events.push(Event::RouteChanged { key, link, options });
                }
                Some(_) => {}
            }
        }
        for key in peer.routes.keys().filter(|key| !wanted.contains_key(*key)) {
            changed.insert(key.clone());
            events.push(Event::RouteRemoved { key: key.clone(), link });
        }
        peer.routes = wanted;
        let compared = own.len() * peer.wants.patterns.wild_count();
        let work = compared + changed.len() * others + other_options;
        let rest = limits::INTEREST_REST * u32::try_from(work).unwrap_or(u32::MAX);
        peer.rests_until = (work > limits::INTEREST_WORK).then(|| now + rest);
        (events, changed)
    }

    /// A key of our own is new. Gives what a peer asks of its route, if it wants the key and
    /// there was none.
    pub(super) fn route(&mut self, node: &NodeId, key: &Key) -> Option<InterestOptions> {
        let peer = self.by_peer.get_mut(node)?;
        let options = peer.wants.patterns.options_of(key)?;
        peer.routes.insert(key.clone(), options).is_none().then_some(options)
    }

    /// A key of our own is no more: its routes end with it, without a word.
    pub(super) fn unroute(&mut self, key: &Key) {
        for peer in self.by_peer.values_mut() {
            peer.routes.remove(key);
        }
        self.wanted.remove(key);
    }

    /// Does anybody, here or elsewhere, want this key of ours?
    pub(super) fn is_wanted(&self, key: &Key) -> bool {
        self.patterns.matches(key)
            || self.by_peer.values().any(|peer| peer.routes.contains_key(key))
    }

    /// Has the application been told that somebody does?
    pub(super) fn is_told_wanted(&self, key: &Key) -> bool {
        self.wanted.contains(key)
    }

    /// The application is told now, unless it was.
    pub(super) fn tell_wanted(&mut self, key: &Key) -> bool {
        self.wanted.insert(key.clone())
    }

    /// The application is told that nobody does, unless somebody does.
    pub(super) fn tell_unwanted(&mut self, key: &Key) -> bool {
        !self.is_wanted(key) && self.wanted.remove(key)
    }
}
