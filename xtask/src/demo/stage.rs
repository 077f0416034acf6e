//! What all steps share: the nodes, what is known of them, and waiting for all of them
//! to say something.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cast;
use super::feed::Feed;
use crate::fleet::Fleet;
use crate::fleet::counters::{Counters, Meter};
use crate::fleet::journal::{Line, now_ns};

/// The running demo.
pub(super) struct Stage {
    pub(super) fleet: Fleet,
    /// How many nodes play, the late one included.
    pub(super) nodes: usize,
    /// The tag of the present launch of each node, by its name.
    pub(super) launched: BTreeMap<String, String>,
    /// The incarnation of each launch.
    pub(super) incarnations: BTreeMap<String, u64>,
    /// Keys that a node declared after its start.
    pub(super) later_keys: BTreeSet<(String, String)>,
    pub(super) feed: Feed,
    meter: Meter,
}

impl Stage {
    pub(super) fn new(fleet: Fleet, nodes: usize) -> Result<Self> {
        let feed = Feed::start(&fleet.folder().join("app.log"))?;
        Ok(Self {
            fleet,
            nodes,
            launched: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            later_keys: BTreeSet::new(),
            feed,
            meter: Meter::default(),
        })
    }

    /// Starts a node of the cast; returns when, in nanoseconds since 1970.
    pub(super) fn launch(&mut self, name: &str) -> Result<u64> {
        let config = cast::config(name, self.feed.path());
        let at = now_ns();
        let tag = self.fleet.launch(name, &config)?;
        self.launched.insert(name.to_owned(), tag);
        Ok(at)
    }

    /// Waits for a node's `ready`, and notes its incarnation. Returns when it was said.
    pub(super) fn await_ready(&mut self, name: &str, start: usize) -> Result<u64> {
        let tag = self.tag(name)?;
        let ready = self.fleet.journal.follow(start, PATIENCE, |line| {
            let said = line.tag == tag && matches!(line.event(), Some("ready" | "exited"));
            said.then(|| line.clone())
        });
        let Some(incarnation) = ready.as_ref().and_then(|line| line.number("incarnation")) else {
            bail!("{name} did not get ready; {}", self.fleet.last_words(&tag));
        };
        self.incarnations.insert(tag, incarnation);
        Ok(ready.map_or(0, |line| line.heard_ns))
    }

    /// The tag of a node's present launch.
    pub(super) fn tag(&self, name: &str) -> Result<String> {
        self.launched.get(name).cloned().with_context(|| format!("{name} was not started"))
    }

    /// The names and tags of all nodes but this one.
    pub(super) fn all_but(&self, name: &str) -> Vec<(String, String)> {
        let others = self.launched.iter().filter(|(other, _)| *other != name);
        others.map(|(name, tag)| (name.clone(), tag.clone())).collect()
    }

    /// Waits until every wish is fulfilled by a line from `start` on; returns when the
    /// last one was, by the clock of the node that said it.
    pub(super) fn await_all<W: Ord + std::fmt::Debug>(
        &self,
        start: usize,
        mut wishes: BTreeSet<W>,
        fulfils: impl Fn(&Line) -> Option<W>,
    ) -> Result<u64> {
        let mut last_ns = 0;
        let all = self.fleet.journal.follow(start, PATIENCE, |line| {
            if fulfils(line).is_some_and(|wish| wishes.remove(&wish)) {
                last_ns = last_ns.max(line.happened_ns());
            }
            wishes.is_empty().then_some(())
        });
        match (all, wishes.first()) {
            (Some(()), _) | (None, None) => Ok(last_ns),
            (None, Some(wish)) => {
                bail!("{} things did not happen in {PATIENCE:?}, first {wish:?}", wishes.len())
            }
        }
    }

    /// Waits until all nodes but `name` have said this of it; returns when the last did.
    pub(super) fn await_news(
        &self,
        start: usize,
        name: &str,
        event: &str,
        key: Option<&str>,
    ) -> Result<u64> {
        let wishes = self.all_but(name).into_iter().map(|(_, tag)| tag).collect();
        self.await_all(start, wishes, |line| {
            let told = line.event() == Some(event)
                && line.text("node") == Some(name)
                && line.text("key") == key;
            told.then(|| line.tag.clone())
        })
    }

    /// What was counted since the last call.
    pub(super) fn cost(&mut self) -> Result<Counters> {
        Ok(self.meter.advance(self.fleet.counters()?))
    }

    /// Waits until no node has sent or received a control message for `still`. The
    /// periodic broadcast is never still: there it only lets that time pass.
    pub(super) fn settle(&mut self, still: Duration) -> Result<()> {
        if self.fleet.is_baseline() {
            thread::sleep(still);
            return Ok(());
        }
        self.fleet.settle(still, PATIENCE).map(|_since| ())
    }
}

/// Milliseconds between two moments in nanoseconds, rounded up.
pub(super) fn ms_between(from_ns: u64, to_ns: u64) -> u64 {
    to_ns.saturating_sub(from_ns).div_ceil(1_000_000)
}

/// How long any one thing may take before its step fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);
