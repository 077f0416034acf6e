//! How long a publisher still waits for one subscriber (RULES 2, PROTOCOL.md §9).
//!
//! To wait for a subscriber that takes sample after sample is backpressure, and what
//! `Block` is for. What counts against a subscriber is the time in which a publish
//! waits for it and
//!
//! * it takes nothing at all for longer than [`GRACE`], or
//! * another subscriber has taken everything and could have had more.
//!
//! More of that than the stall timeout within 10 s, and it is stalled. If the timer of who
//! waits is late, this node stood still, and the subscriber's word may lie unread: it begins
//! anew, but not again before it has taken something.

use std::time::Duration;

use tokio::time::Instant;

use crate::node::limits::LATE;

/// A pause that is no sign of a stall: scheduling, a credit on its way.
const GRACE: Duration = Duration::from_millis(100);

/// What one subscriber has left.
#[derive(Debug)]
pub(super) struct Patience {
    spent: Spent,
    waiting: Option<Waiting>,
}

/// A publish waits.
#[derive(Debug)]
struct Waiting {
    /// Since when the subscriber has taken nothing.
    quiet_since: Instant,
    /// Up to when others were looked at.
    looked_at: Instant,
    /// What of the quiet time is charged already, because others were idle.
    charged: Duration,
    /// Who waits with a timer looks again at this time.
    due: Option<Instant>,
    /// It has begun anew since it took something last.
    excused: bool,
}

impl Waiting {
    fn new(now: Instant) -> Self {
        Self {
            quiet_since: now,
            looked_at: now,
            charged: Duration::ZERO,
            due: None,
            excused: false,
        }
    }
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self { spent: Spent::new(now), waiting: None }
    }

    /// A publish waits for this subscriber, from now on if it did not already.
    pub(super) fn wait(&mut self, now: Instant) {
        self.waiting.get_or_insert_with(|| Waiting::new(now));
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Charges the time since the last look, if another subscriber was idle in it.
    pub(super) fn look(&mut self, now: Instant, another_idle: bool) {
        self.allow_for_lateness(now);
        if let Some(waiting) = &mut self.waiting {
            let past = now - waiting.looked_at;
            waiting.looked_at = now;
            if another_idle {
                waiting.charged += past;
                self.spent.charge(now, past);
            }
        }
    }

    /// The subscriber has taken something.
    pub(super) fn progress(&mut self, now: Instant) {
        self.allow_for_lateness(now);
        if let Some(waiting) = &mut self.waiting {
            let quiet = uncharged(waiting, now);
            waiting.quiet_since = now;
            waiting.charged = Duration::ZERO;
            waiting.excused = false;
            self.spent.charge(now, quiet);
        }
    }

    /// Nothing waits for it any more.
    pub(super) fn relieve(&mut self, now: Instant) {
        self.progress(now);
        self.waiting = None;
    }

    /// What is left of `limit`; zero if the subscriber is stalled. `timed` says that somebody
    /// looks again as soon as that is over.
    pub(super) fn left(&mut self, now: Instant, limit: Duration, timed: bool) -> Duration {
        self.allow_for_lateness(now);
        let quiet = self.waiting.as_ref().map_or(Duration::ZERO, |w| uncharged(w, now));
        let left = limit.saturating_sub(self.spent.total(now) + quiet);
        if timed && let Some(waiting) = &mut self.waiting {
            waiting.due = Some(now + left);
        }
        left
    }

    fn allow_for_lateness(&mut self, now: Instant) {
        if let Some(waiting) = &mut self.waiting
            && !waiting.excused
            && waiting.due.is_some_and(|due| now >= due + LATE)
        {
            *waiting = Waiting { excused: true, ..Waiting::new(now) };
            self.spent = Spent::new(now);
        }
    }
}

fn uncharged(waiting: &Waiting, now: Instant) -> Duration {
    let quiet = now - waiting.quiet_since;
    if quiet > GRACE { quiet.saturating_sub(waiting.charged) } else { Duration::ZERO }
}

/// Time spent within the last 10 s, by the second.
#[derive(Debug)]
pub(super) struct Spent {
    origin: Instant,
    newest: u64,
    seconds: [Duration; 10],
}

