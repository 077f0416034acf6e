//! What the bus costs, by the nodes' own counters.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::journal::Line;

/// One node's counters since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) messages_sent: u64,
    pub(crate) messages_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) samples_received: u64,
}

impl Counters {
    /// Reads a `stats` event.
    ///
    /// # Errors
    /// A counter is missing.
    pub(crate) fn read(line: &Line) -> Result<Self> {
        let counter = |name: &str| {
            line.number(name).with_context(|| format!("{} has no counter {name}", line.tag))
        };
        Ok(Self {
            messages_sent: counter("control_messages_sent")?,
            messages_received: counter("control_messages_received")?,
            bytes_sent: counter("control_bytes_sent")?,
            bytes_received: counter("control_bytes_received")?,
            samples_received: counter("samples_received")?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            messages_sent: self.messages_sent.saturating_sub(before.messages_sent),
            messages_received: self.messages_received.saturating_sub(before.messages_received),
            bytes_sent: self.bytes_sent.saturating_sub(before.bytes_sent),
            bytes_received: self.bytes_received.saturating_sub(before.bytes_received),
            samples_received: self.samples_received.saturating_sub(before.samples_received),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            messages_sent: self.messages_sent + other.messages_sent,
            messages_received: self.messages_received + other.messages_received,
            bytes_sent: self.bytes_sent + other.bytes_sent,
            bytes_received: self.bytes_received + other.bytes_received,
            samples_received: self.samples_received + other.samples_received,
        }
    }
}

/// The counters of each launch.
pub(crate) type Snapshot = BTreeMap<String, Counters>;

/// Adds up what all nodes counted between two readings.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    last: Snapshot,
}

impl Meter {
    /// What was counted since the last reading. A launch that was not there before
    /// counts from its start; one that is gone counts no more.
    pub(crate) fn advance(&mut self, now: Snapshot) -> Counters {
        let before = std::mem::replace(&mut self.last, now);
        let grown = self
            .last
            .iter()
            .map(|(tag, counters)| counters.since(before.get(tag).copied().unwrap_or_default()));
        grown.fold(Counters::default(), Counters::plus)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sent(messages_sent: u64) -> Counters {
        Counters { messages_sent, ..Counters::default() }
    }

    #[test]
    fn meter_counts_newcomers_whole_and_the_gone_no_more() {
        let mut meter = Meter::default();
        let first = Snapshot::from([("a".to_owned(), sent(10)), ("b".to_owned(), sent(20))]);
        assert_eq!(meter.advance(first).messages_sent, 30);
        let second = Snapshot::from([("a".to_owned(), sent(13)), ("c".to_owned(), sent(4))]);
        assert_eq!(meter.advance(second.clone()).messages_sent, 7);
        assert_eq!(meter.advance(second).messages_sent, 0);
    }

    #[test]
    fn a_missing_counter_is_named() {
        let line = Line::new("a", json!({"event": "stats", "control_messages_sent": 1}));
        let error = Counters::read(&line).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("a has no counter control_messages_received"));
    }
}
