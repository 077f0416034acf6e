//! How far the subscriptions of a node have come in a sequence, and the credit that this gives
//! its publisher (PROTOCOL.md §9.4).

use alloc::vec::Vec;
use core::time::Duration;

use crate::data::limits::{INITIAL_WINDOW, LARGEST_WINDOW, LEAST_WINDOW, Window};
use crate::data::record::Credit;
use crate::protocol::Instant;

/// The credit of one sequence that comes in on a link.
#[derive(Clone, Debug, Hash)]
pub struct CreditAccount {
    sequence: u64,
    epoch: u64,
    taps: Vec<TapState>,
    last_tap: u32,
    /// The farthest that a subscription came which is gone.
    left: u64,
    /// What subscriptions that are gone missed at most.
    left_missed: u64,
    received: u64,
    told: Told,
    ended: bool,
    over: bool,
}

/// A subscription that takes from the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TapId(u32);

#[derive(Clone, Copy, Debug, Hash)]
struct Told {
    consumed: u64,
    window: Window,
    missed: u64,
}

#[derive(Clone, Debug, Hash)]
struct TapState {
    id: TapId,
    consumed: u64,
    missed: u64,
    finished: bool,
    /// Others do not wait for it.
    never_wait: bool,
    /// From this number on it is left out.
    left_out_from: Option<u64>,
    /// Since when it has something to take and made no progress; none while it has all.
    idle_since: Option<Instant>,
}

impl CreditAccount {
    /// A sequence of which nothing came in beyond this number.
    pub fn new(sequence: u64, epoch: u64, last_seq: u64) -> Self {
        Self {
            sequence,
            epoch,
            taps: Vec::new(),
            last_tap: 0,
            left: last_seq,
            left_missed: 0,
            received: last_seq,
            told: Told { consumed: last_seq, window: INITIAL_WINDOW, missed: 0 },
            ended: false,
            over: false,
        }
    }

    /// A subscription takes what comes after this number.
    pub fn tap(&mut self, now: Instant, after: u64, never_wait: bool) -> TapId {
        self.last_tap += 1;
        let id = TapId(self.last_tap);
        self.taps.push(TapState {
            id,
            consumed: after,
            missed: 0,
            finished: false,
            never_wait,
            left_out_from: None,
            idle_since: (after < self.received).then_some(now),
        });
        id
    }

    /// How many subscriptions take from it.
    pub fn taps(&self) -> usize {
        self.taps.len()
    }

    /// A subscription is no more: nobody waits for it.
    pub fn remove(&mut self, tap: TapId) {
        self.taps.retain(|it| {
            if it.id == tap {
                self.left = self.left.max(it.consumed);
                self.left_missed = self.left_missed.max(it.missed);
            }
            it.id != tap
        });
    }

    /// The application has taken all up to here, and missed so many of it.
    pub fn consumed(&mut self, now: Instant, tap: TapId, seq: u64, missed: u64) {
        if let Some(it) = self.taps.iter_mut().find(|it| it.id == tap)
            && (seq > it.consumed || missed > it.missed)
        {
            it.consumed = it.consumed.max(seq);
            it.missed = missed;
            it.idle_since = (it.consumed < self.received).then_some(now);
        }
    }

    /// The application has come to the end.
    pub fn finished(&mut self, tap: TapId) {
        if let Some(it) = self.taps.iter_mut().find(|it| it.id == tap) {
            it.finished = true;
        }
    }

    /// All up to here came in.
    pub fn received(&mut self, seq: u64) {
        self.received = self.received.max(seq);
    }

    /// The end of the sequence came in.
    pub fn ended(&mut self, last_seq: u64) {
        self.received(last_seq);
        self.ended = true;
    }

    /// Was the last credit made?
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// From which number on a subscription is left out.
    pub fn left_out_from(&self, tap: TapId) -> Option<u64> {
        self.taps.iter().find(|it| it.id == tap)?.left_out_from
    }

