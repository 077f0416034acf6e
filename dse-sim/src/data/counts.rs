//! What happened in worlds: a rule that never fired was not tried.

use std::fmt;

use dse_core::data::SkipReason;

/// What happened, by rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) blocked: u64,
    pub(crate) stalls: u64,
    pub(crate) left_out: u64,
    pub(crate) resumes: u64,
    pub(crate) conflations: u64,
    pub(crate) cut_fragments: u64,
    pub(crate) inversions: u64,
    pub(crate) refused_frames: u64,
    pub(crate) late_confirmations: u64,
    pub(crate) gaps_open: u64,
    gaps: [u64; 7],
    pub(crate) restarts: u64,
    pub(crate) ends: u64,
    pub(crate) left: u64,
    pub(crate) lost: u64,
    pub(crate) back: u64,
    pub(crate) reports: u64,
    pub(crate) unconfirmed: [u64; 7],
    pub(crate) withdrawn: u64,
}

impl Counts {
    pub(crate) fn gap(&mut self, reason: SkipReason) {
        if let Some(count) = self.gaps.get_mut(usize::from(reason.number())) {
            *count += 1;
        }
    }

    /// All counts with their names.
    pub fn rows(&self) -> Vec<(&'static str, u64)> {
        let [policy, wish, _, stalled, expired, _, lost] = self.gaps;
        let [c_stalled, c_lost, c_left, c_restarted, c_evicted, _, c_pending] = self.unconfirmed;
        vec![
            ("published", self.published),
            ("delivered", self.delivered),
            ("blocked", self.blocked),
            ("stalls", self.stalls),
            ("left out for another subscription", self.left_out),
            ("resumes", self.resumes),
            ("conflations", self.conflations),
            ("fragments cut by a fall", self.cut_fragments),
            ("turns of a lower class", self.inversions),
            ("frames that a full lane refused", self.refused_frames),
            ("late confirmations", self.late_confirmations),
            ("gaps told open", self.gaps_open),
            ("gaps by policy", policy),
            ("gaps by wish", wish),
            ("gaps by stall", stalled),
            ("gaps by lifetime", expired),
            ("gaps by loss", lost),
            ("restarts told", self.restarts),
            ("ends told", self.ends),
            ("leaves told", self.left),
            ("losses told", self.lost),
            ("returns told", self.back),
            ("reports", self.reports),
            ("unconfirmed: stalled", c_stalled),
            ("unconfirmed: lost", c_lost),
            ("unconfirmed: left", c_left),
            ("unconfirmed: restarted", c_restarted),
            ("unconfirmed: evicted", c_evicted),
            ("unconfirmed: pending", c_pending),
            ("withdrawn", self.withdrawn),
        ]
    }

    /// Adds what happened elsewhere.
    pub fn add(&mut self, other: &Self) {
        let Self { published, delivered, blocked, stalls, left_out, resumes, .. } = self;
        *published += other.published;
        *delivered += other.delivered;
        *blocked += other.blocked;
        *stalls += other.stalls;
        *left_out += other.left_out;
        *resumes += other.resumes;
        self.conflations += other.conflations;
        self.cut_fragments += other.cut_fragments;
        self.inversions += other.inversions;
        self.refused_frames += other.refused_frames;
        self.late_confirmations += other.late_confirmations;
        self.gaps_open += other.gaps_open;
        self.gaps.iter_mut().zip(other.gaps).for_each(|(one, more)| *one += more);
        self.restarts += other.restarts;
        self.ends += other.ends;
        self.left += other.left;
        self.lost += other.lost;
        self.back += other.back;
        self.reports += other.reports;
        self.unconfirmed.iter_mut().zip(other.unconfirmed).for_each(|(one, more)| *one += more);
        self.withdrawn += other.withdrawn;
    }

    /// The rules that never fired.
    pub fn never(&self) -> Vec<&'static str> {
        self.rows().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in self.rows() {
            writeln!(f, "  {count:>12}  {name}")?;
        }
        Ok(())
    }
}
