//! Makes a failing trial small, as long as it fails at the same place.

use crate::trial::{Failure, Outcome, Trial};

/// A trial that fails, with as little in it as could be found within `budget` plays. It has
/// failed in this way, after so many acts.
pub fn shrink(
    trial: &Trial,
    failure: &Failure,
    acts: usize,
    budget: usize,
    play: &dyn Fn(&Trial) -> Outcome,
) -> Trial {
    let mut shrinking = Shrinking { failure, budget, play };
    let mut best = Trial { only: Some((0..acts).collect()), ..trial.clone() };
    if !shrinking.fails(&best) {
        return trial.clone();
    }
    shrinking.drop_acts(&mut best);
    if trial.data {
        return best;
    }
    shrinking.drop_members(&mut best);
    let plain = Trial { plain: true, ..best.clone() };
    if shrinking.fails(&plain) {
        best = plain;
    }
    shrinking.drop_acts(&mut best);
    best
}

struct Shrinking<'a> {
    failure: &'a Failure,
    budget: usize,
    play: &'a dyn Fn(&Trial) -> Outcome,
}

impl Shrinking<'_> {
    /// Does this fail at the same place? Counts against the budget.
    fn fails(&mut self, trial: &Trial) -> bool {
        if self.budget == 0 {
            return false;
        }
        self.budget -= 1;
        (self.play)(trial).failure.is_some_and(|failure| failure.place == self.failure.place)
    }

    /// Delta debugging: drops runs of acts, long ones first, until no single act can go.
    fn drop_acts(&mut self, best: &mut Trial) {
        let mut length = best.only.as_ref().map_or(0, Vec::len).div_ceil(2);
        while length > 0 && self.budget > 0 {
            let dropped = self.drop_runs(best, length);
            if length == 1 && !dropped {
                return;
            }
            if !dropped {
                length = length.div_ceil(2).min(length - 1);
            }
        }
    }

    /// Tries to drop each run of so many acts, the latest first.
    fn drop_runs(&mut self, best: &mut Trial, length: usize) -> bool {
        let mut dropped = false;
        let mut end = best.only.as_ref().map_or(0, Vec::len);
        while end > 0 {
            let start = end.saturating_sub(length);
            let mut only = best.only.clone().unwrap_or_default();
            only.drain(start..end);
            let less = Trial { only: Some(only), ..best.clone() };
            if self.fails(&less) {
                *best = less;
                dropped = true;
            }
            end = start;
        }
        dropped
    }

    fn drop_members(&mut self, best: &mut Trial) {
        for member in 0..best.setup().nodes {
            let mut less = best.clone();
            less.without.push(member);
            if less.without.len() < best.setup().nodes && self.fails(&less) {
                *best = less;
            }
        }
    }
}
