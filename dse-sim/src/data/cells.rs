//! What the reader of a link, the subscriptions and the writer of credits share of a sequence,
//! as cells of one thread.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use dse_core::data::limits::Window;
use dse_core::data::receive::{Account, CreditAccount, Host, Tap, TapId, Value, Wanted};
use dse_core::protocol::{Incarnation, Instant, NodeId, SubscriptionId};

/// What all cells of a node share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) now: Cell<Instant>,
    /// Accounts of which something is to be told, once for each link and sequence.
    pub(super) dirty: RefCell<BTreeMap<(u64, u64), Rc<AccountCell>>>,
    registry: RefCell<BTreeMap<(NodeId, Incarnation), BTreeMap<u64, Progress>>>,
}

/// How far a sequence came in, on whatever link.
#[derive(Debug, Default)]
struct Progress {
    seq: u64,
    fed: BTreeSet<SubscriptionId>,
}

/// The credit of one sequence on one link.
pub(super) struct AccountCell {
    pub(super) link: u64,
    pub(super) account: RefCell<CreditAccount>,
    pub(super) urgent: Cell<bool>,
    peer: (NodeId, Incarnation),
    sequence: u64,
    shared: Rc<Shared>,
    taps: RefCell<Vec<Rc<TapCell>>>,
    /// Samples and bytes that came in before the first credit.
    early: Cell<(usize, usize)>,
}

impl fmt::Debug for AccountCell {
    /// Without what all share, which holds accounts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { link, account, urgent, peer, sequence, shared: _, taps, early } = self;
        f.debug_tuple("AccountCell")
            .field(link)
            .field(account)
            .field(urgent)
            .field(peer)
            .finish()?;
        f.debug_tuple("").field(sequence).field(taps).field(early).finish()
    }
}

/// One subscription's part.
#[derive(Debug)]
pub(super) struct TapCell {
    id: TapId,
    subscription: SubscriptionId,
    missed: Cell<u64>,
    bytes: Cell<usize>,
    slot: RefCell<Option<Value>>,
}

/// A handle of an account.
#[derive(Clone, Debug)]
pub(super) struct AccountRef(pub(super) Rc<AccountCell>);

/// A handle of a tap.
#[derive(Clone, Debug)]
pub(super) struct TapRef {
    account: Rc<AccountCell>,
    tap: Rc<TapCell>,
}

const EARLY: (usize, usize) = (16, 16 * 1024);

impl Shared {
    /// A subscription is no more: what came for it alone is of no use to later links.
    pub(super) fn unsubscribe(&self, subscription: SubscriptionId) {
        for sequences in self.registry.borrow_mut().values_mut() {
            sequences.retain(|_, progress| {
                progress.fed.remove(&subscription);
                !progress.fed.is_empty()
            });
        }
    }

    /// What an earlier instance of a node sent is of no use any more.
    pub(super) fn keep_instance(&self, node: &NodeId, incarnation: Incarnation) {
        self.registry.borrow_mut().retain(|(it, of), _| it != node || *of == incarnation);
    }
}

impl AccountCell {
    fn mark(self: &Rc<Self>, urgent: bool) {
        self.urgent.set(self.urgent.get() || urgent);
        let mut dirty = self.shared.dirty.borrow_mut();
        // A later epoch of the same sequence takes the place of the former, which is over.
        dirty.insert((self.link, self.sequence), Rc::clone(self));
    }

    /// A subscription takes nothing any more.
    pub(super) fn remove(self: &Rc<Self>, subscription: SubscriptionId) {
        let mut taps = self.taps.borrow_mut();
        let Some(place) = taps.iter().position(|tap| tap.subscription == subscription) else {
            return;
        };
        let tap = taps.remove(place);
        self.account.borrow_mut().remove(tap.id);
        self.mark(true);
    }

    /// The bytes that were consumed are told of with the next credit.
    pub(super) fn told(&self) {
        self.urgent.set(false);
        self.taps.borrow().iter().for_each(|tap| tap.bytes.set(0));
    }

    /// Looks for subscriptions that hold up others.
    pub(super) fn review(self: &Rc<Self>, limit: std::time::Duration) -> (usize, Option<Instant>) {
        let now = self.shared.now.get();
        let (out, again) = self.account.borrow_mut().review(now, limit);
        if !out.is_empty() {
            self.mark(true);
        }
        (out.len(), again)
    }

    /// The window that fits, and nothing else is known of it.
    pub(super) fn credit(&self, window: Window) -> Option<dse_core::data::Credit> {
        self.account.borrow_mut().credit(window)
    }

