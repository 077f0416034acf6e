//! All links of a node, by their numbers.

use alloc::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::ids::LinkId;
use super::links::{Link, LinkStage};

/// The links. Those that are not in use are few and are looked for often, so they can be
/// gone through without a look at all others.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Links {
    by_id: BTreeMap<LinkId, Link>,
    /// Those in any stage but [`LinkStage::Open`]. Follows from `by_id`.
    #[serde(skip)]
    not_open: BTreeSet<LinkId>,
}

impl Links {
    pub(super) fn get(&self, id: &LinkId) -> Option<&Link> {
        self.by_id.get(id)
    }

    /// For what goes on within a stage, and before a link is open;
    /// [`set_stage`](Self::set_stage) is for what comes then.
    pub(super) fn get_mut(&mut self, id: &LinkId) -> Option<&mut Link> {
        self.by_id.get_mut(id)
    }

    pub(super) fn insert(&mut self, id: LinkId, link: Link) {
        self.by_id.insert(id, link);
        self.not_open.insert(id);
    }

    pub(super) fn remove(&mut self, id: &LinkId) -> Option<Link> {
        self.not_open.remove(id);
        self.by_id.remove(id)
    }

    pub(super) fn set_stage(&mut self, id: LinkId, stage: LinkStage) {
        let Some(link) = self.by_id.get_mut(&id) else { return };
        if matches!(stage, LinkStage::Open { .. }) {
            self.not_open.remove(&id);
        } else {
            self.not_open.insert(id);
        }
        link.stage = stage;
    }

    /// Links that are not open yet, or were left, in order.
    pub(super) fn not_open(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.not_open.iter().filter_map(|id| Some((*id, self.by_id.get(id)?)))
    }

    pub(super) fn into_ids(self) -> impl Iterator<Item = LinkId> {
        self.by_id.into_keys()
    }
}
