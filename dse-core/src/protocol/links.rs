//! Links and how they open (PROTOCOL.md §4): Hello and Open both ways, and of two links
//! of one pair the one that stays.

use alloc::boxed::Box;
use alloc::vec::Vec;

use serde::Serialize;

use super::bus::{ControlBus, Phase};
use super::census::{self, Start};
use super::declaration::IndexVersion;
use super::dial::Target;
use super::errors::DialError;
use super::ids::{DialId, LinkId};
use super::index::parts;
use super::io::{Event, Output};
use super::limits;
use super::message::{Hello, Members, Message, Open, Reject, RejectReason, Role};
use super::names::{Endpoint, NodeId};
use super::peers::{OpenLink, Peer, same_start};
use super::timers::Timer;
use super::wire;

/// One link, from the driver's `LinkUp` to its end.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Link {
    /// Our name for it, told in our Hello.
    pub(super) nonce: u64,
    /// What was dialled for it.
    pub(super) target: Option<Target>,
    /// The peer's authenticated name.
    identity: Option<Box<str>>,
    /// What our Open said that we know of the peer's index.
    told_known: Option<IndexVersion>,
    pub(super) stage: LinkStage,
}

/// How far a link has come.
#[derive(Clone, Debug, Serialize)]
pub(super) enum LinkStage {
    /// Our Hello is sent, the other's has not come.
    Greeting,
    /// Both Hellos are there.
    Greeted { hello: Box<Hello>, turn: Turn, open: Option<Open> },
    /// In use.
    Open { node: NodeId },
    /// The peer left gracefully; only the data lane is still read until the link falls.
    Left { node: NodeId },
}

/// Whose turn it is on a link with both Hellos.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Turn {
    /// Another link of the same pair is ahead, or another claim to the id is being
    /// tried.
    Queued,
    /// We sent our Open and await the other's: we have the larger id.
    Offered,
    /// We await the other's Open and will decide: we have the smaller id.
    Deciding,
}

impl Link {
    pub(super) fn hello(&self) -> Option<&Hello> {
        match &self.stage {
            LinkStage::Greeted { hello, .. } => Some(hello),
            _ => None,
        }
    }

    fn turn(&self) -> Option<Turn> {
        match &self.stage {
            LinkStage::Greeted { turn, .. } => Some(*turn),
            _ => None,
        }
    }

    pub(super) fn set_turn(&mut self, to: Turn) {
        if let LinkStage::Greeted { turn, .. } = &mut self.stage {
            *turn = to;
        }
    }
}

impl ControlBus {
    pub(super) fn link_up(
        &mut self,
        link: LinkId,
        dial: Option<DialId>,
        identity: Option<Box<str>>,
    ) {
        let target = dial.and_then(|dial| self.dial_up(dial, link));
        let nonce = self.random.next();
        let stage = LinkStage::Greeting;
        self.links.insert(link, Link { nonce, target, identity, told_known: None, stage });
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
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let target = link.target.clone();
        link.stage = LinkStage::Greeted { hello: Box::new(hello), turn: Turn::Queued, open: None };
        if let Some(target) = target {
            self.dial_met(&target, id, &node);
        }
        self.consider(id);
        Ok(())
    }

    fn met_myself(&mut self, id: LinkId, hello: &Hello) {
        if let Some(target) = self.links.get(&id).and_then(|link| link.target.clone()) {
            self.dial_met_myself(&target);
        }
        self.reject(id, hello.link_nonce, RejectReason::Yourself);
    }

    /// Why a peer may not join, if it may not.
    fn refusal(&self, id: LinkId, hello: &Hello) -> Option<RejectReason> {
        let identity = self.links.get(&id).and_then(|link| link.identity.as_deref());
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
        let Some(hello) = self.links.get(&id).and_then(Link::hello) else { return };
        let node = hello.node.clone();
        let open = self.peers.get(&node).filter(|peer| peer.open.is_some());
        if node == self.config.node || open.is_some_and(|peer| !peer.is(hello)) {
            return self.contest(id, &node);
        }
        if self.config.node > node {
            self.offer(id, &node);
        } else {
            let Some(link) = self.links.get_mut(&id) else { return };
            link.set_turn(Turn::Deciding);
            self.decide(id);
        }
    }

