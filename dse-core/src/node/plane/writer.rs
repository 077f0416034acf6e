//! The task that writes a link's data lane: whatever was collected while the previous
//! frame was being sent is the next frame.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::limits::{CREDIT_DELAY, HOLD_REVIEW};
use super::link::{AliasesExhausted, Link, Next};
use super::meter::Meter;
use super::reader::LaneError;
use crate::data::{Credit, DataFrame};
use crate::transport::DataSender;

/// Writes one data lane.
pub(super) struct Writer {
    link: Arc<Link>,
    sender: Box<dyn DataSender>,
    /// How long one subscription may hold up another here: well before their publisher
    /// gives both up.
    hold_limit: Duration,
    frame: Option<DataFrame>,
    meters: Vec<Arc<Meter>>,
    credits: VecDeque<Credit>,
    /// Sequences of which one subscription holds up another.
    held: Vec<Arc<Meter>>,
    /// Runs only while a credit waits or a subscription holds up another.
    tick: Option<Pin<Box<Sleep>>>,
}

impl Writer {
    pub(super) fn new(
        link: Arc<Link>,
        sender: Box<dyn DataSender>,
        stall_timeout: Duration,
    ) -> Self {
        Self {
            link,
            sender,
            hold_limit: stall_timeout / 2,
            frame: None,
            meters: Vec::new(),
            credits: VecDeque::new(),
            held: Vec::new(),
            tick: None,
        }
    }

    /// Writes until the link fails.
    pub(super) async fn run(mut self) -> LaneError {
        loop {
            match std::future::poll_fn(|cx| self.poll_frame(cx)).await {
                Ok(()) => tokio::task::coop::consume_budget().await,
                Err(error) => return error,
            }
        }
    }

    /// Ready once a frame was sent.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LaneError>> {
        while self.frame.is_none() {
            let ticked = self.poll_tick(cx);
            self.link.serve().map_err(|AliasesExhausted| LaneError::AliasesExhausted)?;
            self.collect_credits(ticked);
            match self.link.next_frame(&mut self.credits, cx.waker()) {
                Next::Frame(frame) => self.frame = Some(frame),
                Next::Again => {}
                Next::Later if self.tick.is_none() => self.start_tick(CREDIT_DELAY),
                Next::Idle if self.tick.is_none() && !self.held.is_empty() => {
                    self.start_tick(HOLD_REVIEW);
                }
                Next::Later | Next::Idle => return Poll::Pending,
            }
        }
        self.sender.poll_send(cx, &mut self.frame).map_err(LaneError::from)
    }

    fn collect_credits(&mut self, ticked: bool) {
        self.link.take_meters(ticked, &mut self.meters);
        if ticked {
            self.meters.append(&mut self.held);
        }
        if self.meters.is_empty() {
            return;
        }
        let now = Instant::now();
        for meter in self.meters.drain(..) {
            self.credits.extend(meter.credit());
            let known = self.held.iter().any(|held| Arc::ptr_eq(held, &meter));
            if meter.is_shared() && !known && meter.review(now, self.hold_limit) {
                self.held.push(meter);
            }
        }
    }

    fn start_tick(&mut self, after: Duration) {
        self.tick = Some(Box::pin(tokio::time::sleep(after)));
    }

    fn poll_tick(&mut self, cx: &mut Context<'_>) -> bool {
        let ticked = self.tick.as_mut().is_some_and(|tick| tick.as_mut().poll(cx).is_ready());
        if ticked {
            self.tick = None;
        }
        ticked
    }
}
