//! The publications and subscriptions of this node, and how those find each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::account::TapCell;
use super::budget::Budget;
use super::clock::{Clock, unix_ns};
use super::config::{PlaneConfig, PlaneRequest};
use super::counters::Counters;
use super::limits::RETIRED_KEYS;
use super::link::{Closing, Link};
use super::lock::Lock;
use super::progress::PeerSequences;
use super::publication::{Publication, policy};
use crate::data::Origin;
use crate::data::receive::{Item, Wanted};
use crate::data::send::SequenceConfig;
use crate::node::options::PublisherOptions;
use crate::protocol::{
    Declaration, Incarnation, InterestOptions, Key, KeyExpr, NodeId, SubscriptionId,
};

pub(super) type Table = Arc<[Arc<Subscription>]>;

/// A subscription of this node.
pub(super) struct Subscription {
    pub(super) wanted: Wanted,
    items: mpsc::UnboundedSender<Item<Arc<TapCell>>>,
}

/// What publishers and subscribers of this node share. No sample passes through it.
pub(in crate::node) struct Hub {
    config: PlaneConfig,
    clock: Clock,
    pub(in crate::node) counters: Arc<Counters>,
    requests: mpsc::UnboundedSender<PlaneRequest>,
    /// What is published here and wanted here goes over this link.
    loopback: Arc<Link>,
    registry: Lock<Registry>,
    /// The subscriptions, in the order of their ids. Changed under the registry's lock only.
    table: watch::Sender<Table>,
    pub(super) budget: Arc<Budget>,
    /// How far the sequences of each peer came in, until it is forgotten.
    peers: Lock<BTreeMap<NodeId, Arc<PeerSequences>>>,
}

#[derive(Default)]
struct Registry {
    publications: BTreeMap<Key, Arc<Publication>>,
    last_sequence: u64,
    /// Where the sequences of keys ended that are not published any more: one that is
    /// published again goes on from there.
    retired: BTreeMap<Key, u64>,
    /// A number that none of those reached that `retired` has forgotten.
    retired_below: u64,
    stopped: bool,
}

impl Hub {
    pub(super) fn new(
        config: PlaneConfig,
        clock: Clock,
        loopback: Arc<Link>,
        counters: Arc<Counters>,
        requests: mpsc::UnboundedSender<PlaneRequest>,
    ) -> Arc<Self> {
        let budget = Arc::new(Budget::new(config.stall_timeout / 2));
        Arc::new(Self {
            config,
            clock,
            counters,
            requests,
            loopback,
            registry: Lock::default(),
            table: watch::Sender::new(Table::default()),
            budget,
            peers: Lock::new(BTreeMap::new()),
        })
    }

    pub(in crate::node) fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn register(
        self: &Arc<Self>,
        declaration: Declaration,
        options: PublisherOptions,
    ) -> Option<Arc<Publication>> {
        let mut registry = self.registry.lock();
        if registry.publications.contains_key(&declaration.key) {
            return None;
        }
        let Declaration { key, kind, encoding, .. } = declaration;
        registry.last_sequence += 1;
        let (node, incarnation) = (self.config.node.clone(), self.config.incarnation);
        let origin = Arc::new(Origin::new(node, key.clone(), incarnation, kind, encoding));
        let mut config = SequenceConfig::new(registry.last_sequence, origin);
        config.policy = policy(kind, options.overflow);
        config.class = options.class;
        config.history = options.history;
        config.lifetime = options.expires;
        config.stall_timeout = options.stall_timeout.unwrap_or(self.config.stall_timeout);
        config.min_rate = options.min_rate;
        config.last_seq = registry.retired.remove(&key).unwrap_or(registry.retired_below);
        config.base_time_ns = unix_ns();
        let publication = Publication::new(config, self.clock, Arc::clone(&self.counters));
        if registry.stopped {
            publication.close();
        }
        if let Some(options) = wanted_here(&self.table.borrow(), &key) {
            publication.attach(&self.loopback, options);
        }
        registry.publications.insert(key, Arc::clone(&publication));
        Some(publication)
    }

    /// A publisher is gone for good.
    pub(in crate::node) fn retire(&self, publication: &Publication) {
        let last_seq = publication.last_seq();
        let mut registry = self.registry.lock();
        registry.publications.remove(&publication.origin.key);
        if registry.retired.len() == RETIRED_KEYS {
            let forgotten = std::mem::take(&mut registry.retired);
            let highest = forgotten.into_values().max().unwrap_or(0);
            registry.retired_below = registry.retired_below.max(highest);
        }
        registry.retired.insert(publication.origin.key.clone(), last_seq);
    }

    pub(in crate::node) fn request(&self, request: PlaneRequest) {
        // Without a driver there is nobody to ask.
        let _ = self.requests.send(request);
    }

