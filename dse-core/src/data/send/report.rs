//! What a publisher can say of its subscribers: who has everything, who has not, and why
//! (law L10, PROTOCOL.md §9.8).

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::data::limits::REPORTED_NODES;
use crate::data::record::SkipReason;
use crate::protocol::{Instant, NodeId};

/// What became of what was published, when a publisher was closed or flushed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Report {
    /// How many nodes have confirmed all that was published for them, also if they are gone.
    pub confirmed: usize,
    /// The nodes that wanted a sample and have not confirmed it, or of which it is not known:
    /// the last 1024.
    pub unconfirmed: Vec<Unconfirmed>,
    /// How many more such nodes there were.
    pub unconfirmed_more: u64,
    /// How many nodes withdrew their interest before they had everything.
    pub withdrawn: u64,
    /// How many samples were dropped, each counted for each node, by reason.
    pub dropped: Vec<(SkipReason, u64)>,
}

/// A node that wanted a sample and has not confirmed it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Unconfirmed {
    /// The node.
    pub node: NodeId,
    /// Why not.
    pub cause: UnconfirmedCause,
}

/// Why a node has not confirmed a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum UnconfirmedCause {
    /// It made no progress for the stall timeout, or less than the floor.
    Stalled,
    /// Its link fell and did not come back in time.
    Lost,
    /// It left the bus.
    Left,
    /// It was started anew, and what its former instance had is gone.
    Restarted,
    /// It had no room.
    Evicted,
    /// It does not understand the sequence.
    Refused,
    /// It has not said so yet.
    Pending,
}

impl core::fmt::Display for UnconfirmedCause {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Stalled => "stalled",
            Self::Lost => "lost",
            Self::Left => "left",
            Self::Restarted => "restarted",
            Self::Evicted => "evicted",
            Self::Refused => "refused",
            Self::Pending => "pending",
        })
    }
}

/// A subscriber's node that holds up the publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waited {
    /// The node.
    pub node: NodeId,
    /// Since when.
    pub since: Instant,
    /// Since when it has made no progress, at most as long.
    pub idle_since: Instant,
}

/// What is known of a node at some point of the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Confirmed,
    Withdrawn,
    Unconfirmed(UnconfirmedCause),
}

/// Samples that a route left out, by reason.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Losses {
    counts: [u64; 7],
}

const REASONS: [SkipReason; 7] = [
    SkipReason::Policy,
    SkipReason::Wish,
    SkipReason::Superseded,
    SkipReason::Stalled,
    SkipReason::Expired,
    SkipReason::Evicted,
    SkipReason::Lost,
];

impl Losses {
    pub(super) fn add(&mut self, reason: SkipReason, samples: u64) {
        if let Some(count) = self.counts.get_mut(usize::from(reason.number())) {
            *count = count.saturating_add(samples);
        }
    }

    pub(super) fn set(&mut self, reason: SkipReason, samples: u64) {
        if let Some(count) = self.counts.get_mut(usize::from(reason.number())) {
            *count = samples;
        }
    }

    pub(super) fn of(&self, reason: SkipReason) -> u64 {
        self.counts.get(usize::from(reason.number())).copied().unwrap_or(0)
    }

    /// Samples that were dropped here: not those that newer values took the place of.
    pub(super) fn dropped(&self) -> u64 {
        let kept = [SkipReason::Superseded, SkipReason::Evicted];
        let reasons = REASONS.into_iter().filter(|reason| !kept.contains(reason));
        reasons.map(|reason| self.of(reason)).fold(0, u64::saturating_add)
    }

    fn add_all(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
    }

    fn by_reason(&self) -> Vec<(SkipReason, u64)> {
        REASONS.into_iter().zip(self.counts).filter(|(_, count)| *count > 0).collect()
    }
}

impl Report {
    /// How many samples were dropped for this reason.
    pub fn dropped_by(&self, reason: SkipReason) -> u64 {
        self.dropped.iter().find(|(it, _)| *it == reason).map_or(0, |(_, count)| *count)
    }

    /// Has everybody that wanted the samples confirmed them?
    pub fn is_confirmed(&self) -> bool {
        self.unconfirmed.is_empty() && self.unconfirmed_more == 0
    }

    /// Adds a node whose route goes on.
    pub(super) fn add(&mut self, node: &NodeId, fate: Fate, losses: &Losses) {
        let known = self.unconfirmed.iter().any(|it| it.node == *node);
        match fate {
            _ if known => {}
            Fate::Confirmed => self.confirmed += 1,
            Fate::Withdrawn => self.withdrawn += 1,
            Fate::Unconfirmed(cause) => {
                self.unconfirmed.push(Unconfirmed { node: node.clone(), cause });
            }
        }
        let mut all = Losses::default();
        self.dropped.iter().for_each(|(reason, count)| all.add(*reason, *count));
        all.add_all(losses);
        self.dropped = all.by_reason();
    }
}

/// What is left of routes that are no more.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Departed {
    /// Those that lack something, the last ones last.
    unconfirmed: VecDeque<Unconfirmed>,
    more: u64,
    withdrawn: u64,
    /// Those that confirmed something, and up to where all; the oldest may be forgotten.
    confirmed: BTreeMap<NodeId, u64>,
    losses: Losses,
}

/// What is left of one route.
#[derive(Clone, Copy, Debug)]
pub(super) enum LastFate {
    /// It confirmed all that was for it: up to here, if it withdrew then.
    Confirmed(u64),
    /// It took nothing, and nothing was for it.
    Nothing,
    Withdrawn,
    Unconfirmed(UnconfirmedCause),
}

impl Departed {
    pub(super) fn add(&mut self, node: NodeId, fate: LastFate, losses: &Losses) {
        self.losses.add_all(losses);
        // Each node is counted once: who lacks something is named, whatever came after.
        let is_named = self.unconfirmed.iter().any(|it| it.node == node);
        match fate {
            LastFate::Confirmed(_) | LastFate::Withdrawn if is_named => {}
            LastFate::Confirmed(seq) => {
                if self.confirmed.len() >= REPORTED_NODES && !self.confirmed.contains_key(&node) {
                    self.confirmed.pop_first();
                }
                self.confirmed.insert(node, seq);
            }
            LastFate::Nothing => {}
            LastFate::Withdrawn => {
                self.confirmed.remove(&node);
                self.withdrawn += 1;
            }
            LastFate::Unconfirmed(cause) => {
                self.confirmed.remove(&node);
                self.unconfirmed.retain(|it| it.node != node);
                if self.unconfirmed.len() == REPORTED_NODES {
                    self.unconfirmed.pop_front();
                    self.more += 1;
                }
                self.unconfirmed.push_back(Unconfirmed { node, cause });
            }
        }
    }

    /// What a report at this point says of them, and does not say again. Those that have a route
    /// again are counted with that.
    pub(super) fn take<'a>(
        &mut self,
        seq: u64,
        with_route: impl Iterator<Item = &'a NodeId>,
    ) -> Report {
        let mut taken = core::mem::take(self);
        for node in with_route {
            taken.confirmed.remove(node);
        }
        let all = taken.confirmed.values().filter(|confirmed| **confirmed >= seq).count();
        let withdrawn = taken.withdrawn + (taken.confirmed.len() - all) as u64;
        Report {
            confirmed: all,
            unconfirmed: taken.unconfirmed.into(),
            unconfirmed_more: taken.more,
            withdrawn,
            dropped: taken.losses.by_reason(),
        }
    }
}
