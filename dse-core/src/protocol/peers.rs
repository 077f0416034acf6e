//! The peers that this node knows, and what it knows of each.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use serde::Serialize;

use super::census::Start;
use super::features::Features;
use super::ids::LinkId;
use super::io::PeerInfo;
use super::message::{Claim, Hello, Member, Role};
use super::names::{Incarnation, NodeId};
use super::random::fingerprint;
use super::time::Instant;

/// A peer that is up, or was and is not yet forgotten. Changed by [`Peers`] alone.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Peer {
    pub(super) info: PeerInfo,
    pub(super) claim: Claim,
    pub(super) open: Option<OpenLink>,
    /// When its latest link opened.
    pub(super) opened_at: Instant,
    /// How many of its links in a row fell soon after they had opened.
    brief: u32,
}

/// The one link with a peer that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct OpenLink {
    pub(super) link: LinkId,
    /// The peer's own nonce of the link.
    pub(super) peer_nonce: u64,
}

impl Peer {
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

/// What a Hello tells of a peer to a node that has these features.
fn info(hello: &Hello, own: Features) -> PeerInfo {
    PeerInfo {
        node: hello.node.clone(),
        incarnation: hello.claim.incarnation,
        role: hello.role,
        endpoints: hello.endpoints.clone(),
        lasting: hello.lasting,
        features: own & hello.features,
    }
}

/// All peers, by id.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Peers {
    by_id: BTreeMap<NodeId, Peer>,
    /// Who is open. Follows from `by_id`, and saves a look at each peer as a link opens.
    #[serde(skip)]
    roll: Roll,
}

/// How many peers there are, and who of them is open.
#[derive(Clone, Debug, Default)]
struct Roll {
    /// Members, open or not.
    members: usize,
    open_guests: usize,
    /// The starts of the open members, the newest first, each with its fingerprint. A
    /// list, for it is read whole far more often than it changes.
    open_members: Vec<(Incarnation, NodeId, u64)>,
}

impl Roll {
    fn opens(&mut self, info: &PeerInfo) {
        if info.role == Role::Guest {
            self.open_guests += 1;
            return;
        }
        let print = fingerprint(&info.node, info.incarnation);
        let place = self.place_of(info);
        self.open_members.insert(place, (info.incarnation, info.node.clone(), print));
    }

    fn closes(&mut self, info: &PeerInfo) {
        if info.role == Role::Guest {
            self.open_guests -= 1;
            return;
        }
        let place = self.place_of(info);
        self.open_members.remove(place);
    }

    /// Where a member stands, or is to stand.
    fn place_of(&self, info: &PeerInfo) -> usize {
        self.open_members.partition_point(|(incarnation, node, _)| {
            (*incarnation, node) > (info.incarnation, &info.node)
        })
    }
}

impl Peers {
    pub(super) fn get(&self, node: &NodeId) -> Option<&Peer> {
        self.by_id.get(node)
    }

    /// Enters a link as the one in use with the node whose Hello this is, in place of another
    /// start of the node that is not open. Gives the link that was in use before.
    pub(super) fn open(
        &mut self,
        hello: &Hello,
        own: Features,
        link: OpenLink,
        now: Instant,
    ) -> Option<OpenLink> {
        let known = self.get(&hello.node).filter(|peer| peer.is(hello));
        let (before, brief) = known.map_or((None, 0), |peer| (peer.open, peer.brief));
        if known.is_none() {
            self.remove(&hello.node);
            self.roll.members += usize::from(hello.role == Role::Member);
        }
        let info = info(hello, own);
        if before.is_none() {
            self.roll.opens(&info);
        }
        let peer = Peer { info, claim: hello.claim, open: Some(link), opened_at: now, brief };
        self.by_id.insert(hello.node.clone(), peer);
        before
    }

    /// The link in use with a peer fell. Gives the peer, if it was this link, and how many of
    /// its links in a row lasted no longer than a `brief` time.
    pub(super) fn lost(
        &mut self,
        node: &NodeId,
        link: LinkId,
        now: Instant,
        brief: Duration,
    ) -> Option<(PeerInfo, u32)> {
        let peer = self.by_id.get_mut(node)?;
        if peer.open.is_none_or(|open| open.link != link) {
            return None;
        }
        let lasted = now.since(peer.opened_at);
        peer.brief = if lasted < brief { peer.brief.saturating_add(1) } else { 0 };
        let lost = (peer.info.clone(), peer.brief);
        self.close(node);
        Some(lost)
    }

    /// Drops a peer, open or not.
    pub(super) fn remove(&mut self, node: &NodeId) -> Option<Peer> {
        self.close(node);
        let peer = self.by_id.remove(node)?;
        self.roll.members -= usize::from(peer.is_member());
        Some(peer)
    }

    /// The link in use with a peer is so no more.
    fn close(&mut self, node: &NodeId) {
        if let Some(peer) = self.by_id.get_mut(node)
            && peer.open.take().is_some()
        {
            self.roll.closes(&peer.info);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.by_id.values()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
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
        self.roll.open_guests
    }

    /// Members that are open, or were and are not forgotten.
    pub(super) fn member_count(&self) -> usize {
        self.roll.members
    }

    pub(super) fn open_member_count(&self) -> usize {
        self.roll.open_members.len()
    }

    /// The starts of the open members without `except`, the newest first.
    pub(super) fn starts<'a>(&'a self, except: &'a NodeId) -> impl Iterator<Item = Start<'a>> {
        let excepted = self.get(except).map(|peer| peer.info.incarnation);
        let starts = self.roll.open_members.iter();
        let starts = starts.map(|(incarnation, node, print)| Start {
            node,
            incarnation: *incarnation,
            print: *print,
        });
        starts.filter(move |start| Some(start.incarnation) != excepted || start.node != except)
    }

    pub(super) fn any_open(&self) -> bool {
        self.roll.open_guests > 0 || !self.roll.open_members.is_empty()
    }

    /// What is told of these members, as far as they are open.
    pub(super) fn members<'a>(&self, which: impl Iterator<Item = &'a NodeId>) -> Vec<Member> {
        let open = which.filter_map(|node| self.get(node).filter(|peer| peer.open.is_some()));
        open.map(|peer| Member {
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
