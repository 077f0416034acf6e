//! Requests and answers (PROTOCOL.md §7), and the asking for a node's counters.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use serde::Serialize;

use super::bus::ControlBus;
use super::declaration::Declaration;
use super::directory::order;
use super::errors::StatsError;
use super::ids::{LinkId, Ticket};
use super::index::parts;
use super::io::{Event, Match, Missing, MissingReason, Report};
use super::key::KeyExpr;
use super::limits;
use super::message::{Answer, MembersRequest, Message, Request, Role, Stats, StatsRequest};
use super::names::{Incarnation, NodeId};
use super::timers::Timer;
use super::wire;

/// What this node has asked and not yet told its application.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Requests {
    last: u64,
    by_id: BTreeMap<u64, Outstanding>,
    stats: BTreeMap<u64, StatsAsk>,
}

#[derive(Clone, Debug, Serialize)]
struct Outstanding {
    ticket: Ticket,
    keys: KeyExpr,
    asks: BTreeMap<NodeId, Ask>,
    /// Membership hashes that differed from ours, whom we asked for the list behind
    /// each, and whether it came.
    pulls: BTreeMap<u64, (NodeId, Pull)>,
}

/// How it stands with one node that is to answer.
#[derive(Clone, Debug, Serialize)]
struct Ask {
    incarnation: Option<Incarnation>,
    state: AskState,
    parts: u32,
    declarations: Vec<Declaration>,
    /// What these take on the wire.
    bytes: usize,
    membership: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
enum AskState {
    Unreached,
    /// Linked, and has others to answer first.
    Held,
    Asked,
    Answered,
    Missing(MissingReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Pull {
    Asked,
    Came,
    Failed,
}

#[derive(Clone, Debug, Serialize)]
struct StatsAsk {
    ticket: Ticket,
    node: NodeId,
    asked: bool,
}

impl Ask {
    fn new(state: AskState) -> Self {
        let declarations = Vec::new();
        Self { incarnation: None, state, parts: 0, declarations, bytes: 0, membership: 0 }
    }

    fn is_pending(&self) -> bool {
        matches!(self.state, AskState::Unreached | AskState::Held | AskState::Asked)
    }
}

impl Requests {
    fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

impl ControlBus {
    /// Asks all open members, and waits for those that are about to open.
    pub(super) fn request(&mut self, ticket: Ticket, keys: KeyExpr, timeout: Duration) {
        // What was declared before the request is known before its answer.
        self.announce();
        let id = self.requests.next_id();
        let coming = self.dials.coming().map(|node| (node.clone(), Ask::new(AskState::Unreached)));
        let asks = coming.collect();
        let outstanding = Outstanding { ticket, keys, asks, pulls: BTreeMap::new() };
        self.requests.by_id.insert(id, outstanding);
        self.timers.set(Timer::Request(ticket), self.now + timeout);
        let open: Vec<(NodeId, LinkId)> =
            self.peers.open_members().map(|(peer, link)| (peer.info.node.clone(), link)).collect();
        for (node, link) in open {
            self.ask(id, link, &node);
        }
    }

    /// Asks a peer, at once or when it has answered others (PROTOCOL.md §7.1).
    fn ask(&mut self, id: u64, link: LinkId, node: &NodeId) {
        let Some(outstanding) = self.requests.by_id.get_mut(&id) else { return };
        let Some(peer) = self.peers.get_mut(node) else { return };
        let incarnation = Some(peer.info.incarnation);
        let ask =
            outstanding.asks.entry(node.clone()).or_insert_with(|| Ask::new(AskState::Unreached));
        if ask.state == AskState::Answered && ask.incarnation == incarnation {
            return;
        }
        *ask = Ask { incarnation, ..Ask::new(AskState::Held) };
        if peer.asked.ask(id) {
            self.send_request(id, link, node);
        }
    }

    fn send_request(&mut self, id: u64, link: LinkId, node: &NodeId) {
        let Some(outstanding) = self.requests.by_id.get_mut(&id) else { return };
        if let Some(ask) = outstanding.asks.get_mut(node) {
            ask.state = AskState::Asked;
        }
        let request = Request { request: id, keys: outstanding.keys.clone() };
        self.outbox.send(link, &Message::Request(request));
    }

    /// A peer has answered a request, in time or not: the next may go out.
    fn request_answered(&mut self, id: u64, link: LinkId, node: &NodeId) {
        if self.peers.get(node).is_some_and(|peer| peer.asked.awaits(id)) {
            self.interest_is_due(node);
        }
        let Some(peer) = self.peers.get_mut(node) else { return };
        if let Some(next) = peer.asked.answered(id) {
            self.send_request(next, link, node);
        }
    }

    /// A link opened: whoever is behind it is asked what is still being asked.
    pub(super) fn request_opened(&mut self, link: LinkId, node: &NodeId) {
        if self.peers.get(node).is_none_or(|peer| !peer.is_member()) {
            return;
        }
        let ids: Vec<u64> = self.requests.by_id.keys().copied().collect();
        for id in ids {
            self.ask(id, link, node);
            self.pull_again(id, link, node);
        }
        for (request, ask) in &mut self.requests.stats {
            if ask.node == *node {
                ask.asked = true;
                let message = Message::StatsRequest(StatsRequest { request: *request });
                self.outbox.send(link, &message);
            }
        }
    }

    /// A link was replaced: a list that was asked for on the one before will not come there.
    fn pull_again(&mut self, id: u64, link: LinkId, node: &NodeId) {
        let Some(outstanding) = self.requests.by_id.get(&id) else { return };
        if outstanding.pulls.values().any(|(asked, pull)| asked == node && *pull == Pull::Asked) {
            let message = Message::MembersRequest(MembersRequest { request: id });
            self.outbox.send(link, &message);
        }
    }

    /// A member was listed that this node is about to dial.
    pub(super) fn request_expects(&mut self, node: &NodeId) {
        for outstanding in self.requests.by_id.values_mut() {
            // Peers may list names without end. What a report misses then is told by the
            // names that it has.
            let full = outstanding.asks.len() >= limits::PEERS_PER_BUS * 2;
            if full && !outstanding.asks.contains_key(node) {
                continue;
            }
            let ask = outstanding.asks.entry(node.clone());
            let ask = ask.or_insert_with(|| Ask::new(AskState::Unreached));
            if matches!(ask.state, AskState::Missing(_)) {
                ask.state = AskState::Unreached;
            }
        }
    }

    pub(super) fn request_unreachable(&mut self, node: &NodeId, why: String) {
        for outstanding in self.requests.by_id.values_mut() {
            if let Some(ask) = outstanding.asks.get_mut(node)
                && ask.state == AskState::Unreached
            {
                ask.state = AskState::Missing(MissingReason::Unreachable(why.clone()));
            }
        }
    }

    /// An open link with a node fell.
    pub(super) fn request_lost(&mut self, node: &NodeId, error: &str) {
        for outstanding in self.requests.by_id.values_mut() {
            if let Some(ask) = outstanding.asks.get_mut(node)
                && matches!(ask.state, AskState::Held | AskState::Asked)
            {
                ask.state = AskState::Missing(MissingReason::Fell(error.to_string()));
            }
            for (asked, pull) in outstanding.pulls.values_mut() {
                if asked == node && *pull == Pull::Asked {
                    *pull = Pull::Failed;
                }
            }
        }
        let fallen = self.requests.stats.iter().filter(|(_, ask)| ask.asked && ask.node == *node);
        let fallen: Vec<u64> = fallen.map(|(id, _)| *id).collect();
        for id in fallen {
            self.stats_over(id, Err(StatsError::NoAnswer(node.clone())));
        }
    }

    /// A node left: it is not there to answer, and not missed.
    pub(super) fn request_left(&mut self, node: &NodeId) {
        for outstanding in self.requests.by_id.values_mut() {
            if outstanding.asks.get(node).is_some_and(Ask::is_pending) {
                outstanding.asks.remove(node);
            }
        }
    }

    pub(super) fn request_received(&mut self, link: LinkId, asked: &Request) {
        let own = (self.config.role == Role::Member)
            .then_some((&self.config.node, self.config.incarnation));
        let membership = self.peers.membership(own);
        let matching = self.index.iter().filter(|d| asked.keys.matches(&d.key)).cloned();
        let mut lists = parts(matching, wire::encoded_len);
        if lists.is_empty() {
            lists.push(Vec::new());
        }
        let count = lists.len() as u32;
        for (declarations, part) in lists.into_iter().zip(0..) {
            let last = part + 1 == count;
            let request = asked.request;
            let answer = Answer { request, part, last, membership, declarations };
            self.outbox.send(link, &Message::Answer(answer));
        }
    }

    pub(super) fn answer_received(
        &mut self,
        link: LinkId,
        node: &NodeId,
        answer: Answer,
    ) -> Result<(), &'static str> {
        let (request, last) = (answer.request, answer.last);
        self.take_answer(node, answer)?;
        if last {
            self.request_answered(request, link, node);
        }
        Ok(())
    }

    fn take_answer(&mut self, node: &NodeId, answer: Answer) -> Result<(), &'static str> {
        // An answer that comes after the deadline is nobody's fault.
        let Some(outstanding) = self.requests.by_id.get_mut(&answer.request) else { return Ok(()) };
        let asked = outstanding.asks.get_mut(node).filter(|ask| ask.state == AskState::Asked);
        let Some(ask) = asked else { return Err("an answer came that was not asked for") };
        if answer.part != ask.parts {
            return Err("the parts of an answer do not follow each other");
        }
        if answer.declarations.iter().any(|declaration| declaration.check().is_err()) {
            return Err("a declaration is larger than it may be");
        }
        let keys = &outstanding.keys;
        ask.parts += 1;
        ask.bytes += answer.declarations.iter().map(wire::encoded_len).sum::<usize>();
        ask.declarations.extend(answer.declarations.into_iter().filter(|d| keys.matches(&d.key)));
        if ask.declarations.len() > limits::DECLARATIONS_PER_NODE || ask.bytes > limits::INDEX_BYTES
        {
            return Err("an answer is larger than a node's index may be");
        }
        if answer.last {
            ask.membership = answer.membership;
            ask.state = AskState::Answered;
        }
        Ok(())
    }

    pub(super) fn members_pulled(&mut self, request: u64, from: &NodeId, last: bool) {
        let Some(outstanding) = self.requests.by_id.get_mut(&request) else { return };
        for (asked, pull) in outstanding.pulls.values_mut() {
            if asked == from && last {
                *pull = Pull::Came;
            }
        }
    }

    /// Ends the requests that are answered as far as they will be. Called after each
    /// input.
    pub(super) fn settle_requests(&mut self) {
        let ids: Vec<u64> = self.requests.by_id.keys().copied().collect();
        for id in ids {
            if let Some(agreed) = self.settled(id) {
                self.request_over(id, agreed);
            }
        }
        self.settle_stats();
    }

    /// Is there nothing left to wait for? If so, do all agree on who the members are?
    fn settled(&mut self, id: u64) -> Option<bool> {
        let outstanding = self.requests.by_id.get(&id)?;
        let pulling = outstanding.pulls.values().any(|(_, pull)| *pull == Pull::Asked);
        if pulling || outstanding.asks.values().any(Ask::is_pending) {
            return None;
        }
        if self.peers.open_members().next().is_none() {
            return (!self.dials.active()).then(|| self.dials.none());
        }
        if self.dials.first_attempts() || self.pull_members(id) {
            return None;
        }
        let outstanding = self.requests.by_id.get(&id)?;
        Some(outstanding.pulls.values().all(|(_, pull)| *pull == Pull::Came))
    }

    /// Asks one node of each membership that differs from ours for its members. Whoever
    /// we did not know is then dialled and asked (PROTOCOL.md §7.2).
    fn pull_members(&mut self, id: u64) -> bool {
        let own = (self.config.role == Role::Member)
            .then_some((&self.config.node, self.config.incarnation));
        let membership = self.peers.membership(own);
        let Some(outstanding) = self.requests.by_id.get_mut(&id) else { return false };
        let mut asked = false;
        for (node, ask) in &outstanding.asks {
            let differs = ask.state == AskState::Answered && ask.membership != membership;
            if !differs || outstanding.pulls.contains_key(&ask.membership) {
                continue;
            }
            let link = self.peers.link_of(node);
            let pull = if link.is_some() { Pull::Asked } else { Pull::Failed };
            outstanding.pulls.insert(ask.membership, (node.clone(), pull));
            if let Some(link) = link {
                let message = Message::MembersRequest(MembersRequest { request: id });
                self.outbox.send(link, &message);
                asked = true;
            }
        }
        asked
    }

    fn request_over(&mut self, id: u64, agreed: bool) {
        let Some(outstanding) = self.requests.by_id.remove(&id) else { return };
        self.timers.clear(&Timer::Request(outstanding.ticket));
        let mut report = Report {
            matches: self.own_matches(&outstanding.keys),
            expected: outstanding.asks.len(),
            ..Report::default()
        };
        for (node, ask) in outstanding.asks {
            if let Some(peer) = self.peers.get_mut(&node) {
                peer.asked.over(id);
            }
            let reason = match ask.state {
                AskState::Answered => {
                    report.answered += 1;
                    let incarnation = ask.incarnation.unwrap_or(Incarnation(0));
                    let matches = ask.declarations.into_iter().map(|declaration| Match {
                        node: node.clone(),
                        incarnation,
                        declaration,
                    });
                    report.matches.extend(matches);
                    continue;
                }
                AskState::Held | AskState::Asked => MissingReason::Silent,
                AskState::Unreached => {
                    MissingReason::Unreachable("no link came about in time".into())
                }
                AskState::Missing(reason) => reason,
            };
            report.missing.push(Missing { node, reason });
        }
        report.matches.sort_by(|a, b| order(a).cmp(&order(b)));
        report.complete = agreed && report.missing.is_empty();
        self.outbox.event(Event::Answered { ticket: outstanding.ticket, report });
    }

    /// A deadline of the application's is reached.
    pub(super) fn request_timeout(&mut self, ticket: Ticket) {
        let found = self.requests.by_id.iter().find(|(_, o)| o.ticket == ticket);
        if let Some((id, _)) = found {
            return self.request_over(*id, false);
        }
        let found = self.requests.stats.iter().find(|(_, ask)| ask.ticket == ticket);
        if let Some((id, ask)) = found {
            let node = ask.node.clone();
            let asked = ask.asked;
            let error =
                if asked { StatsError::NoAnswer(node) } else { StatsError::UnknownNode(node) };
            self.stats_over(*id, Err(error));
        }
    }

    /// This node leaves: all that is still asked ends as it stands.
    pub(super) fn end_requests(&mut self) {
        for id in self.requests.by_id.keys().copied().collect::<Vec<u64>>() {
            self.request_over(id, false);
        }
        for id in self.requests.stats.keys().copied().collect::<Vec<u64>>() {
            self.stats_over(id, Err(StatsError::Stopped));
        }
    }

    pub(super) fn request_stats(&mut self, ticket: Ticket, node: NodeId, timeout: Duration) {
        let id = self.requests.next_id();
        let link = self.peers.link_of(&node);
        if let Some(link) = link {
            let message = Message::StatsRequest(StatsRequest { request: id });
            self.outbox.send(link, &message);
        }
        self.timers.set(Timer::Request(ticket), self.now + timeout);
        self.requests.stats.insert(id, StatsAsk { ticket, node, asked: link.is_some() });
    }

    /// A node that is neither here nor about to be is unknown.
    fn settle_stats(&mut self) {
        if self.requests.stats.values().all(|ask| ask.asked) {
            return;
        }
        let linked = self.peers.open_members().next().is_some();
        let coming =
            self.dials.first_attempts() || self.dials.joining() || (!linked && self.dials.active());
        if coming {
            return;
        }
        let unknown: BTreeSet<u64> =
            self.requests.stats.iter().filter(|(_, ask)| !ask.asked).map(|(id, _)| *id).collect();
        for id in unknown {
            if let Some(node) = self.requests.stats.get(&id).map(|ask| ask.node.clone()) {
                self.stats_over(id, Err(StatsError::UnknownNode(node)));
            }
        }
    }

    fn stats_over(&mut self, id: u64, result: Result<Vec<(Box<str>, u64)>, StatsError>) {
        if let Some(ask) = self.requests.stats.remove(&id) {
            self.timers.clear(&Timer::Request(ask.ticket));
            self.outbox.event(Event::StatsReceived { ticket: ask.ticket, result });
        }
    }

    pub(super) fn stats_received(
        &mut self,
        node: &NodeId,
        stats: Stats,
    ) -> Result<(), &'static str> {
        if stats.counters.len() > limits::STATS_COUNTERS {
            return Err("there are more counters than a node may tell");
        }
        if self.requests.stats.get(&stats.request).is_some_and(|ask| ask.node == *node) {
            self.stats_over(stats.request, Ok(stats.counters));
        }
        Ok(())
    }

    pub(super) fn send_stats(
        &mut self,
        link: LinkId,
        request: u64,
        mut counters: Vec<(Box<str>, u64)>,
    ) {
        counters.truncate(limits::STATS_COUNTERS);
        if self.node_on(link).is_some() {
            self.outbox.send(link, &Message::Stats(Stats { request, counters }));
        }
    }
}