    pub(super) fn publication(&self, key: &Key) -> Option<Arc<Publication>> {
        self.registry.lock().publications.get(key).cloned()
    }

    pub(super) fn publications(&self) -> Vec<Arc<Publication>> {
        self.registry.lock().publications.values().cloned().collect()
    }

    pub(super) fn subscribe(
        self: &Arc<Self>,
        id: SubscriptionId,
        keys: KeyExpr,
        options: InterestOptions,
        capacity: usize,
    ) -> mpsc::UnboundedReceiver<Item<Arc<TapCell>>> {
        let (items, queue) = mpsc::unbounded_channel();
        let wanted = Wanted { id, keys: keys.clone(), options };
        let registry = self.registry.lock();
        if !registry.stopped {
            let subscription = Arc::new(Subscription { wanted, items });
            self.budget.add(id, capacity);
            self.table.send_modify(|table| {
                let mut all: Vec<_> = table.iter().cloned().chain([subscription]).collect();
                all.sort_by_key(|it| it.wanted.id);
                *table = all.into();
            });
        }
        self.update_loopback(&registry, &keys);
        queue
    }

    pub(in crate::node) fn unsubscribe(&self, id: SubscriptionId) {
        let registry = self.registry.lock();
        self.budget.remove(id);
        let mut gone = None;
        self.table.send_modify(|table| {
            gone = table.iter().find(|it| it.wanted.id == id).cloned();
            *table = table.iter().filter(|it| it.wanted.id != id).cloned().collect();
        });
        if let Some(gone) = gone {
            self.update_loopback(&registry, &gone.wanted.keys);
        }
    }

    /// What of this node's keys is wanted here has changed, of those that match.
    fn update_loopback(&self, registry: &Registry, keys: &KeyExpr) {
        let table = Arc::clone(&self.table.borrow());
        for (key, publication) in &registry.publications {
            if !keys.matches(key) {
                continue;
            }
            match wanted_here(&table, key) {
                Some(options) => {
                    publication.attach(&self.loopback, options);
                    publication.set_options(self.loopback.id, options);
                }
                None => publication.withdraw(self.loopback.id),
            }
        }
    }

    pub(super) fn table(&self) -> watch::Receiver<Table> {
        self.table.subscribe()
    }

    /// Is there still such a subscription?
    pub(super) fn lives(&self, id: SubscriptionId) -> bool {
        find(&self.table.borrow(), id).is_some()
    }

    /// How far the sequences of an instance of a peer came in.
    pub(super) fn peer(&self, node: &NodeId, incarnation: Incarnation) -> Arc<PeerSequences> {
        let mut peers = self.peers.lock();
        let peer = peers.entry(node.clone()).or_insert_with(|| PeerSequences::new(incarnation));
        if peer.incarnation != incarnation {
            *peer = PeerSequences::new(incarnation);
        }
        Arc::clone(peer)
    }

    /// A peer is forgotten.
    pub(super) fn forget(&self, node: &NodeId) {
        self.peers.lock().remove(node);
        for subscription in self.table.borrow().iter() {
            let _ = subscription.items.send(Item::Forget { node: node.clone() });
        }
    }

    /// A peer exposes a key no more.
    pub(super) fn undeclared(&self, node: &NodeId, key: &Key) {
        for subscription in self.table.borrow().iter() {
            if subscription.wanted.keys.matches(key) {
                let item = Item::Undeclared { node: node.clone(), key: key.clone() };
                let _ = subscription.items.send(item);
            }
        }
    }

    /// The node is gone.
    pub(super) fn stop(&self) {
        let mut registry = self.registry.lock();
        registry.stopped = true;
        registry.publications.values().for_each(|publication| publication.close());
        drop(registry);
        self.loopback.close(Closing::Gone);
        // Subscriptions end with the senders of their items.
        self.table.send_replace(Table::default());
    }
}

/// Hands something to a subscription, unless it was dropped.
pub(super) fn deliver(table: &Table, id: SubscriptionId, item: Item<Arc<TapCell>>) {
    if let Some(subscription) = find(table, id) {
        let _ = subscription.items.send(item);
    }
}

fn find(table: &Table, id: SubscriptionId) -> Option<&Arc<Subscription>> {
    let place = table.binary_search_by_key(&id, |it| it.wanted.id).ok()?;
    table.get(place)
}

/// What the subscriptions here ask together of a key, if one of them is for it.
fn wanted_here(table: &Table, key: &Key) -> Option<InterestOptions> {
    let wanted = table.iter().filter(|it| it.wanted.keys.matches(key));
    wanted.map(|it| it.wanted.options).reduce(InterestOptions::merge)
}
