//! Subscribing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::plane::{Hub, PlaneRequest, TapCell, count};
use crate::data::receive::{Delivery, Feed, Item};
use crate::protocol::{Instant, InterestOptions, SubscriptionId};

/// Receives the samples of all keys that match. Dropping it ends the subscription.
pub struct Subscriber {
    id: SubscriptionId,
    hub: Arc<Hub>,
    items: mpsc::UnboundedReceiver<Item<Arc<TapCell>>>,
    feed: Feed<Arc<TapCell>>,
    /// How many gaps of the feed were counted.
    gaps: u64,
    /// Runs while a value waits for its interval.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Subscriber {
    pub(super) fn new(
        id: SubscriptionId,
        options: InterestOptions,
        items: mpsc::UnboundedReceiver<Item<Arc<TapCell>>>,
        hub: Arc<Hub>,
    ) -> Self {
        Self { id, hub, items, feed: Feed::new(options), gaps: 0, timer: None }
    }

    /// The next delivery; none once the node has stopped. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Delivery> {
        tokio::task::coop::consume_budget().await;
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next delivery, if there is one.
    pub fn try_recv(&mut self) -> Option<Delivery> {
        loop {
            if let Some(delivery) = self.with_feed(Feed::read_on) {
                return Some(delivery);
            }
            match self.items.try_recv() {
                Ok(item) => self.feed.push(item),
                Err(_) => return self.with_feed(Feed::next),
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

    /// The next delivery, as a poll function; ready with none once the node has stopped.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        loop {
            if let Some(delivery) = self.with_feed(Feed::read_on) {
                return Poll::Ready(Some(delivery));
            }
            match self.items.poll_recv(cx) {
                Poll::Ready(Some(item)) => self.feed.push(item),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => match self.with_feed(Feed::next) {
                    Some(delivery) => return Poll::Ready(Some(delivery)),
                    None if self.timer_is_over(cx) => {}
                    None => return Poll::Pending,
                },
            }
        }
    }

    /// Lets a timer run until the feed has something by itself.
    fn timer_is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.feed.poll_timeout() else {
            self.timer = None;
            return false;
        };
        let at = self.hub.clock().at(at);
        let timer = match &mut self.timer {
            Some(timer) if timer.deadline() == at => timer,
            timer => timer.insert(Box::pin(tokio::time::sleep_until(at))),
        };
        timer.as_mut().poll(cx).is_ready()
    }

    fn with_feed(
        &mut self,
        next: impl FnOnce(&mut Feed<Arc<TapCell>>, Instant) -> Option<Delivery>,
    ) -> Option<Delivery> {
        let now = if self.feed.needs_time() { self.hub.clock().now() } else { Instant::ZERO };
        let next = next(&mut self.feed, now);
        let gaps = self.feed.gaps();
        count(&self.hub.counters.gaps, gaps - self.gaps);
        self.gaps = gaps;
        next
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.hub.unsubscribe(self.id);
        self.hub.request(PlaneRequest::Unsubscribe(self.id));
    }
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").field("id", &self.id).finish_non_exhaustive()
    }
}
