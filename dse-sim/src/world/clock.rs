//! The clocks of nodes, which need not agree with the world's.

use dse_core::protocol::Instant;

/// How a node's clock relates to the world's: it started earlier or later, and it runs
/// a little too fast or too slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// What it shows when the world begins, in nanoseconds.
    pub offset_ns: u64,
    /// How much faster than the world's it runs, in millionths. Within ±500,000.
    pub drift_ppm: i32,
}

impl Clock {
    /// What it shows at a moment of the world.
    pub(super) fn shows(self, world: u64) -> Instant {
        let drift = i128::from(world) * i128::from(self.drift_ppm) / MILLION;
        Instant::from_nanos(clamp(i128::from(self.offset_ns) + i128::from(world) + drift))
    }

    /// The first moment of the world at which it shows this or later.
    pub(super) fn reaches(self, shown: Instant) -> u64 {
        let since = i128::from(shown.as_nanos()) - i128::from(self.offset_ns);
        let rate = MILLION + i128::from(self.drift_ppm);
        let mut world = clamp(since * MILLION / rate).saturating_sub(1);
        while self.shows(world) < shown {
            world += 1;
        }
        world
    }
}

fn clamp(nanos: i128) -> u64 {
    u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
}

const MILLION: i128 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_called_when_the_clock_shows_its_time_and_not_before() {
        for drift_ppm in [-200_000, -7, 0, 13, 200_000] {
            let clock = Clock { offset_ns: 5_000_000_123, drift_ppm };
            for shown in [5_000_000_123, 5_000_000_124, 9_999_999_999, 7_200_000_000_001] {
                let shown = Instant::from_nanos(shown);
                let at = clock.reaches(shown);
                assert!(clock.shows(at) >= shown, "{clock:?} {shown:?}");
                assert!(at == 0 || clock.shows(at - 1) < shown, "{clock:?} {shown:?}");
            }
        }
    }
}
