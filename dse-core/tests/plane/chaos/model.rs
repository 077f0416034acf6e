//! What subscribers may be told (law L8), and the dice of the schedules.

use dse_core::node::{Delivery, Overflow};
use dse_core::protocol::Kind;

use crate::world;

/// What the publishing nodes publish: a stream of each policy, one with a history, a state.
pub(super) const KEYS: [(&str, Kind, Overflow, usize); 5] = [
    ("block", Kind::Stream, Overflow::Block, 0),
    ("oldest", Kind::Stream, Overflow::DropOldest, 0),
    ("newest", Kind::Stream, Overflow::DropNewest, 0),
    ("history", Kind::Stream, Overflow::Block, 20),
    ("state", Kind::State, Overflow::Block, 0),
];
/// The first publish, the others subscribe; the second does both.
pub(super) const NODES: [&str; 4] = ["a", "b", "c", "d"];

/// What a subscription was told of one value of one node.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) incarnation: u64,
    pub(super) last_seq: Option<u64>,
    /// It was told that the source is lost or has left, and not that it is back.
    is_away: bool,
}

impl Told {
    /// Checks what comes next against what came before.
    pub(super) fn note(&mut self, delivery: &Delivery, key: usize) {
        let is_stream = KEYS[key].1 == Kind::Stream;
        match delivery {
            Delivery::Sample(sample) => {
                let (origin, seq) = (&sample.origin, sample.seq);
                if self.incarnation == 0 {
                    self.incarnation = origin.incarnation.0;
                }
                assert_eq!(origin.kind, KEYS[key].1, "{delivery:?}");
                assert_eq!(self.incarnation, origin.incarnation.0, "{delivery:?}");
                let stamp = stamp(origin.incarnation.0, key, seq);
                assert_eq!(sample.payload, world::payload(stamp));
                match self.last_seq {
                    Some(last) if is_stream => assert_eq!(seq, last + 1, "{delivery:?}"),
                    last => assert!(Some(seq) > last, "{delivery:?}"),
                }
                self.last_seq = Some(seq);
            }
            Delivery::Gap { from_seq, to_seq, .. } => {
                assert!(is_stream && to_seq.is_none_or(|to| *from_seq <= to), "{delivery:?}");
                if let Some(last) = self.last_seq {
                    assert_eq!(*from_seq, last + 1, "{delivery:?}");
                }
                self.last_seq = to_seq.or(self.last_seq);
            }
            Delivery::Restarted { origin } => {
                assert!(origin.incarnation.0 > self.incarnation, "{delivery:?}");
                *self = Self { incarnation: origin.incarnation.0, ..Self::default() };
            }
            Delivery::Lost { .. } | Delivery::Left { .. } => {
                assert!(!self.is_away || matches!(delivery, Delivery::Left { .. }));
                self.is_away = true;
            }
            Delivery::Back { .. } => {
                assert!(self.is_away, "it was not away");
                self.is_away = false;
            }
            Delivery::Ended { .. } => {}
            other => panic!("unexpected: {other:?}"),
        }
    }
}

pub(super) fn wants(keys: &str, key: usize) -> bool {
    keys == "**" || keys == KEYS[key].0
}

/// Which publishing node and which key a delivery is of.
pub(super) fn place(delivery: &Delivery) -> (usize, usize) {
    let origin = delivery.origin();
    let (node, key) = (origin.node.as_str(), origin.key.as_str());
    let node = NODES.iter().position(|name| *name == node).expect("a node");
    (node, KEYS.iter().position(|it| it.0 == key).expect("a key"))
}

/// A number that no other sample has.
pub(super) fn stamp(incarnation: u64, key: usize, seq: u64) -> u64 {
    (incarnation << 48) | ((key as u64) << 40) | seq
}

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    pub(super) fn pick(&mut self, limit: usize) -> usize {
        self.below(limit as u64) as usize
    }
}
