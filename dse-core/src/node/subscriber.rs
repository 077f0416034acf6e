//! Subscribing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::plane::queue::{Item, Queue};
use super::plane::{Hub, PlaneRequest, Stamped, Tap, count};
use crate::protocol::{Incarnation, Key, Kind, NodeId, SubscriptionId};

/// Receives the samples of all keys that match. Dropping it ends the subscription.
pub struct Subscriber {
    id: SubscriptionId,
    queue: Arc<Queue>,
    hub: Arc<Hub>,
    /// What was taken from the queue and not yet delivered.
    batch: VecDeque<Item>,
    /// The sequence that the next items belong to.
    tap: Option<Arc<Tap>>,
    /// What follows the delivery that was made last.
    next: Option<Delivery>,
}

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A value.
    Sample(Sample),
    /// Samples of a stream are lost.
    Gap {
        /// The publisher.
        node: NodeId,
        /// The key.
        key: Key,
        /// The number of the first lost sample.
        from_seq: u64,
        /// The number of the last lost sample.
        to_seq: u64,
    },
    /// The publisher was restarted: its numbers begin anew.
    Restarted {
        /// The publisher.
        node: NodeId,
        /// The key.
        key: Key,
        /// Its incarnation now.
        incarnation: Incarnation,
    },
    /// The publisher closed the key; all its samples came before.
    Ended {
        /// The publisher.
        node: NodeId,
        /// The key.
        key: Key,
    },
}

/// A published value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its key.
    pub key: Key,
    /// Who published it.
    pub node: NodeId,
    /// Which incarnation of it.
    pub incarnation: Incarnation,
    /// Stream or state.
    pub kind: Kind,
    /// Its number among the samples of that node, incarnation and key.
    pub seq: u64,
    /// When it was published, in nanoseconds since 1970 by the publisher's clock.
    pub time_ns: u64,
    /// The media type of the payload.
    pub encoding: Arc<str>,
    /// The value.
    pub payload: Bytes,
}

impl Subscriber {
    pub(super) fn new(id: SubscriptionId, queue: Arc<Queue>, hub: Arc<Hub>) -> Self {
        Self { id, queue, hub, batch: VecDeque::new(), tap: None, next: None }
    }

    /// The next delivery; none once the node has stopped. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Delivery> {
        tokio::task::coop::consume_budget().await;
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next delivery, if there is one.
    pub fn try_recv(&mut self) -> Option<Delivery> {
        loop {
            if let Some(delivery) = self.next_delivery() {
                return Some(delivery);
            }
            if !self.queue.try_take(&mut self.batch) {
                return None;
            }
        }
    }

    /// Waits for a delivery, then appends all that are there, at most `max`. Returns how
    /// many; 0 once the node has stopped. Cancel-safe.
    pub async fn recv_batch(&mut self, into: &mut Vec<Delivery>, max: usize) -> usize {
        let before = into.len();
        if max > 0 {
            into.extend(self.recv().await);
        }
        while into.len() > before && into.len() - before < max {
            let Some(delivery) = self.try_recv() else { break };
            into.push(delivery);
        }
        into.len() - before
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        loop {
            if let Some(delivery) = self.next_delivery() {
                return Poll::Ready(Some(delivery));
            }
            if !ready!(self.queue.poll_take(cx, &mut self.batch)) {
                return Poll::Ready(None);
            }
        }
    }

    /// The next delivery that the batch makes.
    fn next_delivery(&mut self) -> Option<Delivery> {
        if let Some(next) = self.next.take() {
            return Some(next);
        }
        while let Some(item) = self.batch.pop_front() {
            let delivery = match item {
                Item::From(tap) => {
                    let delivery = self.enter(&tap);
                    self.tap = Some(tap);
                    delivery
                }
                Item::Sample(sample) => self.sample(sample),
                Item::Lost { to_seq } => self.lost(to_seq),
                Item::Ended { closed } => self.ended(closed),
                Item::Value(mut unread) => {
                    unread.take().and_then(|(tap, value)| self.value(&tap, value))
                }
            };
            if delivery.is_some() {
                return delivery;
            }
        }
        None
    }

