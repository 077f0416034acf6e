//! The peers that this node knows, and what it knows of each.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use serde::Serialize;

use super::index::PeerIndex;
use super::interest::{SentInterest, Wants};
use super::io::{LinkId, PeerInfo};
use super::key::Key;
use super::message::{Claim, Hello, Member, Role};
use super::names::{Incarnation, NodeId};
use super::random::fingerprint;
use super::time::Instant;

/// A peer that is up, or was and is not yet forgotten. Its index and what else
/// outlives a link stays while it is down, invisible, for a resync (PROTOCOL.md §6.4).
#[derive(Clone, Debug, Serialize)]
pub(super) struct Peer {
    pub(super) info: PeerInfo,
    pub(super) claim: Claim,
    pub(super) open: Option<OpenLink>,
    /// When its latest link opened.
    pub(super) opened_at: Instant,
    /// How many of its links in a row fell soon after they had opened.
    pub(super) brief: u32,
    pub(super) index: PeerIndex,
    /// What it wants of us.
    pub(super) wants: Wants,
    /// Our keys that are routed to it, on its open link.
    pub(super) routes: BTreeSet<Key>,
    /// What we told it that we want, on its open link.
    pub(super) sent: SentInterest,
}

/// The one link with a peer that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct OpenLink {
    pub(super) link: LinkId,
    /// The peer's own nonce of the link.
    pub(super) peer_nonce: u64,
}

impl Peer {
    pub(super) fn new(hello: &Hello) -> Self {
        Self {
            info: info(hello),
            claim: hello.claim,
            open: None,
            opened_at: Instant::ZERO,
            brief: 0,
            index: PeerIndex::default(),
            wants: Wants::default(),
            routes: BTreeSet::new(),
            sent: SentInterest::default(),
        }
    }

    /// Is this the same start of the same node? `returned` may change between links, the
    /// role may not: members and guests are counted and told apart from the first link on.
    pub(super) fn is(&self, hello: &Hello) -> bool {
        same_start(self.claim, hello.claim) && self.info.role == hello.role
    }

    pub(super) fn is_member(&self) -> bool {
        self.info.role == Role::Member
    }
}

/// Do two claims come from the same start of a node?
pub(super) fn same_start(a: Claim, b: Claim) -> bool {
    (a.incarnation, a.nonce) == (b.incarnation, b.nonce)
}

pub(super) fn info(hello: &Hello) -> PeerInfo {
    PeerInfo {
        node: hello.node.clone(),
        incarnation: hello.claim.incarnation,
        role: hello.role,
        endpoints: hello.endpoints.clone(),
    }
}

/// All peers, by id.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Peers {
    by_id: BTreeMap<NodeId, Peer>,
}

impl Peers {
    pub(super) fn get(&self, node: &NodeId) -> Option<&Peer> {
        self.by_id.get(node)
    }

    pub(super) fn get_mut(&mut self, node: &NodeId) -> Option<&mut Peer> {
        self.by_id.get_mut(node)
    }

    pub(super) fn insert(&mut self, peer: Peer) {
        self.by_id.insert(peer.info.node.clone(), peer);
    }

    pub(super) fn remove(&mut self, node: &NodeId) -> Option<Peer> {
        self.by_id.remove(node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.by_id.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.by_id.values_mut()
    }

    /// The link that is open with a node.
    pub(super) fn link_of(&self, node: &NodeId) -> Option<LinkId> {
        self.get(node)?.open.map(|open| open.link)
    }

    pub(super) fn is_open(&self, node: &NodeId) -> bool {
        self.link_of(node).is_some()
    }

    /// Members with an open link, and that link.
    pub(super) fn open_members(&self) -> impl Iterator<Item = (&Peer, LinkId)> {
        let members = self.iter().filter(|peer| peer.is_member());
        members.filter_map(|peer| peer.open.map(|open| (peer, open.link)))
    }

    pub(super) fn open_guests(&self) -> usize {
        self.iter().filter(|peer| !peer.is_member() && peer.open.is_some()).count()
    }

    pub(super) fn any_open(&self) -> bool {
        self.iter().any(|peer| peer.open.is_some())
    }

    /// The open members as a list to be told, without `except`.
    pub(super) fn members(&self, except: &NodeId, known: &BTreeSet<u64>) -> Vec<Member> {
        let members = self.open_members().filter(|(peer, _)| {
            peer.info.node != *except
                && !known.contains(&fingerprint(&peer.info.node, peer.info.incarnation))
        });
        members
            .map(|(peer, _)| Member {
                node: peer.info.node.clone(),
                incarnation: peer.info.incarnation,
                endpoints: peer.info.endpoints.clone(),
            })
            .collect()
    }

    /// Hash of the members that are open, with `own` for this node if it is a member
    /// (PROTOCOL.md §7.2). A sum, so that order does not matter.
    pub(super) fn membership(&self, own: Option<(&NodeId, Incarnation)>) -> u64 {
        let own = own.map_or(0, |(node, incarnation)| fingerprint(node, incarnation));
        self.open_members()
            .map(|(peer, _)| fingerprint(&peer.info.node, peer.info.incarnation))
            .fold(own, u64::wrapping_add)
    }
}
