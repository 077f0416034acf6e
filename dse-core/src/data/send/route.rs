//! A route: the cursor of one subscriber's node in a publisher's log.
//!
//! `sent` is how far the cursor came: all before was written, skipped or is none of this
//! subscriber's. `told` is how far the peer knows of it: beyond lies a hole that a Skip tells
//! next. `confirmed` is what the application there has taken. So
//! `confirmed <= told <= sent <= last number` at all times; but the latest value of a state is
//! sent anew on a new link, confirmed or not.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::flight::Flight;
use super::log::{Entry, Hold, Log};
use super::report::{Fate, LastFate, Losses, UnconfirmedCause, Waited};
use super::{LinkProgress, Policy, Pulled, SequenceConfig};
use crate::data::SequenceFault;
use crate::data::frame_writer::FrameWriter;
use crate::data::limits::{COMPANY_FRAMES, INITIAL_WINDOW, LARGEST_WINDOW, LEAST_WINDOW, Window};
use crate::data::record::{Begin, Credit, End, EndReason, Resume, Skip, SkipReason};
use crate::protocol::{Class, Incarnation, Instant, InterestOptions, Kind, NodeId};

/// One subscriber's node.
#[derive(Clone, Debug, Hash)]
pub(super) struct Route<L> {
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    /// None while its link has fallen.
    pub(super) link: Option<L>,
    pub(super) epoch: u64,
    pub(super) options: InterestOptions,
    pub(super) class: Class,
    pub(super) losses: Losses,
    phase: Phase,
    /// End follows.
    ending: Option<Ending>,
    /// End was written.
    ended: bool,
    /// It was withdrawn before all was sent.
    gave_up: bool,
    start: u64,
    /// The last number when it was attached to its present link.
    attached_after: u64,
    sent: u64,
    told: u64,
    confirmed: u64,
    /// A sample of which some fragments are written.
    partial: Option<Partial>,
    /// What was not sent when the log gave it up, of a stream that drops the newest.
    backlog: VecDeque<(u64, Entry)>,
    /// What was evicted in earlier epochs.
    evicted: u64,
    /// Samples up to here were sent or left out once: on a new link they may be again.
    decided: u64,
    /// Why samples were left out last.
    reason: SkipReason,
    /// Why the samples between `told` and `sent` do not come.
    hole: Option<SkipReason>,
    /// The peer was told that a gap is open.
    gap_is_told: bool,
    flight: Flight,
    window: Window,
    /// Payload bytes ever sent.
    sent_bytes: u64,
    /// No sample before this time, at the subscriber's wish.
    next_at: Option<Instant>,
    /// What its link had written when it wrote last for this route.
    offset: u64,
    hold: Option<Hold>,
    /// It stands in the link's line, or is about to.
    called: bool,
    /// It has everything and waits for the next sample.
    parked: bool,
    stalled: Option<Instant>,
    /// When it was looked at last, something of it waited for the link.
    waits_for_link: bool,
    progress_at: Instant,
    wait: Option<Wait>,
    floor: Floor,
    /// It has nothing to write.
    drained: bool,
    /// Something waits, and the subscriber has no credit for it.
    starved: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Begin is to be written.
    Begin { resume: bool },
    /// The subscriber's node is to say where it goes on.
    AwaitResume,
    /// Samples flow.
    Open,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Ending {
    reason: EndReason,
    /// The last number that is for this subscriber.
    last: u64,
}

#[derive(Clone, Debug, Hash)]
struct Partial {
    seq: u64,
    entry: Entry,
    offset: usize,
}

/// A publisher waits for this subscriber.
#[derive(Clone, Copy, Debug, Hash)]
struct Wait {
    since: Instant,
    /// When the time that counts began.
    counted_from: Instant,
    /// The time was begun anew, for this node stood still.
    excused: bool,
    /// What it had confirmed when the wait began, in bytes.
    confirmed_bytes: u64,
}

/// What a subscriber confirmed while it was waited for, and how long that was in all.
#[derive(Clone, Copy, Debug, Default, Hash)]
struct Floor {
    waited: Duration,
    bytes: u64,
}

/// A timer that fires so late is one of a machine that stood still or is overloaded: what
/// subscribers said meanwhile may lie unread.
const LATE: Duration = Duration::from_millis(50);

impl<L: Clone> Route<L> {
    pub(super) fn new(
        node: NodeId,
        incarnation: Incarnation,
        link: L,
        epoch: u64,
        start: u64,
        now: Instant,
    ) -> Self {
        Self {
            node,
            incarnation,
            link: Some(link),
            epoch,
            options: InterestOptions::default(),
            class: Class::Normal,
            losses: Losses::default(),
            phase: Phase::Begin { resume: false },
            ending: None,
            ended: false,
            gave_up: false,
            start,
            attached_after: start,
            sent: start,
            told: start,
            confirmed: start,
            partial: None,
            backlog: VecDeque::new(),
            evicted: 0,
            decided: start,
            reason: SkipReason::Lost,
            hole: None,
            gap_is_told: false,
            flight: Flight::default(),
            window: INITIAL_WINDOW,
            sent_bytes: 0,
            next_at: None,
            offset: 0,
            hold: None,
            called: false,
            parked: false,
            stalled: None,
            waits_for_link: false,
            progress_at: now,
            wait: None,
            floor: Floor::default(),
            drained: false,
            starved: false,
        }
    }

