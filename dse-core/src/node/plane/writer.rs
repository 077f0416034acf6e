//! What writes a link's data lane: whatever was collected while the previous frame was
//! being sent is the next frame.
//!
//! A task of its own does it, which costs a lone sample a task switch. So a publisher
//! whose subscriber has taken everything, as in a ping-pong, writes by itself while that
//! task rests.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::limits::{CREDIT_DELAY, HOLD_REVIEW};
use super::link::{AliasesExhausted, Link, Next};
use super::meter::Meter;
use super::reader::LaneError;
use crate::data::{Credit, DataFrame};
use crate::transport::DataSender;

/// How many frames a publisher sends in the place of the task.
const FRAMES_FOR_TASK: usize = 4;

/// Writes one data lane.
pub(super) struct Writer {
    sender: Box<dyn DataSender>,
    /// How long one subscription may hold up another here: well before their publisher
    /// gives both up.
    hold_limit: Duration,
    frame: Option<DataFrame>,
    meters: Vec<Arc<Meter>>,
    credits: VecDeque<Credit>,
    /// Sequences of which one subscription holds up another.
    held: Vec<Arc<Meter>>,
    /// Runs while a credit waits or a subscription holds up another. Once a credit has
    /// waited it runs to its end, also if a frame came and took the credit along: else each
    /// sample of a ping-pong would wake the task for its credit.
    tick: Option<Pin<Box<Sleep>>>,
    /// A credit has waited since the last tick.
    waited: bool,
    /// Found out while a publisher wrote: for the task to report.
    failed: Option<LaneError>,
}

impl Writer {
    pub(super) fn new(sender: Box<dyn DataSender>, stall_timeout: Duration) -> Self {
        Self {
            sender,
            hold_limit: stall_timeout / 2,
            frame: None,
            meters: Vec::new(),
            credits: VecDeque::new(),
            held: Vec::new(),
            tick: None,
            waited: false,
            failed: None,
        }
    }

    /// For the writing task: sends all there is. Ready if the link fails.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, link: &Link) -> Poll<LaneError> {
        if let Some(failed) = self.failed.take() {
            return Poll::Ready(failed);
        }
        loop {
            let progress = ready!(tokio::task::coop::poll_proceed(cx));
            let mut ticked = self.poll_tick(cx);
            while self.frame.is_none() {
                let next = match self.next_frame(link, cx.waker(), ticked) {
                    Ok(next) => next,
                    Err(error) => return Poll::Ready(error),
                };
                ticked = self.waited && self.tick.is_none() && self.start_tick(CREDIT_DELAY, cx);
                match next {
                    Next::Frame(frame) => self.frame = Some(frame),
                    Next::Again => {}
                    Next::Later if self.tick.is_none() => {
                        ticked = self.start_tick(CREDIT_DELAY, cx)
                    }
                    Next::Idle if self.tick.is_none() && !self.held.is_empty() => {
                        ticked = self.start_tick(HOLD_REVIEW, cx);
                    }
                    Next::Later | Next::Idle => return Poll::Pending,
                }
            }
            if let Err(error) = ready!(self.sender.poll_send(cx, &mut self.frame)) {
                return Poll::Ready(error.into());
            }
            progress.made_progress();
        }
    }

    /// For a publisher: sends what there is, in the place of the task that rests. What is
    /// left over wakes that task.
    pub(super) fn send_for(&mut self, task: &Waker, link: &Link) {
        match self.try_send_for(task, link) {
            Ok(true) => {}
            Ok(false) => task.wake_by_ref(),
            Err(error) => {
                self.failed = Some(error);
                task.wake_by_ref();
            }
        }
    }

    /// Returns whether the task may go on resting.
    fn try_send_for(&mut self, task: &Waker, link: &Link) -> Result<bool, LaneError> {
        if self.failed.is_some() {
            return Ok(false);
        }
        // Others may publish meanwhile, but one publisher is not to work for all of them.
        for _ in 0..FRAMES_FOR_TASK {
            match self.next_frame(link, task, false)? {
                Next::Frame(frame) => self.frame = Some(frame),
                Next::Again => return Ok(false),
                Next::Later => return Ok(self.tick.is_some()),
                // One that holds up another is looked at again by the task's timer.
                Next::Idle => return Ok(self.held.is_empty() || self.tick.is_some()),
            }
            match self.sender.poll_send(&mut Context::from_waker(task), &mut self.frame) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => return Ok(true),
            }
        }
        Ok(false)
    }

    fn next_frame(&mut self, link: &Link, task: &Waker, ticked: bool) -> Result<Next, LaneError> {
        link.serve().map_err(|AliasesExhausted| LaneError::AliasesExhausted)?;
        self.collect_credits(link, ticked);
        Ok(link.next_frame(&mut self.credits, task, self.tick.is_some()))
    }

    fn collect_credits(&mut self, link: &Link, ticked: bool) {
        self.waited |= link.take_meters(ticked, &mut self.meters);
        if ticked {
            self.meters.append(&mut self.held);
        }
        for meter in self.meters.drain(..) {
            self.credits.extend(meter.credit());
            let known = self.held.iter().any(|held| Arc::ptr_eq(held, &meter));
            if meter.is_shared() && !known && meter.review(Instant::now(), self.hold_limit) {
                self.held.push(meter);
            }
        }
    }

    /// Returns whether it is over already.
    fn start_tick(&mut self, after: Duration, cx: &mut Context<'_>) -> bool {
        self.tick = Some(Box::pin(tokio::time::sleep(after)));
        self.poll_tick(cx)
    }

    fn poll_tick(&mut self, cx: &mut Context<'_>) -> bool {
        let ticked = self.tick.as_mut().is_some_and(|tick| tick.as_mut().poll(cx).is_ready());
        if ticked {
            self.tick = None;
            self.waited = false;
        }
        ticked
    }
}
