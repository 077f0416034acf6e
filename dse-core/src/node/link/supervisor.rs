//! The task of a link.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};

use super::lane::Lane;
use super::outlet::{NoDriver, Outlet};
use super::{
    Activity, BEAT, Common, Ending, LinkEventKind, MESSAGE, PING, PONG, Shared, SkippedFrames, cost,
};
use crate::node::limits::DATA_LANE_LOST_TIMEOUT;
use crate::node::probe::{Act, ProbeConfig, Prober, lazy_every};
use crate::protocol::Instant;
use crate::transport::{Received, TransportError};

/// What the task of a link holds.
pub(super) struct Supervisor {
    lane: Lane,
    prober: Prober,
    /// What the messages that the lane is sending count.
    batch_bytes: usize,
    received: Vec<Bytes>,
    /// What the driver has not taken yet: it handles the messages of a link in order,
    /// but must not keep the link from being probed meanwhile.
    inbox: VecDeque<LinkEventKind>,
    inbox_bytes: usize,
    queue_bytes: usize,
    shared: Arc<Shared>,
    activity: Arc<Activity>,
    probe: ProbeConfig,
    links: Counted,
    skipped: Arc<SkippedFrames>,
    doomed: Option<Doomed>,
}

/// The data lane has ended: so will the link, once the peer's last words are read.
struct Doomed {
    why: String,
    at: Instant,
}

impl Supervisor {
    pub(super) fn new(
        lane: Lane,
        common: &Common,
        dialled: bool,
        shared: Arc<Shared>,
        activity: Arc<Activity>,
    ) -> Self {
        let probe = ProbeConfig { leads: dialled, ..common.probe };
        Self {
            lane,
            prober: Prober::new(probe, activity.now()),
            batch_bytes: 0,
            received: Vec::new(),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            queue_bytes: common.queue_bytes,
            shared,
            activity,
            probe,
            links: Counted::new(common.count.clone()),
            skipped: common.skipped.clone(),
            doomed: None,
        }
    }

