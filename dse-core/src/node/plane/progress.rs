//! How far the sequences of peers came in, over all links.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{self, SeqCst},
};
use std::sync::{Arc, Weak};

use super::limits::PEER_SEQUENCES;
use super::link::Link;
use super::lock::Lock;
use crate::protocol::{Incarnation, SubscriptionId};

/// How far the sequences of one instance of a peer came in, over all links with it.
pub(super) struct PeerSequences {
    pub(super) incarnation: Incarnation,
    sequences: Lock<BTreeMap<u64, Arc<Progress>>>,
}

impl PeerSequences {
    pub(super) fn new(incarnation: Incarnation) -> Arc<Self> {
        Arc::new(Self { incarnation, sequences: Lock::new(BTreeMap::new()) })
    }

    /// A sequence begins.
    pub(super) fn begin(&self, sequence: u64, progress: Arc<Progress>) {
        let mut sequences = self.sequences.lock();
        if sequences.len() >= PEER_SEQUENCES {
            sequences.retain(|_, progress| !progress.is_over());
            // The oldest are of publishers that ended while there was no link.
            while sequences.len() >= PEER_SEQUENCES {
                sequences.pop_first();
            }
        }
        sequences.insert(sequence, progress);
    }

    /// How far a sequence came in, if it ever began.
    pub(super) fn of(&self, sequence: u64) -> Option<Arc<Progress>> {
        self.sequences.lock().get(&sequence).cloned()
    }
}

/// How far a sequence came in: what the next link with the same peer goes on from.
pub(super) struct Progress {
    /// The last number that was handed on.
    received: AtomicU64,
    /// Subscriptions that it was handed to.
    fed: Lock<BTreeSet<SubscriptionId>>,
    link: Weak<Link>,
    /// The last credit was made: no link goes on from here.
    over: AtomicBool,
}

impl Progress {
    pub(super) fn new(link: &Arc<Link>, last_seq: u64) -> Arc<Self> {
        Arc::new(Self {
            received: AtomicU64::new(last_seq),
            fed: Lock::new(BTreeSet::new()),
            link: Arc::downgrade(link),
            over: AtomicBool::new(false),
        })
    }

    /// The last number that was handed on.
    pub(super) fn received(&self) -> u64 {
        self.received.load(SeqCst)
    }

    /// All up to this number was handed on.
    pub(super) fn advance(&self, seq: u64, ordering: Ordering) {
        self.received.store(seq, ordering);
    }

    /// What comes is handed to this subscription, too.
    pub(super) fn feeds(&self, id: SubscriptionId) {
        self.fed.lock().insert(id);
    }

    /// The last credit was made.
    pub(super) fn end(&self) {
        self.over.store(true, SeqCst);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// The last number that was handed on, if one of these subscriptions got it.
    /// For the reader of this link.
    pub(super) fn received_for(
        &self,
        reader: &Link,
        lives: impl Fn(SubscriptionId) -> bool,
    ) -> Option<u64> {
        if !self.fed.lock().iter().any(|id| lives(*id)) {
            return None;
        }
        // Another reader that is at a frame has counted samples that it has not handed on yet.
        let reads = || {
            let link = self.link.upgrade().filter(|link| link.order != reader.order);
            link.is_some_and(|link| link.reading.load(SeqCst))
        };
        loop {
            let received = self.received.load(SeqCst);
            if !reads() {
                return Some(received);
            }
            std::thread::yield_now();
        }
    }
}
