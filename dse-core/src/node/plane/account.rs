//! How far subscriptions have come in a sequence, as its link's reader, the subscriptions and
//! the link's writer share it.

use std::collections::BTreeSet;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, Release, SeqCst},
};
use std::sync::{Arc, Weak};

use super::hub::Hub;
use super::link::{Link, Token};
use super::lock::Lock;
use crate::data::Credit;
use crate::data::limits::{LARGEST_WINDOW, NODE_GRANT_BYTES, Window};
use crate::data::receive::{Account, CreditAccount, Tap, TapId, Value, Wanted};
use crate::protocol::{Instant, SubscriptionId};

/// The credit of one sequence that comes in on a link.
pub(super) struct AccountCell {
    link: Arc<Link>,
    hub: Arc<Hub>,
    progress: Arc<Progress>,
    /// Whether a credit is on its way already: [`NONE`], [`LATER`] or [`NOW`].
    announced: AtomicU8,
    /// What came in before the peer heard the first credit: samples and bytes.
    early: [AtomicUsize; 2],
    ledger: Lock<Ledger>,
}

struct Ledger {
    account: CreditAccount,
    taps: Vec<(TapId, Weak<TapCell>)>,
}

/// How far a sequence came in: what the next link with the same peer goes on from.
pub(super) struct Progress {
    /// The last number that was handed on.
    received: AtomicU64,
    /// Subscriptions that it was handed to.
    fed: Lock<BTreeSet<SubscriptionId>>,
    link: Weak<Link>,
    /// The last credit was made: no link goes on from here.
    pub(super) over: AtomicBool,
}

/// One subscription's part in a sequence.
pub(in crate::node) struct TapCell {
    account: Arc<AccountCell>,
    id: TapId,
    consumed: AtomicU64,
    missed: AtomicU64,
    finished: AtomicBool,
    /// Bytes that were consumed since the last credit.
    bytes: AtomicUsize,
    /// When a credit goes at once: at this number, or after so many bytes.
    credit_at: AtomicU64,
    credit_bytes: AtomicUsize,
    /// 0 if it is served.
    left_out_from: AtomicU64,
    /// The newest value of a state.
    slot: Lock<Option<Value>>,
    share: Arc<Share>,
}

/// What sequences may bring a subscription, all of them together.
pub(super) struct Share {
    pub(super) capacity: usize,
    pub(super) taps: AtomicUsize,
}

const NONE: u8 = 0;
const LATER: u8 = 1;
const NOW: u8 = 2;

/// The peer hears the first credit after so many samples or bytes.
const EARLY: [usize; 2] = [16, 16 * 1024];

impl Progress {
    pub(super) fn new(link: &Arc<Link>, last_seq: u64) -> Arc<Self> {
        Arc::new(Self {
            received: AtomicU64::new(last_seq),
            fed: Lock::new(BTreeSet::new()),
            link: Arc::downgrade(link),
            over: AtomicBool::new(false),
        })
    }

    /// The last number that was handed on, if one of these subscriptions got it.
    /// For the reader of this link.
    pub(super) fn received(
        &self,
        reader: &Link,
        lives: impl Fn(SubscriptionId) -> bool,
    ) -> Option<u64> {
        if !self.fed.lock().iter().any(|id| lives(*id)) {
            return None;
        }
        // Another reader that is at a frame has counted samples that it has not handed on yet.
        let reads = || {
            let link = self.link.upgrade().filter(|link| link.order != reader.order);
            link.is_some_and(|link| link.reading.load(SeqCst))
        };
        loop {
            let received = self.received.load(SeqCst);
            if !reads() {
                return Some(received);
            }
            std::thread::yield_now();
        }
    }
}