    pub(super) fn set_options(&mut self, options: InterestOptions, class: Class) {
        (self.options, self.class) = (options, class);
    }

    /// Do samples still go here?
    pub(super) fn is_open(&self) -> bool {
        self.ending.is_none()
    }

    /// Asks for a turn on the link, unless it has one coming.
    pub(super) fn call(&mut self) -> Option<(L, Class)> {
        let link = self.link.clone()?;
        let is_news = !core::mem::replace(&mut self.called, true);
        is_news.then_some((link, self.class))
    }

    /// Waits for credit, and was not told of a gap yet?
    pub(super) fn is_starved(&self) -> bool {
        self.starved && !self.gap_is_told
    }

    /// Is there something that it could write with more credit?
    pub(super) fn waits_for_credit(&self) -> bool {
        self.starved
    }

    /// Did the log give up what it waits to send?
    pub(super) fn is_overtaken(&self, log: &Log) -> bool {
        self.backlog.is_empty() && self.sent + 1 < log.first()
    }

    /// The next sample is there.
    pub(super) fn unpark(&mut self) {
        self.parked = false;
    }

    /// Has the subscriber taken everything that was sent?
    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Open && self.flight.is_empty() && self.stalled.is_none()
    }

    /// Is the subscriber close behind: has it taken all but a few samples?
    pub(super) fn is_close(&self) -> bool {
        let is_served = self.phase == Phase::Open && self.stalled.is_none();
        is_served && self.flight.samples() < COMPANY_FRAMES
    }

    /// Waits for the next sample? True the first time only.
    pub(super) fn park(&mut self) -> bool {
        let has_all = self.phase == Phase::Open && self.is_open() && self.drained;
        has_all && !core::mem::replace(&mut self.parked, true)
    }

    /// Do unconfirmed samples outlive its link?
    pub(super) fn outlives_link(&self) -> bool {
        self.ending.is_none_or(|ending| ending.reason == EndReason::Closed)
    }

    pub(super) fn end(&mut self, reason: EndReason, last: u64, now: Instant) {
        if self.ending.is_some_and(|ending| ending.reason != EndReason::Closed) {
            return;
        }
        if let Some(ending) = self.ending.as_mut().filter(|_| self.ended) {
            // The End is on its way. The subscriber ends it by itself, which is not a loss.
            ending.reason = reason;
            self.wait = None;
            return;
        }
        self.parked = false;
        self.ending = Some(Ending { reason, last });
        if self.flight.is_empty() {
            self.progress_at = now;
        }
        if reason != EndReason::Closed {
            self.wait = None;
            self.give_up_unsent(last);
        }
    }

    /// What was not sent is not for this subscriber any more.
    fn give_up_unsent(&mut self, last: u64) {
        self.gave_up |= self.sent < last;
        self.partial = None;
        self.backlog.clear();
        self.sent = self.sent.max(last);
    }

    /// Its subscription was replaced by another one.
    pub(super) fn withdrawn(&mut self, last: u64) {
        self.ending = Some(Ending { reason: EndReason::NoInterest, last });
    }