impl Spent {
    pub(super) fn new(now: Instant) -> Self {
        Self { origin: now, newest: 0, seconds: [Duration::ZERO; 10] }
    }

    pub(super) fn charge(&mut self, now: Instant, time: Duration) {
        let second = (now - self.origin).as_secs();
        for past in (self.newest + 1..=second).take(self.seconds.len()) {
            self.seconds[past as usize % 10] = Duration::ZERO;
        }
        if second > self.newest.saturating_add(self.seconds.len() as u64) {
            self.seconds = [Duration::ZERO; 10];
        }
        self.newest = second;
        self.seconds[second as usize % 10] += time;
    }

    pub(super) fn total(&self, now: Instant) -> Duration {
        let second = (now - self.origin).as_secs();
        let oldest = (second + 1).saturating_sub(10);
        let first = (self.newest + 1).saturating_sub(10).max(oldest);
        (first..=self.newest).map(|second| self.seconds[second as usize % 10]).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(1000);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn who_takes_nothing_is_stalled_after_the_limit() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        patience.wait(start);
        assert_eq!(patience.left(start + ms(600), LIMIT, true), ms(400));
        assert_eq!(patience.left(start + ms(1000), LIMIT, true), ms(0));
    }

    #[test]
    fn a_publisher_that_stood_still_blames_nobody() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        patience.wait(start);
        // Another was idle until now.
        patience.look(start + ms(900), true);
        assert_eq!(patience.left(start + ms(900), LIMIT, true), ms(100));
        // For ten seconds. Then the credit of another is read first.
        patience.look(start + ms(11_000), true);
        assert_eq!(patience.left(start + ms(11_000), LIMIT, true), LIMIT);
        assert_eq!(patience.left(start + ms(12_000), LIMIT, true), ms(0));
    }

    #[test]
    fn a_publisher_that_is_always_late_waits_twice_as_long_and_no_longer() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        patience.wait(start);
        assert_eq!(patience.left(start + ms(200), LIMIT, true), ms(800));
        assert_eq!(patience.left(start + ms(1400), LIMIT, true), LIMIT);
        assert_eq!(patience.left(start + ms(2800), LIMIT, true), ms(0));
    }

    #[test]
    fn who_looks_when_he_likes_is_not_late() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        patience.wait(start);
        for step in 1..=5 {
            let left = patience.left(start + ms(180 * step), LIMIT, false);
            assert_eq!(left, LIMIT - ms(180 * step));
        }
        assert_eq!(patience.left(start + ms(1080), LIMIT, false), ms(0));
    }

    #[test]
    fn who_takes_one_sample_every_999_ms_is_stalled_too() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        patience.wait(start);
        patience.relieve(start + ms(999));
        patience.wait(start + ms(1000));
        assert_eq!(patience.left(start + ms(1200), LIMIT, true), ms(0));
    }

    #[test]
    fn who_keeps_taking_samples_holds_up_its_publisher_as_long_as_it_needs() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        patience.wait(start);
        for step in 1..1000 {
            patience.progress(start + ms(10 * step));
        }
        assert_eq!(patience.left(start + ms(10_000), LIMIT, true), LIMIT);
    }

    #[test]
    fn who_keeps_others_idle_is_charged_all_of_it_once() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        patience.wait(start);
        for step in 1..=80 {
            patience.look(start + ms(10 * step), true);
            patience.progress(start + ms(10 * step));
        }
        assert_eq!(patience.left(start + ms(800), LIMIT, true), ms(200));
    }

    #[test]
    fn what_is_older_than_ten_seconds_is_forgiven() {
        let start = Instant::now();
        let mut spent = Spent::new(start);
        spent.charge(start + ms(500), ms(700));
        spent.charge(start + ms(9_500), ms(100));
        assert_eq!(spent.total(start + ms(9_900)), ms(800));
        assert_eq!(spent.total(start + ms(10_500)), ms(100));
        spent.charge(start + ms(60_000), ms(1));
        assert_eq!(spent.total(start + ms(60_000)), ms(1));
    }
}
