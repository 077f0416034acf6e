//! The sending side of one link: whose turn it is, how much may be in flight, and what goes
//! back to the peer (PROTOCOL.md §9.6, §9.7).

use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use super::SequenceFault;
use super::frame_writer::FrameWriter;
use super::limits::{
    COMPANY_FRAMES, FRAGMENT_BYTES, FRAME_BYTES, IN_FLIGHT_BYTES, LOWER_CLASS_SHARE,
    RECEIVED_BYTES, REVERSE_DELAY,
};
use super::record::{Credit, Received, Refuse, Resume};
use super::send::{LinkProgress, Pulled, Turn};
use crate::protocol::{Class, Instant};

/// Decides what a link writes next.
///
/// The loop around it: for each frame, [`begin_frame`](Self::begin_frame) writes what goes back
/// to the peer; then [`next_turn`](Self::next_turn) names a sequence, its
/// [`pull`](super::send::Sequence::pull) writes, and [`end_turn`](Self::end_turn) is told how it
/// left off, until there is no further turn; then [`end_frame`](Self::end_frame). Before the
/// next frame the one before has gone to the transport.
///
/// `S` is what the caller knows a sequence by.
#[derive(Clone, Debug, Hash)]
pub struct LinkSchedule<S> {
    fragment_bytes: usize,
    /// Sequences that have something to write, by class.
    lines: [VecDeque<S>; 3],
    /// Turns of other classes since one of this class had its turn.
    passed_over: [u32; 3],
    /// The turn that was given last was of the only sequence that waited.
    alone: bool,
    /// The frame is done: what comes next is not to fit.
    done: bool,
    /// Sequences that write nothing before a time.
    later: BTreeMap<(Instant, u64), (S, Class)>,
    last_later: u64,
    written: u64,
    progress: LinkProgress,
    /// Frames in flight: what was written with each, and when.
    in_flight: VecDeque<(u64, Instant)>,
    round_trip: Option<Duration>,
    /// What this side has taken off the link, when, what of it the peer was told, and when.
    taken: u64,
    taken_at: Instant,
    told: u64,
    told_at: Instant,
    /// When `Received` and the credits that wait for company go alone.
    reverse_at: Option<Instant>,
    /// Something goes back at once.
    urgent: bool,
    /// Frames since something went back, or could have.
    passed: u32,
    /// What goes back, one for each sequence: a later epoch begins only when the peer has had the
    /// last word of the one before.
    credits: Pending<Credit>,
    resumes: BTreeMap<u64, Resume>,
    refusals: BTreeMap<u64, Refuse>,
}

/// What goes back of each sequence: mostly of one.
#[derive(Clone, Debug, Hash)]
struct Pending<T> {
    one: Option<(u64, T)>,
    more: BTreeMap<u64, T>,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self { one: None, more: BTreeMap::new() }
    }
}

impl<T> Pending<T> {
    fn insert(&mut self, sequence: u64, it: T) {
        match &mut self.one {
            Some((one, _)) if *one != sequence => {
                self.more.insert(sequence, it);
            }
            None if self.more.contains_key(&sequence) => {
                self.more.insert(sequence, it);
            }
            one => *one = Some((sequence, it)),
        }
    }

    fn pop(&mut self) -> Option<T> {
        let one = self.one.take().map(|(_, one)| one);
        one.or_else(|| self.more.pop_first().map(|(_, it)| it))
    }
}

impl<S> Default for LinkSchedule<S> {
    fn default() -> Self {
        Self::new(FRAGMENT_BYTES)
    }
}

impl<S> LinkSchedule<S> {
    /// A link on which nothing was written. Where several sequences wait, each writes
    /// `fragment_bytes` at its turn.
    pub fn new(fragment_bytes: usize) -> Self {
        Self {
            fragment_bytes,
            lines: [const { VecDeque::new() }; 3],
            passed_over: [0; 3],
            alone: false,
            done: false,
            later: BTreeMap::new(),
            last_later: 0,
            written: 0,
            progress: LinkProgress::default(),
            in_flight: VecDeque::new(),
            round_trip: None,
            taken: 0,
            taken_at: Instant::ZERO,
            told: 0,
            told_at: Instant::ZERO,
            reverse_at: None,
            urgent: false,
            passed: COMPANY_FRAMES,
            credits: Pending::default(),
            resumes: BTreeMap::new(),
            refusals: BTreeMap::new(),
        }
    }

    /// A sequence has something to write.
    pub fn ready(&mut self, sequence: S, class: Class) {
        self.lines[usize::from(class.number())].push_back(sequence);
    }

