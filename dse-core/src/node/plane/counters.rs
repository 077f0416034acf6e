//! What the data plane counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the data plane has counted since its start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct PlaneCounters {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The same, while it is being counted.
        #[derive(Debug, Default)]
        pub(in crate::node) struct Counters {
            $(pub(in crate::node) $name: AtomicU64,)*
        }

        impl Counters {
            pub(super) fn read(&self) -> PlaneCounters {
                PlaneCounters { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Samples sent, one for each link that a sample went to.
    samples_sent,
    /// Samples received.
    samples_received,
    /// Bytes of data frames sent.
    data_bytes_sent,
    /// Bytes of data frames received.
    data_bytes_received,
    /// Gaps reported to subscribers here.
    gaps,
    /// Samples that publishers here left out for subscribers.
    drops,
    /// Times that a subscriber was found stalled.
    stalls,
    /// Samples that came in and that nobody here wanted.
    unwanted_samples,
    /// Records that this version does not know.
    unknown_records,
    /// Fields of records that this version does not know.
    unknown_fields,
}

/// Counts `more` of something.
pub(in crate::node) fn count(counter: &AtomicU64, more: u64) {
    if more > 0 {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}
