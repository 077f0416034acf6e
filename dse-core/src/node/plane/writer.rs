//! What writes a link's data lane: it pulls from publications whose routes are ready.
//!
//! A task of its own does it, which costs a lone sample a task switch. So a publisher whose
//! subscriber is close behind, as in a ping-pong, writes by itself while that task rests.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Waker, ready};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Sleep;

use super::counters::count;
use super::fault::LaneError;
use super::limits::FRAMES_FOR_TASK;
use super::link::{Incoming, Link, Outgoing, Token};
use crate::data::limits::{RECEIVED_BYTES, REVERSE_DELAY};
use crate::data::link::LinkSchedule;
use crate::data::{DataFrame, FrameWriter, SequenceFault};
use crate::protocol::{Class, Instant};
use crate::transport::DataSender;

/// Writes one data lane.
pub(super) struct Writer {
    sender: Box<dyn DataSender>,
    tokens: Tokens,
    pending: VecDeque<Token>,
    schedule: LinkSchedule<Arc<dyn Outgoing>>,
    building: FrameWriter,
    /// A frame that the transport has not taken yet.
    frame: Option<DataFrame>,
    /// Accounts of which a credit waits for company.
    waiting: Vec<Arc<dyn Incoming>>,
    /// What of `taken` the schedule knows.
    took: u64,
    /// Accounts that are looked at again at a time: a subscription may hold up another.
    review: BTreeMap<(Instant, usize), Arc<dyn Incoming>>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Something waits for company: the timer is to run, also if a frame takes it along. Else
    /// each sample of a ping-pong would wake the task for its credit.
    ticks: bool,
    /// Those who wait until everything has gone to the transport.
    hurried: Vec<oneshot::Sender<()>>,
    /// The writing task rests.
    task: Option<Waker>,
    /// Found out while a publisher wrote: for the task to report.
    failed: Option<LaneError>,
}

/// What a writer is told to do.
pub(super) struct Tokens {
    pub(super) queue: mpsc::UnboundedReceiver<Token>,
    /// Credits that wait for company.
    pub(super) waiting: std::sync::mpsc::Receiver<Arc<dyn Incoming>>,
}

impl Writer {
    pub(super) fn new(sender: Box<dyn DataSender>, tokens: Tokens) -> Self {
        Self {
            sender,
            tokens,
            pending: VecDeque::new(),
            schedule: LinkSchedule::default(),
            building: FrameWriter::new(),
            frame: None,
            waiting: Vec::new(),
            took: 0,
            review: BTreeMap::new(),
            timer: None,
            ticks: false,
            hurried: Vec::new(),
            task: None,
            failed: None,
        }
    }