    fn progress(&self, change: impl FnOnce(&mut Progress)) {
        let mut registry = self.shared.registry.borrow_mut();
        let sequences = registry.entry(self.peer.clone()).or_default();
        change(sequences.entry(self.sequence).or_default());
    }
}

impl Account for AccountRef {
    type Tap = TapRef;

    fn tap(&self, after: u64, wanted: &Wanted) -> TapRef {
        let account = Rc::clone(&self.0);
        let now = account.shared.now.get();
        let id = account.account.borrow_mut().tap(now, after, wanted.options.never_wait);
        let tap = Rc::new(TapCell {
            id,
            subscription: wanted.id,
            missed: Cell::new(0),
            bytes: Cell::new(0),
            slot: RefCell::new(None),
        });
        account.taps.borrow_mut().push(Rc::clone(&tap));
        account.progress(|progress| {
            progress.fed.insert(wanted.id);
            progress.seq = progress.seq.max(after);
        });
        TapRef { account, tap }
    }

    fn received(&self, seq: u64, samples: u64, bytes: usize) {
        let account = &self.0;
        account.account.borrow_mut().received(seq);
        account.progress(|progress| progress.seq = progress.seq.max(seq));
        let (before, total) = account.early.get();
        if before < EARLY.0 {
            let now = (before + samples as usize, total + bytes);
            let announces = now.0 >= EARLY.0 || now.1 >= EARLY.1;
            account.early.set(if announces { EARLY } else { now });
            if announces {
                account.mark(true);
            }
        }
        if account.taps.borrow().len() > 1 {
            account.mark(false);
        }
    }

    fn ended(&self, last_seq: u64) {
        self.0.account.borrow_mut().ended(last_seq);
        self.0.progress(|progress| progress.seq = progress.seq.max(last_seq));
        self.0.mark(true);
    }

    fn consumed(&self) -> u64 {
        self.0.account.borrow().slowest()
    }

    fn is_over(&self) -> bool {
        self.0.account.borrow().is_over()
    }
}

impl Tap for TapRef {
    fn consumed(&self, seq: u64, bytes: usize) {
        let Self { account, tap } = self;
        let now = account.shared.now.get();
        let total = tap.bytes.get() + bytes;
        tap.bytes.set(total);
        let urgent = {
            let mut account = account.account.borrow_mut();
            account.consumed(now, tap.id, seq, tap.missed.get());
            seq >= account.credit_at() || total >= account.credit_bytes()
        };
        account.mark(urgent);
    }

    fn missed(&self, samples: u64) {
        self.tap.missed.set(self.tap.missed.get() + samples);
    }

    fn finished(&self) {
        self.account.account.borrow_mut().finished(self.tap.id);
        self.account.mark(true);
    }

    fn offer(&self, value: Value) -> bool {
        self.tap.slot.borrow_mut().replace(value).is_none()
    }

    fn take(&self) -> Option<Value> {
        self.tap.slot.borrow_mut().take()
    }

    fn left_out_from(&self) -> Option<u64> {
        self.account.account.borrow().left_out_from(self.tap.id)
    }

    fn rejoin(&self) -> u64 {
        let now = self.account.shared.now.get();
        self.account.account.borrow_mut().rejoin(now, self.tap.id)
    }
}

/// What the receiver of a link needs.
pub(super) struct NodeHost<'a> {
    pub(super) shared: &'a Rc<Shared>,
    pub(super) peer: (NodeId, Incarnation),
    pub(super) link: u64,
    /// The accounts of the link.
    pub(super) accounts: &'a mut BTreeMap<u64, Rc<AccountCell>>,
}

impl Host for NodeHost<'_> {
    type Account = AccountRef;

    fn open(&mut self, sequence: u64, epoch: u64, last_seq: u64) -> AccountRef {
        let account = Rc::new(AccountCell {
            link: self.link,
            account: RefCell::new(CreditAccount::new(sequence, epoch, last_seq)),
            urgent: Cell::new(false),
            peer: self.peer.clone(),
            sequence,
            shared: Rc::clone(self.shared),
            taps: RefCell::new(Vec::new()),
            early: Cell::new((0, 0)),
        });
        self.accounts.insert(sequence, Rc::clone(&account));
        AccountRef(account)
    }

    fn received_before(&self, sequence: u64) -> Option<u64> {
        let registry = self.shared.registry.borrow();
        let progress = registry.get(&self.peer)?.get(&sequence)?;
        (!progress.fed.is_empty()).then_some(progress.seq)
    }
}
