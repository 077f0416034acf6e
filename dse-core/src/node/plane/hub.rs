//! The publishers and subscriptions of this node, and how those find each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use super::counters::Counters;
use super::limits::RETIRED_KEYS;
use super::link::{Closing, Link};
use super::queue::Queue;
use super::sequencer::Sequencer;
use super::{PlaneConfig, PlaneRequest, Table, lock};
use crate::node::publisher::{Overflow, Publisher};
use crate::node::subscriber::Subscriber;
use crate::protocol::{Declaration, Key, KeyExpr, NodeId, SubscriptionId};

/// A subscription of this node.
pub(super) struct Subscription {
    pub(super) id: SubscriptionId,
    pub(super) keys: KeyExpr,
    pub(super) queue: Arc<Queue>,
}

/// What publishers and subscribers of this node share. No sample passes through it.
pub(in crate::node) struct Hub {
    counters: Arc<Counters>,
    requests: mpsc::UnboundedSender<PlaneRequest>,
    /// What is published here and wanted here goes over this link.
    loopback: Arc<Link>,
    registry: Mutex<Registry>,
    /// The subscriptions. Changed under the registry's lock only.
    table: watch::Sender<Table>,
}

#[derive(Default)]
struct Registry {
    publishers: BTreeMap<Key, Arc<Sequencer>>,
    /// Where the sequences of keys ended that are not published any more: one that is
    /// published again goes on from there.
    retired: BTreeMap<Key, u64>,
    /// A number that none of those reached that `retired` has forgotten.
    retired_below: u64,
    stopped: bool,
}

impl Hub {
    pub(super) fn new(
        loopback: Arc<Link>,
        counters: Arc<Counters>,
        requests: mpsc::UnboundedSender<PlaneRequest>,
    ) -> Arc<Self> {
        let table = watch::Sender::new(Table::default());
        Arc::new(Self { counters, requests, loopback, registry: Mutex::default(), table })
    }

    pub(super) fn register(
        self: &Arc<Self>,
        declaration: Declaration,
        overflow: Overflow,
        history: usize,
        config: &PlaneConfig,
    ) -> Option<Publisher> {
        let mut registry = lock(&self.registry);
        if registry.publishers.contains_key(&declaration.key) {
            return None;
        }
        let key = declaration.key.clone();
        let last_seq = registry.retired.remove(&key).unwrap_or(registry.retired_below);
        let counters = Arc::clone(&self.counters);
        let sequencer =
            Arc::new(Sequencer::new(declaration, overflow, history, last_seq, config, counters));
        if registry.stopped {
            sequencer.shut();
        }
        if self.table.borrow().iter().any(|subscription| subscription.keys.matches(&key)) {
            sequencer.change_route(&self.loopback, true);
        }
        registry.publishers.insert(key, Arc::clone(&sequencer));
        Some(Publisher::new(sequencer, Arc::clone(self)))
    }

    /// A publisher was shut for good.
    pub(in crate::node) fn retire(&self, sequencer: &Sequencer) {
        let last_seq = sequencer.last_seq();
        let mut registry = lock(&self.registry);
        registry.publishers.remove(&sequencer.key);
        if registry.retired.len() == RETIRED_KEYS {
            let forgotten = std::mem::take(&mut registry.retired);
            let highest = forgotten.into_values().max().unwrap_or(0);
            registry.retired_below = registry.retired_below.max(highest);
        }
        registry.retired.insert(sequencer.key.clone(), last_seq);
    }

    pub(in crate::node) fn request(&self, request: PlaneRequest) {
        // Without a driver there is nobody to ask.
        let _ = self.requests.send(request);
    }

    pub(super) fn sequencer(&self, key: &Key) -> Option<Arc<Sequencer>> {
        lock(&self.registry).publishers.get(key).cloned()
    }

    pub(super) fn subscribe(
        self: &Arc<Self>,
        id: SubscriptionId,
        keys: KeyExpr,
        capacity: usize,
    ) -> Subscriber {
        let queue = Arc::new(Queue::new(capacity, Arc::clone(&self.counters)));
        let subscription =
            Arc::new(Subscription { id, keys: keys.clone(), queue: Arc::clone(&queue) });
        let registry = lock(&self.registry);
        if registry.stopped {
            queue.end();
        }
        self.table.send_modify(|table| {
            *table = table.iter().cloned().chain([subscription]).collect();
        });
        for (key, sequencer) in &registry.publishers {
            if keys.matches(key) {
                sequencer.change_route(&self.loopback, true);
            }
        }
        Subscriber::new(id, queue, Arc::clone(self))
    }

    pub(in crate::node) fn unsubscribe(&self, id: SubscriptionId) {
        let registry = lock(&self.registry);
        let mut gone = None;
        self.table.send_modify(|table| {
            gone = table.iter().find(|subscription| subscription.id == id).cloned();
            *table = table.iter().filter(|subscription| subscription.id != id).cloned().collect();
        });
        let Some(gone) = gone else { return };
        let table = Arc::clone(&self.table.borrow());
        for (key, sequencer) in &registry.publishers {
            let wanted = || table.iter().any(|subscription| subscription.keys.matches(key));
            if gone.keys.matches(key) && !wanted() {
                sequencer.change_route(&self.loopback, false);
            }
        }
    }

    pub(super) fn table(&self) -> watch::Receiver<Table> {
        self.table.subscribe()
    }

    pub(super) fn forget(&self, node: &NodeId) {
        for subscription in self.table.borrow().iter() {
            subscription.queue.forget(node);
        }
    }

    /// Ends all publishers, and returns them.
    pub(super) fn shut(&self) -> Vec<Arc<Sequencer>> {
        let publishers: Vec<_> = lock(&self.registry).publishers.values().cloned().collect();
        for publisher in &publishers {
            publisher.shut();
        }
        publishers
    }

    /// The node is gone.
    pub(super) fn stop(&self) {
        lock(&self.registry).stopped = true;
        self.shut();
        self.loopback.close(Closing::Gone);
        for subscription in self.table.borrow().iter() {
            subscription.queue.end();
        }
    }
}