    /// The link fell.
    pub(super) fn detach(&mut self, now: Instant) {
        self.link = None;
        (self.called, self.parked) = (false, false);
        self.partial = None;
        self.wait = None;
        if self.flight.is_empty() {
            self.progress_at = now;
        }
    }

    /// A new link to the same instance of the node. Of a state the latest value is sent again:
    /// the node may have subscriptions that have none yet.
    pub(super) fn reattach(
        &mut self,
        link: L,
        epoch: u64,
        now: Instant,
        (last, latest): (u64, Option<u64>),
    ) {
        self.attached_after = last;
        let begun = !matches!(self.phase, Phase::Begin { resume: false });
        self.link = Some(link);
        self.epoch = epoch;
        self.evicted = self.losses.of(SkipReason::Evicted);
        self.phase = Phase::Begin { resume: begun && latest.is_none() };
        if let Some(latest) = latest {
            self.flight = Flight::default();
            self.sent = self.start.max(latest - 1);
            self.told = self.sent;
        }
        // What was granted on another link does not hold here.
        self.window = INITIAL_WINDOW;
        self.offset = 0;
        self.ended = false;
        self.progress_at = now;
        self.stalled = None;
    }

    /// The number after which a subscription begins that came in place of the one before while
    /// there was no link.
    pub(super) fn attached_after(&self) -> u64 {
        self.attached_after
    }

    /// Was the subscriber's node asked where it goes on, and can it be there?
    pub(super) fn may_resume(&self, resume: Resume) -> Result<(), SequenceFault> {
        let Resume { sequence, next_seq, .. } = resume;
        if self.phase != Phase::AwaitResume || next_seq.saturating_sub(1) > self.sent {
            return Err(SequenceFault::ResumeAhead { sequence, next_seq, sent_seq: self.sent });
        }
        Ok(())
    }

    /// The subscriber's node goes on here.
    pub(super) fn resume(&mut self, now: Instant, resume: Resume, log: &Log) {
        let received = resume.next_seq - 1;
        self.phase = Phase::Open;
        self.progress_at = now;
        let known = received.max(self.confirmed);
        // What was left out at the end and not told, stays left out.
        if self.hole.is_none() || self.flight.last_seq().is_some_and(|last| last > known) {
            (self.sent, self.hole) = (known, None);
        }
        self.told = known;
        self.gap_is_told = false;
        self.flight = Flight::default();
        for (seq, entry) in log.after(self.confirmed) {
            if seq <= known {
                self.flight.add(seq, entry.payload.len());
            }
        }
        if known > self.confirmed && self.flight.last_seq() != Some(known) {
            self.flight.add(known, 0);
        }
    }

    /// The subscriber has come further. Returns whether this was its last word.
    pub(super) fn credit(&mut self, now: Instant, credit: Credit) -> Result<bool, SequenceFault> {
        let Credit { sequence, consumed_seq, .. } = credit;
        if matches!(self.phase, Phase::Begin { .. }) || consumed_seq > self.told {
            return Err(SequenceFault::CreditAhead { sequence, consumed_seq, sent_seq: self.told });
        }
        if credit.last && !self.ended {
            return Err(SequenceFault::EndAhead { sequence });
        }
        if consumed_seq > self.confirmed {
            self.confirmed = consumed_seq;
            self.flight.release(consumed_seq);
            self.moved(now);
        }
        if let Some(ending) = self.ending.as_mut()
            && credit.last
            && self.confirmed < ending.last
            && ending.reason == EndReason::Closed
        {
            // All is over there, and not all was taken: its subscriptions are gone.
            ending.reason = EndReason::NoInterest;
        }
        self.losses.set(SkipReason::Evicted, self.evicted.saturating_add(credit.missed));
        self.window = Window {
            samples: credit.samples.clamp(LEAST_WINDOW.samples, LARGEST_WINDOW.samples),
            bytes: credit.bytes.clamp(LEAST_WINDOW.bytes, LARGEST_WINDOW.bytes),
        };
        Ok(credit.last)
    }

    fn moved(&mut self, now: Instant) {
        self.progress_at = self.progress_at.max(now);
        self.stalled = None;
        if let Some(wait) = &mut self.wait {
            wait.excused = false;
        }
        if self.flight.is_empty() {
            self.floor = Floor::default();
        }
    }

