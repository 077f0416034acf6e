//! How links end (PROTOCOL.md §2.2, §4): refused, at fault, fallen or left.

use alloc::string::{String, ToString as _};

use super::ControlBus;
use crate::protocol::links::{Link, LinkStage};
use crate::protocol::{
    DialError, Event, LinkId, Message, Output, Reject, RejectReason, Timer, limits,
};

impl ControlBus {
    pub(super) fn reject_received(
        &mut self,
        id: LinkId,
        reject: Reject,
    ) -> Result<(), &'static str> {
        let Some(link) = self.links.get(id) else { return Ok(()) };
        if reject.echo != link.nonce {
            return Err("a Reject does not echo the nonce of the Hello");
        }
        let opening = link.is_opening();
        match &reject.reason {
            RejectReason::Clash { winner } => {
                let winner = winner.clone();
                self.close_any(id, "another live node has the id of this one");
                self.lost_clash(winner);
                return Ok(());
            }
            RejectReason::Yourself => {
                if let Some(target) = link.target.clone() {
                    self.dial(|dials, _| dials.met_myself(&target));
                }
            }
            RejectReason::Leaving => {
                if let Some(hello) = link.hello().cloned() {
                    self.down_is_left(&hello);
                }
            }
            _ => {}
        }
        if opening {
            self.close_handshake(id, DialError::Rejected(reject.reason));
        } else {
            self.close_any(id, &reject.reason.to_string());
        }
        Ok(())
    }

    /// The peer broke the protocol: say so, close the link, keep nothing it said in doubt.
    pub(super) fn fault(&mut self, id: LinkId, fault: &str) {
        self.outbox.counters.faults += 1;
        let Some(link) = self.links.get(id) else { return };
        let (node, echo) = match &link.stage {
            LinkStage::Greeting => (None, None),
            LinkStage::Greeted { hello, .. } => (Some(hello.node.clone()), Some(hello.link_nonce)),
            LinkStage::Open { node } | LinkStage::Left { node } => {
                let open = self.peers.get(node).and_then(|peer| peer.open);
                (Some(node.clone()), open.map(|open| open.peer_nonce))
            }
        };
        let fault: String = fault.chars().take(limits::REJECT_TEXT_BYTES / 4).collect();
        let reason = RejectReason::Fault { fault: fault.clone().into() };
        if let Some(echo) = echo {
            self.outbox.send(id, &Message::Reject(Reject { echo, reason: reason.clone() }));
        }
        // Before the link closes, for another one of the peer may open then. A link that is
        // not open has said nothing of the index, and anybody can claim an id on it.
        if let Some(node) = self.links.node_on(id) {
            self.directory.doubt(node);
        }
        self.outbox.event(Event::PeerRefused { link: id, node, reason });
        self.close_any(id, &alloc::format!("it broke the protocol: {fault}"));
    }

    /// A link fell by itself.
    pub(super) fn link_down(&mut self, id: LinkId, error: &str) {
        let Some(link) = self.links.remove(id) else { return };
        self.link_removed(id, link, error);
    }

    /// Closes a link in whatever stage it is, as if it had fallen.
    pub(super) fn close_any(&mut self, id: LinkId, error: &str) {
        if let Some(link) = self.links.remove(id) {
            self.outbox.push(Output::Disconnect { link: id });
            self.link_removed(id, link, error);
        }
    }

    /// Gives up all links in mid-handshake, and takes them away before it ends any: the end
    /// of one lets another of its peer go on.
    pub(super) fn close_handshakes(&mut self, error: &str) {
        for (id, link) in self.links.take_opening() {
            self.outbox.push(Output::Disconnect { link: id });
            self.link_removed(id, link, error);
        }
    }

    fn link_removed(&mut self, id: LinkId, link: Link, error: &str) {
        self.timers.clear(&Timer::Handshake(id));
        match &link.stage {
            LinkStage::Open { node } => {
                let node = node.clone();
                self.peer_lost(id, &node, error);
            }
            LinkStage::Left { node } => {
                self.outbox.event(Event::LinkClosed { link: id, node: node.clone() });
                self.tell_if_forgotten(node);
            }
            LinkStage::Greeting | LinkStage::Greeted { .. } => {
                self.handshake_over(id, link, DialError::Fell(error.into()));
            }
        }
    }

    /// Closes a link that did not open.
    pub(super) fn close_handshake(&mut self, id: LinkId, error: DialError) {
        if let Some(link) = self.links.remove(id) {
            self.outbox.push(Output::Disconnect { link: id });
            self.timers.clear(&Timer::Handshake(id));
            self.handshake_over(id, link, error);
        }
    }

    /// A link ended before it opened: its dial failed, and others of the pair go on.
    fn handshake_over(&mut self, id: LinkId, link: Link, error: DialError) {
        let node = link.hello().map(|hello| hello.node.clone());
        if let Some(target) = link.target {
            self.dial_fell(&target, id, error);
        }
        if let Some(node) = node {
            self.contests.link_gone(&node, id);
            self.reconsider(&node);
        }
    }

    /// A handshake takes too long, or a peer that left does not close the link.
    pub(super) fn handshake_timeout(&mut self, id: LinkId) {
        self.close_any(id, "it took longer than 5 s to open or to close");
    }
}
