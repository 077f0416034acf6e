//! Waiting until subscribers have what was published: at the close of a publisher, and
//! while it goes on.

use std::pin::pin;
use std::sync::Arc;

use tokio::time::Instant;

use super::route::Route;
use super::sequencer::{Sequencer, State, find};
use crate::node::publisher::Receipts;
use crate::protocol::{LinkId, NodeId};

impl Sequencer {
    /// After [`shut`](Self::shut): waits until every subscriber has taken all or is known
    /// not to.
    pub(in crate::node) async fn receipts(&self) -> Receipts {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let Some(until) = self.next_receipt() else {
                return self.state().closed.clone();
            };
            // Late or not, it is looked at again.
            let _ = tokio::time::timeout_at(until, changed).await;
        }
    }

    /// Waits until every present subscriber has taken all that was published before, or
    /// has taken nothing for the stall timeout.
    pub(in crate::node) async fn flush(self: &Arc<Self>) -> Receipts {
        let mut flush = self.begin_flush();
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let Some(until) = self.look_at(&mut flush) else { return flush.receipts };
            // Late or not, it is looked at again.
            let _ = tokio::time::timeout_at(until, changed).await;
        }
    }

    /// When to look for receipts again at the latest; none if nothing is outstanding.
    fn next_receipt(&self) -> Option<Instant> {
        let mut state = self.state();
        let now = Instant::now();
        let State { routes, closed, last_seq, .. } = &mut *state;
        let mut until: Option<Instant> = None;
        for route in routes.iter_mut().filter(|route| route.awaits_receipt()) {
            route.patience.wait(now);
            let left = route.patience.left(now, self.stall_timeout);
            if left.is_zero() {
                route.given_up = true;
                closed.give_up(route, *last_seq);
            } else {
                until = Some(until.map_or(now + left, |until| until.min(now + left)));
            }
        }
        state.awaited |= until.is_some();
        until
    }

    fn begin_flush(self: &Arc<Self>) -> Flush {
        let mut state = self.state();
        self.apply_changes_to(&mut state);
        let now = Instant::now();
        let open = state.routes.iter().filter(|route| route.is_open() && !route.is_severed());
        let awaited = open.map(|route| Awaited {
            link: route.link.id,
            alias: route.alias(),
            node: route.link.node.clone(),
            consumed_seq: route.consumed_seq(),
            quiet_since: now,
        });
        Flush { seq: state.last_seq, awaited: awaited.collect(), receipts: Receipts::default() }
    }

    /// When to look at a flush again at the latest; none if it is done.
    fn look_at(&self, flush: &mut Flush) -> Option<Instant> {
        let mut state = self.state();
        let now = Instant::now();
        let Flush { seq, awaited, receipts } = flush;
        let mut until: Option<Instant> = None;
        awaited.retain_mut(|awaited| {
            let Some(route) = find(&mut state.routes, awaited.link, awaited.alias) else {
                receipts.undelivered.push(awaited.node.clone());
                return false;
            };
            if route.has_taken(*seq) {
                receipts.delivered += 1;
                return false;
            }
            if !route.is_wanted() {
                return false;
            }
            if route.consumed_seq() > awaited.consumed_seq {
                awaited.consumed_seq = route.consumed_seq();
                awaited.quiet_since = now;
            }
            let end = awaited.quiet_since + self.stall_timeout;
            if end <= now {
                receipts.undelivered.push(awaited.node.clone());
                return false;
            }
            until = Some(until.map_or(end, |until| until.min(end)));
            true
        });
        state.awaited |= until.is_some();
        until
    }
}

/// A wait for all that was published up to a number.
struct Flush {
    seq: u64,
    awaited: Vec<Awaited>,
    receipts: Receipts,
}

/// A subscriber that has not taken all of it.
struct Awaited {
    link: LinkId,
    alias: u32,
    node: NodeId,
    consumed_seq: u64,
    quiet_since: Instant,
}

impl Receipts {
    /// Notes the receipt of a route.
    pub(super) fn note(&mut self, route: &Route) {
        if route.awaits_receipt() || route.is_severed() {
            self.count(route, route.dropped == 0);
        }
    }

    /// No receipt of a route is waited for any more: its subscriber may have taken all the
    /// same, and then did not come to the End.
    pub(super) fn give_up(&mut self, route: &Route, last_seq: u64) {
        self.count(route, route.dropped == 0 && route.has_taken(last_seq));
    }

    fn count(&mut self, route: &Route, delivered: bool) {
        if delivered {
            self.delivered += 1;
        } else {
            self.undelivered.push(route.link.node.clone());
        }
    }
}