    // ---- waiting and stalls (PROTOCOL.md §9.5)

    /// Does it keep the log from giving up what follows this number?
    pub(super) fn holds_firmly(&self, after: u64) -> bool {
        self.hold == Some(Hold { after, firm: true })
    }

    /// Is it waited for until it has confirmed all up to here, or said its last word?
    pub(super) fn is_awaited(&self, seq: u64) -> bool {
        self.stalled.is_none()
            && match self.ending {
                None => !self.has_confirmed(seq),
                Some(ending) => ending.reason != EndReason::Refused,
            }
    }

    /// Until when it is waited for, at most.
    pub(super) fn wait(
        &mut self,
        now: Instant,
        config: &SequenceConfig,
        progress: &impl Fn(&L) -> LinkProgress,
    ) -> Instant {
        self.note_progress(progress);
        let confirmed_bytes = self.confirmed_bytes();
        let wait = Wait { since: now, counted_from: now, excused: false, confirmed_bytes };
        self.wait.get_or_insert(wait);
        self.deadline(config).unwrap_or(now)
    }

    /// The publisher goes on.
    pub(super) fn stop_waiting(&mut self, now: Instant) {
        if let Some(wait) = self.wait.take() {
            self.floor.waited += now.since(wait.since);
            self.floor.bytes += self.confirmed_bytes().saturating_sub(wait.confirmed_bytes);
        }
    }

    /// Has its subscriber taken all that there is? Then another one holds up the publisher.
    fn has_all(&self) -> bool {
        self.is_open() && self.drained && self.is_idle()
    }

    fn confirmed_bytes(&self) -> u64 {
        self.sent_bytes - (self.flight.bytes() as u64).min(self.sent_bytes)
    }

    /// Who is waited for, and since when.
    pub(super) fn waited(&self) -> Option<Waited> {
        let wait = self.wait.filter(|_| self.stalled.is_none() && !self.has_all())?;
        let idle_since = self.progress_at.max(wait.since);
        Some(Waited { node: self.node.clone(), since: wait.since, idle_since })
    }

    /// When [`stalls`](Self::stalls) may become true, if nothing happens.
    pub(super) fn deadline(&self, config: &SequenceConfig) -> Option<Instant> {
        if self.link.is_none() {
            return Some(self.progress_at + config.stall_timeout);
        }
        let wait = self.wait.filter(|_| self.stalled.is_none() && !self.has_all())?;
        let quiet = self.progress_at.max(wait.counted_from) + config.stall_timeout;
        let slow = wait.since + config.stall_timeout.saturating_sub(self.floor.waited);
        Some(if config.min_rate > 0 { quiet.min(slow) } else { quiet })
    }

    /// Has it made no progress for too long?
    pub(super) fn stalls(
        &mut self,
        now: Instant,
        config: &SequenceConfig,
        progress: &impl Fn(&L) -> LinkProgress,
    ) -> bool {
        self.note_progress(progress);
        if self.link.is_none() {
            return now >= self.progress_at + config.stall_timeout;
        }
        let has_all = self.has_all();
        let Some(wait) = &mut self.wait else { return false };
        if self.stalled.is_some() || has_all {
            return false;
        }
        let until = self.progress_at.max(wait.counted_from) + config.stall_timeout;
        if now < until {
            return self.is_below_floor(now, config);
        }
        if now >= until + LATE && !wait.excused {
            (wait.counted_from, wait.excused) = (now, true);
            return false;
        }
        true
    }

    /// Did it take less than the floor while it was waited for?
    fn is_below_floor(&mut self, now: Instant, config: &SequenceConfig) -> bool {
        let Some(wait) = self.wait.filter(|_| config.min_rate > 0) else { return false };
        let waited = self.floor.waited + now.since(wait.since);
        if waited < config.stall_timeout {
            return false;
        }
        let bytes = self.floor.bytes + self.confirmed_bytes().saturating_sub(wait.confirmed_bytes);
        self.floor = Floor::default();
        let confirmed_bytes = self.confirmed_bytes();
        self.wait = Some(Wait { since: now, confirmed_bytes, ..wait });
        u128::from(bytes) * 1000 < u128::from(config.min_rate) * waited.as_millis()
    }

