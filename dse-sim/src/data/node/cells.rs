//! What the reader of a link, the subscriptions and the writer of credits share of a sequence.
//!
//! The cells lie in their node as plain values, so that a node can be copied whole, and a handle
//! is the name of a cell. While a node's machines run, its cells are where the handles find
//! them: see [`Cells::during`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dse_core::data::Credit;
use dse_core::data::limits::Window;
use dse_core::data::receive::{Account, CreditAccount, Host, Tap, TapId, Value, Wanted};
use dse_core::protocol::{Incarnation, Instant, NodeId, SubscriptionId};

/// All cells of a node.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Cells {
    pub(super) now: Instant,
    /// Accounts of which something is to be told.
    pub(super) dirty: BTreeSet<AccountRef>,
    accounts: BTreeMap<AccountRef, AccountCell>,
    registry: BTreeMap<(NodeId, Incarnation), BTreeMap<u64, Progress>>,
}

/// How far a sequence came in, on whatever link.
#[derive(Clone, Debug, Default, Hash)]
struct Progress {
    seq: u64,
    fed: BTreeSet<SubscriptionId>,
}

/// The credit of one sequence on one link.
#[derive(Clone, Debug, Hash)]
struct AccountCell {
    account: CreditAccount,
    urgent: bool,
    peer: (NodeId, Incarnation),
    taps: BTreeMap<TapId, TapCell>,
    /// Samples and bytes that came in before the first credit.
    early: (usize, usize),
}

/// One subscription's part.
#[derive(Clone, Debug, Hash)]
struct TapCell {
    subscription: SubscriptionId,
    missed: u64,
    bytes: usize,
    slot: Option<Value>,
}

/// The name of an account: its link, sequence and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AccountRef {
    pub(super) link: u64,
    pub(super) sequence: u64,
    pub(super) epoch: u64,
}

/// The name of a tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TapRef {
    account: AccountRef,
    tap: TapId,
}

const EARLY: (usize, usize) = (16, 16 * 1024);

thread_local! {
    /// The cells of the node whose machines run.
    static CELLS: RefCell<Cells> = RefCell::default();
}

impl Cells {
    /// Runs machines that hold handles of these cells.
    pub(super) fn during<R>(&mut self, run: impl FnOnce() -> R) -> R {
        CELLS.replace(std::mem::take(self));
        let result = run();
        *self = CELLS.take();
        result
    }

    /// A subscription is no more: what came for it alone is of no use to later links, and it
    /// takes nothing any more.
    pub(super) fn unsubscribe(&mut self, subscription: SubscriptionId) {
        for progress in self.registry.values_mut().flat_map(BTreeMap::values_mut) {
            progress.fed.remove(&subscription);
        }
        for (name, cell) in &mut self.accounts {
            let AccountCell { account, taps, .. } = cell;
            let before = taps.len();
            taps.retain(|tap, it| {
                let stays = it.subscription != subscription;
                if !stays {
                    account.remove(*tap);
                }
                stays
            });
            if taps.len() < before {
                cell.urgent = true;
                self.dirty.insert(*name);
            }
        }
    }

    /// What an earlier instance of a node sent is of no use any more.
    pub(super) fn keep_instance(&mut self, node: &NodeId, incarnation: Incarnation) {
        self.registry.retain(|(it, of), _| it != node || *of == incarnation);
    }

    /// Forgets accounts that no machine knows any more.
    pub(super) fn keep(&mut self, lives: impl Fn(AccountRef) -> bool) {
        self.accounts.retain(|name, _| lives(*name));
    }

    /// Looks at all accounts of a link again.
    pub(super) fn mark_all(&mut self, link: u64) {
        let of_link = self.accounts.keys().filter(|it| it.link == link);
        self.dirty.extend(of_link.copied());
    }

    /// Looks for subscriptions that hold up others. Tells how many, and when to look again.
    pub(super) fn review(
        &mut self,
        name: AccountRef,
        limit: Duration,
    ) -> Option<(usize, Option<Instant>)> {
        let cell = self.accounts.get_mut(&name)?;
        let (out, again) = cell.account.review(self.now, limit);
        cell.urgent |= !out.is_empty();
        Some((out.len(), again))
    }

    /// The credit that is news, and whether it goes at once. The bytes that were consumed are
    /// told of with it.
    pub(super) fn credit(&mut self, name: AccountRef, window: Window) -> Option<(Credit, bool)> {
        let cell = self.accounts.get_mut(&name)?;
        let credit = cell.account.credit(window)?;
        cell.taps.values_mut().for_each(|tap| tap.bytes = 0);
        let urgent = std::mem::take(&mut cell.urgent) || credit.last;
        if credit.last
            && let Some(sequences) = self.registry.get_mut(&cell.peer)
        {
            // No link goes on from here.
            sequences.remove(&name.sequence);
        }
        Some((credit, urgent))
    }

    fn progress(&mut self, name: AccountRef, change: impl FnOnce(&mut Progress)) {
        if let Some(cell) = self.accounts.get(&name) {
            let sequences = self.registry.entry(cell.peer.clone()).or_default();
            change(sequences.entry(name.sequence).or_default());
        }
    }
}

impl AccountRef {
    /// Does something with the account and with the time; nothing if it is gone.
    fn with<R: Default>(self, run: impl FnOnce(&mut AccountCell, Instant) -> R) -> R {
        CELLS.with_borrow_mut(|cells| {
            let now = cells.now;
            cells.accounts.get_mut(&self).map(|cell| run(cell, now)).unwrap_or_default()
        })
    }

