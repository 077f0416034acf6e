//! Waiting until subscribers have what was published: at the close of a publisher, and
//! while it goes on.

use std::pin::pin;
use std::sync::Arc;

use tokio::time::Instant;

use super::limits::DEPARTED;
use super::route::Route;
use super::sequencer::{Sequencer, State};
use super::standing::Tally;
use crate::node::limits::LATE;
use crate::node::publisher::Receipts;
use crate::protocol::NodeId;

impl Sequencer {
    /// After [`shut`](Self::shut): waits until every subscriber has taken all or is known
    /// not to.
    pub(in crate::node) async fn receipts(&self) -> Receipts {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let Some(until) = self.next_receipt() else {
                return self.state().closed.receipts();
            };
            // Late or not, it is looked at again.
            let _ = tokio::time::timeout_at(until, changed).await;
        }
    }

    /// Waits until every subscriber that wants it has taken all that was published before,
    /// or has taken nothing for the stall timeout.
    pub(in crate::node) async fn flush(self: &Arc<Self>) -> Receipts {
        let mut flush = self.begin_flush();
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let Some(until) = self.look_at(&mut flush) else { return flush.tally.receipts() };
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
        for route in routes.iter_mut().filter(|route| route.awaits_receipt(*last_seq)) {
            route.patience.wait(now);
            let left = route.patience.left(now, self.stall_timeout, true);
            if left.is_zero() {
                // It may have taken all the same, and then did not come to the End.
                route.given_up = true;
                let standing = route.standing();
                closed.note(&standing, standing.has_all(*last_seq));
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
        let State { last_seq: seq, routes, departed, .. } = &*state;
        let mut tally = Tally::default();
        for gone in departed.iter().filter(|gone| gone.served && gone.has_taken(*seq)) {
            tally.note(gone, true);
        }
        let awaited = routes.iter().filter(|route| route.may_take(*seq)).map(|route| Awaited {
            route: route.number,
            node: route.link.node.clone(),
            consumed_seq: route.consumed_seq(),
            quiet_since: now,
            excused: false,
        });
        Flush { seq: *seq, awaited: awaited.collect(), tally }
    }

    /// When to look at a flush again at the latest; none if it is done.
    fn look_at(&self, flush: &mut Flush) -> Option<Instant> {
        let mut state = self.state();
        let now = Instant::now();
        let Flush { seq, awaited, tally } = flush;
        let mut until: Option<Instant> = None;
        awaited.retain_mut(|awaited| {
            let Some(route) = state.routes.iter().find(|route| route.number == awaited.route)
            else {
                match state.departed.iter().find(|gone| gone.route == awaited.route) {
                    Some(gone) => tally.note(gone, gone.has_taken(*seq)),
                    None => tally.miss(&awaited.node),
                }
                return false;
            };
            let standing = route.standing();
            if standing.has_taken(*seq) || !route.may_take(*seq) {
                tally.note(&standing, standing.has_taken(*seq));
                return false;
            }
            if route.consumed_seq() > awaited.consumed_seq {
                awaited.consumed_seq = route.consumed_seq();
                (awaited.quiet_since, awaited.excused) = (now, false);
            }
            let mut end = awaited.quiet_since + self.stall_timeout;
            if now >= end + LATE && !awaited.excused {
                // This node stood still: what the subscriber says may lie unread.
                (awaited.quiet_since, awaited.excused) = (now, true);
                end = now + self.stall_timeout;
            }
            if end <= now {
                tally.note(&standing, false);
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
    tally: Tally,
}

/// A subscriber that has not taken all of it.
struct Awaited {
    /// The number of its route.
    route: u64,
    node: NodeId,
    consumed_seq: u64,
    quiet_since: Instant,
    /// It was waited for anew, since this node stood still.
    excused: bool,
}

impl State {
    /// The publisher closes: those that are gone and have everything count.
    pub(super) fn count_departed(&mut self) {
        for gone in &self.departed {
            if gone.served && gone.has_all(self.last_seq) {
                self.closed.note(gone, true);
            }
        }
    }

    /// A route is no more. How far its subscriber has come is kept for those who close and
    /// flush, and for those who wait already.
    pub(super) fn depart(&mut self, route: &Route) {
        let standing = route.standing();
        if self.shut && route.awaits_receipt(self.last_seq) {
            self.closed.note(&standing, standing.has_all(self.last_seq));
        }
        if self.departed.len() == DEPARTED {
            self.departed.pop_front();
        }
        self.departed.push_back(standing);
    }
}
