//! What of a sequence was sent on a route, what waits, and what may be under way.

use std::collections::VecDeque;

use super::limits::{
    INITIAL_WINDOW, PENDING_BYTES, PENDING_SAMPLES, TURN_BYTES, WINDOW, WINDOW_BYTES,
};
use super::link::Outbox;
use super::reader::RecordFault;
use super::route::Stamped;
use super::sequencer::Sequencer;
use crate::data::{Credit, End, EndReason, Skip};
use crate::protocol::Kind;

/// What happens to samples for which a subscriber has no credit or its link no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// A state: the latest waits, earlier ones are of no use any more.
    Latest,
    /// The publisher waits.
    Block,
    /// Some wait, the oldest are dropped.
    DropOldest,
    /// Some wait, the newest are dropped.
    DropNewest,
}

/// One sequence on one link, from its Begin to the receipt for its End.
pub(super) struct Flow {
    pub(super) alias: u32,
    /// The subscriber's patience is used up: samples are dropped until it has caught up.
    pub(super) stalled: bool,
    /// End follows what is pending.
    pub(super) ending: Option<EndReason>,
    /// The link takes nothing more, and what was sent on it may still be confirmed.
    pub(super) severed: bool,
    /// Something was not sent that was published before the route ended.
    lacking: bool,
    /// What comes beyond this is none of this subscriber's any more. None while samples
    /// still go to it.
    end_seq: Option<u64>,
    begun: bool,
    ended: bool,
    pending: VecDeque<Stamped>,
    pending_bytes: usize,
    /// What came before and up to here is none of this subscriber's.
    start_seq: u64,
    /// Up to here every sample was written, skipped or given up.
    sent_seq: u64,
    consumed_seq: u64,
    under_way: UnderWay,
    window: u32,
}

impl Flow {
    pub(super) fn new(alias: u32, last_seq: u64, retained: &VecDeque<Stamped>) -> Self {
        let start_seq = retained.front().map_or(last_seq, |first| first.seq - 1);
        Self {
            alias,
            stalled: false,
            ending: None,
            severed: false,
            lacking: false,
            end_seq: None,
            begun: false,
            ended: false,
            pending: retained.clone(),
            pending_bytes: retained.iter().map(|sample| sample.payload.len()).sum(),
            start_seq,
            sent_seq: start_seq,
            consumed_seq: 0,
            under_way: UnderWay::default(),
            window: INITIAL_WINDOW,
        }
    }

    /// Would a sample of this length have credit, and nothing before it?
    pub(super) fn is_clear_for(&self, payload: usize) -> bool {
        self.pending.is_empty() && self.has_credit(payload)
    }

    /// Has the subscriber taken everything?
    pub(super) fn is_idle(&self) -> bool {
        self.begun && !self.stalled && self.pending.is_empty() && self.under_way.samples == 0
    }

    /// Adds a sample to what waits. Returns how many are dropped.
    pub(super) fn add(&mut self, sample: Stamped, policy: Policy) -> u64 {
        let mut dropped = 0;
        match policy {
            Policy::Latest => self.clear_pending(),
            Policy::Block if self.stalled => return 1,
            Policy::DropNewest if !self.has_space(sample.payload.len()) => return 1,
            Policy::DropOldest => {
                while !self.has_space(sample.payload.len()) {
                    dropped += 1;
                    self.pop_pending();
                }
            }
            Policy::Block | Policy::DropNewest => {}
        }
        self.pending_bytes += sample.payload.len();
        self.pending.push_back(sample);
        dropped
    }

    pub(super) fn end(&mut self, last_seq: u64, reason: EndReason) {
        self.ending = Some(reason);
        self.end_seq = Some(last_seq);
        if reason == EndReason::NoInterest {
            self.lacking |= !self.pending.is_empty();
            self.clear_pending();
        }
    }

    /// Nothing can be written any more.
    pub(super) fn sever(&mut self, last_seq: u64) {
        self.severed = true;
        self.end_seq.get_or_insert(last_seq);
        self.lacking |= self.stalled || !self.pending.is_empty();
        self.clear_pending();
    }

    /// Has a subscriber whose link is severed confirmed all that was published for it?
    pub(super) fn is_confirmed(&self) -> bool {
        self.severed && !self.lacking && self.consumed_seq > 0 && self.consumed_seq == self.sent_seq
    }

    /// Up to where the subscriber has taken everything, or was told that it is lost. None if
    /// something was never sent.
    pub(super) fn taken_seq(&self) -> Option<u64> {
        (!self.lacking).then(|| self.consumed_seq())
    }

    /// Has the subscriber taken all that was sent?
    pub(super) fn is_through(&self) -> bool {
        self.consumed_seq() >= self.sent_seq
    }

    /// May the subscriber, however the route ends, turn out to have taken all up to here?
    pub(super) fn may_take(&self, seq: u64) -> bool {
        let reaches = |end_seq| end_seq >= seq && end_seq > self.start_seq;
        !self.lacking && self.end_seq.is_none_or(reaches)
    }

    /// Has the subscriber taken anything at all, as far as is known?
    pub(super) fn is_served(&self) -> bool {
        self.consumed_seq > self.start_seq
    }

