//! What subscriptions and the sequences that come in on a node share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::lock::Lock;
use crate::data::limits::{LARGEST_WINDOW, NODE_GRANT_BYTES};
use crate::protocol::SubscriptionId;

/// What all sequences that come in on a node share.
pub(super) struct Budget {
    /// How long one subscription may hold up another here: well before their publisher gives
    /// both up.
    pub(super) hold_limit: Duration,
    /// How many sequences come in.
    sequences: AtomicUsize,
    shares: Lock<BTreeMap<SubscriptionId, Arc<Share>>>,
}

/// What sequences may bring a subscription, all of them together.
pub(super) struct Share {
    capacity: usize,
    taps: AtomicUsize,
}

impl Budget {
    pub(super) fn new(hold_limit: Duration) -> Self {
        Self { hold_limit, sequences: AtomicUsize::new(0), shares: Lock::default() }
    }

    /// One more sequence comes in.
    pub(super) fn enter(&self) {
        self.sequences.fetch_add(1, Relaxed);
    }

    /// One fewer does.
    pub(super) fn leave(&self) {
        self.sequences.fetch_sub(1, Relaxed);
    }

    /// Payload bytes that one sequence may bring.
    pub(super) fn bytes_of_one(&self) -> u32 {
        let sequences = self.sequences.load(Relaxed).max(1);
        let bytes = (NODE_GRANT_BYTES / sequences).min(LARGEST_WINDOW.bytes as usize);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// A subscription takes so many samples.
    pub(super) fn add(&self, id: SubscriptionId, capacity: usize) {
        self.shares.lock().insert(id, Share::new(capacity));
    }

    /// A subscription is no more.
    pub(super) fn remove(&self, id: SubscriptionId) {
        self.shares.lock().remove(&id);
    }

    pub(super) fn share_of(&self, id: SubscriptionId) -> Arc<Share> {
        // If there is none, it was dropped a moment ago.
        self.shares.lock().get(&id).cloned().unwrap_or_else(|| Share::new(1))
    }
}

impl Share {
    fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity: capacity.max(1), taps: AtomicUsize::new(0) })
    }

    /// One more sequence brings samples.
    pub(super) fn enter(&self) {
        self.taps.fetch_add(1, Relaxed);
    }

    /// One fewer does.
    pub(super) fn leave(&self) {
        self.taps.fetch_sub(1, Relaxed);
    }

    /// Samples that one sequence may bring.
    pub(super) fn of_one(&self) -> u32 {
        let taps = self.taps.load(Relaxed).max(1);
        u32::try_from(self.capacity / taps).unwrap_or(u32::MAX)
    }
}