    /// What is not yet received counts as progress when the link's Received grows.
    fn note_progress(&mut self, progress: &impl Fn(&L) -> LinkProgress) {
        let Some(link) = &self.link else { return };
        let LinkProgress { received, at } = progress(link);
        // What has credit and is not sent waits for the link, too.
        let waits_for_link = self.offset > received || self.called || self.partial.is_some();
        self.waits_for_link = waits_for_link;
        if waits_for_link && at > self.progress_at {
            self.progress_at = at;
            if let Some(wait) = &mut self.wait {
                wait.excused = false;
            }
        }
    }

    /// Nobody waits for it any more, until it moves.
    pub(super) fn stall(&mut self, now: Instant, config: &SequenceConfig) {
        self.stalled = Some(now);
        self.wait = None;
        self.floor = Floor::default();
        // The latest value of a state is sent whenever its turn comes.
        if let Some(Ending { last, .. }) = self.ending.filter(|_| config.policy != Policy::Latest) {
            // There will be no next sample to tell the gap with.
            self.partial = None;
            self.backlog.clear();
            let lost = last.saturating_sub(self.sent);
            self.losses.add(SkipReason::Stalled, lost);
            if lost > 0 {
                self.hole = Some(SkipReason::Stalled);
            }
            self.sent = self.sent.max(last);
        }
    }

    /// What it keeps in the log.
    pub(super) fn update_hold(&mut self, config: &SequenceConfig, log: &mut Log) {
        let keeps = self.ending.is_none_or(|it| it.reason == EndReason::Closed && !self.is_over());
        let hold = if keeps && self.backlog.is_empty() {
            match config.policy {
                // What was left out needs no confirmation.
                Policy::Block => Some(Hold {
                    after: if self.flight.is_empty() && self.partial.is_none() {
                        self.sent
                    } else {
                        self.confirmed
                    },
                    firm: self.stalled.is_none() && !self.options.never_wait,
                }),
                // The latest value is sent anew on the next link, until it is confirmed.
                Policy::Latest => {
                    let after = self.flight.last_seq().map_or(self.sent, |latest| latest - 1);
                    Some(Hold { after: after.min(self.sent), firm: false })
                }
                _ => Some(Hold { after: self.sent, firm: false }),
            }
        } else {
            None
        };
        if hold != self.hold {
            hold.into_iter().for_each(|hold| log.hold(hold));
            let before = core::mem::replace(&mut self.hold, hold);
            before.into_iter().for_each(|hold| log.release(hold));
        }
    }

    /// Keeps nothing in the log.
    pub(super) fn let_go(&mut self, log: &mut Log) {
        self.hold.take().into_iter().for_each(|hold| log.release(hold));
    }

    fn is_over(&self) -> bool {
        self.ended && self.flight.is_empty()
    }

    /// The log is about to give up its oldest: what this route has not sent of it, it keeps.
    pub(super) fn keep_backlog(&mut self, log: &Log) {
        if self.is_open() && self.backlog.is_empty() && self.sent < log.first() {
            let unsent = (self.sent + 1).max(log.first())..=log.last();
            self.backlog =
                unsent.filter_map(|seq| log.get(seq).map(|entry| (seq, entry.clone()))).collect();
        }
    }

    // ---- what became of it (PROTOCOL.md §9.8)

    /// Has the application taken, or been told the loss of, all up to here?
    fn has_confirmed(&self, seq: u64) -> bool {
        self.confirmed >= seq
            || self.sent >= seq && self.flight.is_empty() && self.partial.is_none()
    }

    /// What is to come has not come.
    pub(super) fn pending(&self) -> Fate {
        Fate::Unconfirmed(match &self.link {
            Some(_) if self.stalled.is_some() => UnconfirmedCause::Stalled,
            Some(_) => UnconfirmedCause::Pending,
            None => UnconfirmedCause::Lost,
        })
    }

