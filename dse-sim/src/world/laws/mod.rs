//! The reference model: what each law demands, said as plainly as it can be, and held
//! against the nodes after every step. A broken law is a panic that names it.
//!
//! The model knows what no node knows: every life of every node ([`history`]), and which
//! node is really at the other end of a link. Of each node it keeps what an application
//! would know that only listens to the events ([`mirror`]).

pub(super) mod answers;
pub(super) mod history;
pub(super) mod mirror;
mod rest;

use core::time::Duration;

use dse_core::protocol::wire::{self, Decoded};
use dse_core::protocol::{
    Declaration, DialError, Event, Incarnation, Input, Message, NodeId, Reject, RejectReason, Role,
    StopReason,
};

use super::node::kind_of;
use super::{Node, World, is, place_of};

impl World {
    /// What must hold at a node after each of its steps. One without events must change
    /// nothing.
    pub(super) fn check(&mut self, index: usize) {
        let node = &self.nodes[index];
        if !node.is_core() || node.leaving {
            return;
        }
        self.indexes_were_had_in_this_order(index);
        let now = self.nodes[index].clock.shows(self.now);
        let node = &mut self.nodes[index];
        wanted_while_somebody_wants_it(node, now);
        one_link_for_each_pair(node);
        events_agree_with_state(node);
    }

    /// L3, ownership: what a node believes of another is an index that the process at the
    /// other end of their link really had, and never one from before what it believed
    /// earlier.
    fn indexes_were_had_in_this_order(&mut self, index: usize) {
        let touched = core::mem::take(&mut self.nodes[index].mirror.touched);
        for of in touched {
            let node = &self.nodes[index];
            let (Some(link), Some(print)) =
                (node.mirror.linked().get(&of), node.mirror.index_of(&of))
            else {
                continue;
            };
            let (at, side) = place_of(*link);
            let Some(life) = self.links[at].ends[1 - side].record else { continue };
            let from = node.cursors.get(&life).copied().unwrap_or(0);
            let found = self.history.life(life).position(from, print);
            let Some(found) = found else {
                let before = self.history.life(life).position(0, print).is_some();
                let fault = if before { "no more" } else { "never" };
                panic!("L3: {} believes of {of} what it has {fault}", node.name);
            };
            self.nodes[index].cursors.insert(life, found);
        }
    }

    /// What must be true when a node says so.
    pub(super) fn check_event(&mut self, index: usize, event: &Event, fallen: Option<&NodeId>) {
        match event {
            Event::LinkOpened { link, peer } => {
                let (at, side) = place_of(*link);
                if let Some(life) = self.links[at].ends[1 - side].record {
                    let life = self.history.life(life);
                    let same = (&life.node, life.incarnation) == (&peer.node, peer.incarnation);
                    assert!(same, "L3: {} is at the other end, not {peer:?}", life.node);
                }
            }
            Event::NodeDown { node, incarnation, .. } => {
                self.check_down(index, node, *incarnation, fallen)
            }
            Event::NodeLeft { node, incarnation, .. } => {
                let mut lives = self.history.lives_of(node);
                let said = lives.any(|life| life.said_leave && life.incarnation == *incarnation);
                let said = said || self.nodes.iter().any(|n| n.is_stranger() && is(node, &n.name));
                assert!(said, "{}: {node} {incarnation} never left", self.nodes[index].name);
            }
            Event::Stopped { reason: StopReason::Clash { .. } } => {
                let won = self.nodes[index].record.is_none_or(|life| self.history.loses(life));
                assert!(
                    won || self.strangers,
                    "{} stops for a clash that nobody won",
                    self.nodes[index].name
                );
            }
            Event::PeerRefused { reason, .. }
            | Event::DialFailed {
                error: DialError::Rejected(reason) | DialError::Refused(reason),
                ..
            } => self.check_refusal(index, reason),
            Event::Answered { ticket, report } => self.check_report(index, *ticket, report),
            Event::StatsReceived { ticket, .. } => self.check_stats(index, *ticket),
            _ => {}
        }
    }

    /// A node is down when my own link to it is down, and no other: it fell, or the other
    /// end refused it. A link that works is cut only where two nodes of the peer's id lived
    /// at once.
    fn check_down(
        &self,
        index: usize,
        node: &NodeId,
        incarnation: Incarnation,
        fallen: Option<&NodeId>,
    ) {
        let down = fallen == Some(node) || self.history.is_contested(node, incarnation);
        let name = &self.nodes[index].name;
        let dead = down || self.strangers;
        assert!(dead, "{name} calls {node} {incarnation} dead, its link to which did not fall");
    }

