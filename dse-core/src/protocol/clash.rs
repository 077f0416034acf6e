//! Two claims to one id (PROTOCOL.md §5). Both must prove alive before one is refused:
//! the holder of the id and the contender each answer a probe on their own link, or it
//! falls. A dead holder is replaced; of two live ones the smaller claim wins, at every node
//! alike.

use alloc::collections::BTreeMap;

use serde::Serialize;

use super::bus::{ControlBus, Phase};
use super::io::{LinkId, Output};
use super::links::{Link, Turn};
use super::message::{Claim, Message, Reject, RejectReason};
use super::names::{Endpoint, NodeId};

/// Contests under way: one at a time for each id.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Contests {
    by_id: BTreeMap<NodeId, Contest>,
}

#[derive(Clone, Debug, Serialize)]
struct Contest {
    /// The link of the holder; none if this node itself holds the id.
    holder: Option<LinkId>,
    contender: LinkId,
    holder_alive: bool,
    contender_alive: bool,
}

impl ControlBus {
    /// Starts the contest between who holds an id and who claims it on `contender`. If
    /// one is under way already, the link waits for its end.
    pub(super) fn contest(&mut self, contender: LinkId, node: &NodeId) {
        // It may have been its turn already; after the contest it is considered anew.
        if let Some(link) = self.links.get_mut(&contender) {
            link.set_turn(Turn::Queued);
        }
        if self.contests.by_id.contains_key(node) {
            return;
        }
        let holder = self.peers.link_of(node);
        let contest =
            Contest { holder, contender, holder_alive: holder.is_none(), contender_alive: false };
        self.contests.by_id.insert(node.clone(), contest);
        if let Some(link) = holder {
            self.outbox.push(Output::Probe { link });
        }
        self.outbox.push(Output::Probe { link: contender });
    }

    /// The other end of a link answered a probe.
    pub(super) fn probed(&mut self, link: LinkId) {
        let found = self
            .contests
            .by_id
            .iter_mut()
            .find(|(_, contest)| contest.contender == link || contest.holder == Some(link));
        let Some((node, contest)) = found else { return };
        if contest.contender == link {
            contest.contender_alive = true;
        } else {
            contest.holder_alive = true;
        }
        if contest.holder_alive && contest.contender_alive {
            let node = node.clone();
            self.both_alive(&node);
        }
    }

    /// Both live: the smaller claim wins.
    fn both_alive(&mut self, node: &NodeId) {
        let Some(contest) = self.contests.by_id.remove(node) else { return };
        let contender = self.links.get(&contest.contender).and_then(Link::hello).cloned();
        let Some(contender) = contender else { return self.reconsider(node) };
        let holder = match self.peers.get(node).filter(|peer| peer.open.is_some()) {
            Some(peer) => (peer.claim, peer.info.endpoints.first().cloned()),
            None => (self.claim, self.first_endpoint()),
        };
        let (claim, endpoint): (Claim, Option<Endpoint>) = holder;
        if claim <= contender.claim {
            let reason = RejectReason::Clash { winner: endpoint };
            self.refuse(contest.contender, &contender, reason);
        } else if let Some(holder) = contest.holder {
            self.evict(holder, node, contender.endpoints.first().cloned());
            self.reconsider(node);
        } else {
            self.lost_clash(contender.endpoints.first().cloned());
        }
    }

    /// The holder has the larger claim: refuse it now.
    fn evict(&mut self, holder: LinkId, node: &NodeId, winner: Option<Endpoint>) {
        let open = self.peers.get(node).and_then(|peer| peer.open);
        if let Some(open) = open.filter(|open| open.link == holder) {
            let reason = RejectReason::Clash { winner };
            let reject = Message::Reject(Reject { echo: open.peer_nonce, reason });
            self.outbox.send(holder, &reject);
        }
        self.close_any(holder, "another live node has its id and the better claim");
    }

    /// One of a contest's links is gone: the other one stays or goes on.
    pub(super) fn contest_link_gone(&mut self, node: &NodeId, link: LinkId) {
        let concerned =
            |contest: &Contest| contest.contender == link || contest.holder == Some(link);
        if self.contests.by_id.get(node).is_some_and(concerned) {
            self.contests.by_id.remove(node);
        }
    }

    /// Another live node has this node's id and the better claim.
    pub(super) fn lost_clash(&mut self, winner: Option<Endpoint>) {
        if self.phase == Phase::Running {
            self.leave_for(super::errors::StopReason::Clash { winner });
        }
    }
}