    /// How far the subscriber has come, as far as is known.
    pub(super) fn consumed_seq(&self) -> u64 {
        self.consumed_seq.max(self.start_seq)
    }

    /// Is there anything that would be written, if there is room?
    pub(super) fn is_due(&self, owner: &Sequencer, last_seq: u64) -> bool {
        let next_is_due = match self.pending.front() {
            Some(first) => self.has_credit(first.payload.len()),
            None => self.ending.is_some() || self.skips(owner, last_seq),
        };
        !self.ended && !self.severed && (!self.begun || next_is_due)
    }

    /// Writes what is due: Begin, samples as far as credit goes, Skip, End. Returns false
    /// if there was no room for all of it.
    pub(super) fn write(&mut self, outbox: &mut Outbox, owner: &Sequencer, last_seq: u64) -> bool {
        if !outbox.has_room(0) {
            return false;
        }
        if !self.begun {
            self.begun = true;
            outbox.frame.begin(&owner.begin(self.alias, self.sent_seq + 1));
        }
        if !self.write_pending(outbox) {
            return false;
        }
        if !self.pending.is_empty() {
            return true;
        }
        if let Some(reason) = self.ending {
            let last_seq = self.end_seq.unwrap_or(last_seq);
            self.ended = true;
            self.sent_seq = last_seq;
            outbox.frame.end(End { alias: self.alias, last_seq, reason });
        } else if self.skips(owner, last_seq) {
            self.sent_seq = last_seq;
            outbox.frame.skip(Skip { alias: self.alias, next_seq: last_seq + 1 });
        }
        true
    }

    /// The subscriber has come further. Returns whether it is done with the sequence.
    pub(super) fn credit(&mut self, credit: Credit) -> Result<bool, RecordFault> {
        let Credit { alias, consumed_seq, window } = credit;
        if !self.begun || consumed_seq > self.sent_seq {
            return Err(RecordFault::CreditAhead { alias, consumed_seq, sent_seq: self.sent_seq });
        }
        if window == 0 && !self.ended {
            return Err(RecordFault::ReceiptWithoutEnd(alias));
        }
        self.consumed_seq = self.consumed_seq.max(consumed_seq);
        if window == 0 {
            return Ok(true);
        }
        self.window = window.clamp(*WINDOW.start(), *WINDOW.end());
        self.under_way.release(self.consumed_seq);
        if self.consumed_seq == self.sent_seq && self.pending.is_empty() {
            self.stalled = false;
        }
        Ok(self.is_confirmed())
    }

    fn write_pending(&mut self, outbox: &mut Outbox) -> bool {
        let mut written = 0;
        while let Some(first) = self.pending.front() {
            let bytes = first.payload.len();
            if !self.has_credit(bytes) {
                return true;
            }
            if !outbox.has_room(bytes) || written >= TURN_BYTES && outbox.has_line() {
                return false;
            }
            let Some(sample) = self.pop_pending() else { return true };
            written += bytes;
            self.sent_seq = sample.seq;
            self.under_way.add(sample.seq, bytes, self.window);
            outbox.samples += 1;
            outbox.frame.sample(self.alias, sample.seq, sample.time_ns, sample.payload);
        }
        true
    }

    /// Must the subscriber be told that the last samples will not come?
    fn skips(&self, owner: &Sequencer, last_seq: u64) -> bool {
        self.sent_seq < last_seq && !self.stalled && owner.kind == Kind::Stream
    }

    fn has_credit(&self, payload: usize) -> bool {
        let under_way = &self.under_way;
        under_way.samples < self.window
            && (under_way.samples == 0 || under_way.bytes + payload <= WINDOW_BYTES)
    }

    fn has_space(&self, payload: usize) -> bool {
        self.pending.is_empty()
            || self.pending.len() < PENDING_SAMPLES && self.pending_bytes + payload <= PENDING_BYTES
    }

    fn pop_pending(&mut self) -> Option<Stamped> {
        let first = self.pending.pop_front()?;
        self.pending_bytes -= first.payload.len();
        Some(first)
    }

    fn clear_pending(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
    }
}

/// Samples that were sent and not yet consumed, in groups: a group counts until its last
/// sample is consumed.
#[derive(Debug, Default)]
struct UnderWay {
    groups: VecDeque<Group>,
    samples: u32,
    bytes: usize,
}

#[derive(Debug)]
struct Group {
    last_seq: u64,
    samples: u32,
    bytes: usize,
}

impl UnderWay {
    /// Groups are a small part of the window, so that credit is not held up for long.
    fn add(&mut self, seq: u64, bytes: usize, window: u32) {
        self.samples += 1;
        self.bytes += bytes;
        match self.groups.back_mut() {
            Some(group) if group.samples < window / 16 && group.bytes < WINDOW_BYTES / 64 => {
                group.last_seq = seq;
                group.samples += 1;
                group.bytes += bytes;
            }
            _ => self.groups.push_back(Group { last_seq: seq, samples: 1, bytes }),
        }
    }

    fn release(&mut self, consumed_seq: u64) {
        while let Some(group) = self.groups.front()
            && group.last_seq <= consumed_seq
        {
            self.samples -= group.samples;
            self.bytes -= group.bytes;
            self.groups.pop_front();
        }
    }
}
