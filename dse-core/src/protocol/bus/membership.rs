//! Peers that come and go (PROTOCOL.md §4.4 to §4.6). What happens to a peer is handed to
//! the components here, in one order for each: it opened, was lost, left, is forgotten.

use alloc::string::ToString as _;
use alloc::vec::Vec;

use super::{ControlBus, Phase};
use crate::protocol::peers::{OpenLink, Peer};
use crate::protocol::target::Target;
use crate::protocol::{
    Event, Hello, Key, LeaveReason, LinkId, Members, MembersRequest, NodeId, Output, PeerStatus,
    Role, Timer, limits,
};

impl ControlBus {
    /// Both Opens are there: the link is in use, in place of one that was before.
    pub(super) fn peer_opened(&mut self, id: LinkId) {
        // What waits to be announced goes to the others now, so that a snapshot and its
        // version agree.
        self.announce();
        let Some((hello, open)) = self.links.open(id) else { return };
        let node = hello.node.clone();
        self.timers.clear(&Timer::Handshake(id));
        self.timers.clear(&Timer::Forget(node.clone()));
        let (replaced, routes) = self.install_peer(id, &hello);
        self.dial(|dials, _| dials.opened(id, &node));

        let Some(peer) = self.peers.get(&node) else { return };
        let info = peer.info.clone();
        if replaced.is_none() && info.role == Role::Member {
            self.watch_with(&node);
        }
        let watch = self.watchers.watch_of(&info, &self.config.node);
        self.outbox.push(Output::Watch { link: id, watch });
        self.outbox.event(Event::LinkOpened { link: id, peer: info.clone() });
        if let Some(old) = replaced {
            self.links.remove(old);
            self.outbox.push(Output::Disconnect { link: old });
            self.outbox.event(Event::LinkClosed { link: old, node: node.clone() });
            self.link_over(old, &node);
        } else if info.role == Role::Member {
            self.outbox.event(Event::NodeUp { peer: info });
            self.declared_events(&node);
        }
        self.tell_members(id, &node, &open);
        self.sync_index(id, &node, open.known);
        self.send_interest(&node);
        self.request_opened(id, &node);
        self.wanted_changed(&routes);
        self.reconsider(&node);
    }

    /// Enters a link as the peer's; gives the link that it replaces, and the keys that were
    /// routed to that one.
    fn install_peer(&mut self, id: LinkId, hello: &Hello) -> (Option<LinkId>, Vec<Key>) {
        let before = self.peers.get(&hello.node);
        let new = before.is_none_or(|peer| !peer.is(hello));
        let was_member = before.is_some_and(Peer::is_member);
        if new {
            self.make_room(hello);
        }
        let open = OpenLink { link: id, peer_nonce: hello.link_nonce };
        let replaced = self.peers.open(hello, self.config.features, open, self.now);
        self.directory.link_opened(&hello.node, new);
        let routes = self.interest.link_opened(&hello.node, new);
        self.requests.link_opened(&hello.node);
        if new && was_member {
            self.tell_if_forgotten(&hello.node);
        }
        (replaced.map(|open| open.link), routes)
    }

    /// The open link with a peer is no more, without a word of leave.
    pub(super) fn peer_lost(&mut self, link: LinkId, node: &NodeId, error: &str) {
        let lost = self.peers.lost(node, link, self.now, self.config.redial_max);
        let Some((info, brief)) = lost else { return };
        let routes = self.interest.take_routes(node);
        self.outbox.event(Event::LinkClosed { link, node: node.clone() });
        if info.role == Role::Member {
            self.member_down(node, error);
            self.member_died(node, info.incarnation);
        } else {
            self.remove_peer(node);
        }
        // Before what waits for this link's end: another link of the peer may open, and
        // then nothing is to be dialled.
        if self.phase == Phase::Running {
            let member = info.role == Role::Member;
            let endpoints = if member { info.endpoints } else { Vec::new() };
            self.dial(|dials, here| dials.lost(node, endpoints, brief, here));
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
        let routes = self.interest.take_routes(node);
        let Some(peer) = self.remove_peer(node) else { return };
        self.watch_without(node);
        let incarnation = peer.info.incarnation;
        if peer.info.role == Role::Member {
            self.outbox.event(Event::NodeLeft { node: node.clone(), incarnation, reason });
        }
        self.requests.left(node);
        if self.phase == Phase::Running {
            self.dial(|dials, here| dials.lost(node, Vec::new(), 0, here));
        }
        self.after_loss(link, node, "the node left", &routes);
        self.leave_progress();
        self.reconsider(node);
    }

    /// What a loss and a leave have in common.
    fn after_loss(&mut self, link: LinkId, node: &NodeId, error: &str, routes: &[Key]) {
        self.link_over(link, node);
        self.request_lost(node, error);
        self.wanted_changed(routes);
    }

    /// A link that was open is so no more.
    fn link_over(&mut self, link: LinkId, node: &NodeId) {
        self.contests.link_gone(node, link);
        self.dial(|dials, _| dials.unlisted(link));
    }

    /// Drops all that is kept of a peer.
    fn remove_peer(&mut self, node: &NodeId) -> Option<Peer> {
        self.directory.forget(node);
        self.interest.forget(node);
        self.requests.forget(node);
        self.peers.remove(node)
    }

    /// Does each component that keeps something of a peer keep it of all, and of no other?
    pub(super) fn all_know_the_same_peers(&self) -> bool {
        let counts = [self.directory.peers(), self.interest.peers(), self.requests.peers()];
        counts == [self.peers.len(); 3]
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
            self.requests.left(node);
            self.forget(node);
        }
    }

    /// Drops what is kept of a peer that is not there.
    pub(super) fn forget(&mut self, node: &NodeId) {
        if self.peers.is_open(node) || self.remove_peer(node).is_none() {
            return;
        }
        self.timers.clear(&Timer::Forget(node.clone()));
        self.dial(|dials, _| dials.drop_target(&Target::Peer(node.clone())));
        self.tell_if_forgotten(node);
    }

    /// The application may drop what it keeps of a member once nothing of it is to come:
    /// it is not up, its return is not waited for, and no link of it is still read. Nobody
    /// waits for the return of a guest.
    pub(super) fn tell_if_forgotten(&mut self, node: &NodeId) {
        let awaited = self.peers.get(node).is_some_and(Peer::is_member);
        if !awaited && !self.links.is_left_by(node) {
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
            self.requests.members_came(request, from, message.last);
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
