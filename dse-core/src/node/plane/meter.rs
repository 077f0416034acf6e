//! How far the subscriptions here have come in a sequence, and the credit that this gives
//! its publisher (RULES 2).

use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::limits::{INITIAL_WINDOW, WINDOW, WINDOW_BYTES};
use super::link::Link;
use super::lock;
use super::patience::Spent;
use super::queue::{Position, Queue};
use crate::data::Credit;
use crate::protocol::{Incarnation, Kind};

/// One sequence that comes in on a link, as the credit for it is worked out.
pub(super) struct Meter {
    alias: u32,
    link: Arc<Link>,
    /// The last number that came in.
    received: AtomicU64,
    /// A moving mean of the payloads, in bytes.
    mean_bytes: AtomicUsize,
    /// The number at which the publisher hears how far it may go, whatever was taken until
    /// then.
    introduced_at: u64,
    /// Whether a credit is on its way already: [`NONE`], [`LATER`] or [`NOW`].
    announced: AtomicU8,
    state: Mutex<State>,
}

const NONE: u8 = 0;
const LATER: u8 = 1;
const NOW: u8 = 2;

struct State {
    feeds: Vec<Feed>,
    /// The farthest that one came which is gone.
    left_seq: u64,
    told_seq: u64,
    told_window: u32,
    /// End came in.
    ended: bool,
    receipt_sent: bool,
    /// When one subscription was last seen to hold up another.
    held_at: Option<Instant>,
}

impl Meter {
    pub(super) fn new(alias: u32, link: Arc<Link>, last_seq: u64) -> Self {
        Self {
            alias,
            link,
            received: AtomicU64::new(last_seq),
            mean_bytes: AtomicUsize::new(0),
            introduced_at: last_seq.saturating_add(u64::from(INITIAL_WINDOW / 4)),
            announced: AtomicU8::new(NONE),
            state: Mutex::new(State {
                feeds: Vec::new(),
                left_seq: last_seq,
                told_seq: last_seq,
                told_window: INITIAL_WINDOW,
                ended: false,
                receipt_sent: false,
                held_at: None,
            }),
        }
    }

    pub(super) fn add_tap(&self, tap: &Arc<Tap>) {
        let feed = Feed { tap: Arc::downgrade(tap), consumed: Arc::clone(&tap.consumed) };
        lock(&self.state).feeds.push(feed);
    }

    /// A sample came in. To be called before the sample is handed on.
    pub(super) fn receive(self: &Arc<Self>, seq: u64, mean_bytes: usize) {
        self.received.store(seq, SeqCst);
        self.mean_bytes.store(mean_bytes, Relaxed);
        // Subscriptions have room for more than the initial window, even if the
        // application does not take anything yet.
        if seq == self.introduced_at {
            self.credit_now();
        }
    }

    /// End came in: a receipt follows once every subscription has come to it.
    pub(super) fn end(self: &Arc<Self>, last_seq: u64) {
        self.received.store(last_seq, SeqCst);
        lock(&self.state).ended = true;
        self.credit_now();
    }

    /// A credit is due, but not urgent.
    pub(super) fn credit_later(self: &Arc<Self>) {
        let announced = self.announced.load(SeqCst);
        if announced == NONE && self.announced.compare_exchange(NONE, LATER, SeqCst, SeqCst).is_ok()
        {
            self.link.credit_later(Arc::clone(self));
        }
    }

    /// A credit is due at once.
    pub(super) fn credit_now(self: &Arc<Self>) {
        if self.announced.swap(NOW, SeqCst) != NOW {
            self.link.credit_now(Arc::clone(self));
        }
    }

    /// What to tell the publisher, if it is news.
    pub(super) fn credit(&self) -> Option<Credit> {
        // Whoever consumes after this announces again.
        self.announced.store(NONE, SeqCst);
        let mut state = lock(&self.state);
        if state.receipt_sent {
            return None;
        }
        let taps = state.live_taps();
        let counted = || taps.iter().filter(|tap| !tap.is_shed());
        let consumed_seq = counted().map(|tap| tap.consumed()).min();
        // What nobody has taken who is gone is not taken, and needs no credit: that interest
        // has gone with them is under way. One that is shed is waited for no more.
        let instead = if taps.is_empty() { state.left_seq } else { self.received.load(SeqCst) };
        let consumed_seq = consumed_seq.unwrap_or(instead);
        if state.ended && taps.iter().all(|tap| tap.done.load(SeqCst)) {
            state.receipt_sent = true;
            let consumed_seq = consumed_seq.max(state.told_seq);
            return Some(Credit { alias: self.alias, consumed_seq, window: 0 });
        }
        let window = counted().map(|tap| self.window(tap)).min().unwrap_or(*WINDOW.end());
        let news = consumed_seq > state.told_seq || window > state.told_window;
        state.told_seq = consumed_seq.max(state.told_seq);
        state.told_window = window;
        for tap in &taps {
            tap.credit_at.store(state.told_seq.saturating_add(u64::from(window / 4)), SeqCst);
        }
        news.then_some(Credit { alias: self.alias, consumed_seq: state.told_seq, window })
    }

    /// Was the publisher told, or is it about to be, that its alias is free?
    pub(super) fn is_receipted(&self) -> bool {
        lock(&self.state).receipt_sent
    }

