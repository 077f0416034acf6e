//! Two claims to one id (PROTOCOL.md §5). Both must prove alive before one is refused: the
//! younger answers a probe on its link, or it falls, and then the older decides. It is
//! asked wherever the two are met, and its word is the only one that ends the younger, so
//! never do both end, each for the other.

use super::{ControlBus, Phase};
use crate::protocol::contests::{Claimant, is_older};
use crate::protocol::links::{LinkStage, Turn};
use crate::protocol::{
    Endpoint, LinkId, Message, NodeId, Output, Reject, RejectReason, Rival, Stand, StopReason,
};

impl ControlBus {
    /// Starts the contest between who holds an id and who claims it on `link`. If one is
    /// under way already, the link waits for its end.
    pub(super) fn contest(&mut self, link: LinkId, node: &NodeId) {
        // It may have been its turn already; after the contest it is considered anew.
        self.links.set_turn(link, Turn::Queued);
        let Some(hello) = self.links.hello(link) else { return };
        let endpoint = hello.endpoints.first().cloned();
        let contender = Claimant { claim: hello.claim, endpoint, link: Some(link) };
        for link in self.contests.begin(node, self.holder(node), contender) {
            self.outbox.push(Output::Probe { link });
        }
    }

    fn holder(&self, node: &NodeId) -> Claimant {
        let peer = self.peers.get(node);
        match peer.and_then(|peer| Some((peer, peer.open?))) {
            Some((peer, open)) => Claimant {
                claim: peer.claim,
                endpoint: peer.info.endpoints.first().cloned(),
                link: Some(open.link),
            },
            None => {
                let endpoint = self.config.endpoints.first().cloned();
                Claimant { claim: self.claim, endpoint, link: None }
            }
        }
    }

    /// The other end of a link answered a probe.
    pub(super) fn probed(&mut self, link: LinkId) {
        let Some((node, older, rival)) = self.contests.proved(link) else { return };
        match older {
            Some(older) => self.outbox.send(older, &Message::Rival(rival)),
            None if self.stands_against(rival) => self.younger_loses(&node),
            None => {}
        }
    }

    /// A peer has met a younger start of this node.
    pub(super) fn rival_met(&mut self, link: LinkId, rival: Rival) -> Result<(), &'static str> {
        if is_older(rival.claim, self.claim) {
            return Err("a rival is older than the node that has to decide");
        }
        if self.phase == Phase::Running && self.stands_against(rival) {
            self.outbox.send(link, &Message::Stand(Stand {}));
        }
        Ok(())
    }

    fn stands_against(&mut self, rival: Rival) -> bool {
        let stands = self.contests.stands_against(self.claim, rival.claim);
        if !stands {
            self.lost_clash(rival.endpoint);
        }
        stands
    }

    /// The older one of a contest stands. It does so against all younger ones, so its word
    /// is as good in another contest than the one that it was asked in.
    pub(super) fn stand_received(&mut self, link: LinkId) {
        if let Some(node) = self.contests.id_of_older(link) {
            self.younger_loses(&node);
        }
    }

    /// Refuses the younger one, which may have the open link.
    fn younger_loses(&mut self, node: &NodeId) {
        let Some((id, winner)) = self.contests.younger_loses(node) else { return };
        let reason = RejectReason::Clash { winner };
        match self.links.get(id).map(|link| &link.stage) {
            Some(LinkStage::Greeted { hello, .. }) => {
                let hello = hello.clone();
                self.refuse(id, &hello, reason);
            }
            Some(LinkStage::Open { .. }) => {
                if let Some(open) = self.peers.get(node).and_then(|peer| peer.open) {
                    let reject = Message::Reject(Reject { echo: open.peer_nonce, reason });
                    self.outbox.send(id, &reject);
                }
                self.close_any(id, "another live node has its id and the better claim");
            }
            Some(LinkStage::Greeting | LinkStage::Left { .. }) | None => {}
        }
    }

    /// Another live node has this node's id and the better claim.
    pub(super) fn lost_clash(&mut self, winner: Option<Endpoint>) {
        if self.phase == Phase::Running {
            self.leave_for(StopReason::Clash { winner });
        }
    }
}
