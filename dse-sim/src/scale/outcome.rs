//! What one step cost one way of spreading news, and how long the news took.

use std::time::Duration;

/// What happens on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// All nodes start within a second.
    ColdStart,
    /// Nothing happens for an hour.
    IdleHour,
    /// One more node joins.
    Join,
    /// A node changes one declaration; a mean of several.
    Change,
    /// The machine of a node is gone.
    Crash,
    /// Each node leaves and starts again, one after the other.
    RollingRestart,
}

impl Step {
    /// All steps, in their order.
    pub const ALL: [Self; 6] = [
        Self::ColdStart,
        Self::IdleHour,
        Self::Join,
        Self::Change,
        Self::Crash,
        Self::RollingRestart,
    ];

    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ColdStart => "cold start",
            Self::IdleHour => "idle hour",
            Self::Join => "join",
            Self::Change => "change",
            Self::Crash => "crash",
            Self::RollingRestart => "rolling restart",
        }
    }
}

/// How news is spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// The control bus: the real core and codec.
    Bus,
    /// Every node tells its whole index to everyone each second: modelled.
    Periodic,
    /// SWIM: modelled.
    Gossip,
}

impl Way {
    /// All ways.
    pub const ALL: [Self; 3] = [Self::Bus, Self::Periodic, Self::Gossip];

    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bus => "dse",
            Self::Periodic => "periodic",
            Self::Gossip => "gossip",
        }
    }
}

/// What a step cost, over all nodes together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Messages sent.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages sent by the node that sent most.
    pub most_messages: u64,
    /// Bytes sent by the node that sent most.
    pub most_bytes: u64,
    /// For each node that had something to learn, how long it took to know it all.
    pub waits: Vec<Duration>,
}

impl Outcome {
    /// Of the waits, the one that so many of a hundred do not exceed.
    pub fn percentile(&self, of_hundred: usize) -> Option<Duration> {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        let rank = (waits.len() * of_hundred).div_ceil(100);
        waits.get(rank.saturating_sub(1)).copied()
    }

    /// Takes in what one node sent during the step.
    pub fn sent_by_node(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
        self.most_messages = self.most_messages.max(messages);
        self.most_bytes = self.most_bytes.max(bytes);
    }

    /// Turns the sum of several steps into their mean.
    pub fn mean_of(&mut self, steps: u64) {
        self.messages /= steps;
        self.bytes /= steps;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_waits_that_were() {
        let waits = (1..=10).rev().map(Duration::from_millis).collect();
        let outcome = Outcome { waits, ..Outcome::default() };
        assert_eq!(outcome.percentile(50), Some(Duration::from_millis(5)));
        assert_eq!(outcome.percentile(99), Some(Duration::from_millis(10)));
        assert_eq!(outcome.percentile(100), Some(Duration::from_millis(10)));
        assert_eq!(Outcome::default().percentile(50), None);
    }
}
