//! The receiving machines: links of one peer, and the subscriptions that they feed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use dse_core::data::Credit;
use dse_core::data::limits::LARGEST_WINDOW;
use dse_core::data::receive::{
    Account, CreditAccount, Feed, Host, Item, LinkReceiver, Output, Tap, TapId, Value, Wanted,
};
use dse_core::protocol::{Incarnation, Instant, KeyExpr, SubscriptionId};

use crate::plane::peer::{Peer, peer};
use crate::plane::told::{Sent, Told};
use crate::plane::trial::interest_options;
use crate::source::Source;

/// Gives a hostile peer's frames to the receivers of its links, which come one after the other,
/// and what follows from them to up to three subscriptions that take now and then. No panic;
/// what a subscription is told keeps law L8; what is handed over is bounded by what came in;
/// nothing is confirmed that was not taken.
pub fn receive(data: &[u8]) {
    let mut source = Source::new(data);
    let mut trial = Trial::default();
    for _ in 0..MOST_STEPS {
        if source.is_used_up() {
            break;
        }
        trial.step(&mut source);
    }
    trial.finish();
}

const MOST_STEPS: usize = 300;

#[derive(Default)]
struct Trial {
    now: Duration,
    link: Option<Link>,
    links: u64,
    subscriptions: Vec<Subscription>,
    last_subscription: u64,
    sequences: Sequences,
}

struct Link {
    peer: Peer,
    receiver: LinkReceiver<Cell>,
}

struct Subscription {
    wanted: Wanted,
    feed: Feed<CellTap>,
    told: Told,
}

/// What came in on all links.
#[derive(Clone, Default)]
struct Sequences(Rc<RefCell<BTreeMap<u64, Cell>>>);

impl Host for Sequences {
    type Account = Cell;

    fn open(&mut self, sequence: u64, epoch: u64, last_seq: u64) -> Cell {
        // One that goes on has what came on the links before.
        let before = self.0.borrow().get(&sequence).map_or(0, |cell| cell.0.borrow().received);
        let shared = Shared {
            account: CreditAccount::new(sequence, epoch, last_seq),
            fed: BTreeSet::new(),
            received: last_seq.max(before),
            consumed: last_seq,
        };
        let cell = Cell(Rc::new(RefCell::new(shared)));
        self.0.borrow_mut().insert(sequence, cell.clone());
        cell
    }

    fn received_before(&self, sequence: u64) -> Option<u64> {
        let Some(cell) = self.0.borrow().get(&sequence).cloned() else { return Some(0) };
        let shared = cell.0.borrow();
        (!shared.fed.is_empty()).then_some(shared.received)
    }
}

/// A sequence's credit, and what a plain count says of it.
#[derive(Clone)]
struct Cell(Rc<RefCell<Shared>>);

struct Shared {
    account: CreditAccount,
    fed: BTreeSet<SubscriptionId>,
    received: u64,
    /// The farthest that somebody came.
    consumed: u64,
}

#[derive(Clone)]
struct CellTap {
    cell: Cell,
    id: TapId,
    slot: Rc<RefCell<Option<Value>>>,
}

impl Account for Cell {
    type Tap = CellTap;

    fn tap(&self, after: u64, wanted: &Wanted) -> CellTap {
        let mut shared = self.0.borrow_mut();
        shared.fed.insert(wanted.id);
        let id = shared.account.tap(Instant::ZERO, after, wanted.options.never_wait);
        CellTap { cell: self.clone(), id, slot: Rc::default() }
    }

    fn received(&self, seq: u64, _samples: u64, _bytes: usize) {
        let mut shared = self.0.borrow_mut();
        shared.received = shared.received.max(seq);
        shared.account.received(seq);
    }

    fn ended(&self, last_seq: u64) {
        let mut shared = self.0.borrow_mut();
        shared.received = shared.received.max(last_seq);
        shared.account.ended(last_seq);
    }

    fn consumed(&self) -> u64 {
        self.0.borrow().account.slowest()
    }

    fn is_over(&self) -> bool {
        self.0.borrow().account.is_over()
    }
}

impl Tap for CellTap {
    fn consumed(&self, seq: u64, _bytes: usize) {
        let mut shared = self.cell.0.borrow_mut();
        shared.consumed = shared.consumed.max(seq);
        shared.account.consumed(Instant::ZERO, self.id, seq, 0);
    }

    fn missed(&self, _samples: u64) {}

    fn finished(&self) {
        self.cell.0.borrow_mut().account.finished(self.id);
    }

    fn offer(&self, value: Value) -> bool {
        self.slot.borrow_mut().replace(value).is_none()
    }

    fn take(&self) -> Option<Value> {
        self.slot.borrow_mut().take()
    }

    fn left_out_from(&self) -> Option<u64> {
        self.cell.0.borrow().account.left_out_from(self.id)
    }

    fn rejoin(&self) -> u64 {
        self.cell.0.borrow_mut().account.rejoin(Instant::ZERO, self.id)
    }
}

