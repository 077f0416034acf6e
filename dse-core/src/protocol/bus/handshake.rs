//! How links open (PROTOCOL.md §4): Hello and Open both ways, and of two links of one pair
//! the one that stays.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{ControlBus, Phase};
use crate::protocol::census::{self, Start};
use crate::protocol::links::{LinkStage, Turn};
use crate::protocol::peers::same_start;
use crate::protocol::{
    DialError, DialId, Event, Hello, LinkId, Member, Members, Message, NodeId, Open, Output,
    Reject, RejectReason, Role, Timer, limits, wire,
};

impl ControlBus {
    pub(super) fn link_up(
        &mut self,
        link: LinkId,
        dial: Option<DialId>,
        identity: Option<Box<str>>,
    ) {
        let target = dial.and_then(|dial| self.dials.connected(dial, link));
        let nonce = self.random.next();
        self.links.insert(link, nonce, target, identity);
        self.timers.set(Timer::Handshake(link), self.now + limits::HANDSHAKE_TIMEOUT);
        let hello = Hello {
            min_version: wire::VERSION,
            max_version: wire::VERSION,
            features: self.config.features,
            bus: self.config.bus.clone(),
            node: self.config.node.clone(),
            claim: self.claim,
            role: self.config.role,
            lasting: self.config.lasting,
            link_nonce: nonce,
            endpoints: self.config.endpoints.clone(),
        };
        self.outbox.send(link, &Message::Hello(hello));
    }