    /// The peer's node has taken this off the link.
    ///
    /// # Errors
    /// It cannot have.
    pub fn received(&mut self, now: Instant, received: Received) -> Result<(), SequenceFault> {
        let Received { bytes, delay_us } = received;
        if bytes > self.written {
            return Err(SequenceFault::ReceivedAhead { received: bytes, written: self.written });
        }
        if bytes <= self.progress.received {
            return Ok(());
        }
        self.progress = LinkProgress { received: bytes, at: now };
        while let Some((end, sent_at)) = self.in_flight.front().copied()
            && end <= bytes
        {
            self.in_flight.pop_front();
            if end == bytes {
                let delay = Duration::from_micros(delay_us);
                let sample = now.since(sent_at).saturating_sub(delay);
                let smoothed = |old: Duration| old - old / 8 + sample / 8;
                self.round_trip = Some(self.round_trip.map_or(sample, smoothed));
            }
        }
        Ok(())
    }

    /// Is there nothing to write, now or later?
    pub fn is_idle(&self) -> bool {
        self.lines.iter().all(VecDeque::is_empty) && !self.urgent && self.reverse_at.is_none()
    }

    /// How many sequences have something to write, by class.
    pub fn waiting(&self) -> [usize; 3] {
        [0, 1, 2].map(|class| self.lines[class].len())
    }

    /// What goes back to the peer goes at once.
    pub fn hurry(&mut self) {
        self.urgent |= self.reverse_at.is_some();
    }

    /// How far the peer's node has received what was written.
    pub fn progress(&self) -> LinkProgress {
        self.progress
    }

    /// Bytes of frames that count, written since the link began.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What of the bytes that were taken off the link the peer was told.
    pub fn told(&self) -> u64 {
        self.told
    }

    /// The smoothed time from a frame to its `Received`, once one was measured.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// A frame that counts was taken off the link.
    pub fn took(&mut self, now: Instant, bytes: u64) {
        self.taken += bytes;
        self.taken_at = now;
        if self.taken - self.told >= RECEIVED_BYTES {
            self.urgent = true;
        } else {
            self.arm(now);
        }
    }

    /// A credit goes back: with one of the next frames, or alone after a while; at once if it is
    /// urgent.
    pub fn credit(&mut self, now: Instant, credit: Credit, urgent: bool) {
        self.credits.insert(credit.sequence, credit);
        self.urgent |= urgent;
        self.arm(now);
    }

    /// A resume goes back at once.
    pub fn resume(&mut self, resume: Resume) {
        self.resumes.insert(resume.sequence, resume);
        self.urgent = true;
    }

    /// A refusal goes back at once.
    pub fn refuse(&mut self, refuse: Refuse) {
        self.refusals.insert(refuse.sequence, refuse);
        self.urgent = true;
    }

    /// Something is to go back that waits for company.
    pub fn arm(&mut self, now: Instant) {
        let (least, most) = (*REVERSE_DELAY.start(), *REVERSE_DELAY.end());
        let delay = self.round_trip.map_or(least, |it| (it / 4).clamp(least, most));
        self.reverse_at.get_or_insert(now + delay);
    }