    /// Nodes that keep the protocol find no fault in each other.
    fn check_refusal(&self, index: usize, reason: &RejectReason) {
        let fault = matches!(reason, RejectReason::Fault { .. });
        assert!(!fault || self.strangers, "{}: {reason:?}", self.nodes[index].name);
    }
}

/// The peer whose link in use ends by this input, from without.
pub(super) fn peer_cut_off(node: &Node, input: &Input) -> Option<NodeId> {
    let ended = match input {
        Input::LinkDown { link, .. } => link,
        Input::Message { link, bytes } if refuses(bytes) => link,
        _ => return None,
    };
    let linked = node.mirror.linked().iter().find(|(_, link)| *link == ended);
    linked.map(|(peer, _)| peer.clone())
}

/// Whose Open comes first may learn only from the answer to it that there is no room; and
/// who has lost a clash may learn so on an open link.
fn refuses(bytes: &[u8]) -> bool {
    if kind_of(bytes) != "Reject" {
        return false;
    }
    let Ok(Decoded::Known(Message::Reject(Reject { reason, .. }))) = wire::decode(bytes) else {
        return false;
    };
    use RejectReason::{BusFull, Clash, GuestsFull};
    matches!(reason, GuestsFull { .. } | BusFull { .. } | Clash { .. })
}

/// A key of a node's own counts as wanted as long as somebody, here or elsewhere, wants
/// it, and no longer than the linger time after that.
fn wanted_while_somebody_wants_it(node: &mut Node, now: dse_core::protocol::Instant) {
    for key in node.own.keys() {
        let here = node.subscriptions.values().any(|pattern| pattern.keys.matches(key));
        let wanted = here || node.mirror.is_routed(key);
        let told = node.mirror.wanted().contains(key);
        assert!(told || !wanted, "{}: {key} is wanted and nobody was told", node.name);
        if wanted || !told {
            node.mirror.lingering.remove(key);
        } else {
            let since = *node.mirror.lingering.entry(key.clone()).or_insert(now);
            let over = now.since(since) > LINGER;
            assert!(!over, "{}: {key} lingers for too long", node.name);
        }
    }
}

/// No peer has two links in use, and members are up exactly while they have one.
fn one_link_for_each_pair(node: &Node) {
    let linked = node.mirror.linked();
    let mut members = 0;
    for peer in node.peers().into_iter().filter(|peer| peer.info.role == Role::Member) {
        let told = linked.get(&peer.info.node).copied();
        assert_eq!(peer.link, told, "{}: its link to {}", node.name, peer.info.node);
        members += usize::from(told.is_some());
    }
    let in_use = linked.values().filter_map(|link| node.mirror.open().get(link));
    let in_use = in_use.filter(|peer| peer.role == Role::Member);
    let mut up = 0;
    for peer in in_use {
        up += 1;
        let present = node.is_guest() || node.mirror.is_up(&peer.node);
        assert!(present, "{}: {} has a link and is not up", node.name, peer.node);
    }
    // Nobody is told that a guest leaves, so the node itself is asked.
    let peers = node.peers().into_iter();
    let guests = peers.filter(|peer| peer.info.role == Role::Guest && peer.link.is_some()).count();
    let config = node.config();
    let own = usize::from(!node.is_guest());
    let within = up + own <= config.peers_max && guests <= config.guests_max;
    assert!(within, "L6: {}: {up} members and {guests} guests are too many", node.name);
    assert_eq!(up, members, "{}: links that the node does not know", node.name);
    let told = node.mirror.present().count();
    assert!(node.is_guest() || told == up, "{}: {told} are up, {up} have a link", node.name);
}

/// The directory is what the events add up to.
fn events_agree_with_state(node: &Node) {
    let config = node.config();
    let own = (&config.node, config.incarnation, &node.own);
    let mut told: Vec<_> = node.mirror.present().chain([own]).collect();
    told.sort_by_key(|(id, ..)| *id);
    let told = told.into_iter().flat_map(|(id, incarnation, index)| {
        index.values().map(move |declaration| (id, incarnation, declaration))
    });
    let found = node.lookup("**");
    let found = found.iter().map(|found| (&found.node, found.incarnation, &found.declaration));
    if !told.clone().eq(found.clone()) {
        let lines = |all: Vec<(&NodeId, Incarnation, &Declaration)>| format!("{all:#?}");
        let (told, found) = (lines(told.collect()), lines(found.collect()));
        panic!("{}: events say {told}\nlookup says {found}", node.name);
    }
}

/// PROTOCOL.md §8.3.
const LINGER: Duration = Duration::from_secs(2);