    /// The larger id sends its Open first, on one link of a pair at a time: a second one
    /// waits until it is clear what became of the first (PROTOCOL.md §4.3).
    fn offer(&mut self, id: LinkId, node: &NodeId) {
        if let Some(ahead) = self.offered(node) {
            self.outbox.push(Output::Probe { link: ahead });
            return;
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.set_turn(Turn::Offered);
        }
        self.send_open(id);
    }

    fn offered(&self, node: &NodeId) -> Option<LinkId> {
        let mut links = self.links.not_open();
        let offered = links.find(|(_, link)| {
            link.turn() == Some(Turn::Offered) && link.hello().is_some_and(|h| h.node == *node)
        });
        offered.map(|(id, _)| id)
    }

    fn send_open(&mut self, id: LinkId) {
        let Some(hello) = self.links.get(&id).and_then(Link::hello) else { return };
        let peer = self.peers.get(&hello.node).filter(|peer| peer.is(hello));
        let index = peer.filter(|peer| peer.is_member() && self.config.role == Role::Member);
        let open = Open {
            echo: hello.link_nonce,
            held: peer.and_then(|peer| peer.open).map(|open| open.peer_nonce),
            known: index.map(|peer| (peer.info.incarnation, peer.index.version())),
            census: census::of(&self.starts(&hello.node)),
        };
        if let Some(link) = self.links.get_mut(&id) {
            link.told_known = open.known.map(|(_, version)| version);
        }
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
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        if open.echo != link.nonce {
            return Err("an Open does not echo the nonce of the Hello");
        }
        let LinkStage::Greeted { turn, open: received, .. } = &mut link.stage else {
            return Err("an Open came twice or before the Hello");
        };
        if received.is_some() {
            return Err("an Open came twice");
        }
        let turn = *turn;
        *received = Some(open);
        match turn {
            Turn::Queued => {}
            Turn::Offered => self.accepted(id),
            // What was true when the Hello came may have changed.
            Turn::Deciding => self.consider(id),
        }
        Ok(())
    }

    /// The smaller id took our offer.
    fn accepted(&mut self, id: LinkId) {
        let Some(hello) = self.links.get(&id).and_then(Link::hello) else { return };
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
        let Some(hello) = self.links.get(&id).and_then(Link::hello).cloned() else { return };
        match self.no_room_for(&hello) {
            Some(reason) => self.refuse(id, &hello, reason),
            None => self.open(id),
        }
    }

    /// Do we still know of the peer's index at least what our Open said?
    fn still_knows(&self, id: LinkId, hello: &Hello) -> bool {
        let told = self.links.get(&id).and_then(|link| link.told_known);
        let peer = self.peers.get(&hello.node).filter(|peer| peer.is(hello));
        told <= peer.map(|peer| peer.index.version())
    }

    /// The smaller id decides which link of a pair stays, once the other's Open is there.
    fn decide(&mut self, id: LinkId) {
        let Some(link) = self.links.get(&id) else { return };
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
        self.open(id);
    }