    /// A sequence begins, or goes on: what does that say of the one before?
    fn enter(&self, tap: &Arc<Tap>) -> Option<Delivery> {
        let position = &tap.position;
        let epoch = position.epoch.load(Relaxed);
        if tap.rank() <= (position.link.load(Relaxed), epoch) {
            return None;
        }
        let (link, _) = tap.rank();
        position.link.store(link, Relaxed);
        position.epoch.store(tap.epoch, Relaxed);
        let before = Incarnation(position.incarnation.swap(tap.incarnation.0, Relaxed));
        if epoch != 0 && before == tap.incarnation {
            return match tap.kind {
                Kind::Stream => self.gap(tap, tap.next_seq - 1),
                _ => None,
            };
        }
        position.delivered.store(tap.next_seq - 1, Relaxed);
        (epoch != 0).then(|| Delivery::Restarted {
            node: position.node.clone(),
            key: position.key.clone(),
            incarnation: tap.incarnation,
        })
    }

    fn sample(&mut self, sample: Stamped) -> Option<Delivery> {
        let tap = self.tap.as_ref()?;
        let seq = sample.seq;
        let delivered = tap.position.delivered.load(Relaxed);
        let delivery = if !is_current(tap) || seq <= delivered {
            None
        } else {
            let gap = if seq > delivered + 1 { self.gap(tap, seq - 1) } else { None };
            tap.position.delivered.store(seq, Relaxed);
            Some((gap, deliver(tap, sample)))
        };
        tap.consume(seq);
        match delivery? {
            (None, sample) => Some(sample),
            (gap, sample) => {
                self.next = Some(sample);
                gap
            }
        }
    }

    fn lost(&self, to_seq: u64) -> Option<Delivery> {
        let tap = self.tap.as_ref()?;
        let gap =
            if tap.kind == Kind::Stream && is_current(tap) { self.gap(tap, to_seq) } else { None };
        tap.consume(to_seq);
        gap
    }

    fn ended(&mut self, closed: bool) -> Option<Delivery> {
        let tap = self.tap.take()?;
        tap.finish();
        let (node, key) = (tap.position.node.clone(), tap.position.key.clone());
        (closed && is_current(&tap)).then_some(Delivery::Ended { node, key })
    }

    /// A state's newest value.
    fn value(&mut self, tap: &Arc<Tap>, value: Stamped) -> Option<Delivery> {
        let restarted = self.enter(tap);
        let seq = value.seq;
        let known = tap.position.delivered.load(Relaxed);
        let delivery = (is_current(tap) && seq > known).then(|| {
            tap.position.delivered.store(seq, Relaxed);
            deliver(tap, value)
        });
        tap.consume(seq);
        if restarted.is_some() {
            self.next = delivery;
            return restarted;
        }
        delivery
    }

    /// All up to `to_seq` that was not delivered will not be.
    fn gap(&self, tap: &Tap, to_seq: u64) -> Option<Delivery> {
        let position = &tap.position;
        let delivered = position.delivered.load(Relaxed);
        if to_seq <= delivered {
            return None;
        }
        position.delivered.store(to_seq, Relaxed);
        count(&self.queue.counters.gaps, 1);
        let (node, key) = (position.node.clone(), position.key.clone());
        Some(Delivery::Gap { node, key, from_seq: delivered + 1, to_seq })
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.hub.unsubscribe(self.id);
        self.queue.drop_all();
        self.hub.request(PlaneRequest::Unsubscribe(self.id));
    }
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Is there no later sequence of the same value?
fn is_current(tap: &Tap) -> bool {
    tap.epoch == tap.position.epoch.load(Relaxed)
}

fn deliver(tap: &Tap, sample: Stamped) -> Delivery {
    Delivery::Sample(Sample {
        key: tap.position.key.clone(),
        node: tap.position.node.clone(),
        incarnation: tap.incarnation,
        kind: tap.kind,
        seq: sample.seq,
        time_ns: sample.time_ns,
        encoding: Arc::clone(&tap.encoding),
        payload: sample.payload,
    })
}