    /// When something is to be written at the latest, if nothing else happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let later = self.later.keys().next().map(|(at, _)| *at);
        self.reverse_at.into_iter().chain(later).min()
    }

    /// Begins a frame with what goes back to the peer, if it is due or has waited for company.
    pub fn begin_frame(&mut self, now: Instant, frame: &mut FrameWriter) {
        while let Some(first) = self.later.first_entry()
            && first.key().0 <= now
        {
            let (sequence, class) = first.remove();
            self.ready(sequence, class);
        }
        self.done = false;
        if self.takes_along(now) {
            self.write_back(now, frame);
        }
    }

    /// Is what goes back to the peer to be written now?
    pub fn is_due(&self, now: Instant) -> bool {
        self.urgent || self.reverse_at.is_some_and(|at| at <= now)
    }

    /// Do credits and `Received` that wait for company go with a frame that is written now?
    pub fn takes_along(&self, now: Instant) -> bool {
        self.is_due(now) || self.passed >= COMPANY_FRAMES && self.has_turn_at(now)
    }

    fn write_back(&mut self, now: Instant, frame: &mut FrameWriter) {
        self.passed = 0;
        let again_at = self.told_at + *REVERSE_DELAY.start();
        if self.taken > self.told && (self.is_due(now) || now >= again_at) {
            (self.told, self.told_at) = (self.taken, now);
            let delay_us = u64::try_from(now.since(self.taken_at).as_micros()).unwrap_or(u64::MAX);
            frame.received(Received { bytes: self.taken, delay_us });
        }
        // What does not fit goes with the next frame.
        while frame.len() < FRAME_BYTES {
            if let Some((_, resume)) = self.resumes.pop_first() {
                frame.resume(resume);
            } else if let Some((_, refuse)) = self.refusals.pop_first() {
                frame.refuse(refuse);
            } else if let Some(credit) = self.credits.pop() {
                frame.credit(credit);
            } else {
                self.urgent = false;
                // A few frames more may come before it is worth a record.
                self.reverse_at = (self.taken > self.told).then_some(again_at);
                return;
            }
        }
        self.urgent = true;
    }

    fn has_room(&self) -> bool {
        self.written - self.progress.received < IN_FLIGHT_BYTES
    }

    /// Does a sequence wait for the peer to receive what is in flight?
    pub fn is_full(&self) -> bool {
        !self.has_room() && self.lines.iter().any(|line| !line.is_empty())
    }

    /// Would a sequence write now?
    pub fn has_turn(&self) -> bool {
        self.has_room() && self.lines.iter().any(|line| !line.is_empty())
    }

    /// As [`has_turn`](Self::has_turn), or may one write that was to wait until now?
    pub fn has_turn_at(&self, now: Instant) -> bool {
        self.has_turn() || self.later.first_key_value().is_some_and(|((at, _), _)| *at <= now)
    }

    /// The sequence that writes next into the frame, its class and its turn; none if the frame
    /// is full, nothing waits, or enough is in flight.
    pub fn next_turn(&mut self, frame: &FrameWriter) -> Option<(S, Class, Turn)> {
        let room = FRAME_BYTES.saturating_sub(frame.len());
        let is_done = !frame.is_empty() && (self.done || room < self.fragment_bytes);
        if is_done || !self.has_room() {
            return None;
        }
        let class = self.next_class()?;
        let sequence = self.lines[usize::from(class.number())].pop_front()?;
        let alone = self.lines.iter().all(VecDeque::is_empty);
        self.alone = alone;
        let budget = if alone { room } else { self.fragment_bytes.min(room) };
        let may_cut = !alone || frame.is_empty();
        let turn = Turn { budget, may_cut, offset: self.written, progress: self.progress };
        Some((sequence, class, turn))
    }

    /// The highest class that waits, but for a lower one that was passed over long enough.
    fn next_class(&self) -> Option<Class> {
        let waits = |class: &Class| !self.lines[usize::from(class.number())].is_empty();
        let share = LOWER_CLASS_SHARE - 1;
        let due = |class: &Class| self.passed_over[usize::from(class.number())] >= share;
        let overdue = Class::ALL.into_iter().rev().find(|class| waits(class) && due(class));
        overdue.or_else(|| Class::ALL.into_iter().find(waits))
    }

    /// A sequence had its turn and left off like this. `class` is the one it had then.
    pub fn end_turn(&mut self, sequence: S, class: Class, pulled: Pulled) {
        let place = usize::from(class.number());
        self.passed_over[place] = 0;
        for other in (0..3).filter(|other| *other != place) {
            if !self.lines[other].is_empty() {
                self.passed_over[other] += 1;
            }
        }
        match pulled {
            Pulled::More => {
                self.done |= self.alone;
                self.ready(sequence, class);
            }
            Pulled::Later(at) => {
                self.last_later += 1;
                self.later.insert((at, self.last_later), (sequence, class));
            }
            Pulled::Idle => {}
        }
    }

    /// The frame is on its way: `bytes` is the length of its wire form. `counts` says whether it
    /// counts for `Received`.
    pub fn end_frame(&mut self, now: Instant, bytes: u64, counts: bool) {
        self.passed = COMPANY_FRAMES.min(self.passed + 1);
        if counts {
            self.written += bytes;
            self.in_flight.push_back((self.written, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Headers;

    /// Writes a frame of this length; whether a sequence had a turn.
    fn write(schedule: &mut LinkSchedule<()>, bytes: u64) -> bool {
        let mut frame = FrameWriter::new();
        schedule.ready((), Class::Normal);
        let Some(((), class, _)) = schedule.next_turn(&frame) else { return false };
        frame.sample((1, 1, 0), &Headers::new(), &bytes::Bytes::new());
        schedule.end_turn((), class, Pulled::Idle);
        schedule.end_frame(Instant::ZERO, bytes, frame.counts());
        true
    }

    fn received(schedule: &mut LinkSchedule<()>, bytes: u64) -> Result<(), SequenceFault> {
        schedule.received(Instant::ZERO, Received { bytes, delay_us: 0 })
    }

    #[test]
    fn sequences_wait_while_as_much_is_in_flight_as_may_be() {
        let mut schedule = LinkSchedule::new(FRAGMENT_BYTES);
        assert!(write(&mut schedule, IN_FLIGHT_BYTES - 1));
        assert!(write(&mut schedule, 1));
        assert!(!write(&mut schedule, 1) && schedule.is_full());
        received(&mut schedule, 1).expect("it was written");
        assert!(!schedule.is_full() && write(&mut schedule, 1));
        assert!(!write(&mut schedule, 1));
    }

    #[test]
    fn a_peer_receives_no_more_than_was_written() {
        let mut schedule = LinkSchedule::new(FRAGMENT_BYTES);
        assert!(write(&mut schedule, 100));
        received(&mut schedule, 100).expect("it was written");
        let ahead = SequenceFault::ReceivedAhead { received: 101, written: 100 };
        assert_eq!(received(&mut schedule, 101), Err(ahead));
    }
}
