//! The link supervisor: one task a link, which owns the control lane.
//!
//! It carries bus messages between the driver and the lane, bounds what waits on
//! either way, and finds out whether the peer lives (see [`probe`](super::probe)).
//! On the lane each frame starts with a byte that says what it is (PROTOCOL.md §10):
//!
//! ```text
//! 0 | bus message        1 | id   ping        2 | id   pong
//! ```

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::probe::{Act, ProbeConfig, Prober};
use crate::protocol::{Instant, LinkId, Watch};
use crate::transport::{ControlReceiver, ControlSender, Received, TransportError};

/// How long a closing link may take to deliver what was queued.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// What a waiting frame counts beside its bytes, so that empty ones are bounded too.
const FRAME_OVERHEAD_BYTES: usize = 64;
/// Most frames that are handed to the transport together.
const BATCH_FRAMES: usize = 64;
/// Most batches that are received before other tasks get their turn.
const BATCHES_A_TURN: usize = 16;

const MESSAGE: u8 = 0;
const PING: u8 = 1;
const PONG: u8 = 2;

/// Starts the task that owns the control lane of a link. At most `queue_bytes` wait
/// on either way: for the transport, and for room in `events`.
pub(crate) fn supervise(
    link: LinkId,
    control_sender: Box<dyn ControlSender>,
    control_receiver: Box<dyn ControlReceiver>,
    probe: ProbeConfig,
    queue_bytes: usize,
    events: mpsc::Sender<LinkEvent>,
) -> LinkHandle {
    let activity = Arc::new(Activity::new());
    let shared = Arc::new(Shared { orders: Mutex::default(), rtt_ns: AtomicU64::new(NO_RTT) });
    let supervisor = Supervisor {
        lane: Lane {
            sender: control_sender,
            receiver: control_receiver,
            sending: VecDeque::new(),
            probes_in_front: 0,
            unflushed: false,
            ping: None,
            pong: None,
        },
        prober: Prober::new(probe, activity.now()),
        batch_bytes: 0,
        received: Vec::new(),
        inbox: VecDeque::new(),
        inbox_bytes: 0,
        queue_bytes,
        shared: shared.clone(),
        activity: activity.clone(),
    };
    tokio::spawn(supervisor.run(Outlet { link, events, reserving: None }));
    LinkHandle { shared, activity, queue_bytes }
}

/// What a link tells the driver.
#[derive(Debug)]
pub(crate) struct LinkEvent {
    /// Which link.
    pub(crate) link: LinkId,
    /// What.
    pub(crate) kind: LinkEventKind,
}

/// What happened on a link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LinkEventKind {
    /// A bus message came in.
    Message(Bytes),
    /// The peer answered [`LinkHandle::probe`].
    Probed,
    /// The link fell, for this reason. Nothing follows.
    Down(String),
}

/// The driver's end of a link. Dropping it drops the control lane at once.
#[derive(Debug)]
pub(crate) struct LinkHandle {
    shared: Arc<Shared>,
    activity: Arc<Activity>,
    queue_bytes: usize,
}

/// More waits for a link than it may hold: the peer stalls, close the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer stalls: more than {queue_bytes} bytes of control messages wait for it")]
pub(crate) struct QueueFull {
    queue_bytes: usize,
}

impl LinkHandle {
    /// Queues a bus message. On a link that fell it goes nowhere.
    ///
    /// # Errors
    /// The queue is full.
    pub(crate) fn send(&self, message: &Bytes) -> Result<(), QueueFull> {
        let mut frame = BytesMut::with_capacity(1 + message.len());
        frame.put_u8(MESSAGE);
        frame.put_slice(message);
        self.order(|orders| {
            if orders.bytes + cost(message) > self.queue_bytes {
                return Err(QueueFull { queue_bytes: self.queue_bytes });
            }
            orders.bytes += cost(message);
            orders.frames.push_back(frame.freeze());
            Ok(())
        })
    }

    /// Watches the peer in this way from now on; at first it is watched closely.
    pub(crate) fn watch(&self, watch: Watch) {
        self.order(|orders| orders.watch = Some(watch));
    }

    /// Finds out now whether the peer lives: [`LinkEventKind::Probed`] or
    /// [`LinkEventKind::Down`] follows.
    pub(crate) fn probe(&self) {
        self.order(|orders| orders.probe = true);
    }

    /// Delivers what was queued, then closes the lane, within a second. No event
    /// follows but those that are in the channel already.
    pub(crate) fn close(self) {
        self.order(|orders| orders.ending = Some(Ending::Close));
    }

