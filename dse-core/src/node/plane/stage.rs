//! What a reader has for one subscription until the end of a frame: one lock and one
//! wake-up for all of it.

use std::sync::Arc;

use super::Subscription;
use super::limits::STAGE_ITEMS;
use super::meter::Tap;
use super::queue::Item;
use super::reader::unpinned;
use super::route::Stamped;

/// What a reader has for one subscription.
pub(super) struct Stage {
    pub(super) subscription: Arc<Subscription>,
    items: Vec<Item>,
    bytes: usize,
    /// How long the frame is that payloads would hold on to.
    pinned: usize,
    /// The epoch of the sequence that the last item belongs to; 0 is none.
    epoch: u64,
}

impl Stage {
    pub(super) fn new(subscription: &Arc<Subscription>) -> Self {
        let subscription = Arc::clone(subscription);
        Self { subscription, items: Vec::new(), bytes: 0, pinned: 0, epoch: 0 }
    }

    /// A frame begins, of which payloads are slices that would hold on to this many bytes.
    pub(super) fn begin_frame(&mut self, pinned: usize) {
        self.pinned = pinned;
    }

    pub(super) fn is_of(&self, other: &Stage) -> bool {
        Arc::ptr_eq(&self.subscription, &other.subscription)
    }

    /// A sequence begins.
    pub(super) fn begin(&mut self, tap: &Arc<Tap>) {
        if self.epoch != tap.epoch {
            self.epoch = tap.epoch;
            self.items.push(Item::From(Arc::clone(tap)));
        }
    }

    /// Adds what belongs to a sequence.
    pub(super) fn item(&mut self, tap: &Arc<Tap>, item: Item) {
        self.begin(tap);
        if let Item::Sample(sample) = &item {
            self.bytes += sample.payload.len();
        }
        self.items.push(item);
        if self.items.len() >= STAGE_ITEMS {
            self.flush();
        }
    }

    /// A state has a new value.
    pub(super) fn value(&mut self, tap: &Arc<Tap>, value: Stamped) {
        self.items.extend(tap.position.replace(tap, value));
    }

    /// Hands all over. Payloads that would hold on to a frame of which they are a small part
    /// are copied out.
    pub(super) fn flush(&mut self) {
        if self.items.is_empty() {
            return;
        }
        if self.bytes * 4 < self.pinned {
            for item in &mut self.items {
                if let Item::Sample(sample) = item {
                    sample.payload = unpinned(std::mem::take(&mut sample.payload), self.pinned);
                }
            }
        }
        self.subscription.queue.append(&mut self.items, self.bytes);
        self.bytes = 0;
        self.epoch = 0;
    }
}