impl Trial {
    fn step(&mut self, source: &mut Source<'_>) {
        match source.below(16) {
            0 => self.open(source),
            1 => self.gone(source.below(3)),
            2..=9 => {
                let Some(link) = &mut self.link else { return self.open(source) };
                if let Some(frame) = link.peer.frame(source, &mut Sent::default()) {
                    self.frame(frame);
                }
            }
            10 if self.link.is_some() => self.frame(Peer::noise(source)),
            10 | 11 => self.subscribe(source),
            12 => self.take(source.pick(&[usize::MAX, 1, 5])),
            13 => self.credits(source.pick(&[0, 1, 200])),
            14 if self.subscriptions.len() > 1 => {
                let gone = self.subscriptions.swap_remove(source.below(self.subscriptions.len()));
                crate::tell(|| format!("{:?} is no more", gone.wanted.id));
                self.subscribed();
            }
            14 => self.forget(source),
            _ => self.now += Duration::from_millis(source.pick(&[1, 20, 2000])),
        }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.now
    }

    fn open(&mut self, source: &mut Source<'_>) {
        self.gone(source.below(3));
        self.links += 1;
        let incarnation = Incarnation(1 + self.links / 4);
        if self.links.is_multiple_of(4) {
            self.sequences = Sequences::default();
        }
        crate::tell(|| format!("link {} opens, {incarnation:?}", self.links));
        let receiver = LinkReceiver::new(peer(), incarnation, self.links);
        self.link = Some(Link { peer: Peer::new(incarnation), receiver });
        self.subscribed();
    }

    /// The link falls, its peer has left, or another takes its place.
    fn gone(&mut self, how: usize) {
        let Some(mut link) = self.link.take() else { return };
        crate::tell(|| format!("link {} is gone: {how}", self.links));
        match how {
            0 => link.receiver.replaced(),
            how => link.receiver.gone(how == 1),
        }
        let outputs: Vec<_> = link.receiver.outputs().collect();
        self.deliver(outputs);
    }

    fn subscribe(&mut self, source: &mut Source<'_>) {
        if self.subscriptions.len() == 3 {
            return;
        }
        self.last_subscription += 1;
        let id = SubscriptionId(self.last_subscription);
        let keys = KeyExpr::new(source.pick(&["**", "a", "*/b"])).expect("a pattern");
        let options = interest_options(source);
        crate::tell(|| format!("{id:?} to {keys}, {options:?}"));
        let wanted = Wanted { id, keys, options };
        let (feed, told) = (Feed::new(options), Told::default());
        self.subscriptions.push(Subscription { wanted, feed, told });
        self.subscribed();
    }

    fn subscribed(&mut self) {
        let mut wanted: Vec<Wanted> =
            self.subscriptions.iter().map(|it| it.wanted.clone()).collect();
        wanted.sort_by_key(|it| it.id);
        let Some(link) = &mut self.link else { return };
        link.receiver.set_subscriptions(&wanted);
        let outputs: Vec<_> = link.receiver.outputs().collect();
        self.deliver(outputs);
    }

    fn frame(&mut self, frame: dse_core::data::DataFrame) {
        let Some(link) = &mut self.link else { return };
        let read = link.receiver.frame(frame, &mut self.sequences);
        let outputs: Vec<_> = link.receiver.outputs().collect();
        self.deliver(outputs);
        if let Err(error) = read {
            crate::tell(|| format!("    it fails: {error}"));
            self.gone(2);
        }
    }

    fn deliver(&mut self, outputs: Vec<Output<CellTap>>) {
        for output in outputs {
            if let Output::Deliver(id, item) = output
                && let Some(to) = self.subscriptions.iter_mut().find(|it| it.wanted.id == id)
            {
                to.feed.push(item);
            }
        }
    }

    fn take(&mut self, most: usize) {
        let now = self.now();
        for Subscription { feed, told, wanted } in &mut self.subscriptions {
            for delivery in std::iter::from_fn(|| feed.next(now)).take(most) {
                crate::tell(|| format!("    {:?} takes {delivery:?}", wanted.id));
                // With an interval what lies between is left out untold.
                if wanted.options.min_interval.is_zero() {
                    told.note(&delivery);
                }
            }
        }
    }

    /// The peer is told how far subscriptions came, and one that holds up others is left out.
    fn credits(&mut self, limit: u64) {
        for cell in self.sequences.0.borrow().values() {
            let mut shared = cell.0.borrow_mut();
            let now = Instant::ZERO + self.now;
            let _ = shared.account.review(now, Duration::from_millis(limit));
            let Some(credit) = shared.account.credit(LARGEST_WINDOW) else { continue };
            let Credit { consumed_seq, .. } = credit;
            assert!(consumed_seq <= shared.received, "{credit:?} of {}", shared.received);
        }
    }

    /// The peer is forgotten. What a subscriber has not taken yet was said before.
    fn forget(&mut self, source: &mut Source<'_>) {
        if self.link.is_some() {
            return;
        }
        self.take(usize::MAX);
        crate::tell(|| "the peer is forgotten".into());
        self.sequences = Sequences::default();
        for subscription in &mut self.subscriptions {
            subscription.feed.push(Item::Forget { node: peer() });
            subscription.told.forget(&peer());
        }
        self.take(source.pick(&[0, 1]));
    }

    fn finish(&mut self) {
        self.gone(2);
        self.take(usize::MAX);
        self.now += Duration::from_secs(10);
        self.take(usize::MAX);
        for subscription in &self.subscriptions {
            assert!(!subscription.feed.has_items(), "something waits");
            assert_eq!(subscription.feed.poll_timeout(), None, "a value is held for ever");
        }
    }
}