    /// The smoothed time for a ping to the peer and back, once one was answered.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        let nanos = self.shared.rtt_ns.load(Ordering::Relaxed);
        (nanos != NO_RTT).then(|| Duration::from_nanos(nanos))
    }

    /// Where the link's data reader marks that it heard from the peer.
    pub(crate) fn activity(&self) -> Arc<Activity> {
        self.activity.clone()
    }

    fn order<T>(&self, give: impl FnOnce(&mut Orders) -> T) -> T {
        let mut orders = self.shared.orders();
        let given = give(&mut orders);
        let waker = orders.waker.take();
        drop(orders);
        if let Some(waker) = waker {
            waker.wake();
        }
        given
    }
}

impl Drop for LinkHandle {
    fn drop(&mut self) {
        self.order(|orders| *orders.ending.get_or_insert(Ending::Drop));
    }
}

/// When something was last heard of the peer, on either lane.
#[derive(Debug)]
pub(crate) struct Activity {
    origin: tokio::time::Instant,
    heard_ns: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self { origin: tokio::time::Instant::now(), heard_ns: AtomicU64::new(0) }
    }

    /// Something came from the peer.
    pub(crate) fn mark(&self) {
        self.heard_ns.store(self.now().as_nanos(), Ordering::Relaxed);
    }

    fn heard_at(&self) -> Instant {
        Instant::from_nanos(self.heard_ns.load(Ordering::Relaxed))
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }
}

/// What the handle and the task share.
#[derive(Debug)]
struct Shared {
    orders: Mutex<Orders>,
    rtt_ns: AtomicU64,
}

const NO_RTT: u64 = u64::MAX;

/// What the driver wants that the task has not taken up yet.
#[derive(Debug, Default)]
struct Orders {
    frames: VecDeque<Bytes>,
    /// What these and the batch that is being sent count.
    bytes: usize,
    watch: Option<Watch>,
    probe: bool,
    ending: Option<Ending>,
    waker: Option<Waker>,
}

impl Shared {
    /// Every change of the orders is complete in itself, so a panic elsewhere cannot
    /// have left them broken.
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the driver ends a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Close,
    Drop,
}

/// Why a link ends.
enum End {
    Fell(String),
    Closed,
    Dropped,
}

fn cost(message: &Bytes) -> usize {
    message.len() + FRAME_OVERHEAD_BYTES
}

/// The task of a link.
struct Supervisor {
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
}

