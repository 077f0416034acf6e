//! What a subscriber gets.

use alloc::sync::Arc;

use bytes::Bytes;

use crate::data::Origin;
use crate::data::headers::Headers;
use crate::data::record::SkipReason;

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// A value.
    Sample(Sample),
    /// Samples of a stream are lost.
    Gap {
        /// Of what.
        origin: Arc<Origin>,
        /// The number of the first lost sample.
        from_seq: u64,
        /// The number of the last lost sample; none while it is not known: then another gap
        /// from the same number follows.
        to_seq: Option<u64>,
        /// Why.
        reason: SkipReason,
    },
    /// The publisher was restarted: its numbers begin anew.
    Restarted {
        /// What it publishes now.
        origin: Arc<Origin>,
    },
    /// The publisher closed the key; all its samples came before.
    Ended {
        /// What has ended.
        origin: Arc<Origin>,
    },
    /// The publisher's node left the bus. What it published is stale from now on.
    Left {
        /// What it published.
        origin: Arc<Origin>,
    },
    /// The link to the publisher's node fell. What it published may be stale from now on.
    Lost {
        /// What it publishes.
        origin: Arc<Origin>,
    },
    /// The publisher that was lost is back: samples go on. Or its key was taken for ended, for the
    /// word of that overtook samples that were under way: they follow, and the end.
    Back {
        /// What it publishes.
        origin: Arc<Origin>,
    },
    /// This version cannot follow what the publisher sends; the rest of it does not come.
    Unsupported {
        /// What it publishes.
        origin: Arc<Origin>,
    },
}

impl Delivery {
    /// Of which publisher and key it tells.
    pub fn origin(&self) -> &Arc<Origin> {
        match self {
            Self::Sample(sample) => &sample.origin,
            Self::Gap { origin, .. }
            | Self::Restarted { origin }
            | Self::Ended { origin }
            | Self::Left { origin }
            | Self::Lost { origin }
            | Self::Back { origin }
            | Self::Unsupported { origin } => origin,
        }
    }
}

/// A published value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Sample {
    /// Who published it, and under which key: shared by all samples of a publisher.
    pub origin: Arc<Origin>,
    /// Its number among the samples of that origin, from 1.
    pub seq: u64,
    /// When it was published, in nanoseconds since 1970 by the publisher's clock.
    pub time_ns: u64,
    /// What travels with it.
    pub headers: Headers,
    /// The value.
    pub payload: Bytes,
}