    pub(super) async fn run(mut self, mut outlet: Outlet) {
        let mut timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        let end = std::future::poll_fn(|cx| self.poll(cx, timer.as_mut(), &mut outlet)).await;
        match end {
            End::Fell(why) => {
                let Self { lane, mut inbox, .. } = self;
                drop(lane);
                inbox.push_back(LinkEventKind::Down(why));
                std::future::poll_fn(|cx| outlet.poll_all(cx, &mut inbox)).await;
            }
            End::Closed => {
                self.lane.sending.append(&mut self.shared.orders().frames);
                let closing = std::future::poll_fn(|cx| self.lane.poll_close(cx));
                // In time or not, the lane is dropped now.
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
            }
            End::Dropped => {}
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut tokio::time::Sleep>,
        outlet: &mut Outlet,
    ) -> Poll<End> {
        loop {
            if let Some(end) = self.take_orders(cx.waker()) {
                return Poll::Ready(end);
            }
            if let Err(why) = self.receive(cx).and_then(|()| self.act()) {
                return Poll::Ready(End::Fell(why));
            }
            if let Err(error) = self.send(cx) {
                return Poll::Ready(End::Fell(error.to_string()));
            }
            if self.deliver(cx, outlet).is_err() {
                return Poll::Ready(End::Dropped);
            }
            if self.can_read_again() {
                continue;
            }
            // A timer that is early by now costs less than one that moves with each frame.
            let deadline = self.activity.origin + Duration::from_nanos(self.deadline().as_nanos());
            if deadline < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn take_orders(&mut self, waker: &Waker) -> Option<End> {
        let mut orders = self.shared.orders();
        if !orders.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            orders.waker = Some(waker.clone());
        }
        let now = self.activity.now();
        if let Some(watch) = orders.watch.take() {
            self.prober.watch(watch, now);
        }
        if std::mem::take(&mut orders.probe) {
            self.prober.probe(now);
        }
        if let Some(error) = orders.data_lane_ended.take() {
            let why = format!("its data lane ended: {error}");
            self.doomed = Some(Doomed { why, at: now + DATA_LANE_LOST_TIMEOUT });
            self.prober.hint(now);
        }
        match orders.ending? {
            Ending::Close => Some(End::Closed),
            Ending::Drop => Some(End::Dropped),
        }
    }

    /// Takes in what came, as long as it fits the inbox.
    fn receive(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        for _ in 0..BATCHES_A_TURN {
            if self.inbox_bytes >= self.queue_bytes {
                self.prober.set_deaf(true, self.activity.now());
                return Ok(());
            }
            match self.lane.receiver.poll_recv(cx, &mut self.received) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(Received::Frames)) => self.take_frames()?,
                Poll::Ready(Ok(Received::Hint)) => self.prober.hint(self.activity.now()),
                Poll::Ready(Err(error)) => return Err(error.to_string()),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn take_frames(&mut self) -> Result<(), String> {
        self.activity.mark(tokio::time::Instant::now());
        let now = self.activity.heard_at();
        for mut frame in self.received.drain(..) {
            let more = match *frame {
                [MESSAGE, ..] => {
                    frame.advance(1);
                    self.inbox_bytes += cost(&frame);
                    self.inbox.push_back(LinkEventKind::Message(frame));
                    continue;
                }
                [PING, id, ref more @ ..] => {
                    self.lane.pong = Some(id);
                    more
                }
                [BEAT, high, low, ref more @ ..] => {
                    let next_ms = u16::from_be_bytes([high, low]);
                    self.prober.beat(Duration::from_millis(next_ms.into()), now);
                    more
                }
                [PONG, id, ref more @ ..] => {
                    if let Some(rtt) = self.prober.pong(id, now) {
                        self.shared.note_rtt(rtt);
                    }
                    more
                }
                [] => return Err("malformed input: an empty control frame".into()),
                [kind @ (PING | BEAT | PONG), ..] => {
                    let len = frame.len();
                    return Err(format!(
                        "malformed input: a control frame of {len} bytes and type {kind}"
                    ));
                }
                [..] => {
                    self.skipped.frames.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            };
            if !more.is_empty() {
                self.skipped.fields.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn act(&mut self) -> Result<(), String> {
        self.prober.set_lazy_every(lazy_every(&self.probe, self.links.count()));
        self.prober.heard(self.activity.heard_at());
        let now = self.activity.now();
        while let Some(act) = self.prober.poll(now) {
            match act {
                Act::Beat(next) => self.lane.beat = Some(next),
                Act::Ping(id) => self.lane.ping = Some(id),
                Act::Probed => self.inbox.push_back(LinkEventKind::Probed),
                Act::Silent(silence) => {
                    return Err(format!("the peer was silent for {} ms", silence.as_millis()));
                }
                Act::Unanswered => return Err("the peer did not answer a probe".into()),
            }
        }
        match &self.doomed {
            Some(doomed) if now >= doomed.at && !self.prober.is_deaf() => Err(doomed.why.clone()),
            _ => Ok(()),
        }
    }

    /// When there is something to do at the latest.
    fn deadline(&self) -> Instant {
        // As long as this side does not read, last words may be waiting.
        let doomed = self.doomed.as_ref().filter(|_| !self.prober.is_deaf());
        doomed.map(|doomed| doomed.at).into_iter().fold(self.prober.deadline(), Instant::min)
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), TransportError> {
        loop {
            if self.lane.poll_flush(cx)?.is_pending() {
                return Ok(());
            }
            let mut orders = self.shared.orders();
            orders.bytes -= std::mem::take(&mut self.batch_bytes);
            let count = orders.frames.len().min(BATCH_MESSAGES);
            self.lane.sending.extend(orders.frames.drain(..count));
            self.batch_bytes = self.lane.sending.iter().map(|frame| cost(frame) - 1).sum();
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Gives the driver what it has room for. `Err` if there is no driver any more.
    fn deliver(&mut self, cx: &mut Context<'_>, outlet: &mut Outlet) -> Result<(), NoDriver> {
        while !self.inbox.is_empty() {
            match outlet.poll_next(cx, &mut self.inbox) {
                Poll::Pending => break,
                Poll::Ready(delivered) => self.inbox_bytes -= delivered?,
            }
        }
        Ok(())
    }

    fn can_read_again(&mut self) -> bool {
        let can = self.prober.is_deaf() && self.inbox_bytes <= self.queue_bytes / 2;
        if can {
            let now = self.activity.now();
            self.prober.set_deaf(false, now);
            if let Some(doomed) = &mut self.doomed {
                doomed.at = now + DATA_LANE_LOST_TIMEOUT;
            }
        }
        can
    }
}

/// One of the links of a node, all of which are counted.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a link ends.
enum End {
    Fell(String),
    Closed,
    Dropped,
}

/// How long a closing link may take to deliver what was queued.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Most messages that are handed to the transport together.
const BATCH_MESSAGES: usize = 64;
/// Most batches that are received before other tasks get their turn.
const BATCHES_A_TURN: usize = 16;
