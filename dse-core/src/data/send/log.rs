//! The log of one publisher: a ring of samples for a stream, a cell for a state. Routes are
//! cursors into it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Policy, SequenceConfig};
use crate::data::headers::Headers;
use crate::data::limits::{
    DROPPING_LOG_BYTES, DROPPING_LOG_SAMPLES, HISTORY_BYTES, LOG_BYTES, LOG_SAMPLES,
};
use crate::protocol::Instant;

/// One sample in the log.
#[derive(Clone, Debug, Hash)]
pub(super) struct Entry {
    pub(super) headers: Headers,
    pub(super) payload: Bytes,
    /// In nanoseconds after the sequence's base time.
    pub(super) time_ns: i64,
    /// When it was appended.
    pub(super) at: Instant,
}

/// The samples that somebody may still need.
///
/// Each route holds the log from one number on: what it has not sent or, where its samples
/// outlive its link, what is not confirmed. A *firm* hold is waited for, a *soft* one gives way
/// when the log is full.
#[derive(Clone, Debug, Hash)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The number of the first entry, or of the next one.
    first: u64,
    bytes: usize,
    most_samples: usize,
    most_bytes: usize,
    /// How many are kept for late joiners.
    history: usize,
    firm: Holds,
    soft: Holds,
}

/// How many routes hold the log after a number, in the order of the numbers: mostly few.
#[derive(Clone, Debug, Default, Hash)]
struct Holds(Vec<(u64, u32)>);

impl Holds {
    fn first(&self) -> Option<u64> {
        self.0.first().map(|(after, _)| *after)
    }

    fn add(&mut self, after: u64) {
        match self.0.binary_search_by_key(&after, |(after, _)| *after) {
            Ok(place) => self.0[place].1 += 1,
            Err(place) => self.0.insert(place, (after, 1)),
        }
    }

    /// Tells whether nobody else holds the log after this number.
    fn remove(&mut self, after: u64) -> bool {
        let Ok(place) = self.0.binary_search_by_key(&after, |(after, _)| *after) else {
            debug_assert!(false, "what is released was held");
            return false;
        };
        self.0[place].1 -= 1;
        let last = self.0[place].1 == 0;
        if last {
            self.0.remove(place);
        }
        last
    }
}

/// What a route keeps in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hold {
    /// All after this number.
    pub(super) after: u64,
    pub(super) firm: bool,
}

impl Log {
    pub(super) fn new(config: &SequenceConfig) -> Self {
        let SequenceConfig { history, last_seq, .. } = *config;
        let (most_samples, most_bytes) = match config.policy {
            Policy::Latest => (1, 0),
            Policy::Block => (LOG_SAMPLES, LOG_BYTES),
            Policy::DropOldest | Policy::DropNewest => (DROPPING_LOG_SAMPLES, DROPPING_LOG_BYTES),
        };
        Self {
            entries: VecDeque::new(),
            first: last_seq + 1,
            bytes: 0,
            most_samples: config.log_samples.unwrap_or(most_samples).max(history),
            most_bytes,
            history,
            firm: Holds::default(),
            soft: Holds::default(),
        }
    }

    /// The number of the first sample that is there, or of the next one.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn last(&self) -> u64 {
        self.first + self.entries.len() as u64 - 1
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Entry> {
        let place = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.entries.get(place)
    }

    /// The samples after a number, with theirs.
    pub(super) fn after(&self, seq: u64) -> impl Iterator<Item = (u64, &Entry)> {
        let skipped = (seq + 1).saturating_sub(self.first) as usize;
        (self.first.max(seq + 1)..).zip(self.entries.iter().skip(skipped))
    }

    /// Payload bytes in it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number after which a firm hold keeps everything.
    pub(super) fn firm_after(&self) -> Option<u64> {
        self.firm.first()
    }

    /// Would a sample of this length fit, were all given up that no firm hold keeps?
    pub(super) fn has_room(&self, payload: usize) -> bool {
        let kept_after = self.firm_after().unwrap_or(u64::MAX);
        let (mut samples, mut bytes) = (self.entries.len(), self.bytes);
        for (entry, seq) in self.entries.iter().zip(self.first..) {
            if !self.is_full(samples, bytes + payload) {
                return true;
            }
            if seq > kept_after {
                return false;
            }
            samples -= 1;
            bytes -= entry.payload.len();
        }
        true
    }

    /// Is something given up for a sample of this length?
    pub(super) fn is_full_with(&self, payload: usize) -> bool {
        self.is_full(self.entries.len(), self.bytes + payload)
    }

    fn is_full(&self, samples: usize, bytes: usize) -> bool {
        samples > 0
            && (samples >= self.most_samples || bytes > self.most_bytes.max(self.history_bytes()))
    }

    fn history_bytes(&self) -> usize {
        if self.history > 0 { HISTORY_BYTES } else { 0 }
    }

    /// Appends a sample; the caller made sure that there is room. What is given up for it are
    /// the oldest.
    #[inline]
    pub(super) fn append(&mut self, entry: Entry) {
        while self.is_full_with(entry.payload.len()) {
            self.pop_front();
        }
        self.bytes += entry.payload.len();
        self.entries.push_back(entry);
        if self.firm.first().is_none() && self.soft.first().is_none() {
            self.trim();
        }
    }

    pub(super) fn hold(&mut self, hold: Hold) {
        self.holds(hold.firm).add(hold.after);
    }

    pub(super) fn release(&mut self, hold: Hold) {
        if self.holds(hold.firm).remove(hold.after) {
            self.trim();
        }
    }

    /// Nothing is kept for late joiners any more.
    pub(super) fn forget(&mut self) {
        let history = core::mem::take(&mut self.history);
        self.trim();
        self.history = history;
    }

    fn holds(&mut self, firm: bool) -> &mut Holds {
        if firm { &mut self.firm } else { &mut self.soft }
    }

    /// Gives up what nobody holds.
    fn trim(&mut self) {
        let held = |holds: &Holds| holds.first().unwrap_or(u64::MAX);
        let history = self.last().saturating_sub(self.history as u64);
        let kept_after = held(&self.firm).min(held(&self.soft)).min(history);
        while self.first <= kept_after && !self.entries.is_empty() {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.first += 1;
            self.bytes -= entry.payload.len();
        }
    }
}
