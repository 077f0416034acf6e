//! How far a subscription came with each key of each node.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Delivery, Sample, Source, Value};
use crate::data::Origin;
use crate::data::record::{EndReason, SkipReason};
use crate::protocol::{Instant, InterestOptions, Key, Kind, NodeId};

/// A sample of a stream may come so much of its interval too early.
const EARLY: u32 = 4;

/// For how many values of others a subscription remembers how far it came.
const POSITIONS: usize = 4 * crate::protocol::limits::DECLARATIONS_PER_NODE;

/// How far a subscription came with one key of one node. Outlives links.
#[derive(Clone, Debug, Hash)]
pub(super) struct Position {
    pub(super) origin: Arc<Origin>,
    /// The link, number and epoch of the sequence that it came to last. Numbers grow with each
    /// publisher of a node; epochs count within one sequence.
    pub(super) rank: (u64, u64, u64),
    /// The last number that was delivered or told as lost.
    pub(super) delivered: u64,
    pub(super) fate: Fate,
    /// Its key was exposed no more while a sequence still fed it.
    pub(super) undeclared: bool,
    /// Why what is missing next is missing.
    pub(super) reason: SkipReason,
    /// Nothing is delivered before this time, at the subscriber's wish.
    pub(super) next_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    /// A sequence feeds it.
    Live,
    Ended,
    /// Its key is exposed no more, and no end of it came. What was under way may still come.
    Undeclared,
    Left,
    Lost,
    /// It is of no use any more: another may take its place.
    Free,
}

/// The positions of a subscription. A sequence knows the place of its own.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Positions {
    places: BTreeMap<(NodeId, Key), usize>,
    positions: Vec<Position>,
    free: Vec<usize>,
}

impl Positions {
    pub(super) fn get(&mut self, place: usize) -> &mut Position {
        &mut self.positions[place]
    }

    /// The place of a key's position, and whether it is new: then all up to `start` is none of
    /// the subscription's.
    pub(super) fn of(&mut self, origin: &Arc<Origin>, start: u64) -> (usize, bool) {
        let name = (origin.node.clone(), origin.key.clone());
        if let Some(place) = self.places.get(&name) {
            return (*place, false);
        }
        // A node that has many keys come and go makes room among its own first.
        for own in [true, false] {
            if self.places.len() >= POSITIONS {
                let of_others = |owner: &NodeId| own && *owner != origin.node;
                self.retain(|owner, it| it.fate == Fate::Live || of_others(owner));
            }
        }
        let position = Position {
            origin: Arc::clone(origin),
            rank: (0, 0, 0),
            delivered: before_first(origin, start),
            fate: Fate::Live,
            undeclared: false,
            reason: SkipReason::Lost,
            next_at: Instant::ZERO,
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.positions[place] = position;
                place
            }
            None => {
                self.positions.push(position);
                self.positions.len() - 1
            }
        };
        self.places.insert(name, place);
        (place, true)
    }

    /// The place of a key's position, if there is one.
    pub(super) fn place(&self, node: &NodeId, key: &Key) -> Option<usize> {
        self.places.get(&(node.clone(), key.clone())).copied()
    }

    /// The places of those whose key is exposed no more and that are not told so.
    pub(super) fn undeclared(&self) -> Vec<usize> {
        let waits = |it: &Position| it.undeclared && it.fate == Fate::Live;
        (0..self.positions.len()).filter(|place| waits(&self.positions[*place])).collect()
    }

    pub(super) fn of_node(&mut self, node: &NodeId) -> impl Iterator<Item = &mut Position> {
        self.positions.iter_mut().filter(move |it| it.origin.node == *node && it.fate != Fate::Free)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&NodeId, &Position) -> bool) {
        let Self { places, positions, free } = self;
        places.retain(|(owner, _), place| {
            let keeps = keep(owner, &positions[*place]);
            if !keeps {
                positions[*place].fate = Fate::Free;
                free.push(*place);
            }
            keeps
        });
    }
}

/// The number before the first one that is for a subscription. Of a state any value is, for a
/// sequence that began only to end for want of interest may have left it out.
pub(super) fn before_first(origin: &Origin, start: u64) -> u64 {
    if origin.kind == Kind::State { 0 } else { start }
}

impl Position {
    /// Is there no later sequence of the same key?
    pub(super) fn is_current<T>(&self, source: &Source<T>) -> bool {
        self.rank == source.rank()
    }

    /// Is a sample of a stream to be delivered? Then perhaps a gap first.
    pub(super) fn accept<T>(
        &mut self,
        source: &Source<T>,
        seq: u64,
        options: &InterestOptions,
        now: Instant,
        gaps: &mut u64,
    ) -> Option<Option<Delivery>> {
        if !self.is_current(source) || seq <= self.delivered {
            return None;
        }
        let gap = self.gap(seq - 1, gaps);
        self.delivered = seq;
        if !options.min_interval.is_zero() {
            // The publisher's node keeps the interval, too: what it lets pass may come a little
            // early here, and is not to be left out for that.
            let early = self.next_at.since(now);
            if early > options.min_interval / EARLY {
                return None;
            }
            self.next_at = now + early + options.min_interval;
        }
        Some(gap)
    }

    /// All up to `to_seq` that was not delivered will not be.
    pub(super) fn gap(&mut self, to_seq: u64, gaps: &mut u64) -> Option<Delivery> {
        if to_seq <= self.delivered {
            return None;
        }
        let from_seq = self.delivered + 1;
        self.delivered = to_seq;
        let reason = core::mem::replace(&mut self.reason, SkipReason::Lost);
        *gaps += 1;
        let origin = Arc::clone(&self.origin);
        Some(Delivery::Gap { origin, from_seq, to_seq: Some(to_seq), reason })
    }

    /// The source has ended, which is told once.
    pub(super) fn ended(&mut self, reason: EndReason) -> Option<Delivery> {
        if core::mem::replace(&mut self.fate, Fate::Ended) == Fate::Ended {
            return None;
        }
        let origin = Arc::clone(&self.origin);
        Some(match reason {
            EndReason::Refused => Delivery::Unsupported { origin },
            _ => Delivery::Ended { origin },
        })
    }

    pub(super) fn sample(&self, value: Value) -> Sample {
        let Value { seq, time_ns, headers, payload } = value;
        Sample { origin: Arc::clone(&self.origin), seq, time_ns, headers, payload }
    }
}
