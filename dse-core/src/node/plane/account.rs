//! How far subscriptions have come in a sequence, as its link's reader, the subscriptions and
//! the link's writer share it.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, Release, SeqCst},
};

use super::budget::{Budget, Share};
use super::link::{Incoming, Link, Token};
use super::lock::Lock;
use super::progress::Progress;
use crate::data::Credit;
use crate::data::limits::{LARGEST_WINDOW, Window};
use crate::data::receive::{Account, CreditAccount, Tap, TapId, Value, Wanted};
use crate::protocol::Instant;

/// The credit of one sequence that comes in on a link.
pub(super) struct AccountCell {
    link: Arc<Link>,
    budget: Arc<Budget>,
    progress: Arc<Progress>,
    /// Whether a credit is on its way already: [`NONE`], [`LATER`] or [`NOW`].
    announced: AtomicU8,
    /// What came in before the peer heard the first credit: samples and bytes.
    early: [AtomicUsize; 2],
    ledger: Lock<Ledger>,
}

struct Ledger {
    account: CreditAccount,
    taps: Vec<(TapId, Arc<Marks>)>,
}

/// One subscription's part in a sequence.
pub(in crate::node) struct TapCell {
    account: Arc<AccountCell>,
    id: TapId,
    marks: Arc<Marks>,
    /// The newest value of a state.
    slot: Lock<Option<Value>>,
}

/// How far one subscription came.
struct Marks {
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
    share: Arc<Share>,
}

const NONE: u8 = 0;
const LATER: u8 = 1;
const NOW: u8 = 2;

/// The peer hears the first credit after so many samples or bytes.
const EARLY: [usize; 2] = [16, 16 * 1024];

impl AccountCell {
    pub(super) fn new(
        link: Arc<Link>,
        budget: Arc<Budget>,
        account: CreditAccount,
        progress: Arc<Progress>,
    ) -> Arc<Self> {
        budget.enter();
        Arc::new(Self {
            link,
            budget,
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
            self.link.credit_later(Arc::clone(self) as Arc<dyn Incoming>);
        }
    }

    fn announce_now(self: &Arc<Self>) {
        if self.announced.swap(NOW, SeqCst) != NOW {
            self.link.send(Token::Credit(Arc::clone(self) as Arc<dyn Incoming>));
        }
    }
}

impl Incoming for AccountCell {
    fn credit(&self, now: Instant) -> (Option<Credit>, Option<Instant>) {
        // Who consumes after this announces again.
        self.announced.store(NONE, SeqCst);
        let mut ledger = self.ledger.lock();
        let Ledger { account, taps } = &mut *ledger;
        account.received(self.progress.received());
        let mut samples = LARGEST_WINDOW.samples;
        for (id, marks) in &*taps {
            account.consumed(now, *id, marks.consumed.load(SeqCst), marks.missed.load(SeqCst));
            if marks.finished.load(SeqCst) {
                account.finished(*id);
            }
            marks.bytes.store(0, Relaxed);
            samples = samples.min(marks.share.of_one());
        }
        let (left_out, again) = account.review(now, self.budget.hold_limit);
        for (id, marks) in taps.iter().filter(|(id, _)| left_out.contains(id)) {
            let from = account.left_out_from(*id).unwrap_or(0);
            marks.left_out_from.store(from, SeqCst);
        }
        let credit = account.credit(Window { samples, bytes: self.budget.bytes_of_one() });
        for (_, marks) in &*taps {
            marks.credit_at.store(account.credit_at(), Relaxed);
            marks.credit_bytes.store(account.credit_bytes(), Relaxed);
        }
        // No word of the first samples is needed any more.
        self.early[0].store(EARLY[0], Relaxed);
        if account.is_over() {
            self.progress.end();
        }
        drop(ledger);
        (credit, again)
    }
}

impl Drop for AccountCell {
    fn drop(&mut self) {
        self.budget.leave();
    }
}

impl Account for Arc<AccountCell> {
    type Tap = Arc<TapCell>;

    fn tap(&self, after: u64, wanted: &Wanted) -> Arc<TapCell> {
        let share = self.budget.share_of(wanted.id);
        share.enter();
        self.progress.feeds(wanted.id);
        let mut ledger = self.ledger.lock();
        let id = ledger.account.tap(self.link.clock.now(), after, wanted.options.never_wait);
        let marks = Arc::new(Marks {
            consumed: AtomicU64::new(after),
            missed: AtomicU64::new(0),
            finished: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
            credit_at: AtomicU64::new(ledger.account.credit_at()),
            credit_bytes: AtomicUsize::new(ledger.account.credit_bytes()),
            left_out_from: AtomicU64::new(0),
            share,
        });
        ledger.taps.push((id, Arc::clone(&marks)));
        drop(ledger);
        Arc::new(TapCell { account: Arc::clone(self), id, marks, slot: Lock::new(None) })
    }

    fn received(&self, seq: u64, samples: u64, bytes: usize) {
        self.progress.advance(seq, Release);
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
        self.progress.advance(last_seq, SeqCst);
        self.announce_now();
    }

    fn consumed(&self) -> u64 {
        let ledger = self.ledger.lock();
        let marks = ledger.taps.iter().map(|(_, marks)| marks);
        let counting = marks.filter(|marks| marks.left_out_from.load(SeqCst) == 0);
        let consumed = counting.map(|marks| marks.consumed.load(SeqCst)).min();
        consumed.unwrap_or_else(|| self.progress.received())
    }

    fn is_over(&self) -> bool {
        self.progress.is_over()
    }
}

impl Tap for Arc<TapCell> {
    fn consumed(&self, seq: u64, bytes: usize) {
        let Marks { consumed, bytes: total, credit_at, credit_bytes, .. } = &*self.marks;
        // What is told as lost may end before what was taken. One task consumes.
        if seq > consumed.load(Relaxed) {
            consumed.store(seq, SeqCst);
        }
        let bytes = total.load(Relaxed) + bytes;
        total.store(bytes, Relaxed);
        if seq >= credit_at.load(Relaxed) || bytes >= credit_bytes.load(Relaxed) {
            self.account.announce_now();
        } else {
            self.account.announce_later();
        }
    }

    fn missed(&self, samples: u64) {
        self.marks.missed.fetch_add(samples, SeqCst);
    }

    fn finished(&self) {
        self.marks.finished.store(true, SeqCst);
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
        Some(self.marks.left_out_from.load(SeqCst)).filter(|from| *from > 0)
    }

    fn rejoin(&self) -> u64 {
        let mut ledger = self.account.ledger.lock();
        ledger.account.received(self.account.progress.received());
        let to = ledger.account.rejoin(self.account.link.clock.now(), self.id);
        self.marks.left_out_from.store(0, SeqCst);
        to
    }
}

impl Drop for TapCell {
    /// It holds up nobody any more.
    fn drop(&mut self) {
        self.marks.share.leave();
        let mut ledger = self.account.ledger.lock();
        let now = self.account.link.clock.now();
        let Marks { consumed, missed, .. } = &*self.marks;
        let (consumed, missed) = (consumed.load(SeqCst), missed.load(SeqCst));
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