impl AccountCell {
    pub(super) fn new(
        link: Arc<Link>,
        hub: Arc<Hub>,
        account: CreditAccount,
        progress: Arc<Progress>,
    ) -> Arc<Self> {
        hub.sequences.fetch_add(1, Relaxed);
        Arc::new(Self {
            link,
            hub,
            progress,
            announced: AtomicU8::new(NONE),
            early: [const { AtomicUsize::new(0) }; 2],
            ledger: Lock::new(Ledger { account, taps: Vec::new() }),
        })
    }

    fn announce_later(self: &Arc<Self>) {
        let announced = self.announced.load(SeqCst);
        if announced == NONE && self.announced.compare_exchange(NONE, LATER, SeqCst, SeqCst).is_ok()
        {
            self.link.credit_later(Arc::clone(self));
        }
    }

    fn announce_now(self: &Arc<Self>) {
        if self.announced.swap(NOW, SeqCst) != NOW {
            self.link.send(Token::Credit(Arc::clone(self)));
        }
    }

    /// What to tell the publisher, if it is news, and when to look again for subscriptions that
    /// hold up others.
    pub(super) fn credit(&self, now: Instant) -> (Option<Credit>, Option<Instant>) {
        // Who consumes after this announces again.
        self.announced.store(NONE, SeqCst);
        let mut ledger = self.ledger.lock();
        let Ledger { account, taps } = &mut *ledger;
        account.received(self.progress.received.load(SeqCst));
        let live: Vec<Arc<TapCell>> = taps.iter().filter_map(|(_, tap)| tap.upgrade()).collect();
        for tap in &live {
            account.consumed(now, tap.id, tap.consumed.load(SeqCst), tap.missed.load(SeqCst));
            if tap.finished.load(SeqCst) {
                account.finished(tap.id);
            }
            tap.bytes.store(0, Relaxed);
        }
        let (left_out, again) = account.review(now, self.hub.hold_limit());
        for tap in live.iter().filter(|tap| left_out.contains(&tap.id)) {
            let from = account.left_out_from(tap.id).unwrap_or(0);
            tap.left_out_from.store(from, SeqCst);
        }
        let samples = live.iter().map(|tap| tap.share.of_one()).min();
        let sequences = self.hub.sequences.load(Relaxed).max(1);
        let bytes = (NODE_GRANT_BYTES / sequences).min(LARGEST_WINDOW.bytes as usize);
        let credit = account.credit(Window {
            samples: samples.unwrap_or(LARGEST_WINDOW.samples),
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        });
        for tap in &live {
            tap.credit_at.store(account.credit_at(), SeqCst);
            tap.credit_bytes.store(account.credit_bytes(), SeqCst);
        }
        self.progress.over.store(account.is_over(), SeqCst);
        drop(ledger);
        (credit, again)
    }
}

impl Drop for AccountCell {
    fn drop(&mut self) {
        self.hub.sequences.fetch_sub(1, Relaxed);
    }
}

impl Account for Arc<AccountCell> {
    type Tap = Arc<TapCell>;

    fn tap(&self, after: u64, wanted: &Wanted) -> Arc<TapCell> {
        let share = self.hub.share_of(wanted.id);
        share.taps.fetch_add(1, Relaxed);
        self.progress.fed.lock().insert(wanted.id);
        let mut ledger = self.ledger.lock();
        let id = ledger.account.tap(self.link.clock.now(), after, wanted.options.never_wait);
        let tap = Arc::new(TapCell {
            account: Arc::clone(self),
            id,
            consumed: AtomicU64::new(after),
            missed: AtomicU64::new(0),
            finished: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
            credit_at: AtomicU64::new(ledger.account.credit_at()),
            credit_bytes: AtomicUsize::new(ledger.account.credit_bytes()),
            left_out_from: AtomicU64::new(0),
            slot: Lock::new(None),
            share,
        });
        ledger.taps.push((id, Arc::downgrade(&tap)));
        tap
    }