    pub(super) fn fate(&self, seq: u64, cause: Option<UnconfirmedCause>) -> Fate {
        let lacks = if self.losses.of(SkipReason::Stalled) > 0 {
            Some(UnconfirmedCause::Stalled)
        } else if self.losses.of(SkipReason::Evicted) > 0 {
            Some(UnconfirmedCause::Evicted)
        } else {
            None
        };
        match self.ending {
            Some(Ending { reason: EndReason::NoInterest, last }) => {
                if lacks.is_none() && !self.gave_up && last >= seq && self.has_taken(seq) {
                    Fate::Confirmed
                } else {
                    Fate::Withdrawn
                }
            }
            Some(Ending { reason: EndReason::Refused, .. }) => {
                Fate::Unconfirmed(UnconfirmedCause::Refused)
            }
            _ => match lacks {
                Some(cause) => Fate::Unconfirmed(cause),
                None if self.has_confirmed(seq) => Fate::Confirmed,
                None => cause.map_or_else(|| self.pending(), Fate::Unconfirmed),
            },
        }
    }

    /// As [`has_confirmed`](Self::has_confirmed), where what was not sent was given up.
    fn has_taken(&self, seq: u64) -> bool {
        self.confirmed >= seq
    }

    pub(super) fn last_fate(&self, last: u64, cause: Option<UnconfirmedCause>) -> LastFate {
        let last = self.ending.map_or(last, |ending| ending.last);
        match self.fate(last, cause) {
            Fate::Confirmed if self.confirmed > self.start => match self.ending {
                Some(Ending { reason: EndReason::NoInterest, .. }) => LastFate::Confirmed(last),
                // What comes later is for it no more: it did not withdraw.
                _ => LastFate::Confirmed(u64::MAX),
            },
            Fate::Confirmed => LastFate::Nothing,
            Fate::Withdrawn
                if !self.gave_up && self.confirmed > self.start && self.has_taken(last) =>
            {
                LastFate::Confirmed(last)
            }
            Fate::Withdrawn => LastFate::Withdrawn,
            Fate::Unconfirmed(cause) => LastFate::Unconfirmed(cause),
        }
    }

    // ---- writing (PROTOCOL.md §9.3)

    /// Writes what is due, up to `budget` bytes.
    pub(super) fn pull(
        &mut self,
        now: Instant,
        config: &SequenceConfig,
        log: &Log,
        frame: &mut FrameWriter,
        turn: Turn,
    ) -> Pulled {
        (self.called, self.drained, self.starved) = (false, false, false);
        let before = frame.len();
        if self.waits_for_link && self.stalled.is_some_and(|at| turn.progress.at > at) {
            // The link moves again, and with it what waited for it.
            self.moved(now);
        }
        let pulled = self.write(now, config, log, frame, turn);
        if frame.len() > before {
            self.offset = turn.offset + frame.len() as u64;
        }
        self.called = pulled == Pulled::More;
        debug_assert!(
            (self.confirmed <= self.told || config.policy == Policy::Latest)
                && self.told <= self.sent,
            "{} <= {} <= {}",
            self.confirmed,
            self.told,
            self.sent
        );
        pulled
    }

    fn write(
        &mut self,
        now: Instant,
        config: &SequenceConfig,
        log: &Log,
        frame: &mut FrameWriter,
        turn: Turn,
    ) -> Pulled {
        let begun_at = frame.len();
        let end = begun_at + turn.budget;
        if let Phase::Begin { resume } = self.phase {
            self.begin(config, frame, resume);
        }
        if self.phase != Phase::Open || self.ended {
            return Pulled::Idle;
        }
        loop {
            let left = end.saturating_sub(frame.len());
            let is_turns_first = frame.len() == begun_at;
            if let Some(partial) = &self.partial {
                let rest = partial.entry.payload.len() - partial.offset;
                if left == 0 || rest > left && !is_turns_first {
                    return Pulled::More;
                }
                self.write_fragment(now, config, frame, left);
                continue;
            }
            let Some((seq, entry)) = self.next_entry(now, config, log, frame) else {
                return self.drained(now, config, frame);
            };
            let len = entry.payload.len();
            if config.lifetime.is_some_and(|lifetime| now >= entry.at + lifetime) {
                self.skip_to(now, config, frame, seq, SkipReason::Expired);
                continue;
            }
            if let Some(at) = self.next_at.filter(|at| now < *at) {
                if config.policy == Policy::Latest {
                    return Pulled::Later(at);
                }
                self.skip_to(now, config, frame, log.last(), SkipReason::Wish);
                continue;
            }
            if config.policy != Policy::Latest && !self.flight.has_room(self.window, len) {
                return self.starve(config, frame);
            }
            // It begins a frame or, where others wait, a turn of its own.
            if len > left && !(is_turns_first && turn.may_cut) {
                return Pulled::More;
            }
            self.before_sample(config, frame, len, seq, now);
            if len > left {
                let entry = self.backlog.front().map(|(_, entry)| entry).or_else(|| log.get(seq));
                let partial = |entry: &Entry| Partial { seq, entry: entry.clone(), offset: 0 };
                self.partial = entry.map(partial);
                continue;
            }
            // Most samples are written from where they lie.
            let names = |entry: &Entry| (config.id, seq, entry.time_ns);
            if let Some((_, entry)) = self.backlog.pop_front() {
                frame.sample(names(&entry), &entry.headers, &entry.payload);
            } else if let Some(entry) = log.get(seq) {
                frame.sample(names(entry), &entry.headers, &entry.payload);
            }
            self.after_sample(config, seq, now);
        }
    }