    /// For the writing task: sends all there is. Ready if the link fails.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, link: &Link) -> Poll<LaneError> {
        self.task = None;
        if let Some(failed) = self.failed.take() {
            return Poll::Ready(failed);
        }
        loop {
            let progress = ready!(tokio::task::coop::poll_proceed(cx));
            let now = link.clock.now();
            self.poll_tokens(cx);
            self.poll_timer(cx, now);
            self.take_tokens(link, now);
            let has_frame = match self.next_frame(link, now) {
                Ok(has_frame) => has_frame,
                Err(fault) => return Poll::Ready(fault.into()),
            };
            if !has_frame {
                // Who does not wait any more needs no word.
                self.hurried.drain(..).for_each(|done| {
                    let _ = done.send(());
                });
                if !self.rest(cx, link, now) {
                    continue;
                }
                self.task = Some(cx.waker().clone());
                return Poll::Pending;
            }
            match self.sender.poll_send(cx, &mut self.frame) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(error.into()),
                // What comes meanwhile waits; the transport wakes this task.
                Poll::Pending => return Poll::Pending,
            }
            progress.made_progress();
        }
    }

    /// Does the task rest, with nothing to write?
    pub(super) fn rests(&self) -> bool {
        self.task.is_some() && self.frame.is_none() && self.pending.is_empty()
    }

    /// For a publisher: sends what there is, in the place of the task that [rests](Self::rests).
    /// False if the task is to go on.
    pub(super) fn write_alone(
        &mut self,
        outgoing: Arc<dyn Outgoing>,
        class: Class,
        link: &Link,
    ) -> bool {
        let Some(task) = self.task.take() else { return false };
        let goes_on_resting = self.write_for(&task, outgoing, class, link);
        self.task = Some(task);
        goes_on_resting
    }

    fn write_for(
        &mut self,
        task: &Waker,
        outgoing: Arc<dyn Outgoing>,
        class: Class,
        link: &Link,
    ) -> bool {
        let now = link.clock.now();
        self.schedule.ready(outgoing, class);
        // Others may publish meanwhile, but one publisher is not to work for all of them.
        for _ in 0..FRAMES_FOR_TASK {
            match self.next_frame(link, now) {
                Ok(true) => {}
                Ok(false) => return self.timer_is_in_time(link),
                Err(fault) => {
                    self.failed = Some(fault.into());
                    return false;
                }
            }
            match self.sender.poll_send(&mut Context::from_waker(task), &mut self.frame) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.failed = Some(error.into());
                    return false;
                }
                Poll::Pending => return true,
            }
        }
        false
    }

    /// Waits for the first of several tokens.
    fn poll_tokens(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(token)) = self.tokens.queue.poll_recv(cx) {
            self.pending.push_back(token);
            if self.pending.len() >= TOKENS_A_TURN {
                cx.waker().wake_by_ref();
                break;
            }
        }
    }

    fn take_tokens(&mut self, link: &Link, now: Instant) {
        while let Some(token) = self.pending.pop_front() {
            match token {
                Token::Ready(outgoing, class) => self.schedule.ready(outgoing, class),
                Token::Credit(incoming) => self.credit(&incoming, now, true),
                Token::Wake => self.ticks = true,
                Token::Resume(resume) => {
                    link.answers.fetch_sub(1, SeqCst);
                    self.schedule.resume(resume);
                }
                Token::Refuse(refuse) => {
                    link.answers.fetch_sub(1, SeqCst);
                    self.schedule.refuse(refuse);
                }
                Token::Hurry(done) => {
                    self.schedule.arm(now);
                    self.schedule.hurry();
                    self.hurried.push(done);
                }
            }
        }
    }

    fn credit(&mut self, incoming: &Arc<dyn Incoming>, now: Instant, urgent: bool) {
        let (credit, again) = incoming.credit(now);
        if let Some(credit) = credit {
            self.schedule.credit(now, credit, urgent);
        }
        if let Some(again) = again {
            self.review.insert((again, Arc::as_ptr(incoming).addr()), Arc::clone(incoming));
        }
    }

    /// Is there something that waits for company?
    fn has_waiting(&mut self, link: &Link) -> bool {
        self.waiting.extend(self.tokens.waiting.try_iter());
        !self.waiting.is_empty() || link.taken.load(SeqCst) > self.took
    }

    /// Is there a frame to be sent, after one was collected if there was none?
    fn next_frame(&mut self, link: &Link, now: Instant) -> Result<bool, SequenceFault> {
        if self.frame.is_some() { Ok(true) } else { self.build(link, now) }
    }

    /// Collects the next frame. False if there is nothing to send.
    fn build(&mut self, link: &Link, now: Instant) -> Result<bool, SequenceFault> {
        self.schedule.received(now, link.last_received())?;
        let untold = link.taken.load(SeqCst) - self.took;
        let goes_back = self.schedule.is_due(now) || untold >= RECEIVED_BYTES;
        if !goes_back && !self.schedule.has_turn_at(now) {
            return self.rest_while_full(link, now);
        }
        if (goes_back || self.schedule.takes_along(now)) && self.has_waiting(link) {
            let taken = link.taken.load(SeqCst);
            if taken > self.took {
                let at = Instant::from_nanos(link.taken_at.load(SeqCst));
                self.schedule.took(at, taken - self.took);
                self.took = taken;
            }
            let mut waiting = std::mem::take(&mut self.waiting);
            waiting.drain(..).for_each(|incoming| self.credit(&incoming, now, false));
            self.waiting = waiting;
        }
        self.schedule.begin_frame(now, &mut self.building);
        while let Some((outgoing, class, turn)) = self.schedule.next_turn(&self.building) {
            let pulled = outgoing.pull(now, link.id, &mut self.building, turn);
            self.schedule.end_turn(outgoing, class, pulled);
        }
        let (samples, counts) = (self.building.samples(), self.building.counts());
        let Some(frame) = self.building.take() else {
            return self.rest_while_full(link, now);
        };
        let bytes = frame.wire_len() as u64;
        self.schedule.end_frame(now, bytes, counts);
        link.tell(self.schedule.told(), self.schedule.written());
        count(&link.counters.samples_sent, samples);
        count(&link.counters.data_bytes_sent, bytes);
        self.frame = Some(frame);
        Ok(true)
    }

    /// Nothing was written: if because enough is in flight, the reader wakes the task.
    fn rest_while_full(&mut self, link: &Link, now: Instant) -> Result<bool, SequenceFault> {
        if !self.schedule.is_full() {
            return Ok(false);
        }
        link.is_full.store(true, SeqCst);
        // What was heard before that was known wakes nobody.
        self.schedule.received(now, link.last_received())?;
        if self.schedule.has_turn() { self.build(link, now) } else { Ok(false) }
    }

    /// When there is something to do at the latest.
    fn deadline(&self) -> Option<Instant> {
        let review = self.review.keys().next().map(|(at, _)| *at);
        self.schedule.poll_timeout().into_iter().chain(review).min()
    }

    /// Does the timer, which may be an older one, end before the next deadline?
    fn timer_is_in_time(&self, link: &Link) -> bool {
        let Some(at) = self.deadline().map(|at| link.clock.at(at)) else { return true };
        self.timer.as_ref().is_some_and(|timer| timer.deadline() <= at)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
            self.timer = None;
        }
        while let Some(first) = self.review.first_entry()
            && first.key().0 <= now
        {
            let incoming = first.remove();
            self.credit(&incoming, now, true);
        }
    }

    /// There is nothing to send: lets the timer run to the next deadline. False if there is
    /// something to do after all.
    fn rest(&mut self, cx: &mut Context<'_>, link: &Link, now: Instant) -> bool {
        if std::mem::take(&mut self.ticks) {
            self.schedule.arm(now);
        }
        if !self.timer_is_in_time(link)
            && let Some(at) = self.deadline()
        {
            self.timer = Some(Box::pin(tokio::time::sleep_until(link.clock.at(at))));
        }
        if self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
            self.timer = None;
            return false;
        }
        // While a timer runs that ends soon, what waits for company needs to wake nobody.
        let soon = link.clock.at(now + *REVERSE_DELAY.end());
        let is_armed = self.timer.as_ref().is_some_and(|timer| timer.deadline() <= soon);
        link.armed.store(is_armed, SeqCst);
        if !is_armed && self.has_waiting(link) {
            // It came before that was known.
            link.armed.store(true, SeqCst);
            self.schedule.arm(now);
            return false;
        }
        true
    }
}

/// Most tokens that a writer looks at before it writes.
const TOKENS_A_TURN: usize = 256;
