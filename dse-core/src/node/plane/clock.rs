//! The clock of a data plane.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::protocol::Instant;

/// Time since the plane began, as its machines count it.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }

    pub(in crate::node) fn now(self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    pub(in crate::node) fn of(self, at: tokio::time::Instant) -> Instant {
        Instant::ZERO + at.saturating_duration_since(self.origin)
    }

    pub(in crate::node) fn at(self, at: Instant) -> tokio::time::Instant {
        self.origin + Duration::from_nanos(at.as_nanos())
    }
}

/// Nanoseconds since 1970.
pub(super) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
