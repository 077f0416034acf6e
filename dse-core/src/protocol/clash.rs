//! Two claims to one id (PROTOCOL.md §5). Both must prove alive before one is refused: the
//! younger answers a probe on its link, or it falls, and then the older decides. It is
//! asked wherever the two are met, and its word is the only one that ends the younger, so
//! never do both end, each for the other.

use alloc::collections::BTreeMap;

use serde::Serialize;

use super::bus::{ControlBus, Phase};
use super::ids::LinkId;
use super::io::Output;
use super::links::{Link, LinkStage, Turn};
use super::message::{Claim, Message, Reject, RejectReason, Rival, Stand};
use super::names::{Endpoint, NodeId};

/// Contests under way: one at a time for each id.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Contests {
    by_id: BTreeMap<NodeId, Contest>,
    /// This node has said that it stands against a younger start of its id, which may have
    /// ended by that: it yields to none any more.
    stands: bool,
}

/// Two starts of one node that this node has met.
#[derive(Clone, Debug, Serialize)]
struct Contest {
    older: Claimant,
    younger: Claimant,
}

impl Contest {
    fn concerns(&self, link: LinkId) -> bool {
        self.older.link == Some(link) || self.younger.link == Some(link)
    }
}

#[derive(Clone, Debug, Serialize)]
struct Claimant {
    claim: Claim,
    endpoint: Option<Endpoint>,
    /// None if it is this node itself.
    link: Option<LinkId>,
}

impl ControlBus {
    /// Starts the contest between who holds an id and who claims it on `link`. If one is
    /// under way already, the link waits for its end.
    pub(super) fn contest(&mut self, link: LinkId, node: &NodeId) {
        // It may have been its turn already; after the contest it is considered anew.
        if let Some(link) = self.links.get_mut(&link) {
            link.set_turn(Turn::Queued);
        }
        let Some(hello) = self.links.get(&link).and_then(Link::hello) else { return };
        let endpoint = hello.endpoints.first().cloned();
        let contender = Claimant { claim: hello.claim, endpoint, link: Some(link) };
        let holder = self.holder(node);
        let (older, younger) = if is_older(contender.claim, holder.claim) {
            (contender, holder)
        } else {
            (holder, contender)
        };
        // Of its own elder a node hears on that one's link.
        let Some(contested) = younger.link.filter(|_| !self.contests.by_id.contains_key(node))
        else {
            return;
        };
        if let Some(link) = older.link {
            self.outbox.push(Output::Probe { link });
        }
        self.outbox.push(Output::Probe { link: contested });
        self.contests.by_id.insert(node.clone(), Contest { older, younger });
    }

    fn holder(&self, node: &NodeId) -> Claimant {
        let peer = self.peers.get(node);
        match peer.and_then(|peer| Some((peer, peer.open?))) {
            Some((peer, open)) => Claimant {
                claim: peer.claim,
                endpoint: peer.info.endpoints.first().cloned(),
                link: Some(open.link),
            },
            None => Claimant { claim: self.claim, endpoint: self.first_endpoint(), link: None },
        }
    }

    /// The other end of a link answered a probe. If that is the younger one of a contest,
    /// the older has to decide.
    pub(super) fn probed(&mut self, link: LinkId) {
        let mut contests = self.contests.by_id.iter();
        let found = contests.find(|(_, contest)| contest.younger.link == Some(link));
        let Some((node, Contest { older, younger })) = found else { return };
        let rival = Rival { claim: younger.claim, endpoint: younger.endpoint.clone() };
        match older.link {
            Some(older) => self.outbox.send(older, &Message::Rival(rival)),
            None => {
                let node = node.clone();
                if self.stands_against(rival) {
                    self.younger_loses(&node);
                }
            }
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

    /// Decides between this node and a younger start of it. Who was cut off yields to one
    /// that was not, but not once it has stood: by its word others may have ended.
    fn stands_against(&mut self, rival: Rival) -> bool {
        let yields = self.claim.returned && !rival.claim.returned && !self.contests.stands;
        if yields {
            self.lost_clash(rival.endpoint);
        } else {
            self.contests.stands = true;
        }
        !yields
    }

    /// The older one of a contest stands. It does so against all younger ones, so its word
    /// is as good in another contest than the one that it was asked in.
    pub(super) fn stand_received(&mut self, link: LinkId) {
        let mut contests = self.contests.by_id.iter();
        let found = contests.find(|(_, contest)| contest.older.link == Some(link));
        if let Some(node) = found.map(|(node, _)| node.clone()) {
            self.younger_loses(&node);
        }
    }

    /// Refuses the younger one, which may have the open link.
    fn younger_loses(&mut self, node: &NodeId) {
        let Some(Contest { older, younger }) = self.contests.by_id.remove(node) else { return };
        let Some(id) = younger.link else { return };
        let reason = RejectReason::Clash { winner: older.endpoint };
        match self.links.get(&id).map(|link| &link.stage) {
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

    /// One of a contest's links is gone: the other one stays or goes on.
    pub(super) fn contest_link_gone(&mut self, node: &NodeId, link: LinkId) {
        if self.contests.by_id.get(node).is_some_and(|contest| contest.concerns(link)) {
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

/// Which of two starts of a node is the older one: the same for ever and for everybody.
fn is_older(one: Claim, other: Claim) -> bool {
    (one.incarnation, one.nonce) < (other.incarnation, other.nonce)
}
