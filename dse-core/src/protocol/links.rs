//! The links of a node, and how far each has come (PROTOCOL.md §4).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem;

use serde::Serialize;

use super::declaration::IndexVersion;
use super::ids::LinkId;
use super::message::{Hello, Open};
use super::names::NodeId;
use super::target::Target;

/// The links. Those that are not in use are few and are looked for often, so they can be
/// gone through without a look at all others.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Links {
    by_id: BTreeMap<LinkId, Link>,
    /// Those in any stage but [`LinkStage::Open`]. Follows from `by_id`.
    #[serde(skip)]
    not_open: BTreeSet<LinkId>,
}

/// One link, from the driver's `LinkUp` to its end. Changed by [`Links`] alone.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Link {
    /// Our name for it, told in our Hello.
    pub(super) nonce: u64,
    /// What was dialled for it.
    pub(super) target: Option<Target>,
    /// The peer's authenticated name.
    pub(super) identity: Option<Box<str>>,
    /// What our Open said that we know of the peer's index.
    pub(super) told_known: Option<IndexVersion>,
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

    pub(super) fn is_opening(&self) -> bool {
        matches!(self.stage, LinkStage::Greeting | LinkStage::Greeted { .. })
    }

    /// Is it in this turn with this node?
    fn is_turn(&self, is: Turn, of: &NodeId) -> bool {
        matches!(&self.stage, LinkStage::Greeted { hello, turn, .. } if *turn == is && hello.node == *of)
    }
}

impl Links {
    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.by_id.get(&id)
    }

    /// The other's Hello, on a link that is not open yet.
    pub(super) fn hello(&self, id: LinkId) -> Option<&Hello> {
        self.get(id)?.hello()
    }

    /// The node behind an open link.
    pub(super) fn node_on(&self, id: LinkId) -> Option<&NodeId> {
        match &self.get(id)?.stage {
            LinkStage::Open { node } => Some(node),
            _ => None,
        }
    }

    /// A link stands on which our Hello is sent.
    pub(super) fn insert(
        &mut self,
        id: LinkId,
        nonce: u64,
        target: Option<Target>,
        identity: Option<Box<str>>,
    ) {
        let stage = LinkStage::Greeting;
        self.by_id.insert(id, Link { nonce, target, identity, told_known: None, stage });
        self.not_open.insert(id);
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link> {
        self.not_open.remove(&id);
        self.by_id.remove(&id)
    }

    /// The other's Hello came. Gives what was dialled for the link.
    pub(super) fn greeted(&mut self, id: LinkId, hello: Hello) -> Option<Target> {
        let link = self.by_id.get_mut(&id)?;
        link.stage = LinkStage::Greeted { hello: Box::new(hello), turn: Turn::Queued, open: None };
        link.target.clone()
    }

    pub(super) fn set_turn(&mut self, id: LinkId, to: Turn) {
        if let Some(Link { stage: LinkStage::Greeted { turn, .. }, .. }) = self.by_id.get_mut(&id) {
            *turn = to;
        }
    }

    /// Our Open said this of what we know of the peer's index.
    pub(super) fn told_known(&mut self, id: LinkId, known: Option<IndexVersion>) {
        if let Some(link) = self.by_id.get_mut(&id) {
            link.told_known = known;
        }
    }

    /// The other's Open came. Gives whose turn it is.
    pub(super) fn take_open(
        &mut self,
        id: LinkId,
        open: Open,
    ) -> Result<Option<Turn>, &'static str> {
        let Some(link) = self.by_id.get_mut(&id) else { return Ok(None) };
        if open.echo != link.nonce {
            return Err("an Open does not echo the nonce of the Hello");
        }
        let LinkStage::Greeted { turn, open: received, .. } = &mut link.stage else {
            return Err("an Open came twice or before the Hello");
        };
        if received.is_some() {
            return Err("an Open came twice");
        }
        *received = Some(open);
        Ok(Some(*turn))
    }

    /// Both Opens are there: the link is in use. Gives the other's Hello and Open.
    pub(super) fn open(&mut self, id: LinkId) -> Option<(Box<Hello>, Open)> {
        let link = self.by_id.get_mut(&id)?;
        let stage = mem::replace(&mut link.stage, LinkStage::Greeting);
        let LinkStage::Greeted { hello, open: Some(open), .. } = stage else { return None };
        link.stage = LinkStage::Open { node: hello.node.clone() };
        self.not_open.remove(&id);
        Some((hello, open))
    }

    /// The peer on an open link left.
    pub(super) fn left(&mut self, id: LinkId, node: &NodeId) {
        if let Some(link) = self.by_id.get_mut(&id) {
            link.stage = LinkStage::Left { node: node.clone() };
            self.not_open.insert(id);
        }
    }

    /// Is there a link on which this node said that it leaves, and that has not fallen?
    pub(super) fn is_left_by(&self, node: &NodeId) -> bool {
        let left = |link: &Link| matches!(&link.stage, LinkStage::Left { node: of } if of == node);
        self.not_open().any(|(_, link)| left(link))
    }

    /// The link on which this node was sent our Open, and has not answered.
    pub(super) fn offered(&self, node: &NodeId) -> Option<LinkId> {
        self.in_turn(Turn::Offered, node).next()
    }

    /// Links of this node that wait for what becomes of another.
    pub(super) fn queued(&self, node: &NodeId) -> Vec<LinkId> {
        self.in_turn(Turn::Queued, node).collect()
    }

    fn in_turn<'a>(&'a self, turn: Turn, of: &'a NodeId) -> impl Iterator<Item = LinkId> {
        self.not_open().filter(move |(_, link)| link.is_turn(turn, of)).map(|(id, _)| id)
    }

    /// Takes away all links in mid-handshake.
    pub(super) fn take_opening(&mut self) -> Vec<(LinkId, Link)> {
        let opening = self.not_open().filter(|(_, link)| link.is_opening());
        let opening: Vec<LinkId> = opening.map(|(id, _)| id).collect();
        opening.into_iter().filter_map(|id| Some((id, self.remove(id)?))).collect()
    }

    /// Takes away all links, in order.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = LinkId> {
        mem::take(self).by_id.into_keys()
    }

    /// Links that are not open yet, or were left, in order.
    fn not_open(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.not_open.iter().filter_map(|id| Some((*id, self.by_id.get(id)?)))
    }
}
