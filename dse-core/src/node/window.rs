//! How many dials at a time (PROTOCOL.md §11).
//!
//! Where many nodes start at once, on one machine above all, their dials are work for
//! seconds. Begun all at once, none is over before its time is up, and all have to be begun
//! again; that can go on for ever. So a node dials few at first, and as many more as are
//! soon over: the window grows like that of a transport, and shrinks where links take long
//! to open. An endpoint that says nothing is none that is slow, and nobody waits for it for
//! long: its dial goes on, but gives its place to the next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::limits::{DIAL_LONG, DIAL_SOON, DIALS, DIALS_AT_FIRST, DIALS_AT_LEAST};

/// The dials under way, each until its link is open or gone. Its clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Window(Arc<Mutex<Dials>>);

/// A dial under way, which is over when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    window: Window,
    number: u64,
    opened: bool,
}

#[derive(Debug)]
struct Dials {
    /// How many may be young.
    size: usize,
    /// When those began that hold a place, by their numbers: the oldest comes first.
    young: BTreeMap<u64, Instant>,
    /// How many gave their place to others.
    old: usize,
    last: u64,
}

impl Window {
    /// Begins a dial, if there is a place for it.
    pub(super) fn begin(&self) -> Option<Place> {
        let number = self.dials().begin(Instant::now())?;
        Some(Place { window: self.clone(), number, opened: false })
    }

    /// Waits until a dial takes so long that it gives its place to another. For ever, if
    /// none will: of one that is over its task or its link tells.
    pub(super) async fn ages(&self) {
        let at = self.dials().ages_at();
        match at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    fn dials(&self) -> MutexGuard<'_, Dials> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The dial is over: its link is open.
    pub(super) fn opened(mut self) {
        self.opened = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.window.dials().over(self.number, self.opened, Instant::now());
    }
}

impl Default for Dials {
    fn default() -> Self {
        Self { size: DIALS_AT_FIRST, young: BTreeMap::new(), old: 0, last: 0 }
    }
}

impl Dials {
    fn begin(&mut self, now: Instant) -> Option<u64> {
        self.age(now);
        if self.young.len() >= self.size || self.young.len() + self.old >= DIALS {
            return None;
        }
        self.last += 1;
        self.young.insert(self.last, now);
        Some(self.last)
    }

    fn over(&mut self, number: u64, opened: bool, now: Instant) {
        self.age(now);
        let full = self.young.len() >= self.size;
        let Some(began) = self.young.remove(&number) else {
            self.old -= 1;
            if opened {
                self.size = (self.size / 2).max(DIALS_AT_LEAST);
            }
            return;
        };
        if full && now < began + DIAL_SOON {
            self.size = (self.size + 1).min(DIALS);
        }
    }

    fn age(&mut self, now: Instant) {
        while let Some(oldest) = self.young.first_entry()
            && now >= *oldest.get() + DIAL_LONG
        {
            oldest.remove();
            self.old += 1;
        }
    }

    /// When the next one ages, if that makes a place.
    fn ages_at(&self) -> Option<Instant> {
        let (_, oldest) = self.young.first_key_value()?;
        (self.young.len() + self.old < DIALS).then_some(*oldest + DIAL_LONG)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    /// Begins as many dials as there are places for.
    fn fill(dials: &mut Dials, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| dials.begin(now)).collect()
    }

    fn end(dials: &mut Dials, begun: Vec<u64>, opened: bool, now: Instant) {
        for number in begun {
            dials.over(number, opened, now);
        }
    }

    #[test]
    fn what_is_soon_over_makes_room_for_more() {
        let (mut dials, now) = (Dials::default(), Instant::now());
        let mut under_way = VecDeque::from(fill(&mut dials, now));
        assert_eq!(under_way.len(), DIALS_AT_FIRST);
        for over in 1..=12 {
            dials.over(under_way.pop_front().unwrap(), true, now + MOMENT);
            under_way.extend(fill(&mut dials, now + MOMENT));
            assert_eq!(under_way.len(), DIALS_AT_FIRST + over);
        }
    }

    #[test]
    fn places_that_nobody_took_make_room_for_no_more() {
        let (mut dials, now) = (Dials::default(), Instant::now());
        for _ in 0..100 {
            let one = dials.begin(now).unwrap();
            dials.over(one, true, now + MOMENT);
        }
        assert_eq!(fill(&mut dials, now).len(), DIALS_AT_FIRST);
    }

    #[test]
    fn what_opens_late_halves_the_window_and_never_closes_it() {
        let (mut dials, mut now) = (Dials { size: 40, ..Dials::default() }, Instant::now());
        for expected in [40, 20] {
            let mut begun = fill(&mut dials, now);
            assert_eq!(begun.len(), expected);
            now += DIAL_LONG;
            dials.over(begun.remove(0), true, now);
            end(&mut dials, begun, false, now);
        }
        let begun = fill(&mut dials, now);
        now += DIAL_LONG;
        end(&mut dials, begun, true, now);
        assert_eq!(fill(&mut dials, now).len(), DIALS_AT_LEAST);
    }

    #[test]
    fn what_is_neither_soon_nor_late_changes_nothing() {
        let (mut dials, now) = (Dials::default(), Instant::now());
        let begun = fill(&mut dials, now);
        end(&mut dials, begun, true, now + DIAL_SOON);
        assert_eq!(fill(&mut dials, now).len(), DIALS_AT_FIRST);
    }

    #[test]
    fn what_says_nothing_gives_its_place_away_until_too_many_are_under_way() {
        let (mut dials, mut now) = (Dials::default(), Instant::now());
        let mut begun = Vec::new();
        while dials.ages_at().is_some() || begun.is_empty() {
            begun.extend(fill(&mut dials, now));
            assert_eq!(dials.begin(now), None);
            now += DIAL_LONG;
        }
        assert_eq!(begun.len(), DIALS);
        assert_eq!(dials.begin(now + DIAL_LONG), None);
        end(&mut dials, begun, false, now);
        assert_eq!((dials.old, dials.size), (0, DIALS_AT_FIRST), "nobody was slow");
    }
}
