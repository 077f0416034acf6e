//! What a node counts.

use std::time::Duration;

use super::limits::WAITS_TOLD;
use super::plane::Waiter;
use crate::protocol::{Key, NodeId};

/// Declares [`Stats`]: each counter's name on the bus is its field's name.
macro_rules! stats {
    ($($(#[$meta:meta])* $name:ident)*) => {
        /// A node's counters since its start, and what it holds now.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$meta])* pub $name: u64,)*
            /// Whom publishers of this node wait for now, in order of their keys: the first 128.
            pub waits: Vec<Wait>,
        }

        impl Stats {
            /// All by name, as they go over the bus: one for each field, and for each wait its
            /// length in milliseconds as `waits_ms KEY NODE`.
            pub fn counters(&self) -> Vec<(Box<str>, u64)> {
                let fields = [$((stringify!($name), self.$name)),*];
                let fields = fields.into_iter().map(|(name, value)| (name.into(), value));
                fields.chain(self.waits.iter().map(Wait::counter)).collect()
            }
        }
    };
}

stats! {
    /// Control messages sent.
    control_messages_sent
    /// Control messages received.
    control_messages_received
    /// Bytes of control messages sent, probes and framing not counted.
    control_bytes_sent
    /// Bytes of control messages received.
    control_bytes_received
    /// 1 while the control bus waits for a moment in time, 0 while it waits for nothing but
    /// input: an idle bus does (law L1).
    control_timers
    /// Samples sent, one for each link that a sample went to.
    samples_sent
    /// Samples received over links.
    samples_received
    /// Bytes of data frames sent.
    data_bytes_sent
    /// Bytes of data frames received.
    data_bytes_received
    /// Gaps reported to subscribers of this node.
    gaps
    /// Samples that publishers of this node dropped for a slow subscriber.
    drops
    /// Times that a subscriber was found stalled.
    stalls
    /// Samples received that no subscription of this node wanted any more.
    unwanted_samples
    /// Frames of control lanes of types that this version does not know.
    unknown_frames
    /// Control messages of kinds that this version does not know.
    unknown_messages
    /// Records of data frames that this version does not know.
    unknown_records
    /// What was skipped inside control frames, control messages and data records because this
    /// version does not know it: tags, numbers of kinds, reasons, roles, scopes and classes, bits
    /// of flags and features.
    unknown_fields
    /// Links closed because the peer broke the protocol.
    faults
    /// Peers refused, and messages of strangers dropped.
    refused
    /// Links that stand now, open or not yet.
    links
    /// Members with an open link now.
    peers
    /// Guests with an open link now.
    guests
}

/// A publisher waits for a subscriber's node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wait {
    /// What is published.
    pub key: Key,
    /// Who is waited for.
    pub node: NodeId,
    /// For how long.
    pub since: Duration,
}

impl Wait {
    /// How counters that are waits begin.
    const COUNTER: &str = "waits_ms ";

    /// The waits of all publishers, as many as are told.
    pub(super) fn all(waits: Vec<(Key, Waiter)>) -> Vec<Self> {
        let wait =
            |(key, waiter): (Key, Waiter)| Self { key, node: waiter.node, since: waiter.since };
        waits.into_iter().take(WAITS_TOLD).map(wait).collect()
    }

    /// Reads a counter of [`Node::stats_of`](super::Node::stats_of), if it is a wait.
    pub fn from_counter(name: &str, value: u64) -> Option<Self> {
        let (key, node) = name.strip_prefix(Self::COUNTER)?.split_once(' ')?;
        let (key, node) = (Key::new(key).ok()?, NodeId::new(node).ok()?);
        Some(Self { key, node, since: Duration::from_millis(value) })
    }

    fn counter(&self) -> (Box<str>, u64) {
        let ms = u64::try_from(self.since.as_millis()).unwrap_or(u64::MAX);
        (format!("{}{} {}", Self::COUNTER, self.key, self.node).into(), ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_as_it_was_written() {
        let wait = Wait {
            key: Key::new("site/visits").expect("valid"),
            node: NodeId::new("web-1.sub-8f").expect("valid"),
            since: Duration::from_millis(1200),
        };
        let stats = Stats { waits: vec![wait.clone()], ..Stats::default() };
        let counters = stats.counters();
        let (name, value) = counters.last().expect("a counter");
        assert_eq!((&**name, *value), ("waits_ms site/visits web-1.sub-8f", 1200));
        assert_eq!(Wait::from_counter(name, *value), Some(wait));
        assert_eq!(Wait::from_counter("links", 1), None);
        assert_eq!(Wait::from_counter("waits_ms a//b x", 1), None);
    }
}
