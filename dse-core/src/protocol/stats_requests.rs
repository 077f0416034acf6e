//! Whom this node asks for its counters.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::Serialize;

use super::errors::StatsError;
use super::ids::Ticket;
use super::limits;
use super::message::Stats;
use super::names::NodeId;

/// What this node has asked and not yet told its application.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct StatsRequests {
    by_id: BTreeMap<u64, StatsAsk>,
}

#[derive(Clone, Debug, Serialize)]
struct StatsAsk {
    ticket: Ticket,
    node: NodeId,
    asked: bool,
}

/// What came of one.
pub(super) type StatsResult = (Ticket, Result<Vec<(Box<str>, u64)>, StatsError>);

impl StatsRequests {
    /// A node is asked, or is to be once it has a link.
    pub(super) fn insert(&mut self, id: u64, ticket: Ticket, node: NodeId, asked: bool) {
        self.by_id.insert(id, StatsAsk { ticket, node, asked });
    }

    /// A link with a node opened: gives those that it is to be asked now.
    pub(super) fn ask(&mut self, node: &NodeId) -> Vec<u64> {
        let mut ids = Vec::new();
        for (id, ask) in self.by_id.iter_mut().filter(|(_, ask)| ask.node == *node) {
            ask.asked = true;
            ids.push(*id);
        }
        ids
    }

    /// A node answered.
    pub(super) fn answered(
        &mut self,
        node: &NodeId,
        stats: Stats,
    ) -> Result<Option<StatsResult>, &'static str> {
        if stats.counters.len() > limits::STATS_COUNTERS {
            return Err("there are more counters than a node may tell");
        }
        if self.by_id.get(&stats.request).is_none_or(|ask| ask.node != *node) {
            return Ok(None);
        }
        let ask = self.by_id.remove(&stats.request);
        Ok(ask.map(|ask| (ask.ticket, Ok(stats.counters))))
    }

    /// An open link with a node fell.
    pub(super) fn lost(&mut self, node: &NodeId) -> Vec<StatsResult> {
        self.end(|ask| (ask.asked && ask.node == *node).then(|| no_answer(ask)))
    }

    /// The time for one is over.
    pub(super) fn timeout(&mut self, ticket: Ticket) -> Vec<StatsResult> {
        self.end(|ask| (ask.ticket == ticket).then(|| no_answer(ask)))
    }

    /// Is there one whose node has no link?
    pub(super) fn any_unasked(&self) -> bool {
        self.by_id.values().any(|ask| !ask.asked)
    }

    /// Nodes without a link will get none.
    pub(super) fn none_comes(&mut self) -> Vec<StatsResult> {
        self.end(|ask| (!ask.asked).then(|| no_answer(ask)))
    }

    /// This node leaves.
    pub(super) fn stop(&mut self) -> Vec<StatsResult> {
        self.end(|_| Some(StatsError::Stopped))
    }

    fn end(&mut self, why: impl Fn(&StatsAsk) -> Option<StatsError>) -> Vec<StatsResult> {
        let mut ended = Vec::new();
        self.by_id.retain(|_, ask| {
            let why = why(ask);
            let goes_on = why.is_none();
            ended.extend(why.map(|why| (ask.ticket, Err(why))));
            goes_on
        });
        ended
    }
}

fn no_answer(ask: &StatsAsk) -> StatsError {
    let node = ask.node.clone();
    if ask.asked { StatsError::NoAnswer(node) } else { StatsError::UnknownNode(node) }
}
