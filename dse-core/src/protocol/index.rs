//! This node's index and its copies of others' (PROTOCOL.md §6).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound::{Included, Unbounded};

use serde::Serialize;

use super::declaration::{Declaration, IndexVersion, Kind};
use super::errors::CommandError;
use super::key::{Key, KeyExpr};
use super::limits;
use super::message::{Delta, Snapshot};
use super::wire;

/// Declarations by key, and the bytes that they take on the wire.
#[derive(Clone, Debug, Default, Serialize)]
struct Declarations {
    by_key: BTreeMap<Key, Declaration>,
    bytes: usize,
}

impl Declarations {
    fn insert(&mut self, declaration: Declaration) -> Option<Declaration> {
        self.bytes += wire::encoded_len(&declaration);
        let before = self.by_key.insert(declaration.key.clone(), declaration);
        self.bytes -= before.as_ref().map_or(0, wire::encoded_len);
        before
    }

    fn remove(&mut self, key: &Key) -> Option<Declaration> {
        let before = self.by_key.remove(key);
        self.bytes -= before.as_ref().map_or(0, wire::encoded_len);
        before
    }

    fn is_within_limits(&self) -> bool {
        self.by_key.len() <= limits::DECLARATIONS_PER_NODE && self.bytes <= limits::INDEX_BYTES
    }
}

/// What this node declares.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct LocalIndex {
    version: IndexVersion,
    declarations: Declarations,
    /// Keys changed since the last announcement, with what was announced for them.
    changed: BTreeMap<Key, Option<Declaration>>,
}

impl LocalIndex {
    pub(super) fn version(&self) -> IndexVersion {
        self.version
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Declaration> {
        self.declarations.by_key.values()
    }

    pub(super) fn len(&self) -> usize {
        self.declarations.by_key.len()
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.declarations.by_key.contains_key(key)
    }

    pub(super) fn declare(&mut self, declaration: Declaration) -> Result<(), CommandError> {
        check(&declaration)?;
        if self.contains(&declaration.key) {
            return Err(CommandError::AlreadyDeclared(declaration.key));
        }
        if self.declarations.by_key.len() >= limits::DECLARATIONS_PER_NODE {
            return Err(CommandError::TooManyDeclarations { limit: limits::DECLARATIONS_PER_NODE });
        }
        self.has_room_for(&declaration)?;
        self.replace(declaration.key.clone(), Some(declaration));
        Ok(())
    }

    /// An index travels as one snapshot, which must fit what a link may have unsent.
    fn has_room_for(&self, declaration: &Declaration) -> Result<(), CommandError> {
        let before = self.declarations.by_key.get(&declaration.key).map_or(0, wire::encoded_len);
        let bytes = self.declarations.bytes - before + wire::encoded_len(declaration);
        let limit = limits::INDEX_BYTES;
        if bytes > limit { Err(CommandError::IndexTooLarge { limit }) } else { Ok(()) }
    }

    pub(super) fn redeclare(&mut self, declaration: Declaration) -> Result<(), CommandError> {
        check(&declaration)?;
        if !self.contains(&declaration.key) {
            return Err(CommandError::NotDeclared(declaration.key));
        }
        self.has_room_for(&declaration)?;
        self.replace(declaration.key.clone(), Some(declaration));
        Ok(())
    }

    pub(super) fn undeclare(&mut self, key: &Key) -> Result<(), CommandError> {
        if !self.contains(key) {
            return Err(CommandError::NotDeclared(key.clone()));
        }
        self.replace(key.clone(), None);
        Ok(())
    }

    fn replace(&mut self, key: Key, declaration: Option<Declaration>) {
        let before = match declaration {
            Some(declaration) => self.declarations.insert(declaration),
            None => self.declarations.remove(&key),
        };
        self.changed.entry(key).or_insert(before);
    }

    /// Turns what changed since the last announcement into the next version's delta, in
    /// parts; none if nothing did.
    pub(super) fn announce(&mut self) -> Vec<Delta> {
        let mut set = Vec::new();
        let mut unset = Vec::new();
        for (key, before) in core::mem::take(&mut self.changed) {
            match self.declarations.by_key.get(&key) {
                Some(now) if before.as_ref() != Some(now) => set.push(now.clone()),
                None if before.is_some() => unset.push(key),
                _ => {}
            }
        }
        if set.is_empty() && unset.is_empty() {
            return Vec::new();
        }
        let from = self.version;
        self.version = from.next();
        let sets = wire::parts(set);
        let unsets = wire::parts(unset);
        let count = (sets.len() + unsets.len()) as u32;
        let sets = sets.into_iter().map(|set| (set, Vec::new()));
        let unsets = unsets.into_iter().map(|unset| (Vec::new(), unset));
        let numbered = sets.chain(unsets).zip(0..);
        numbered
            .map(|((set, unset), part)| {
                let last = part + 1 == count;
                Delta { from, to: self.version, part, last, set, unset }
            })
            .collect()
    }

    /// The whole index in parts: at least one.
    pub(super) fn snapshot(&self) -> Vec<Snapshot> {
        let version = self.version;
        wire::in_parts(self.iter().cloned(), |part, last, declarations| Snapshot {
            version,
            part,
            last,
            declarations,
        })
    }
}

/// This node's copy of a peer's index.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct PeerIndex {
    version: IndexVersion,
    declarations: Declarations,
    partial: Option<Partial>,
}