    fn progress(self, change: impl FnOnce(&mut Progress)) {
        CELLS.with_borrow_mut(|cells| cells.progress(self, change));
    }

    /// Something of it is to be told. A later epoch of the same sequence takes the place of the
    /// former, which is over.
    fn mark(self, urgent: bool) {
        self.with(|cell, _| cell.urgent |= urgent);
        CELLS.with_borrow_mut(|cells| cells.dirty.insert(self));
    }
}

impl Account for AccountRef {
    type Tap = TapRef;

    fn tap(&self, after: u64, wanted: &Wanted) -> TapRef {
        let tap = self.with(|cell, now| {
            let tap = cell.account.tap(now, after, wanted.options.never_wait);
            let state = TapCell { subscription: wanted.id, missed: 0, bytes: 0, slot: None };
            cell.taps.insert(tap, state);
            Some(tap)
        });
        self.progress(|progress| {
            progress.fed.insert(wanted.id);
            progress.seq = progress.seq.max(after);
        });
        TapRef { account: *self, tap: tap.expect("the account of a sequence that is open") }
    }

    fn received(&self, seq: u64, samples: u64, bytes: usize) {
        self.progress(|progress| progress.seq = progress.seq.max(seq));
        let (announces, several) = self.with(|cell, _| {
            cell.account.received(seq);
            let (before, total) = cell.early;
            let now = (before + samples as usize, total + bytes);
            let announces = before < EARLY.0 && (now.0 >= EARLY.0 || now.1 >= EARLY.1);
            if before < EARLY.0 {
                cell.early = if announces { EARLY } else { now };
            }
            (announces, cell.taps.len() > 1)
        });
        if announces || several {
            self.mark(announces);
        }
    }

    fn ended(&self, last_seq: u64) {
        self.with(|cell, _| cell.account.ended(last_seq));
        self.progress(|progress| progress.seq = progress.seq.max(last_seq));
        self.mark(true);
    }

    fn consumed(&self) -> u64 {
        self.with(|cell, _| cell.account.slowest())
    }

    fn is_over(&self) -> bool {
        self.with(|cell, _| cell.account.is_over())
    }
}

impl TapRef {
    fn with<R: Default>(self, run: impl FnOnce(&mut TapCell) -> R) -> R {
        let Self { account, tap } = self;
        account.with(|cell, _| cell.taps.get_mut(&tap).map(run).unwrap_or_default())
    }
}

impl Tap for TapRef {
    fn consumed(&self, seq: u64, bytes: usize) {
        let Self { account, tap } = *self;
        let urgent = account.with(|cell, now| {
            let AccountCell { account, taps, .. } = cell;
            let it = taps.get_mut(&tap)?;
            it.bytes += bytes;
            account.consumed(now, tap, seq, it.missed);
            Some(seq >= account.credit_at() || it.bytes >= account.credit_bytes())
        });
        if let Some(urgent) = urgent {
            account.mark(urgent);
        }
    }

    fn missed(&self, samples: u64) {
        self.with(|tap| tap.missed += samples);
    }

    fn finished(&self) {
        self.account.with(|cell, _| cell.account.finished(self.tap));
        self.account.mark(true);
    }

    fn offer(&self, value: Value) -> bool {
        self.with(|tap| tap.slot.replace(value).is_none())
    }

    fn take(&self) -> Option<Value> {
        self.with(|tap| tap.slot.take())
    }

    fn left_out_from(&self) -> Option<u64> {
        self.account.with(|cell, _| cell.account.left_out_from(self.tap))
    }

    fn rejoin(&self) -> u64 {
        self.account.with(|cell, now| cell.account.rejoin(now, self.tap))
    }
}

/// What the receiver of a link needs.
pub(super) struct NodeHost<'a> {
    pub(super) peer: (NodeId, Incarnation),
    pub(super) link: u64,
    /// The present epochs of the link's sequences.
    pub(super) epochs: &'a mut BTreeMap<u64, u64>,
}

impl Host for NodeHost<'_> {
    type Account = AccountRef;

    fn open(&mut self, sequence: u64, epoch: u64, last_seq: u64) -> AccountRef {
        let name = AccountRef { link: self.link, sequence, epoch };
        let cell = AccountCell {
            account: CreditAccount::new(sequence, epoch, last_seq),
            urgent: false,
            peer: self.peer.clone(),
            taps: BTreeMap::new(),
            early: (0, 0),
        };
        CELLS.with_borrow_mut(|cells| {
            let sequences = cells.registry.entry(self.peer.clone()).or_default();
            sequences.insert(sequence, Progress { seq: last_seq, fed: BTreeSet::new() });
            cells.accounts.insert(name, cell);
        });
        self.epochs.insert(sequence, epoch);
        name
    }

    fn received_before(&self, sequence: u64) -> Option<u64> {
        CELLS.with_borrow(|cells| {
            let sequences = cells.registry.get(&self.peer);
            match sequences.and_then(|sequences| sequences.get(&sequence)) {
                // If not even its Begin came in before the link fell, all of it is still to come.
                None => Some(0),
                Some(progress) => (!progress.fed.is_empty()).then_some(progress.seq),
            }
        })
    }
}
