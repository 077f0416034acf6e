//! The link supervisor: one task a link, which owns the control lane.
//!
//! It carries bus messages between the driver and the lane, bounds what waits on
//! either way, and finds out whether the peer lives (see [`probe`](super::probe)).
//! On the lane each frame starts with a byte that says what it is (PROTOCOL.md §10):
//!
//! ```text
//! 0 | bus message     1 | id   ping     2 | id   pong     3 | next_ms (u16)   beat
//! ```
//!
//! Frames of other types, and what follows the fields of these, are of a later version: they
//! are skipped and counted (law L11).

mod lane;
mod outlet;
mod supervisor;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;

use super::probe::ProbeConfig;
use crate::protocol::{Instant, LinkId, Watch};
use crate::transport::{ControlReceiver, ControlSender};
use lane::Lane;
use outlet::Outlet;
use supervisor::Supervisor;

/// What the links of a node have in common.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    probe: ProbeConfig,
    queue_bytes: usize,
    events: mpsc::Sender<LinkEvent>,
    /// The origin of all their times: the turns in which watchers are told count from it.
    origin: tokio::time::Instant,
    /// How many there are.
    count: Arc<AtomicUsize>,
    skipped: Arc<SkippedFrames>,
}

/// What was skipped on control lanes, because a later version has it and this one does not
/// know it.
#[derive(Debug, Default)]
pub(crate) struct SkippedFrames {
    /// Frames of unknown types.
    frames: AtomicU64,
    /// Frames of known types with more behind their fields.
    fields: AtomicU64,
}

impl SkippedFrames {
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub(crate) fn fields(&self) -> u64 {
        self.fields.load(Ordering::Relaxed)
    }
}

impl Common {
    /// At most `queue_bytes` wait on either way of each link: for the transport, and for
    /// room in `events`.
    pub(crate) fn new(
        probe: ProbeConfig,
        queue_bytes: usize,
        events: mpsc::Sender<LinkEvent>,
    ) -> Self {
        let origin = tokio::time::Instant::now();
        let (count, skipped) = (Arc::default(), Arc::default());
        Self { probe, queue_bytes, events, origin, count, skipped }
    }

    /// What all links have skipped.
    pub(crate) fn skipped(&self) -> &SkippedFrames {
        &self.skipped
    }
}

/// Starts the task that owns the control lane of a link, which this node dialled or
/// accepted.
pub(crate) fn supervise(
    link: LinkId,
    control_sender: Box<dyn ControlSender>,
    control_receiver: Box<dyn ControlReceiver>,
    dialled: bool,
    common: &Common,
) -> LinkHandle {
    let activity = Arc::new(Activity::new(common.origin));
    let shared = Arc::new(Shared { orders: Mutex::default(), rtt_ns: AtomicU64::new(NO_RTT) });
    let queue_bytes = common.queue_bytes;
    let handle = LinkHandle { shared: shared.clone(), activity: activity.clone(), queue_bytes };
    let lane = Lane::new(control_sender, control_receiver);
    let supervisor = Supervisor::new(lane, common, dialled, shared, activity);
    tokio::spawn(supervisor.run(Outlet::new(link, common.events.clone())));
    handle
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

    /// Watches the peer in this way from now on; at first this side listens closely and is
    /// not told to.
    pub(crate) fn watch(&self, watch: Watch) {
        self.order(|orders| orders.watch = Some(watch));
    }

    /// Finds out now whether the peer lives: [`LinkEventKind::Probed`] or
    /// [`LinkEventKind::Down`] follows.
    pub(crate) fn probe(&self) {
        self.order(|orders| orders.probe = true);
    }

    /// The link's data lane ended, for this reason. The peer is probed, and what it still
    /// says is told; [`LinkEventKind::Down`] follows within two seconds.
    pub(crate) fn data_lane_ended(&self, error: String) {
        self.order(|orders| orders.data_lane_ended = Some(error));
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
    /// The same for all links of a node.
    origin: tokio::time::Instant,
    heard_ns: AtomicU64,
}

impl Activity {
    fn new(origin: tokio::time::Instant) -> Self {
        let new = Self { origin, heard_ns: AtomicU64::new(0) };
        new.mark(tokio::time::Instant::now());
        new
    }

    /// Something came from the peer.
    pub(crate) fn mark(&self, now: tokio::time::Instant) {
        let heard = Instant::ZERO + now.saturating_duration_since(self.origin);
        self.heard_ns.store(heard.as_nanos(), Ordering::Relaxed);
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

/// What the driver wants that the task has not taken up yet.
#[derive(Debug, Default)]
struct Orders {
    frames: VecDeque<Bytes>,
    /// What these and the batch that is being sent count.
    bytes: usize,
    watch: Option<Watch>,
    probe: bool,
    data_lane_ended: Option<String>,
    ending: Option<Ending>,
    waker: Option<Waker>,
}

impl Shared {
    /// Every change of the orders is complete in itself, so a panic elsewhere cannot
    /// have left them broken.
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_rtt(&self, rtt: Duration) {
        let new = u64::try_from(rtt.as_nanos()).unwrap_or(NO_RTT - 1);
        let old = self.rtt_ns.load(Ordering::Relaxed);
        let smoothed = if old == NO_RTT { new } else { old - old / 8 + new / 8 };
        self.rtt_ns.store(smoothed, Ordering::Relaxed);
    }
}

/// How the driver ends a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Close,
    Drop,
}

/// What a waiting message counts.
fn cost(message: &Bytes) -> usize {
    message.len() + MESSAGE_OVERHEAD_BYTES
}

const MESSAGE: u8 = 0;
const PING: u8 = 1;
const PONG: u8 = 2;
const BEAT: u8 = 3;
/// What a waiting message counts beside its bytes, so that empty ones are bounded too.
const MESSAGE_OVERHEAD_BYTES: usize = 64;
/// Stands for a round trip time that is not known yet.
const NO_RTT: u64 = u64::MAX;