    /// The subscriber has no credit. If the log gave something up meanwhile it is told that
    /// there is a gap, once: its end is told with the next sample.
    fn starve(&mut self, config: &SequenceConfig, frame: &mut FrameWriter) -> Pulled {
        self.starved = true;
        if let Some(reason) = self.hole
            && !self.gap_is_told
            && config.origin.kind == Kind::Stream
        {
            self.gap_is_told = true;
            frame.skip(Skip { sequence: config.id, next_seq: 0, reason });
        }
        Pulled::Idle
    }

    fn begin(&mut self, config: &SequenceConfig, frame: &mut FrameWriter, resume: bool) {
        // What was left out before it began is a gap, too.
        let begins_after = if self.hole.is_some() { self.told } else { self.sent };
        let next_seq = if resume { self.confirmed } else { begins_after } + 1;
        frame.begin(&Begin {
            sequence: config.id,
            epoch: self.epoch,
            key: config.origin.key.as_str(),
            kind: config.origin.kind,
            encoding: &config.origin.encoding,
            incarnation: config.origin.incarnation,
            next_seq,
            base_time_ns: config.base_time_ns,
            class: self.class,
            resume,
        });
        if !resume {
            self.told = begins_after;
        }
        self.phase = if resume { Phase::AwaitResume } else { Phase::Open };
    }