    fn received(&self, seq: u64, samples: u64, bytes: usize) {
        self.progress.received.store(seq, Release);
        // Subscriptions have room for more than the initial window, even if the application
        // does not take anything yet.
        let [early, total] = &self.early;
        let before = early.load(Relaxed);
        if before < EARLY[0] {
            let after = before.saturating_add(samples as usize);
            early.store(after, Relaxed);
            total.store(total.load(Relaxed) + bytes, Relaxed);
            if after >= EARLY[0] || total.load(Relaxed) >= EARLY[1] {
                early.store(EARLY[0], Relaxed);
                self.announce_now();
            }
        }
    }

    fn ended(&self, last_seq: u64) {
        self.ledger.lock().account.ended(last_seq);
        self.progress.received.store(last_seq, SeqCst);
        self.announce_now();
    }

    fn consumed(&self) -> u64 {
        // The last holder of a tap may let go of it meanwhile, and a tap that goes takes the
        // lock: so they are dropped after it.
        let live: Vec<Arc<TapCell>> =
            self.ledger.lock().taps.iter().filter_map(|(_, tap)| tap.upgrade()).collect();
        let counting = live.iter().filter(|tap| tap.left_out_from.load(SeqCst) == 0);
        let consumed = counting.map(|tap| tap.consumed.load(SeqCst)).min();
        consumed.unwrap_or_else(|| self.progress.received.load(SeqCst))
    }

    fn is_over(&self) -> bool {
        self.progress.over.load(SeqCst)
    }
}

impl Share {
    /// Samples that one sequence may bring.
    fn of_one(&self) -> u32 {
        let taps = self.taps.load(Relaxed).max(1);
        u32::try_from(self.capacity / taps).unwrap_or(u32::MAX)
    }
}

impl Tap for Arc<TapCell> {
    fn consumed(&self, seq: u64, bytes: usize) {
        // What is told as lost may end before what was taken. One task consumes.
        if seq > self.consumed.load(Relaxed) {
            self.consumed.store(seq, SeqCst);
        }
        let total = self.bytes.load(Relaxed) + bytes;
        self.bytes.store(total, Relaxed);
        if seq >= self.credit_at.load(SeqCst) || total >= self.credit_bytes.load(SeqCst) {
            self.account.announce_now();
        } else {
            self.account.announce_later();
        }
    }

    fn missed(&self, samples: u64) {
        self.missed.fetch_add(samples, SeqCst);
    }

    fn finished(&self) {
        self.finished.store(true, SeqCst);
        self.account.announce_now();
    }

    fn offer(&self, value: Value) -> bool {
        let mut slot = self.slot.lock();
        match &*slot {
            Some(newer) if newer.seq > value.seq => false,
            _ => slot.replace(value).is_none(),
        }
    }

    fn take(&self) -> Option<Value> {
        self.slot.lock().take()
    }

    fn left_out_from(&self) -> Option<u64> {
        Some(self.left_out_from.load(SeqCst)).filter(|from| *from > 0)
    }

    fn rejoin(&self) -> u64 {
        let mut ledger = self.account.ledger.lock();
        ledger.account.received(self.account.progress.received.load(SeqCst));
        let to = ledger.account.rejoin(self.account.link.clock.now(), self.id);
        self.left_out_from.store(0, SeqCst);
        to
    }
}

impl Drop for TapCell {
    /// It holds up nobody any more.
    fn drop(&mut self) {
        self.share.taps.fetch_sub(1, Relaxed);
        let mut ledger = self.account.ledger.lock();
        let now = self.account.link.clock.now();
        let (consumed, missed) = (*self.consumed.get_mut(), *self.missed.get_mut());
        let Ledger { account, taps } = &mut *ledger;
        account.consumed(now, self.id, consumed, missed);
        account.remove(self.id);
        taps.retain(|(id, _)| *id != self.id);
        drop(ledger);
        self.account.announce_now();
    }
}

impl std::fmt::Debug for TapCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TapCell").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for AccountCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountCell").field("link", &self.link.id).finish_non_exhaustive()
    }
}