    /// Both Opens are there: the link is in use, in place of one that was before.
    fn open(&mut self, id: LinkId) {
        // What waits to be announced goes to the others now, so that a snapshot and its
        // version agree.
        self.announce();
        let Some(link) = self.links.get_mut(&id) else { return };
        let stage = core::mem::replace(&mut link.stage, LinkStage::Greeting);
        let LinkStage::Greeted { hello, open: Some(open), .. } = stage else { return };
        let node = hello.node.clone();
        self.links.set_stage(id, LinkStage::Open { node: node.clone() });
        self.timers.clear(&Timer::Handshake(id));
        self.timers.clear(&Timer::Forget(node.clone()));
        let before = self.peers.get_mut(&node).map(|peer| core::mem::take(&mut peer.routes));
        let replaced = self.adopt(id, &hello);
        self.dial_opened(&node);
        self.dial_may_be_listed(id);

        let Some(peer) = self.peers.get(&node) else { return };
        let info = peer.info.clone();
        if replaced.is_none() && info.role == Role::Member {
            self.watch_with(&node);
        }
        self.outbox.push(Output::Watch { link: id, watch: self.watch_of(&info) });
        self.outbox.event(Event::LinkOpened { link: id, peer: info.clone() });
        if let Some(old) = replaced {
            self.links.remove(&old);
            self.outbox.push(Output::Disconnect { link: old });
            self.outbox.event(Event::LinkClosed { link: old, node: node.clone() });
            self.contest_link_gone(&node, old);
            self.dial_unlisted(old);
        } else if info.role == Role::Member {
            self.outbox.event(Event::NodeUp { peer: info });
            self.declared_events(&node);
        }
        self.tell_members(id, &node, &open);
        self.sync_index(id, &node, open.known);
        self.send_interest(&node);
        self.request_opened(id, &node);
        self.wanted_changed(before.unwrap_or_default().keys());
        self.reconsider(&node);
    }

    /// Enters a link as the peer's; gives the link that it replaces.
    fn adopt(&mut self, id: LinkId, hello: &Hello) -> Option<LinkId> {
        let before = self.peers.get(&hello.node);
        if before.is_none_or(|peer| !peer.is(hello)) {
            let was_member = before.is_some_and(Peer::is_member);
            self.make_room(hello);
            self.peers.insert(Peer::new(hello, self.config.features));
            if was_member {
                self.tell_if_forgotten(&hello.node);
            }
        }
        let peer = self.peers.get_mut(&hello.node)?;
        peer.info = super::peers::info(hello, self.config.features);
        peer.claim = hello.claim;
        peer.index.new_link();
        peer.wants = super::interest::Wants::default();
        peer.sent = super::interest::SentInterest::default();
        peer.asked = super::asked::Asked::default();
        peer.opened_at = self.now;
        let open = OpenLink { link: id, peer_nonce: hello.link_nonce };
        self.peers.open(&hello.node, open).map(|old| old.link)
    }

    /// Of two newcomers at one node the later learns here of the earlier
    /// (PROTOCOL.md §4.4).
    fn tell_members(&mut self, id: LinkId, node: &NodeId, open: &Open) {
        let unequal = census::unequal(&open.census, &self.starts(node));
        let members = self.peers.members(unequal.iter().map(|start| start.node));
        if !members.is_empty() {
            self.send_members(id, None, members);
        }
    }

    pub(super) fn send_members(
        &mut self,
        id: LinkId,
        request: Option<u64>,
        members: Vec<super::message::Member>,
    ) {
        let mut lists = parts(members, wire::encoded_len);
        if lists.is_empty() {
            lists.push(Vec::new());
        }
        let count = lists.len();
        for (members, part) in lists.into_iter().zip(1..) {
            let last = part == count;
            self.outbox.send(id, &Message::Members(Members { request, last, members }));
        }
    }

    /// Other links of the same peer that waited for what became of this one.
    pub(super) fn reconsider(&mut self, node: &NodeId) {
        let waits = |link: &Link| {
            link.turn() == Some(Turn::Queued)
                && link.hello().is_some_and(|hello| hello.node == *node)
        };
        let links = self.links.not_open().filter(|(_, link)| waits(link));
        let waiting: Vec<LinkId> = links.map(|(id, _)| id).collect();
        for id in waiting {
            self.consider(id);
        }
    }

    /// Where this node can be reached, to be named to others.
    pub(super) fn first_endpoint(&self) -> Option<Endpoint> {
        self.config.endpoints.first().cloned()
    }
}

/// A certificate for `name` speaks for the id `name` and for `name.<anything>`.
fn allows(name: &str, node: &NodeId) -> bool {
    let rest = node.as_str().strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