    /// The next sample that the log still has; what it gave up before is skipped.
    fn next_entry<'a>(
        &'a mut self,
        now: Instant,
        config: &SequenceConfig,
        log: &'a Log,
        frame: &mut FrameWriter,
    ) -> Option<(u64, &'a Entry)> {
        let last = self.ending.map_or(u64::MAX, |ending| ending.last);
        let next = self.backlog.front().map_or(log.first().max(self.sent + 1), |(seq, _)| *seq);
        if next > self.sent + 1 && next <= last.saturating_add(1) {
            let reason = match config.policy {
                Policy::Latest => SkipReason::Superseded,
                // As it was told on an earlier link.
                _ if next - 1 <= self.decided => self.reason,
                Policy::Block if self.options.never_wait => SkipReason::Wish,
                Policy::Block => SkipReason::Stalled,
                _ if self.options.never_wait => SkipReason::Wish,
                _ => SkipReason::Policy,
            };
            self.skip_to(now, config, frame, next - 1, reason);
        }
        if next > last {
            return None;
        }
        match self.backlog.front() {
            Some((seq, entry)) => Some((*seq, entry)),
            None => log.get(next).map(|entry| (next, entry)),
        }
    }

    /// Leaves out what comes before and up to this number.
    fn skip_to(
        &mut self,
        now: Instant,
        config: &SequenceConfig,
        frame: &mut FrameWriter,
        seq: u64,
        reason: SkipReason,
    ) {
        self.losses.add(reason, seq.saturating_sub(self.sent.max(self.decided)));
        self.decided = self.decided.max(seq);
        self.reason = reason;
        let other = self.hole.is_some_and(|before| before != reason);
        if other && self.flight.has_room(self.window, 0) {
            self.tell_hole_alone(now, config, frame);
        }
        // Without credit it is one hole, for its first reason.
        self.hole.get_or_insert(reason);
        self.sent = seq;
        while self.backlog.front().is_some_and(|(front, _)| *front <= seq) {
            self.backlog.pop_front();
        }
    }

    /// Tells the samples that do not come, if there are such.
    fn tell_hole(&mut self, config: &SequenceConfig, frame: &mut FrameWriter) {
        let Some(reason) = self.hole.take() else { return };
        if self.sent > self.told && config.origin.kind == Kind::Stream {
            let next_seq = self.sent + 1;
            frame.skip(Skip { sequence: config.id, next_seq, reason });
        }
        self.told = self.sent;
        self.gap_is_told = false;
    }

    /// As [`tell_hole`](Self::tell_hole), where no sample follows: it waits at the subscriber as
    /// a sample does, and takes as much credit.
    fn tell_hole_alone(&mut self, now: Instant, config: &SequenceConfig, frame: &mut FrameWriter) {
        let told = self.told;
        self.tell_hole(config, frame);
        if self.told > told && config.origin.kind == Kind::Stream {
            if self.flight.is_empty() {
                self.progress_at = self.progress_at.max(now);
            }
            self.flight.add(self.told, 0);
        }
    }

    fn before_sample(
        &mut self,
        config: &SequenceConfig,
        frame: &mut FrameWriter,
        len: usize,
        seq: u64,
        now: Instant,
    ) {
        self.tell_hole(config, frame);
        if config.policy == Policy::Latest {
            // What it takes the place of needs no confirmation any more, and a state no credit.
            self.flight = Flight::default();
        }
        if self.flight.is_empty() {
            self.progress_at = self.progress_at.max(now);
        }
        self.flight.add(seq, len);
        self.sent_bytes += len as u64;
    }

    fn after_sample(&mut self, config: &SequenceConfig, seq: u64, now: Instant) {
        debug_assert!(
            seq == self.sent + 1 || config.origin.kind != Kind::Stream,
            "the samples of a stream follow each other"
        );
        (self.sent, self.told) = (seq, seq);
        self.decided = self.decided.max(seq);
        if self.backlog.front().is_some_and(|(front, _)| *front == seq) {
            self.backlog.pop_front();
        }
        if !self.options.min_interval.is_zero() {
            self.next_at = Some(now + self.options.min_interval);
        }
    }

    fn write_fragment(
        &mut self,
        now: Instant,
        config: &SequenceConfig,
        frame: &mut FrameWriter,
        left: usize,
    ) {
        let Some(partial) = &mut self.partial else { return };
        let Partial { seq, entry, offset } = partial;
        let end = entry.payload.len().min(*offset + left);
        let names = (config.id, *seq, entry.time_ns);
        frame.fragment(names, &entry.headers, &entry.payload, *offset..end);
        *offset = end;
        if end == entry.payload.len() {
            let seq = *seq;
            self.partial = None;
            self.after_sample(config, seq, now);
        }
    }

    /// There is nothing to write but perhaps the end.
    fn drained(
        &mut self,
        now: Instant,
        config: &SequenceConfig,
        frame: &mut FrameWriter,
    ) -> Pulled {
        if let Some(Ending { reason, last }) = self.ending {
            if reason == EndReason::Closed {
                self.tell_hole(config, frame);
            }
            frame.end(End { sequence: config.id, last_seq: last, reason });
            self.ended = true;
            (self.sent, self.told) = (self.sent.max(last), self.sent.max(last));
            return Pulled::Idle;
        }
        // What the subscriber asked to leave out is told with the next sample.
        if self.hole.is_some_and(|reason| reason != SkipReason::Wish || self.next_at.is_none()) {
            if !self.flight.has_room(self.window, 0) {
                return self.starve(config, frame);
            }
            self.tell_hole_alone(now, config, frame);
        }
        self.drained = true;
        Pulled::Idle
    }
}

/// A turn of a route on its link.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// How much it may write, in bytes.
    pub budget: usize,
    /// A sample that is longer goes in fragments; else it waits for the next frame, which is
    /// empty.
    pub may_cut: bool,
    /// What the link had written before this frame, in bytes that count.
    pub offset: u64,
    /// What the peer's node has received of it.
    pub progress: LinkProgress,
}
