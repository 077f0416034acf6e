//! What really was: every life of every node, and every index that it had.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use dse_core::protocol::{Config, Declaration, Incarnation, NodeId};

/// Which life, in the order of their starts.
pub(in crate::world) type LifeId = usize;

/// All lives so far.
#[derive(Default)]
pub(in crate::world) struct History {
    lives: Vec<Life>,
    by_id: BTreeMap<NodeId, Vec<LifeId>>,
}

/// One start of a node, until it ended.
pub(in crate::world) struct Life {
    pub(in crate::world) node: NodeId,
    pub(in crate::world) incarnation: Incarnation,
    /// Its indexes, in order, from the empty one.
    indexes: Vec<Print>,
    /// All that it ever declared, as hashes.
    declared: BTreeSet<u64>,
    /// It has said Leave: asked to, or for losing a clash.
    pub(in crate::world) said_leave: bool,
    /// It has ended for losing a clash.
    lost: bool,
    started: u64,
    ended: Option<u64>,
}

impl History {
    /// A node starts, with nothing declared.
    pub(in crate::world) fn begin(&mut self, config: &Config, now: u64) -> LifeId {
        let life = Life {
            node: config.node.clone(),
            incarnation: config.incarnation,
            indexes: vec![Print::default()],
            declared: BTreeSet::new(),
            said_leave: false,
            lost: false,
            started: now,
            ended: None,
        };
        self.lives.push(life);
        let id = self.lives.len() - 1;
        self.by_id.entry(config.node.clone()).or_default().push(id);
        id
    }

    pub(in crate::world) fn life(&self, id: LifeId) -> &Life {
        &self.lives[id]
    }

    pub(in crate::world) fn life_mut(&mut self, id: LifeId) -> &mut Life {
        &mut self.lives[id]
    }

    /// All lives of a node of this id, two at once among them in a clash.
    pub(in crate::world) fn lives_of(&self, node: &NodeId) -> impl Iterator<Item = &Life> {
        self.by_id.get(node).into_iter().flatten().map(|id| &self.lives[*id])
    }

    /// A life ends for losing a clash. Has anybody won? That is one of the same id and time
    /// that did not end so, or from whom one took it that did not.
    pub(in crate::world) fn loses(&mut self, id: LifeId) -> bool {
        self.lives[id].lost = true;
        let (mut seen, mut next) = (BTreeSet::from([id]), vec![id]);
        while let Some(id) = next.pop() {
            if !self.lives[id].lost {
                return true;
            }
            next.extend(self.rivals(id).filter(|rival| seen.insert(*rival)));
        }
        false
    }

    /// Did another start of the node live at the same time as one of this incarnation?
    pub(in crate::world) fn is_contested(&self, node: &NodeId, of: Incarnation) -> bool {
        let ids = self.by_id.get(node).into_iter().flatten().copied();
        let mut accused = ids.filter(|id| self.lives[*id].incarnation == of);
        accused.any(|id| self.rivals(id).next().is_some())
    }

    /// The other lives of the same id that overlap with this one.
    fn rivals(&self, id: LifeId) -> impl Iterator<Item = LifeId> {
        let this = &self.lives[id];
        let ids = self.by_id.get(&this.node).into_iter().flatten().copied();
        ids.filter(move |other| *other != id && self.lives[*other].overlaps(this))
    }
}

impl Life {
    fn overlaps(&self, other: &Self) -> bool {
        let outlives =
            |one: &Self, other: &Self| one.ended.is_none_or(|ended| ended >= other.started);
        outlives(self, other) && outlives(other, self)
    }

    pub(in crate::world) fn end(&mut self, now: u64) {
        self.ended = Some(now);
    }

    /// Its index is this from now on.
    pub(in crate::world) fn changed(&mut self, index: Print) {
        if self.indexes.last() != Some(&index) {
            self.indexes.push(index);
        }
    }

    pub(in crate::world) fn declares(&mut self, declaration: &Declaration) {
        self.declared.insert(hash(declaration));
    }

    /// Did it ever declare this?
    pub(in crate::world) fn declared(&self, declaration: &Declaration) -> bool {
        self.declared.contains(&hash(declaration))
    }

    /// How many indexes it has had.
    pub(in crate::world) fn indexes(&self) -> usize {
        self.indexes.len()
    }

    /// The first of its indexes, from the n-th on, that is this one.
    pub(in crate::world) fn position(&self, from: usize, index: Print) -> Option<usize> {
        (from..self.indexes.len()).find(|at| self.indexes[*at] == index)
    }
}

/// A fingerprint of a set of declarations that is cheap to keep up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(in crate::world) struct Print(u64);

impl Print {
    pub(in crate::world) fn add(&mut self, declaration: &Declaration) {
        self.0 = self.0.wrapping_add(hash(declaration));
    }

    pub(in crate::world) fn remove(&mut self, declaration: &Declaration) {
        self.0 = self.0.wrapping_sub(hash(declaration));
    }

    /// Of all of these.
    pub(in crate::world) fn of<'a>(declarations: impl Iterator<Item = &'a Declaration>) -> Self {
        let mut print = Self::default();
        declarations.for_each(|declaration| print.add(declaration));
        print
    }
}

fn hash(declaration: &Declaration) -> u64 {
    let Declaration { key, kind, encoding, meta } = declaration;
    let mut hasher = DefaultHasher::new();
    (key.as_str(), kind, encoding, meta).hash(&mut hasher);
    hasher.finish()
}
