//! Peers that come and go (PROTOCOL.md §4.4 to §4.6).

use alloc::collections::BTreeMap;
use alloc::string::ToString as _;
use alloc::vec::Vec;

use super::bus::{ControlBus, Phase};
use super::dial::Target;
use super::ids::LinkId;
use super::io::{Event, Output, PeerStatus};
use super::key::Key;
use super::limits;
use super::links::{Link, LinkStage};
use super::message::{Hello, LeaveReason, Members, MembersRequest, Role};
use super::names::NodeId;
use super::options::InterestOptions;
use super::peers::Peer;
use super::timers::Timer;

impl ControlBus {
    /// The open link with a peer is no more, without a word of leave.
    pub(super) fn peer_lost(&mut self, link: LinkId, node: &NodeId, error: &str) {
        let Some(peer) = self.peers.get_mut(node) else { return };
        if peer.open.is_none_or(|open| open.link != link) {
            return;
        }
        let routes = core::mem::take(&mut peer.routes);
        let lasted = self.now.since(peer.opened_at);
        peer.brief = if lasted < self.config.redial_max { peer.brief.saturating_add(1) } else { 0 };
        let brief = peer.brief;
        let info = peer.info.clone();
        self.peers.close(node);
        self.outbox.event(Event::LinkClosed { link, node: node.clone() });
        if info.role == Role::Member {
            self.member_down(node, error);
            self.member_died(node, info.incarnation);
        } else {
            self.peers.remove(node);
        }
        // Before what waits for this link's end: another link of the peer may open, and
        // then nothing is to be dialled.
        if self.phase == Phase::Running {
            self.dial_lost(node, info.endpoints, info.role == Role::Member, brief);
        }
        self.after_loss(link, node, error, &routes);
        self.update_claim();
        self.leave_progress();
        self.reconsider(node);
    }

    fn member_down(&mut self, node: &NodeId, error: &str) {
        let Some(peer) = self.peers.get(node).filter(|_| self.phase == Phase::Running) else {
            return;
        };
        let incarnation = peer.info.incarnation;
        let error = error.to_string();
        self.outbox.event(Event::NodeDown { node: node.clone(), incarnation, error });
        self.timers.set(Timer::Forget(node.clone()), self.now + self.config.forget_after);
    }

    /// A peer said that it leaves. Its data lane may still hold samples, so the link
    /// stays until it falls.
    pub(super) fn peer_left(&mut self, link: LinkId, node: &NodeId, reason: LeaveReason) {
        let Some(peer) = self.peers.remove(node) else { return };
        self.watch_without(node);
        let incarnation = peer.info.incarnation;
        if peer.info.role == Role::Member {
            self.outbox.event(Event::NodeLeft { node: node.clone(), incarnation, reason });
        }
        self.request_left(node);
        if self.phase == Phase::Running {
            self.dial_lost(node, Vec::new(), false, 0);
        }
        self.after_loss(link, node, "the node left", &peer.routes);
        self.leave_progress();
        self.reconsider(node);
    }

    fn after_loss(
        &mut self,
        link: LinkId,
        node: &NodeId,
        error: &str,
        routes: &BTreeMap<Key, InterestOptions>,
    ) {
        self.dial_unlisted(link);
        self.contest_link_gone(node, link);
        self.request_lost(node, error);
        self.wanted_changed(routes.keys());
    }

    /// Whose last open link fell may have been cut off while another took its place: it is
    /// to yield to that one (PROTOCOL.md §5.3). The claim is constant while any link is
    /// open, so links that are about to open with the old one are given up.
    fn update_claim(&mut self) {
        if self.claim.returned || self.peers.any_open() {
            return;
        }
        self.claim.returned = true;
        self.close_handshakes("this node lost its last open link during the handshake");
    }

    /// A peer that is down answered a dial that it leaves: it did not crash. If it is
    /// another start that answers, the one before did.
    pub(super) fn down_is_left(&mut self, hello: &Hello) {
        let node = &hello.node;
        let down = self.peers.get(node).filter(|peer| peer.open.is_none() && peer.is_member());
        let down = down.filter(|peer| peer.is(hello));
        if let Some(incarnation) = down.map(|peer| peer.info.incarnation) {
            let reason = LeaveReason::Asked;
            self.outbox.event(Event::NodeLeft { node: node.clone(), incarnation, reason });
            self.request_left(node);
            self.forget(node);
        }
    }

    /// Drops what is kept of a peer that is not there.
    pub(super) fn forget(&mut self, node: &NodeId) {
        if self.peers.is_open(node) || self.peers.remove(node).is_none() {
            return;
        }
        self.timers.clear(&Timer::Forget(node.clone()));
        self.drop_dial(&Target::Peer(node.clone()));
        self.tell_if_forgotten(node);
    }

    /// The application may drop what it keeps of a member once nothing of it is to come:
    /// it is not up, its return is not waited for, and no link of it is still read. Nobody
    /// waits for the return of a guest.
    pub(super) fn tell_if_forgotten(&mut self, node: &NodeId) {
        let awaited = self.peers.get(node).is_some_and(Peer::is_member);
        let left = |(_, link): (LinkId, &Link)| matches!(&link.stage, LinkStage::Left { node: of } if of == node);
        if !awaited && !self.links.not_open().any(left) {
            self.outbox.event(Event::PeerForgotten { node: node.clone() });
        }
    }

    /// Of members that are down no more are kept than the bus has room for: the one whose
    /// last link opened longest ago makes room for one that is new.
    pub(super) fn make_room(&mut self, hello: &Hello) {
        let known = self.peers.get(&hello.node).is_some();
        let members = self.peers.member_count();
        let own = usize::from(self.config.role == Role::Member);
        if known || hello.role == Role::Guest || members + own < self.config.peers_max {
            return;
        }
        let down = self.peers.iter().filter(|peer| peer.is_member() && peer.open.is_none());
        if let Some(peer) = down.min_by_key(|peer| peer.opened_at) {
            let node = peer.info.node.clone();
            self.forget(&node);
        }
    }

    pub(super) fn members_received(
        &mut self,
        link: LinkId,
        from: &NodeId,
        message: Members,
    ) -> Result<(), &'static str> {
        if message.members.iter().any(|m| m.endpoints.len() > limits::ENDPOINTS_PER_NODE) {
            return Err("a member has more than 16 endpoints");
        }
        for member in message.members {
            if member.node == self.config.node || member.node == *from {
                continue;
            }
            match self.peers.get(&member.node).and_then(|peer| Some((peer.open?, &peer.info))) {
                // Its restart was noticed elsewhere and not here, or the other way
                // round: a look at our own link settles it.
                Some((open, info)) if info.incarnation != member.incarnation => {
                    self.outbox.push(Output::Probe { link: open.link });
                }
                Some(_) => {}
                None if self.phase == Phase::Running => self.dial_listed(link, member),
                None => {}
            }
        }
        if let Some(request) = message.request {
            self.members_pulled(request, from, message.last);
        }
        Ok(())
    }

    pub(super) fn members_requested(&mut self, link: LinkId, node: &NodeId, asked: MembersRequest) {
        let members = self.peers.members(self.peers.starts(node).map(|start| start.node));
        self.send_members(link, Some(asked.request), members);
    }

    /// The members and guests that this node knows, in order of their ids.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let status = self.peers.iter().map(|peer| PeerStatus {
            info: peer.info.clone(),
            link: peer.open.map(|open| open.link),
        });
        status.collect()
    }
}
