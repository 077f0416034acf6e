//! Time in a small world: it stands still while anything can happen, and moves to the
//! next deadline when the search chooses so.
//!
//! All pauses before a redial are one nanosecond, so that a redial may come before or
//! after anything else that is under way. The protocol's own times (0.5 s to 5 s) are
//! long: nothing lasts that long on its own, so they pass only while nothing is under
//! way, or as one of the delays that a world allows. Deadlines less than a tick apart
//! count as one moment, and may be served in any order.

use std::time::Duration;

/// What is closer together than this is one moment, in nanoseconds.
pub(super) const TICK: u64 = 1_000;

/// What is further away than this never comes, in nanoseconds.
pub(super) const NEVER: u64 = 3_600 * 1_000_000_000;

/// Where the clock starts: far enough from zero for ages to be told.
pub(super) const START: u64 = 1_000_000_000;

/// Of this the core makes pauses of one nanosecond, whatever its jitter.
pub(super) const REDIAL: Duration = Duration::from_nanos(2);
