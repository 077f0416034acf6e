//! A route: one publisher's samples on their way to one link.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use tokio::time::Instant;

use super::flow::{Flow, Policy};
use super::link::Link;
use super::patience::Patience;
use super::reader::RecordFault;
use super::sequencer::Sequencer;
use super::standing::Standing;
use crate::data::{Credit, EndReason};

/// A sample with its place in the sequence.
#[derive(Clone, Debug)]
pub(in crate::node) struct Stamped {
    pub(in crate::node) seq: u64,
    pub(in crate::node) time_ns: u64,
    pub(in crate::node) payload: Bytes,
}

/// One publisher's samples on their way to one link. Guarded by the publisher's lock.
pub(super) struct Route {
    /// Its number among the routes of its publisher.
    pub(super) number: u64,
    pub(super) link: Arc<Link>,
    pub(super) patience: Patience,
    /// Samples dropped on this route.
    pub(super) dropped: u64,
    /// Its publisher, which is closing, does not wait for its receipt any more.
    pub(super) given_up: bool,
    /// The subscriber has not withdrawn its interest.
    wanted: bool,
    flow: Flow,
    /// It stands in the link's line for room.
    in_line: bool,
}

/// A link to be written to, in the place of its task that rests.
pub(in crate::node) struct Errand {
    link: Arc<Link>,
    task: Waker,
}

impl Errand {
    /// Does it. No lock may be held.
    pub(in crate::node) fn run(self) {
        self.link.write_for(&self.task);
    }
}

impl Route {
    /// A route that begins with the retained samples.
    pub(super) fn new(
        number: u64,
        link: Arc<Link>,
        alias: u32,
        last_seq: u64,
        retained: &VecDeque<Stamped>,
        now: Instant,
    ) -> Self {
        Self {
            number,
            link,
            patience: Patience::new(now),
            dropped: 0,
            given_up: false,
            wanted: true,
            flow: Flow::new(alias, last_seq, retained),
            in_line: false,
        }
    }

    pub(super) fn alias(&self) -> u32 {
        self.flow.alias
    }

    /// Do samples still go here?
    pub(super) fn is_open(&self) -> bool {
        self.flow.ending.is_none() && !self.flow.severed
    }

    /// Does its publisher, which is closing, wait for its receipt?
    pub(super) fn awaits_receipt(&self, last_seq: u64) -> bool {
        let closes = self.flow.ending == Some(EndReason::Closed);
        !self.given_up && (closes || self.may_take(last_seq))
    }

    /// May its subscriber, however the route ends, turn out to have taken all up to here?
    pub(super) fn may_take(&self, seq: u64) -> bool {
        self.flow.may_take(seq)
    }

    /// The link takes nothing more. Receipts for what was sent may still come.
    pub(super) fn sever(&mut self, last_seq: u64) {
        self.flow.sever(last_seq);
    }

    /// Has a subscriber that left confirmed all that was published for it?
    pub(super) fn is_confirmed(&self) -> bool {
        self.flow.is_confirmed()
    }

    /// How far its subscriber has come.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            route: self.number,
            node: self.link.node.clone(),
            taken_seq: self.flow.taken_seq(),
            served: self.flow.is_served(),
            lossless: self.dropped == 0,
            wanted: self.wanted,
        }
    }

    /// How far the subscriber has come, as far as is known.
    pub(super) fn consumed_seq(&self) -> u64 {
        self.flow.consumed_seq()
    }

    /// Would a sample of this length leave at once, or does nobody wait for this route?
    pub(super) fn is_ready(&self, payload: usize) -> bool {
        self.flow.stalled || !self.is_open() || !self.in_line && self.flow.is_clear_for(payload)
    }

    /// Has the subscriber taken everything, and could have more?
    pub(super) fn is_idle(&self) -> bool {
        self.is_open() && self.flow.is_idle()
    }

    /// From now on nobody waits for this subscriber, until it has taken all it was sent.
    pub(super) fn stall(&mut self, now: Instant) {
        self.patience.relieve(now);
        self.flow.stalled = true;
    }

    /// Takes the next sample. Returns how many were dropped for it.
    pub(super) fn offer(&mut self, owner: &Arc<Sequencer>, sample: Stamped, policy: Policy) -> u64 {
        if !self.is_open() {
            return 0;
        }
        let last_seq = sample.seq;
        let dropped = self.flow.add(sample, policy);
        self.dropped += dropped;
        self.pump(owner, last_seq, false);
        dropped
    }

    /// Takes the next sample if the subscriber has taken everything before it and the
    /// link's writing task rests: the publisher writes in its place then.
    pub(super) fn offer_alone(
        &mut self,
        owner: &Arc<Sequencer>,
        sample: &Stamped,
        policy: Policy,
    ) -> Option<Errand> {
        if !self.is_idle() {
            return None;
        }
        let task = self.link.outbox().take_task()?;
        self.offer(owner, sample.clone(), policy);
        Some(Errand { link: Arc::clone(&self.link), task })
    }

    /// Ends the route; what is pending goes first, unless nobody wants it any more.
    pub(super) fn end(&mut self, owner: &Arc<Sequencer>, last_seq: u64, reason: EndReason) {
        if self.is_open() {
            self.flow.end(last_seq, reason);
            self.pump(owner, last_seq, false);
        }
    }

    /// The subscriber wants the samples no more, nor those that it has not taken yet.
    pub(super) fn withdraw(&mut self, owner: &Arc<Sequencer>, last_seq: u64) {
        self.wanted = false;
        self.end(owner, last_seq, EndReason::NoInterest);
    }

    /// Its turn has come: there is room on the link.
    pub(super) fn take_turn(&mut self, owner: &Arc<Sequencer>, last_seq: u64) {
        self.in_line = false;
        self.pump(owner, last_seq, true);
    }

    /// The subscriber has come further. Returns whether it is done with the sequence.
    pub(super) fn credit(
        &mut self,
        owner: &Arc<Sequencer>,
        last_seq: u64,
        credit: Credit,
    ) -> Result<bool, RecordFault> {
        let done = self.flow.credit(credit)?;
        // A receipt from before the End is of one that withdrew, whose word is under way.
        self.wanted &= !done || self.flow.is_through();
        if self.patience.is_waiting() {
            self.patience.progress(Instant::now());
        }
        self.pump(owner, last_seq, false);
        Ok(done)
    }

    /// Writes what is due and may be written; else stands in line for room.
    pub(super) fn pump(&mut self, owner: &Arc<Sequencer>, last_seq: u64, its_turn: bool) {
        if self.in_line || !self.flow.is_due(owner, last_seq) {
            return;
        }
        let mut outbox = self.link.outbox();
        let may_write = its_turn || !outbox.has_line();
        if !(may_write && self.flow.write(&mut outbox, owner, last_seq)) {
            self.in_line = true;
            outbox.line_up(Arc::clone(owner), self.flow.alias);
        }
        outbox.wake();
    }
}
