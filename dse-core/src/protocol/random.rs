//! Numbers that look random, from the seed given at the start, and hashes that all
//! nodes compute alike.

use core::time::Duration;

use serde::Serialize;

use super::names::{Incarnation, NodeId};

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
/// 2014): small, and good enough for nonces and jitter.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Between half of `pause` and all of it.
    pub(super) fn jitter(&mut self, pause: Duration) -> Duration {
        let nanos = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        let half = nanos / 2;
        Duration::from_nanos(half + self.next() % (nanos - half).max(1))
    }
}

/// A member's fingerprint (PROTOCOL.md §4.4), over its id and incarnation.
pub(super) fn fingerprint(node: &NodeId, incarnation: Incarnation) -> u64 {
    let id = node.as_str().bytes();
    hash(id.chain([0]).chain(incarnation.0.to_le_bytes()))
}

/// A node's place among those who watch and are watched (PROTOCOL.md §10.1), the same at
/// each of its starts.
pub(super) fn place(node: &NodeId) -> u64 {
    hash(node.as_str().bytes())
}

/// How high one member ranks as a watcher of another. The same both ways, so that who
/// watches is mostly watched by the same: on few links one end hears nothing and has to ask.
pub(super) fn score(one: u64, other: u64) -> u64 {
    mix(one ^ other)
}

/// FNV-1a, mixed.
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    mix(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_that_of_a_start() {
        let (a, b) = (NodeId::new("a").expect("an id"), NodeId::new("b").expect("an id"));
        let prints = [(&a, 1), (&a, 2), (&b, 1)].map(|(id, i)| fingerprint(id, Incarnation(i)));
        assert!(prints[0] != prints[1] && prints[0] != prints[2]);
    }
}
