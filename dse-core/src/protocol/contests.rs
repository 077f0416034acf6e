//! Two claims to one id, and who of the two decides (PROTOCOL.md §5).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::Serialize;

use super::ids::LinkId;
use super::message::{Claim, Rival};
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

/// One of two that claim an id.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Claimant {
    pub(super) claim: Claim,
    pub(super) endpoint: Option<Endpoint>,
    /// None if it is this node itself.
    pub(super) link: Option<LinkId>,
}

impl Contests {
    /// Starts the contest between who holds an id and who claims it, unless one is under
    /// way already. Gives the links on which both are to be probed. There are none for this
    /// node's own elder: of that one it hears on that one's link.
    pub(super) fn begin(
        &mut self,
        node: &NodeId,
        holder: Claimant,
        contender: Claimant,
    ) -> Vec<LinkId> {
        let (older, younger) = if is_older(contender.claim, holder.claim) {
            (contender, holder)
        } else {
            (holder, contender)
        };
        let Some(contested) = younger.link.filter(|_| !self.by_id.contains_key(node)) else {
            return Vec::new();
        };
        let probed = older.link.into_iter().chain([contested]).collect();
        self.by_id.insert(node.clone(), Contest { older, younger });
        probed
    }

    /// The other end of this link answered a probe. If that is the younger one of a contest,
    /// the older has to decide: gives the id, the link of the older, none if it is this
    /// node, and what to tell it.
    pub(super) fn proved(&self, link: LinkId) -> Option<(NodeId, Option<LinkId>, Rival)> {
        let mut contests = self.by_id.iter();
        let found = contests.find(|(_, contest)| contest.younger.link == Some(link));
        found.map(|(node, Contest { older, younger })| {
            let rival = Rival { claim: younger.claim, endpoint: younger.endpoint.clone() };
            (node.clone(), older.link, rival)
        })
    }

    /// Decides between this node and a younger start of it. Who was cut off yields to one
    /// that was not, but not once it has stood: by its word others may have ended.
    pub(super) fn stands_against(&mut self, own: Claim, rival: Claim) -> bool {
        let yields = own.returned && !rival.returned && !self.stands;
        self.stands |= !yields;
        !yields
    }

    /// The id for which the node behind this link is the older one of a contest.
    pub(super) fn id_of_older(&self, link: LinkId) -> Option<NodeId> {
        let mut contests = self.by_id.iter();
        let found = contests.find(|(_, contest)| contest.older.link == Some(link));
        found.map(|(node, _)| node.clone())
    }

    /// The older one stands: gives the link of the younger, and where the older is.
    pub(super) fn younger_loses(&mut self, node: &NodeId) -> Option<(LinkId, Option<Endpoint>)> {
        let Contest { older, younger } = self.by_id.remove(node)?;
        Some((younger.link?, older.endpoint))
    }

    /// One of a contest's links is gone: the other one stays or goes on.
    pub(super) fn link_gone(&mut self, node: &NodeId, link: LinkId) {
        let concerns = |contest: &Contest| {
            contest.older.link == Some(link) || contest.younger.link == Some(link)
        };
        if self.by_id.get(node).is_some_and(concerns) {
            self.by_id.remove(node);
        }
    }
}

/// Which of two starts of a node is the older one: the same for ever and for everybody.
pub(super) fn is_older(one: Claim, other: Claim) -> bool {
    (one.incarnation, one.nonce) < (other.incarnation, other.nonce)
}
