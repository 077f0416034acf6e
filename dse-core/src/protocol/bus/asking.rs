//! Requests and answers (PROTOCOL.md §7), and the asking for a node's counters.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::ControlBus;
use crate::protocol::stats_requests::StatsResult;
use crate::protocol::{
    Answer, Event, KeyExpr, LinkId, MembersRequest, Message, NodeId, Request, Role, Stats,
    StatsRequest, Ticket, Timer, limits, wire,
};

impl ControlBus {
    /// Asks all open members, and waits for those that are about to open.
    pub(super) fn request(&mut self, ticket: Ticket, keys: KeyExpr, timeout: Duration) {
        // What was declared before the request is known before its answer.
        self.announce();
        let id = self.requests.begin(ticket, keys, self.dials.coming());
        self.timers.set(Timer::Request(ticket), self.now + timeout);
        for (peer, link) in self.peers.open_members() {
            let request = self.requests.ask(id, &peer.info.node, peer.info.incarnation);
            request.into_iter().for_each(|it| self.outbox.send(link, &Message::Request(it)));
        }
    }

    /// A link opened: whoever is behind it is asked what is still being asked.
    pub(super) fn request_opened(&mut self, link: LinkId, node: &NodeId) {
        let Some(peer) = self.peers.get(node).filter(|peer| peer.is_member()) else { return };
        for id in self.requests.ids() {
            if let Some(request) = self.requests.ask(id, node, peer.info.incarnation) {
                self.outbox.send(link, &Message::Request(request));
            }
            // A list that was asked for on a link that this one replaced will not come there.
            if self.requests.is_pulling(id, node) {
                let message = Message::MembersRequest(MembersRequest { request: id });
                self.outbox.send(link, &message);
            }
        }
        for request in self.stats_requests.ask(node) {
            self.outbox.send(link, &Message::StatsRequest(StatsRequest { request }));
        }
    }

    /// An open link with a node fell.
    pub(super) fn request_lost(&mut self, node: &NodeId, error: &str) {
        self.requests.lost(node, error);
        let lost = self.stats_requests.lost(node);
        self.stats_over(lost);
    }

    pub(super) fn request_received(&mut self, link: LinkId, asked: &Request) {
        let membership = self.membership();
        let matching = self.index.iter().filter(|d| asked.keys.matches(&d.key)).cloned();
        let answers = wire::in_parts(matching, |part, last, declarations| Answer {
            request: asked.request,
            part,
            last,
            membership,
            declarations,
        });
        answers.into_iter().for_each(|answer| self.outbox.send(link, &Message::Answer(answer)));
    }

    pub(super) fn answer_received(
        &mut self,
        link: LinkId,
        node: &NodeId,
        answer: Answer,
    ) -> Result<(), &'static str> {
        let (request, last) = (answer.request, answer.last);
        self.requests.take_answer(node, answer)?;
        if last {
            self.request_answered(request, link, node);
        }
        Ok(())
    }

    /// A peer has answered a request, in time or not: the next may go out.
    fn request_answered(&mut self, id: u64, link: LinkId, node: &NodeId) {
        if self.requests.awaits(id, node) {
            self.interest_is_due(node);
        }
        if let Some(next) = self.requests.answered(id, node) {
            self.outbox.send(link, &Message::Request(next));
        }
    }

    /// Hash of the members that this node has open, itself included if it is one.
    fn membership(&self) -> u64 {
        let own = (self.config.role == Role::Member)
            .then_some((&self.config.node, self.config.incarnation));
        self.peers.membership(own)
    }

    /// Ends the requests that are answered as far as they will be. Called after each
    /// input.
    pub(super) fn settle_requests(&mut self) {
        for id in self.requests.ids() {
            if let Some(agreed) = self.settled(id) {
                self.request_over(id, agreed);
            }
        }
        self.settle_stats();
    }

    /// Is there nothing left to wait for? If so, do all agree on who the members are?
    fn settled(&mut self, id: u64) -> Option<bool> {
        if self.requests.is_pending(id) {
            return None;
        }
        if self.peers.open_members().next().is_none() {
            return (!self.dials.active()).then(|| self.dials.none());
        }
        if self.dials.first_attempts() || self.pull_members(id) {
            return None;
        }
        Some(self.requests.all_agree(id))
    }

    /// Asks one node of each membership that differs from ours for its members. Whoever
    /// we did not know is then dialled and asked (PROTOCOL.md §7.2).
    fn pull_members(&mut self, id: u64) -> bool {
        let membership = self.membership();
        let pulled = self.requests.pull(id, membership, |node| self.peers.is_open(node));
        for link in pulled.iter().filter_map(|node| self.peers.link_of(node)) {
            let message = Message::MembersRequest(MembersRequest { request: id });
            self.outbox.send(link, &message);
        }
        !pulled.is_empty()
    }

    fn request_over(&mut self, id: u64, agreed: bool) {
        let Some(keys) = self.requests.keys(id) else { return };
        let own = self.own_matches(keys);
        let Some((ticket, report)) = self.requests.over(id, own, agreed) else { return };
        self.timers.clear(&Timer::Request(ticket));
        self.outbox.event(Event::Answered { ticket, report });
    }

    /// A deadline of the application's is reached.
    pub(super) fn request_timeout(&mut self, ticket: Ticket) {
        match self.requests.id_of(ticket) {
            Some(id) => self.request_over(id, false),
            None => {
                let over = self.stats_requests.timeout(ticket);
                self.stats_over(over);
            }
        }
    }

    /// This node leaves: all that is still asked ends as it stands.
    pub(super) fn end_requests(&mut self) {
        for id in self.requests.ids() {
            self.request_over(id, false);
        }
        let over = self.stats_requests.stop();
        self.stats_over(over);
    }

    pub(super) fn request_stats(&mut self, ticket: Ticket, node: NodeId, timeout: Duration) {
        let request = self.requests.next_id();
        let link = self.peers.link_of(&node);
        if let Some(link) = link {
            self.outbox.send(link, &Message::StatsRequest(StatsRequest { request }));
        }
        self.timers.set(Timer::Request(ticket), self.now + timeout);
        self.stats_requests.insert(request, ticket, node, link.is_some());
    }

    /// A node that is neither here nor about to be is unknown.
    fn settle_stats(&mut self) {
        if !self.stats_requests.any_unasked() {
            return;
        }
        let linked = self.peers.open_members().next().is_some();
        let coming =
            self.dials.first_attempts() || self.dials.joining() || (!linked && self.dials.active());
        if !coming {
            let over = self.stats_requests.none_comes();
            self.stats_over(over);
        }
    }

    fn stats_over(&mut self, over: impl IntoIterator<Item = StatsResult>) {
        for (ticket, result) in over {
            self.timers.clear(&Timer::Request(ticket));
            self.outbox.event(Event::StatsReceived { ticket, result });
        }
    }

    pub(super) fn stats_received(
        &mut self,
        node: &NodeId,
        stats: Stats,
    ) -> Result<(), &'static str> {
        let over = self.stats_requests.answered(node, stats)?;
        self.stats_over(over);
        Ok(())
    }

    pub(super) fn send_stats(
        &mut self,
        link: LinkId,
        request: u64,
        mut counters: Vec<(Box<str>, u64)>,
    ) {
        counters.truncate(limits::STATS_COUNTERS);
        if self.links.node_on(link).is_some() {
            self.outbox.send(link, &Message::Stats(Stats { request, counters }));
        }
    }
}
