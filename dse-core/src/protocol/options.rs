//! What a subscriber asks of the routes to it, and the classes of traffic.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// How urgent samples are. On a link no class waits behind a lower one for longer than what
/// is in flight and one fragment take (law L9).
///
/// On the wire its number; one that is not known counts as [`Class::Normal`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[repr(u8)]
pub enum Class {
    /// Before all others.
    Realtime = 0,
    /// What nothing else was said of.
    #[default]
    Normal = 1,
    /// After all others: large transfers, logs.
    Bulk = 2,
}

impl Class {
    /// All classes, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Realtime, Self::Normal, Self::Bulk];

    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The class of a number on the wire.
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Realtime,
            2 => Self::Bulk,
            _ => Self::Normal,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Realtime => "realtime",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        })
    }
}

/// What a subscription asks of the routes that bring it samples (PROTOCOL.md §8.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub struct InterestOptions {
    /// The publisher never waits for this subscriber: what it is too slow for is dropped,
    /// and it is told the gap.
    pub never_wait: bool,
    /// The least time between two samples of one key. Of a stream the samples between are
    /// left out; of a state the latest is sent once the time is over. In whole milliseconds.
    pub min_interval: Duration,
    /// The class of the routes, instead of the publisher's.
    pub class: Option<Class>,
}

impl InterestOptions {
    /// Does it ask for all that another asks for, so that both together ask for no more?
    pub(super) fn covers(self, other: Self) -> bool {
        self.merge(other) == self
    }

    /// What two subscriptions of one node need together: waited for if one of them is to be,
    /// the shorter interval, the higher class.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            never_wait: self.never_wait && other.never_wait,
            min_interval: self.min_interval.min(other.min_interval),
            // None is the publisher's own class, which is not known here: it stays unless both
            // name one.
            class: match (self.class, other.class) {
                (Some(one), Some(two)) => Some(one.min(two)),
                (Some(Class::Realtime), None) | (None, Some(Class::Realtime)) => {
                    Some(Class::Realtime)
                }
                _ => None,
            },
        }
    }
}