impl Supervisor {
    async fn run(mut self, mut outlet: Outlet) {
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
            let deadline =
                self.activity.origin + Duration::from_nanos(self.prober.deadline().as_nanos());
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
        self.activity.mark();
        let now = self.activity.heard_at();
        for mut frame in self.received.drain(..) {
            match (frame.first().copied(), frame.len()) {
                (Some(MESSAGE), _) => {
                    frame.advance(1);
                    self.inbox_bytes += cost(&frame);
                    self.inbox.push_back(LinkEventKind::Message(frame));
                }
                (Some(PING), 2) => self.lane.pong = Some(frame[1]),
                (Some(PONG), 2) => {
                    if let Some(rtt) = self.prober.pong(frame[1], now) {
                        self.shared.note_rtt(rtt);
                    }
                }
                (kind, len) => {
                    let kind = kind.map_or("no type".into(), |kind| format!("type {kind}"));
                    return Err(format!(
                        "malformed input: a control frame of {len} bytes and {kind}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn act(&mut self) -> Result<(), String> {
        self.prober.heard(self.activity.heard_at());
        let now = self.activity.now();
        while let Some(act) = self.prober.poll(now) {
            match act {
                Act::Ping(id) => self.lane.ping = Some(id),
                Act::Probed => self.inbox.push_back(LinkEventKind::Probed),
                Act::Silent(silence) => {
                    return Err(format!("the peer was silent for {} ms", silence.as_millis()));
                }
                Act::Unanswered => return Err("the peer did not answer a probe".into()),
            }
        }
        Ok(())
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), TransportError> {
        loop {
            if self.lane.poll_flush(cx)?.is_pending() {
                return Ok(());
            }
            let mut orders = self.shared.orders();
            orders.bytes -= std::mem::take(&mut self.batch_bytes);
            let count = orders.frames.len().min(BATCH_FRAMES);
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
            self.prober.set_deaf(false, self.activity.now());
        }
        can
    }
}

impl Shared {
    fn note_rtt(&self, rtt: Duration) {
        let new = u64::try_from(rtt.as_nanos()).unwrap_or(NO_RTT - 1);
        let old = self.rtt_ns.load(Ordering::Relaxed);
        let smoothed = if old == NO_RTT { new } else { old - old / 8 + new / 8 };
        self.rtt_ns.store(smoothed, Ordering::Relaxed);
    }
}

/// The control lane and what is being sent on it.
struct Lane {
    sender: Box<dyn ControlSender>,
    receiver: Box<dyn ControlReceiver>,
    /// What the transport has not taken yet; probe frames first.
    sending: VecDeque<Bytes>,
    probes_in_front: usize,
    unflushed: bool,
    /// The ping and the pong that are due. A newer one takes the place of an older one,
    /// so that a peer that only pings cannot fill memory.
    ping: Option<u8>,
    pong: Option<u8>,
}

impl Lane {
    /// Ready once all frames and probes are on their way.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, TransportError> {
        loop {
            self.queue_probes();
            if self.sending.is_empty() && !self.unflushed {
                return Ok(Poll::Ready(()));
            }
            let before = self.sending.len();
            let polled = self.sender.poll_send(cx, &mut self.sending);
            let taken = before - self.sending.len();
            self.probes_in_front = self.probes_in_front.saturating_sub(taken);
            match polled {
                Poll::Pending => {
                    self.unflushed = true;
                    return Ok(Poll::Pending);
                }
                Poll::Ready(sent) => sent?,
            }
            self.unflushed = false;
        }
    }

    /// Probes overtake the messages that wait. None is added while others stand before
    /// them, so that there are never more than two.
    fn queue_probes(&mut self) {
        if self.probes_in_front > 0 {
            return;
        }
        for (kind, id) in [(PING, self.ping.take()), (PONG, self.pong.take())] {
            if let Some(id) = id {
                self.sending.push_front(Bytes::copy_from_slice(&[kind, id]));
                self.probes_in_front += 1;
            }
        }
    }

    /// Sends what waits and closes. What still comes in is read and dropped, since
    /// unread input makes some sockets reset the connection and lose what was sent.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut dropped = Vec::new();
        let mut batches = 0;
        while let Poll::Ready(received) = self.receiver.poll_recv(cx, &mut dropped) {
            if received.is_err() {
                return Poll::Ready(());
            }
            dropped.clear();
            batches += 1;
            if batches == BATCHES_A_TURN {
                cx.waker().wake_by_ref();
                break;
            }
        }
        match self.poll_flush(cx) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => self.sender.poll_close(cx).map(|_closed| ()),
            Err(_gone) => Poll::Ready(()),
        }
    }
}

/// The way to the driver.
struct Outlet {
    link: LinkId,
    events: mpsc::Sender<LinkEvent>,
    /// Waits for room. Kept between polls, so that the link keeps its place among
    /// those that wait.
    reserving: Option<Pin<Box<dyn Future<Output = Reserved> + Send>>>,
}

type Reserved = Result<mpsc::OwnedPermit<LinkEvent>, mpsc::error::SendError<()>>;

/// The driver is gone.
struct NoDriver;

impl Outlet {
    /// Delivers the first of the inbox, which is not empty, and tells what it counted.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        inbox: &mut VecDeque<LinkEventKind>,
    ) -> Poll<Result<usize, NoDriver>> {
        let reserved = match &mut self.reserving {
            Some(reserving) => match reserving.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(reserved) => {
                    self.reserving = None;
                    reserved.map_err(|_| NoDriver)
                }
            },
            None => match self.events.clone().try_reserve_owned() {
                Ok(permit) => Ok(permit),
                Err(TrySendError::Closed(_)) => Err(NoDriver),
                Err(TrySendError::Full(events)) => {
                    self.reserving = Some(Box::pin(events.reserve_owned()));
                    return self.poll_next(cx, inbox);
                }
            },
        };
        let Some(kind) = inbox.pop_front() else {
            return Poll::Ready(Ok(0));
        };
        Poll::Ready(reserved.map(|permit| {
            let counted = match &kind {
                LinkEventKind::Message(message) => cost(message),
                LinkEventKind::Probed | LinkEventKind::Down(_) => 0,
            };
            permit.send(LinkEvent { link: self.link, kind });
            counted
        }))
    }

    /// Delivers all, or as much as there is a driver for.
    fn poll_all(&mut self, cx: &mut Context<'_>, inbox: &mut VecDeque<LinkEventKind>) -> Poll<()> {
        while !inbox.is_empty() {
            match self.poll_next(cx, inbox) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(NoDriver)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => {}
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests;
