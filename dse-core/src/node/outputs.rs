//! What the core wants done, carried out.

use super::call::Reply;
use super::call::Waiting;
use super::driver::Driver;
use super::links::DataLane;
use super::notices::Notice;
use super::watch::Change;
use crate::protocol::{
    Command, Event, Input, LinkId, Match, NodeId, Output, PeerInfo, RejectReason,
};

impl Driver {
    pub(super) fn carry_out(&mut self, output: Output) {
        match output {
            Output::Connect { dial, endpoint } => self.dials_in_line.push_back((dial, endpoint)),
            Output::Disconnect { link } => self.links.close(link),
            Output::Send { link, bytes } => {
                if let Err(full) = self.links.send(link, &bytes) {
                    self.fell(link, full.to_string());
                }
            }
            Output::Watch { link, watch } => self.links.watch(link, watch),
            Output::Probe { link } => self.links.probe(link),
            Output::Event(event) => self.event(event),
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Done { ticket, result } => {
                if let Some(Waiting::Done(reply)) = self.replies.remove(&ticket) {
                    answer(reply, result);
                }
            }
            Event::Answered { ticket, report } => {
                if let Some(Waiting::Answered(reply)) = self.replies.remove(&ticket) {
                    answer(reply, Ok(report));
                }
            }
            Event::StatsReceived { ticket, result } => {
                if let Some(Waiting::Stats(reply)) = self.replies.remove(&ticket) {
                    answer(reply, result);
                }
            }
            Event::StatsRequested { link, request } => {
                let counters = self.stats().counters();
                let command = Command::SendStats { link, request, counters };
                self.follow_ups.push_back(Input::Command(command));
            }
            Event::LinkOpened { link, peer } => self.link_opened(link, peer),
            Event::LinkClosed { link, node } => self.link_closed(link, &node),
            Event::NodeUp { peer } => {
                let PeerInfo { node, incarnation, .. } = peer;
                tracing::info!(peer = %node, peer_incarnation = %incarnation, "node up");
                self.watchers.tell(&Change::NodeUp { node, incarnation });
            }
            Event::NodeDown { node, incarnation, error } => {
                tracing::info!(peer = %node, peer_incarnation = %incarnation, error, "node down");
                self.watchers.tell(&Change::NodeDown { node, incarnation, error });
            }
            Event::NodeLeft { node, incarnation, reason } => {
                tracing::info!(peer = %node, peer_incarnation = %incarnation, ?reason, "node left");
                self.links.left(&node);
                self.watchers.tell(&Change::NodeLeft { node, incarnation, reason });
            }
            Event::PeerForgotten { node } => {
                tracing::debug!(peer = %node, "forgotten");
                self.plane.peer_forgotten(&node);
            }
            Event::Declared { node, incarnation, declaration } => {
                let found = Match { node, incarnation, declaration };
                tracing::debug!(peer = %found.node, key = %found.declaration.key, "declared");
                self.watchers.tell(&Change::Declared(found));
            }
            Event::Changed { node, incarnation, declaration } => {
                let found = Match { node, incarnation, declaration };
                tracing::debug!(peer = %found.node, key = %found.declaration.key, "changed");
                self.watchers.tell(&Change::Changed(found));
            }
            Event::Undeclared { node, incarnation, declaration } => {
                let found = Match { node, incarnation, declaration };
                tracing::debug!(peer = %found.node, key = %found.declaration.key, "undeclared");
                self.plane.undeclared(&found.node, &found.declaration.key);
                self.watchers.tell(&Change::Undeclared(found));
            }
            Event::RouteAdded { key, link, options } => {
                tracing::debug!(%key, link = link.0, ?options, "route added");
                self.plane.route_added(&key, link, options);
            }
            Event::RouteChanged { key, link, options } => {
                tracing::debug!(%key, link = link.0, ?options, "route changed");
                self.plane.route_changed(&key, link, options);
            }
            Event::RouteRemoved { key, link } => {
                tracing::debug!(%key, link = link.0, "route removed");
                self.plane.route_removed(&key, link);
            }
            Event::FirstInterest { key } => {
                tracing::debug!(%key, "first interest");
                self.plane.first_interest(&key);
            }
            Event::LastInterest { key } => {
                tracing::debug!(%key, "last interest");
                self.plane.last_interest(&key);
            }
            Event::InterestRefused { node, why } => {
                tracing::warn!(peer = %node, why, "interest refused");
                self.notice(Notice::InterestRefused { node, why });
            }
            Event::DialFailed { endpoint, seed, error } => {
                tracing::debug!(%endpoint, seed, %error, "dial failed");
                self.notice(Notice::DialFailed { endpoint, seed, error });
            }
            Event::PeerRefused { link, node, reason } => self.peer_refused(link, node, &reason),
            Event::Stopped { reason } => {
                tracing::info!(%reason, "stopped");
                self.stopped = Some(reason.into());
            }
        }
    }

    fn link_opened(&mut self, link: LinkId, peer: PeerInfo) {
        tracing::debug!(peer = %peer.node, link = link.0, "link opened");
        if let Some((DataLane { sender, receiver }, handle)) =
            self.links.open(link, peer.node.clone())
        {
            let activity = handle.activity();
            self.plane.link_opened(link, peer, sender, receiver, move |now| activity.mark(now));
        }
    }

    fn link_closed(&mut self, link: LinkId, node: &NodeId) {
        let left = self.links.remove(link);
        tracing::debug!(peer = %node, link = link.0, left, "link closed");
        self.plane.link_closed(link, left);
    }

    fn peer_refused(&mut self, link: LinkId, node: Option<NodeId>, reason: &RejectReason) {
        self.refused += 1;
        let remote = self.links.remote(link).unwrap_or("a peer that is gone").to_owned();
        let why = reason.to_string();
        tracing::debug!(remote, peer = node.as_ref().map(NodeId::as_str), why, "peer refused");
        self.notice(Notice::PeerRefused { remote, node, why });
    }
}

/// Whoever asked may have gone; then nobody needs the answer.
fn answer<T>(reply: Reply<T>, outcome: T) {
    let _ = reply.send(outcome);
}