    pub(super) fn hello_received(&mut self, id: LinkId, hello: Hello) -> Result<(), &'static str> {
        if hello.endpoints.len() > limits::ENDPOINTS_PER_NODE {
            return Err("a Hello has more than 16 endpoints");
        }
        if same_start(hello.claim, self.claim) && hello.node == self.config.node {
            self.met_myself(id, &hello);
            return Ok(());
        }
        if let Some(reason) = self.refusal(id, &hello) {
            self.refuse(id, &hello, reason);
            return Ok(());
        }
        let node = hello.node.clone();
        if let Some(target) = self.links.greeted(id, hello) {
            self.dial(|dials, here| dials.met(&target, id, &node, here));
        }
        self.consider(id);
        Ok(())
    }

    fn met_myself(&mut self, id: LinkId, hello: &Hello) {
        if let Some(target) = self.links.get(id).and_then(|link| link.target.clone()) {
            self.dial(|dials, _| dials.met_myself(&target));
        }
        self.reject(id, hello.link_nonce, RejectReason::Yourself);
    }

    /// Why a peer may not join, if it may not.
    fn refusal(&self, id: LinkId, hello: &Hello) -> Option<RejectReason> {
        let identity = self.links.get(id).and_then(|link| link.identity.as_deref());
        if self.phase != Phase::Running {
            return Some(RejectReason::Leaving);
        }
        if hello.min_version > wire::VERSION || hello.max_version < wire::VERSION {
            return Some(RejectReason::NoCommonVersion { min: wire::VERSION, max: wire::VERSION });
        }
        if hello.bus != self.config.bus {
            return Some(RejectReason::WrongBus { bus: self.config.bus.clone() });
        }
        if let Some(certified) = identity.filter(|name| !allows(name, &hello.node)) {
            return Some(RejectReason::WrongIdentity { certified: certified.into() });
        }
        self.no_room_for(hello)
    }

    /// Which limit a peer would pass by opening a link, if it would. Who claims an id that
    /// is here already takes no room: a contest decides which of the two stays.
    fn no_room_for(&self, hello: &Hello) -> Option<RejectReason> {
        if hello.node == self.config.node || self.peers.is_open(&hello.node) {
            return None;
        }
        let limit = if self.config.role == Role::Guest { 0 } else { self.config.guests_max };
        if hello.role == Role::Guest && self.peers.open_guests() >= limit {
            return Some(RejectReason::GuestsFull { limit: limit as u32 });
        }
        let limit = self.config.peers_max;
        let own = usize::from(self.config.role == Role::Member);
        if hello.role == Role::Member && self.peers.open_member_count() + own >= limit {
            return Some(RejectReason::BusFull { limit: limit as u32 });
        }
        None
    }

    /// Refuses a peer and lets the application know.
    pub(super) fn refuse(&mut self, id: LinkId, hello: &Hello, reason: RejectReason) {
        if reason != RejectReason::Leaving {
            let node = Some(hello.node.clone());
            self.outbox.event(Event::PeerRefused { link: id, node, reason: reason.clone() });
        }
        self.reject(id, hello.link_nonce, reason);
    }

    /// Rejects a link on which no peer is open, and closes it.
    fn reject(&mut self, id: LinkId, echo: u64, reason: RejectReason) {
        self.outbox.send(id, &Message::Reject(Reject { echo, reason: reason.clone() }));
        let error = match reason {
            RejectReason::Duplicate => DialError::Rejected(reason),
            reason => DialError::Refused(reason),
        };
        self.close_handshake(id, error);
    }

    /// Takes the next step on a link with both Hellos.
    pub(super) fn consider(&mut self, id: LinkId) {
        let Some(hello) = self.links.hello(id) else { return };
        let node = hello.node.clone();
        let open = self.peers.get(&node).filter(|peer| peer.open.is_some());
        if node == self.config.node || open.is_some_and(|peer| !peer.is(hello)) {
            return self.contest(id, &node);
        }
        if self.config.node > node {
            self.offer(id, &node);
        } else {
            self.links.set_turn(id, Turn::Deciding);
            self.decide(id);
        }
    }

    /// The larger id sends its Open first, on one link of a pair at a time: a second one
    /// waits until it is clear what became of the first (PROTOCOL.md §4.3).
    fn offer(&mut self, id: LinkId, node: &NodeId) {
        if let Some(ahead) = self.links.offered(node) {
            self.outbox.push(Output::Probe { link: ahead });
            return;
        }
        self.links.set_turn(id, Turn::Offered);
        self.send_open(id);
    }

    fn send_open(&mut self, id: LinkId) {
        let Some(hello) = self.links.hello(id) else { return };
        let peer = self.peers.get(&hello.node).filter(|peer| peer.is(hello));
        let known = peer.filter(|peer| peer.is_member() && self.config.role == Role::Member);
        let known = known
            .and_then(|peer| Some((peer.info.incarnation, self.directory.version(&hello.node)?)));
        let open = Open {
            echo: hello.link_nonce,
            held: peer.and_then(|peer| peer.open).map(|open| open.peer_nonce),
            known,
            census: census::of(&self.starts(&hello.node)),
        };
        self.links.told_known(id, known.map(|(_, version)| version));
        self.outbox.send(id, &Message::Open(open));
    }

    /// Members that this node has open or is dialling, without `except`.
    fn starts<'a>(&'a self, except: &'a NodeId) -> Vec<Start<'a>> {
        census::sorted(self.peers.starts(except).chain(self.dials.starts(except)).collect())
    }

    pub(super) fn open_received(&mut self, id: LinkId, open: Open) -> Result<(), &'static str> {
        if !census::is_sound(&open.census) {
            return Err("the spans of a census are too many or not in order");
        }
        match self.links.take_open(id, open)? {
            Some(Turn::Queued) | None => {}
            Some(Turn::Offered) => self.accepted(id),
            // What was true when the Hello came may have changed.
            Some(Turn::Deciding) => self.consider(id),
        }
        Ok(())
    }

    /// The smaller id took our offer.
    fn accepted(&mut self, id: LinkId) {
        let Some(hello) = self.links.hello(id) else { return };
        let open = self.peers.get(&hello.node).filter(|peer| peer.open.is_some());
        if open.is_some_and(|peer| !peer.is(hello)) {
            // Another start of the node came first; on its next dial this one contests.
            let error = DialError::Fell("another node with its id opened first".into());
            return self.close_handshake(id, error);
        }
        if !self.still_knows(id, hello) {
            // The peer goes on from what we said that we know.
            let error = DialError::Fell("what was known of it was forgotten meanwhile".into());
            return self.close_handshake(id, error);
        }
        self.open_if_room(id);
    }

    /// Others may have opened since the Hello came.
    fn open_if_room(&mut self, id: LinkId) {
        let Some(hello) = self.links.hello(id).cloned() else { return };
        match self.no_room_for(&hello) {
            Some(reason) => self.refuse(id, &hello, reason),
            None => self.peer_opened(id),
        }
    }

    /// Do we still know of the peer's index at least what our Open said?
    fn still_knows(&self, id: LinkId, hello: &Hello) -> bool {
        let told = self.links.get(id).and_then(|link| link.told_known);
        let peer = self.peers.get(&hello.node).filter(|peer| peer.is(hello));
        told <= peer.and_then(|_| self.directory.version(&hello.node))
    }

    /// The smaller id decides which link of a pair stays, once the other's Open is there.
    fn decide(&mut self, id: LinkId) {
        let Some(link) = self.links.get(id) else { return };
        let LinkStage::Greeted { hello, open: Some(open), .. } = &link.stage else { return };
        let held = self.peers.is_open(&hello.node);
        if held && open.held.is_some() {
            let echo = hello.link_nonce;
            return self.reject(id, echo, RejectReason::Duplicate);
        }
        if let Some(reason) = self.no_room_for(hello) {
            let hello = hello.clone();
            return self.refuse(id, &hello, reason);
        }
        self.send_open(id);
        self.peer_opened(id);
    }

    /// Of two newcomers at one node the later learns here of the earlier
    /// (PROTOCOL.md §4.4).
    pub(super) fn tell_members(&mut self, id: LinkId, node: &NodeId, open: &Open) {
        let unequal = census::unequal(&open.census, &self.starts(node));
        let members = self.peers.members(unequal.iter().map(|start| start.node));
        if !members.is_empty() {
            self.send_members(id, None, members);
        }
    }

    pub(super) fn send_members(&mut self, id: LinkId, request: Option<u64>, members: Vec<Member>) {
        let lists = wire::in_parts(members, |_, last, members| Members { request, last, members });
        lists.into_iter().for_each(|list| self.outbox.send(id, &Message::Members(list)));
    }

    /// Other links of the same peer that waited for what became of this one.
    pub(super) fn reconsider(&mut self, node: &NodeId) {
        for id in self.links.queued(node) {
            self.consider(id);
        }
    }
}

/// A certificate for `name` speaks for the id `name` and for `name.<anything>`.
fn allows(name: &str, node: &NodeId) -> bool {
    let rest = node.as_str().strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
