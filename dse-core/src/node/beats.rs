//! How a node tells its watchers that it lives (PROTOCOL.md §10.1): one after the other.
//!
//! Time is cut into slots, alike for all links of a node: they have one origin of time.
//! So the links' tasks tell the watchers in turn without a word to each other.

use core::time::Duration;

use crate::protocol::{BeatTurn, Instant};

/// The beats of one link.
#[derive(Debug)]
pub(crate) struct Beats {
    slot: Duration,
    turn: Option<BeatTurn>,
    next: Instant,
}

impl Beats {
    /// Slots of this length. The peer has no turn at first.
    pub(crate) fn new(slot: Duration) -> Self {
        Self { slot, turn: None, next: Instant::ZERO }
    }

    /// The peer has this turn from now on. One that is new is told at once, so that the
    /// peer knows when to expect the next.
    pub(crate) fn set_turn(&mut self, turn: Option<BeatTurn>, now: Instant) {
        if turn != self.turn {
            self.turn = turn;
            self.next = now;
        }
    }

    /// When the next is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.turn.map(|_| self.next)
    }

    /// Is a beat due? Gives when the one after it will be. One that is late is due once,
    /// however late it is.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Duration> {
        let turn = self.turn.filter(|_| now >= self.next)?;
        self.next = next_slot(self.slot, turn, now);
        Some(self.next.since(now))
    }
}

/// When the first slot of a turn after `now` begins.
fn next_slot(slot: Duration, turn: BeatTurn, now: Instant) -> Instant {
    let first = Instant::ZERO + slot * turn.number;
    if now < first {
        return first;
    }
    let round = u64::try_from((slot * turn.of).as_nanos()).unwrap_or(u64::MAX).max(1);
    let since = now.as_nanos() - first.as_nanos();
    now + Duration::from_nanos(round - since % round)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn beats(number: u32, of: u32) -> Beats {
        let mut beats = Beats::new(Duration::from_millis(500));
        beats.set_turn(Some(BeatTurn { number, of }), at(0));
        beats
    }

    /// The beats until then, in milliseconds.
    fn run(beats: &mut Beats, until: u64) -> Vec<u64> {
        let due = |ms: &u64| beats.poll(at(*ms)).is_some();
        (0..until).filter(due).collect()
    }

    #[test]
    fn each_turn_has_its_slots() {
        assert_eq!(run(&mut beats(0, 3), 4000), [0, 1500, 3000]);
        assert_eq!(run(&mut beats(1, 3), 4000), [0, 500, 2000, 3500]);
        assert_eq!(run(&mut beats(2, 3), 4000), [0, 1000, 2500]);
        assert_eq!(run(&mut beats(0, 1), 1600), [0, 500, 1000, 1500]);
    }

    #[test]
    fn a_new_turn_is_told_at_once_and_an_old_one_is_not() {
        let mut beats = beats(1, 3);
        assert_eq!(beats.poll(at(0)), Some(Duration::from_millis(500)));
        beats.set_turn(Some(BeatTurn { number: 1, of: 3 }), at(100));
        assert_eq!(beats.poll(at(100)), None);
        beats.set_turn(Some(BeatTurn { number: 1, of: 2 }), at(200));
        assert_eq!(beats.poll(at(200)), Some(Duration::from_millis(300)));
        beats.set_turn(None, at(300));
        assert_eq!((beats.poll(at(10_000)), beats.deadline()), (None, None));
    }

    #[test]
    fn a_late_beat_comes_once_and_tells_of_the_next_slot() {
        let mut beats = beats(2, 3);
        beats.poll(at(0));
        assert_eq!(beats.poll(at(8300)), Some(Duration::from_millis(200)));
        assert_eq!(beats.poll(at(8499)), None);
        assert_eq!(beats.poll(at(8500)), Some(Duration::from_millis(1500)));
    }
}