    /// Sheds subscriptions that have held up another for too long. Returns whether one
    /// still does.
    pub(super) fn review(self: &Arc<Self>, now: Instant, limit: Duration) -> bool {
        let mut state = lock(&self.state);
        let received = self.received.load(SeqCst);
        let far = u64::from(state.told_window) * 3 / 4;
        let mut taps = state.live_taps();
        taps.retain(|tap| !tap.is_shed());
        let another_idle = taps.iter().any(|tap| tap.consumed() >= received);
        taps.retain(|tap| tap.consumed().saturating_add(far) < received);
        if taps.is_empty() || !another_idle {
            state.held_at = None;
            return false;
        }
        let past = now - state.held_at.replace(now).unwrap_or(now);
        drop(state);
        for tap in taps {
            let mut held = lock(&tap.held);
            let held = held.get_or_insert_with(|| Spent::new(now));
            held.charge(now, past);
            if held.total(now) > limit {
                tap.queue.shed(&tap);
                self.credit_now();
            }
        }
        true
    }

    /// Do several subscriptions take from it, so that one can hold up another?
    pub(super) fn is_shared(&self) -> bool {
        lock(&self.state).feeds.len() > 1
    }

    fn window(&self, tap: &Tap) -> u32 {
        let by_bytes = WINDOW_BYTES / self.mean_bytes.load(Relaxed).max(1);
        let samples = tap.queue.share().min(by_bytes / tap.queue.taps());
        u32::try_from(samples).unwrap_or(u32::MAX).clamp(*WINDOW.start(), *WINDOW.end())
    }
}

/// A tap, and how far it came, which outlives it.
struct Feed {
    tap: Weak<Tap>,
    consumed: Arc<AtomicU64>,
}

impl State {
    fn live_taps(&mut self) -> Vec<Arc<Tap>> {
        let mut live = Vec::with_capacity(self.feeds.len());
        let Self { feeds, left_seq, .. } = self;
        feeds.retain(|feed| {
            let tap = feed.tap.upgrade();
            let lives = tap.is_some();
            if !lives {
                *left_seq = feed.consumed.load(SeqCst).max(*left_seq);
            }
            live.extend(tap);
            lives
        });
        live
    }
}

/// One subscription's part in a sequence that comes in on a link.
pub(in crate::node) struct Tap {
    pub(in crate::node) position: Arc<Position>,
    pub(in crate::node) incarnation: Incarnation,
    pub(in crate::node) kind: Kind,
    pub(in crate::node) encoding: Arc<str>,
    /// The subscription has a right to the samples from here on.
    pub(in crate::node) next_seq: u64,
    /// Its number among those that feed the subscription.
    pub(in crate::node) epoch: u64,
    pub(super) queue: Arc<Queue>,
    meter: Arc<Meter>,
    consumed: Arc<AtomicU64>,
    credit_at: AtomicU64,
    /// The subscription has come to the End.
    done: AtomicBool,
    /// The subscription is too slow: its samples are dropped, its credit does not count.
    /// Written under the queue's lock.
    shed: AtomicBool,
    /// How long it has held up others.
    held: Mutex<Option<Spent>>,
}

/// What Begin says of a sequence.
#[derive(Clone)]
pub(super) struct Sequence {
    pub(super) incarnation: Incarnation,
    pub(super) kind: Kind,
    pub(super) encoding: Arc<str>,
    pub(super) next_seq: u64,
}

impl Tap {
    pub(super) fn new(
        sequence: Sequence,
        position: Arc<Position>,
        epoch: u64,
        queue: Arc<Queue>,
        meter: Arc<Meter>,
    ) -> Self {
        let Sequence { incarnation, kind, encoding, next_seq } = sequence;
        Self {
            position,
            incarnation,
            kind,
            encoding,
            next_seq,
            epoch,
            queue,
            meter,
            consumed: Arc::new(AtomicU64::new(next_seq - 1)),
            credit_at: AtomicU64::new((next_seq - 1).saturating_add(u64::from(INITIAL_WINDOW / 4))),
            done: AtomicBool::new(false),
            shed: AtomicBool::new(false),
            held: Mutex::new(None),
        }
    }

    /// Of two sequences of one value the later has the higher: what is left on a link that
    /// was replaced is older than all on its successor, whenever it is read.
    pub(in crate::node) fn rank(&self) -> (u64, u64) {
        (self.meter.link.order, self.epoch)
    }

    /// The application has taken all up to here, or was told that it will not come.
    pub(in crate::node) fn consume(&self, seq: u64) {
        // What is told as lost may end before what was taken. One task consumes.
        if seq > self.consumed.load(Relaxed) {
            self.consumed.store(seq, SeqCst);
        }
        if seq >= self.credit_at.load(SeqCst) {
            self.meter.credit_now();
        } else {
            self.meter.credit_later();
        }
    }

    /// The application was told of the End.
    pub(in crate::node) fn finish(&self) {
        self.done.store(true, SeqCst);
        self.meter.credit_now();
    }

    pub(super) fn is_shed(&self) -> bool {
        self.shed.load(SeqCst)
    }

    /// To be called under the queue's lock only.
    pub(super) fn set_shed(&self, shed: bool) {
        self.shed.store(shed, SeqCst);
    }

    pub(super) fn consumed(&self) -> u64 {
        self.consumed.load(SeqCst)
    }
}

impl Drop for Tap {
    /// It holds up nobody any more.
    fn drop(&mut self) {
        self.queue.forget_tap();
        self.meter.credit_now();
    }
}
