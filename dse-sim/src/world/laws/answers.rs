//! L4: every live node answers a request exactly once, and the asker learns how many it
//! expected, how many answered, and which did not, and why.

use std::collections::BTreeMap;

use dse_core::protocol::wire::{self, Decoded};
use dse_core::protocol::{
    Command, Input, Instant, KeyExpr, LinkId, Message, MissingReason, NodeId, Output, Report, Role,
    SubscriptionId, Ticket,
};

use super::history::{LifeId, Print};
use crate::world::{Node, World, place_of};

/// A request that is out.
pub(in crate::world) struct Asked {
    keys: KeyExpr,
    /// When the asker gives up, by its own clock.
    deadline: Instant,
    /// How many indexes the asker itself had had.
    indexes: usize,
    /// Members that were linked when it was asked. Those that stay so and change nothing
    /// must be found as they are.
    witnesses: Vec<Witness>,
}

struct Witness {
    node: NodeId,
    link: LinkId,
    life: LifeId,
    /// How many indexes it had had.
    indexes: usize,
    /// What it was subscribed to.
    subscriptions: Vec<SubscriptionId>,
}

impl World {
    /// A node's application asks the bus, or one node for its counters.
    pub(in crate::world) fn note_request(&mut self, index: usize, input: &Input) {
        let (ticket, keys, timeout) = match input {
            Input::Command(Command::Request { ticket, keys, timeout }) => (ticket, keys, timeout),
            Input::Command(Command::RequestStats { ticket, .. }) => {
                self.nodes[index].stats_asked.insert(*ticket);
                return;
            }
            _ => return,
        };
        let node = &self.nodes[index];
        let indexes = |life| self.history.life(life).indexes();
        let mut witnesses = Vec::new();
        for (id, link) in linked_members(node) {
            let (at, side) = place_of(link);
            let other = &self.links[at].ends[1 - side];
            let Some(life) = other.record else { continue };
            let subscriptions = self.nodes[other.node].subscriptions.keys().copied().collect();
            let (node, indexes) = (id.clone(), indexes(life));
            witnesses.push(Witness { node, link, life, indexes, subscriptions });
        }
        let deadline = node.clock.shows(self.now) + *timeout;
        let indexes = node.record.map_or(0, indexes);
        let asked = Asked { keys: keys.clone(), deadline, indexes, witnesses };
        self.nodes[index].asked.insert(*ticket, asked);
    }

    /// Each question for counters is answered once.
    pub(in crate::world) fn check_stats(&mut self, index: usize, ticket: Ticket) {
        let node = &mut self.nodes[index];
        let asked = node.stats_asked.remove(&ticket);
        assert!(asked, "L4: {} is told of counters that it does not wait for", node.name);
    }

    /// A report must be true, and must name everybody who was there all the time.
    pub(in crate::world) fn check_report(&mut self, index: usize, ticket: Ticket, report: &Report) {
        let name = self.nodes[index].name.clone();
        let asked = self.nodes[index].asked.remove(&ticket);
        let Some(asked) = asked else {
            panic!("L4: {name} is told of a request that is not out: {ticket:?}");
        };
        let node = &self.nodes[index];
        if node.leaving {
            return;
        }
        let counts = report.answered + report.missing.len() == report.expected;
        assert!(counts, "L4: {name}: the counts of a report do not add up: {report:?}");
        let linked = linked_members(node).count();
        let all = report.expected >= linked;
        assert!(all, "L4: {name} has a link with {linked} and did not ask all: {report:?}");
        let whole = !report.complete || report.missing.is_empty();
        assert!(whole, "L4: {name}: a complete report misses somebody: {report:?}");
        let order = report.matches.is_sorted_by_key(|found| (&found.node, &found.declaration.key));
        assert!(order, "L4: {name}: the matches are in no order: {report:?}");
        for found in &report.matches {
            let true_once = self.history.lives_of(&found.node).any(|life| {
                life.incarnation == found.incarnation && life.declared(&found.declaration)
            });
            let holds = true_once || self.strangers;
            assert!(holds, "L4: {name} is told what never was: {found:?}");
            let asked_for = asked.keys.matches(&found.declaration.key);
            assert!(asked_for, "L4: {name} is told what it did not ask for: {found:?}");
        }
        for witness in &asked.witnesses {
            self.check_witness(node, &asked, witness, report);
        }
    }