/// A change of a peer's index as far as its parts have come.
#[derive(Clone, Debug, Serialize)]
struct Partial {
    whole: bool,
    to: IndexVersion,
    parts: u32,
    bytes: usize,
    set: Vec<Declaration>,
    unset: Vec<Key>,
}

const TOO_LARGE: &str = "the index is larger than a node's may be";

/// One difference between a peer's index before and after.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Declared(Declaration),
    Changed(Declaration),
    Undeclared(Declaration),
}

impl PeerIndex {
    pub(super) fn contains(&self, key: &Key) -> bool {
        self.declarations.by_key.contains_key(key)
    }

    /// Is there a key that the expression matches?
    pub(super) fn any_matches(&self, expr: &KeyExpr) -> bool {
        let beginning = expr.beginning();
        let from = self.declarations.by_key.range::<str, _>((Included(beginning), Unbounded));
        from.map(|(key, _)| key)
            .take_while(|key| key.as_str().starts_with(beginning))
            .any(|key| expr.matches(key))
    }

    pub(super) fn version(&self) -> IndexVersion {
        self.version
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Declaration> {
        self.declarations.by_key.values()
    }

    /// Forgets parts that came on a link that is no more.
    pub(super) fn new_link(&mut self) {
        self.partial = None;
    }

    /// Takes a part of a snapshot; gives the changes at the last.
    pub(super) fn snapshot(&mut self, part: Snapshot) -> Result<Vec<Change>, &'static str> {
        if part.version < self.version {
            return Err("a snapshot is older than the index it replaces");
        }
        let Snapshot { version, part, last, declarations } = part;
        self.collect(true, version, part, declarations, Vec::new())?;
        if last { self.apply() } else { Ok(Vec::new()) }
    }

    /// Takes a part of a delta; gives the changes at the last.
    pub(super) fn delta(&mut self, part: Delta) -> Result<Vec<Change>, &'static str> {
        if part.from != self.version || part.to <= part.from {
            return Err("a delta does not fit the version that it is a change of");
        }
        let Delta { from: _, to, part, last, set, unset } = part;
        self.collect(false, to, part, set, unset)?;
        if last { self.apply() } else { Ok(Vec::new()) }
    }

    fn collect(
        &mut self,
        whole: bool,
        to: IndexVersion,
        part: u32,
        set: Vec<Declaration>,
        unset: Vec<Key>,
    ) -> Result<(), &'static str> {
        if part == 0 && self.partial.is_none() {
            self.partial =
                Some(Partial { whole, to, parts: 0, bytes: 0, set: Vec::new(), unset: Vec::new() });
        }
        let fits = |p: &&mut Partial| p.whole == whole && p.to == to && p.parts == part;
        let partial =
            self.partial.as_mut().filter(fits).ok_or("the parts do not follow each other")?;
        if set.iter().any(|declaration| declaration.check().is_err()) {
            return Err("a declaration is larger than it may be");
        }
        partial.parts += 1;
        partial.bytes += set.iter().map(wire::encoded_len).sum::<usize>();
        partial.set.extend(set);
        partial.unset.extend(unset);
        let most = partial.set.len().max(partial.unset.len());
        if most > limits::DECLARATIONS_PER_NODE || partial.bytes > limits::INDEX_BYTES {
            return Err(TOO_LARGE);
        }
        Ok(())
    }

    fn apply(&mut self) -> Result<Vec<Change>, &'static str> {
        let Some(partial) = self.partial.take() else { return Ok(Vec::new()) };
        self.version = partial.to;
        let mut changes = Vec::new();
        let mut unset = partial.unset;
        if partial.whole {
            let stays: alloc::collections::BTreeSet<&Key> =
                partial.set.iter().map(|declaration| &declaration.key).collect();
            let gone = self.declarations.by_key.keys().filter(|key| !stays.contains(key));
            unset = gone.cloned().collect();
        }
        for key in unset {
            changes.extend(self.declarations.remove(&key).map(Change::Undeclared));
        }
        for now in partial.set {
            match self.declarations.insert(now.clone()) {
                None => changes.push(Change::Declared(now)),
                Some(before) if before != now => changes.push(Change::Changed(now)),
                Some(_) => {}
            }
        }
        if self.declarations.is_within_limits() { Ok(changes) } else { Err(TOO_LARGE) }
    }
}

fn check(declaration: &Declaration) -> Result<(), CommandError> {
    let invalid = |why| CommandError::InvalidDeclaration { key: declaration.key.clone(), why };
    if matches!(declaration.kind, Kind::Other(_)) {
        return Err(invalid("this version does not know its kind"));
    }
    declaration.check().map_err(invalid)
}