    /// A subscription that was left out has taken all that it was given: it is served again.
    /// Tells the number up to which it was left out.
    pub fn rejoin(&mut self, now: Instant, tap: TapId) -> u64 {
        let received = self.received;
        if let Some(it) = self.taps.iter_mut().find(|it| it.id == tap) {
            it.left_out_from = None;
            it.idle_since = Some(now);
        }
        received
    }

    /// Looks for subscriptions that hold up others: one that made no progress for `limit` while
    /// another has taken everything, or that asked not to be waited for and is far behind, is
    /// left out from now on. Tells those, and when to look again.
    pub fn review(&mut self, now: Instant, limit: Duration) -> (Vec<TapId>, Option<Instant>) {
        let mut left_out = Vec::new();
        let mut again: Option<Instant> = None;
        if self.taps.len() < 2 {
            return (left_out, again);
        }
        let received = self.received;
        let counts = |it: &TapState| it.left_out_from.is_none() && !it.never_wait;
        let has_patient = self.taps.iter().any(counts);
        let another_idle = self.taps.iter().any(|it| counts(it) && it.consumed >= received);
        for it in &mut self.taps {
            if it.left_out_from.is_some() || it.consumed >= received {
                continue;
            }
            let far = received - it.consumed >= u64::from(self.told.window.samples) / 2;
            let out = if it.never_wait {
                has_patient && far
            } else {
                let until = *it.idle_since.get_or_insert(now) + limit;
                again = Some(again.map_or(until, |at| at.min(until)));
                another_idle && now >= until
            };
            if out {
                it.left_out_from = Some(received + 1);
                left_out.push(it.id);
            }
        }
        (left_out, again.filter(|_| another_idle))
    }

    /// How far the slowest of those came that count.
    pub fn slowest(&self) -> u64 {
        let waited_for = |it: &&TapState| it.left_out_from.is_none() && !it.never_wait;
        let counting = self.taps.iter().filter(waited_for).map(|it| it.consumed).min();
        let others = || self.taps.iter().filter(|it| it.left_out_from.is_none());
        let slowest = counting.or_else(|| others().map(|it| it.consumed).min());
        // What nobody has taken who is gone is not taken; one that is left out is waited for no
        // more.
        slowest.unwrap_or(if self.taps.is_empty() { self.left } else { self.received })
    }

    /// The number at which a subscription is to have a credit made at once.
    pub fn credit_at(&self) -> u64 {
        self.told.consumed + u64::from(self.told.window.samples / 4)
    }

    /// After how many bytes a subscription is to have a credit made at once.
    pub fn credit_bytes(&self) -> usize {
        self.told.window.bytes as usize / 4
    }

    /// The credit to be sent, if it is news. `window` is what the node can take in for this
    /// sequence.
    pub fn credit(&mut self, window: Window) -> Option<Credit> {
        if self.over {
            return None;
        }
        let window = Window {
            samples: window.samples.clamp(LEAST_WINDOW.samples, LARGEST_WINDOW.samples),
            bytes: window.bytes.clamp(LEAST_WINDOW.bytes, LARGEST_WINDOW.bytes),
        };
        let consumed = self.slowest().max(self.told.consumed);
        // Of one that is left out, what it has not taken is not confirmed with the rest.
        let lacks = |it: &TapState| match it.left_out_from {
            Some(_) => it.missed + self.received.saturating_sub(it.consumed),
            None => it.missed,
        };
        let missed = self.taps.iter().map(lacks).max().unwrap_or(0).max(self.left_missed);
        let last = self.ended && self.taps.iter().all(|it| it.finished);
        let told = self.told;
        let news = consumed > told.consumed
            || window.samples > told.window.samples
            || window.bytes > told.window.bytes
            || missed != told.missed
            || last;
        self.told = Told { consumed, window, missed };
        self.over = last;
        news.then_some(Credit {
            sequence: self.sequence,
            epoch: self.epoch,
            consumed_seq: consumed,
            samples: window.samples,
            bytes: window.bytes,
            missed,
            last,
        })
    }
}