    /// Who was linked all the time and changed nothing is in the report, or was silent.
    fn check_witness(&self, asker: &Node, asked: &Asked, witness: &Witness, report: &Report) {
        let life = self.history.life(witness.life);
        let (name, id) = (&asker.name, &witness.node);
        if asker.mirror.linked().get(id) != Some(&witness.link) || life.said_leave {
            return;
        }
        if let Some(missing) = report.missing.iter().find(|missing| missing.node == *id) {
            let late = asker.clock.shows(self.now) >= asked.deadline;
            let silent = missing.reason == MissingReason::Silent && late;
            assert!(silent, "L4: {name} has a link to {id} all the time: {missing:?}");
            return;
        }
        let (at, side) = place_of(witness.link);
        let other = &self.nodes[self.links[at].ends[1 - side].node];
        if other.record != Some(witness.life) {
            return;
        }
        if life.indexes() == witness.indexes {
            let told = report.matches.iter().filter(|found| found.node == *id);
            let told = Print::of(told.map(|found| &found.declaration));
            let own = other.own.values().filter(|own| asked.keys.matches(&own.key));
            let holds = told == Print::of(own);
            assert!(holds, "L4: {name} was not told what {id} has: {report:#?}");
        }
        if asker.record.is_some_and(|own| self.history.life(own).indexes() == asked.indexes) {
            knows_who_wants(asker, witness, other);
        }
    }

    /// A request is answered on its link, once, and nothing else is.
    pub(in crate::world) fn check_answers(&self, index: usize, asked: &Input, told: &[Output]) {
        let node = &self.nodes[index];
        let mut owed: BTreeMap<(LinkId, u64), i32> = BTreeMap::new();
        if let Input::Message { link, bytes } = asked
            && bytes.get(1) == Some(&REQUEST)
            && node.mirror.linked().values().any(|linked| linked == link)
            && let Ok(Decoded::Known(Message::Request(request))) = wire::decode(bytes)
        {
            owed.insert((*link, request.request), 1);
        }
        for output in told {
            if let Output::Send { link, bytes } = output
                && bytes.get(1) == Some(&ANSWER)
                && let Ok(Decoded::Known(Message::Answer(answer))) = wire::decode(bytes)
                && answer.last
            {
                *owed.entry((*link, answer.request)).or_default() -= 1;
            }
        }
        let once = owed.values().all(|owed| *owed == 0);
        assert!(once, "L4: {}: a request is answered once, not so: {told:?}", node.name);
    }
}

/// Who has answered has told before what it wants (PROTOCOL.md §8.2): of what was declared
/// when it was asked, the asker has a route for all that it was subscribed to then and is now.
fn knows_who_wants(asker: &Node, witness: &Witness, other: &Node) {
    let held = witness.subscriptions.iter().filter_map(|held| other.subscriptions.get(held));
    for pattern in held {
        for key in asker.own.keys().filter(|key| pattern.keys.matches(key)) {
            let routed = asker.mirror.routes().contains_key(&(key.clone(), witness.link));
            assert!(routed, "{}: {} has answered and wants {key}", asker.name, witness.node);
        }
    }
}

/// The members that a node has a link with, by what its events said.
fn linked_members(node: &Node) -> impl Iterator<Item = (&NodeId, LinkId)> {
    let open = node.mirror.open();
    let member = |link: &LinkId| open.get(link).is_some_and(|peer| peer.role == Role::Member);
    let linked = node.mirror.linked().iter().filter(move |(_, link)| member(link));
    linked.map(|(id, link)| (id, *link))
}

/// The numbers of two kinds of messages (PROTOCOL.md §3).
const REQUEST: u8 = 8;
const ANSWER: u8 = 9;
