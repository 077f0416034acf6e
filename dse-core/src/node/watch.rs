//! Watches: local streams of directory changes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::call::{Call, Caller};
use super::limits::CHANGES_QUEUED;
use crate::protocol::{Incarnation, KeyExpr, LeaveReason, Match, NodeId, PeerInfo};

/// A change of the directory.
///
/// With a node goes all that it declared: no [`Change::Undeclared`] is given for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node is up.
    NodeUp {
        /// Who.
        node: NodeId,
        /// Which incarnation of it.
        incarnation: Incarnation,
    },
    /// A node is gone without a word.
    NodeDown {
        /// Who.
        node: NodeId,
        /// Which incarnation of it.
        incarnation: Incarnation,
        /// Why, in words.
        error: String,
    },
    /// A node left gracefully. After a [`Change::NodeDown`] it corrects that.
    NodeLeft {
        /// Who.
        node: NodeId,
        /// Which incarnation of it.
        incarnation: Incarnation,
        /// Why.
        reason: LeaveReason,
    },
    /// A node exposes something new.
    Declared(Match),
    /// What a node exposes changed in kind, encoding or metadata. This is what it is now.
    Changed(Match),
    /// A node exposes something no more. This is what it was.
    Undeclared(Match),
    /// All that was there when the watch began, or when it began anew, has been told.
    Synced,
    /// The watcher was too slow: changes are lost. What follows is the present state from
    /// the start, up to the next [`Change::Synced`]; what it does not name is gone.
    Lagged {
        /// How many changes are lost.
        missed: u64,
    },
}

/// A stream of directory changes. See [`Node::watch`](super::Node::watch).
#[derive(Debug)]
pub struct Watch {
    caller: Caller,
    keys: KeyExpr,
    watching: Watching,
}

impl Watch {
    pub(super) fn new(caller: Caller, keys: KeyExpr, watching: Watching) -> Self {
        Self { caller, keys, watching }
    }

    /// What is watched.
    pub fn keys(&self) -> &KeyExpr {
        &self.keys
    }

    /// The next change; none once the node has stopped. Cancel-safe.
    pub async fn next(&mut self) -> Option<Change> {
        if let Some(change) = self.watching.present.pop_front() {
            return Some(change);
        }
        if let Some(change) = self.watching.changes.recv().await {
            return Some(change);
        }
        // The control task gave this watch up: it lagged, or the node has stopped.
        let keys = self.keys.clone();
        let anew = self.caller.ask(|reply| Call::Watch { keys, reply }).await.ok()?;
        let missed = self.watching.missed.load(Ordering::Relaxed);
        self.watching = anew;
        Some(Change::Lagged { missed })
    }
}

/// The watching end: what was there at the start, then what changes.
#[derive(Debug)]
pub(super) struct Watching {
    present: VecDeque<Change>,
    changes: mpsc::Receiver<Change>,
    missed: Arc<AtomicU64>,
}

/// The control task's side of all watches.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    watchers: Vec<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    keys: KeyExpr,
    /// None once the queue was full: then the watcher begins anew.
    changes: Option<mpsc::Sender<Change>>,
    missed: Arc<AtomicU64>,
}

impl Watchers {
    /// Begins a watch. Its queue is bounded: a watcher that lets it fill up is cut off and
    /// begins anew.
    pub(super) fn watch(
        &mut self,
        keys: KeyExpr,
        nodes: Vec<PeerInfo>,
        matches: Vec<Match>,
    ) -> Watching {
        let ups = nodes
            .into_iter()
            .map(|peer| Change::NodeUp { node: peer.node, incarnation: peer.incarnation });
        let present = ups.chain(matches.into_iter().map(Change::Declared)).chain([Change::Synced]);
        let (sender, changes) = mpsc::channel(CHANGES_QUEUED);
        let missed = Arc::new(AtomicU64::new(0));
        let watching = Watching { present: present.collect(), changes, missed: missed.clone() };
        self.watchers.retain(Watcher::is_alive);
        self.watchers.push(Watcher { keys, changes: Some(sender), missed });
        watching
    }

    /// Tells all whom it concerns.
    pub(super) fn tell(&mut self, change: &Change) {
        self.watchers.retain(Watcher::is_alive);
        for watcher in &mut self.watchers {
            watcher.tell(change);
        }
    }
}

impl Watcher {
    fn tell(&mut self, change: &Change) {
        if !self.wants(change) {
            return;
        }
        let taken = self.changes.as_ref().is_some_and(|it| it.try_send(change.clone()).is_ok());
        if !taken {
            self.changes = None;
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn wants(&self, change: &Change) -> bool {
        match change {
            Change::Declared(it) | Change::Changed(it) | Change::Undeclared(it) => {
                self.keys.matches(&it.declaration.key)
            }
            _ => true,
        }
    }

    /// The watch holds the other end of the count for as long as it has use for it.
    fn is_alive(&self) -> bool {
        Arc::strong_count(&self.missed) > 1
    }
}
