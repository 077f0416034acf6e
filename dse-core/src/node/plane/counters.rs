//! What the data plane counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the data plane has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaneCounters {
    /// Samples sent, one for each link that a sample went to.
    pub samples_sent: u64,
    /// Samples received.
    pub samples_received: u64,
    /// Bytes of data frames sent.
    pub data_bytes_sent: u64,
    /// Bytes of data frames received.
    pub data_bytes_received: u64,
    /// Gaps reported to subscribers here.
    pub gaps: u64,
    /// Samples dropped here: by publishers for slow subscribers, and by subscriptions
    /// that were full.
    pub drops: u64,
    /// Times that a subscriber was found stalled.
    pub stalls: u64,
}

/// The same, while it is being counted.
#[derive(Debug, Default)]
pub(in crate::node) struct Counters {
    pub(super) samples_sent: AtomicU64,
    pub(super) samples_received: AtomicU64,
    pub(super) data_bytes_sent: AtomicU64,
    pub(super) data_bytes_received: AtomicU64,
    pub(in crate::node) gaps: AtomicU64,
    pub(super) drops: AtomicU64,
    pub(super) stalls: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> PlaneCounters {
        PlaneCounters {
            samples_sent: self.samples_sent.load(Ordering::Relaxed),
            samples_received: self.samples_received.load(Ordering::Relaxed),
            data_bytes_sent: self.data_bytes_sent.load(Ordering::Relaxed),
            data_bytes_received: self.data_bytes_received.load(Ordering::Relaxed),
            gaps: self.gaps.load(Ordering::Relaxed),
            drops: self.drops.load(Ordering::Relaxed),
            stalls: self.stalls.load(Ordering::Relaxed),
        }
    }
}

/// Counts `more` of something.
pub(in crate::node) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
