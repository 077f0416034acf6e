//! The one bounded queue of a subscription, filled by the readers of all links and
//! emptied by the application.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use super::counters::{Counters, count};
use super::limits::{INITIAL_WINDOW, POSITIONS_PER_SUBSCRIPTION, QUEUE_BYTES};
use super::lock;
use super::meter::{Meter, Sequence, Tap};
use super::route::Stamped;
use crate::protocol::{Key, NodeId};

/// What waits for a subscription's application.
pub(in crate::node) struct Queue {
    /// How many samples the application wants to have wait for it at most.
    capacity: usize,
    pub(in crate::node) counters: Arc<Counters>,
    /// How many sequences feed it.
    taps: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    /// Payload bytes in `items`.
    bytes: usize,
    /// By the epochs of their sequences.
    sheds: BTreeMap<u64, Shed>,
    positions: BTreeMap<(NodeId, Key), Arc<Position>>,
    epoch: u64,
    reader: Option<Waker>,
    /// Nothing more will come.
    ended: bool,
    /// The application dropped the subscription.
    dropped: bool,
}

/// One thing that waits.
pub(in crate::node) enum Item {
    /// What follows belongs to this sequence. Says that it has begun, too.
    From(Arc<Tap>),
    /// A sample of a stream.
    Sample(Stamped),
    /// What came before `next_seq` and did not arrive will not arrive.
    Lost {
        /// The last such number.
        to_seq: u64,
    },
    /// The sequence has ended.
    Ended {
        /// The publisher closed it.
        closed: bool,
    },
    /// A state has a new value: it lies in the position, so that the latest replaces it
    /// in place.
    Value(Unread),
}

/// A state has a value that the application has not taken: the value goes with it. None
/// once it was asked for the value, so that it takes along none that came later.
pub(in crate::node) struct Unread(Option<Arc<Position>>);

impl Unread {
    /// The newest value, once. Values that come after this make another item.
    pub(in crate::node) fn take(&mut self) -> Option<(Arc<Tap>, Stamped)> {
        let position = self.0.take()?;
        lock(&position.present).take()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// A sequence whose samples are dropped until the application has taken all the rest.
struct Shed {
    tap: Arc<Tap>,
    lost_to: u64,
    /// It has ended; did the publisher close it?
    ended: Option<bool>,
}

/// How far a subscription has come with one value of one node. Outlives links
/// (RULES 13).
pub(in crate::node) struct Position {
    pub(in crate::node) node: NodeId,
    pub(in crate::node) key: Key,
    /// The newest value of a state that the application has not taken.
    present: Mutex<Option<(Arc<Tap>, Stamped)>>,
    /// The rest is the application's side: link, epoch and incarnation of the sequence that
    /// it has come to, and the last number it was given or told the loss of.
    pub(in crate::node) link: AtomicU64,
    pub(in crate::node) epoch: AtomicU64,
    pub(in crate::node) incarnation: AtomicU64,
    pub(in crate::node) delivered: AtomicU64,
}

impl Queue {
    pub(super) fn new(capacity: usize, counters: Arc<Counters>) -> Self {
        Self {
            capacity: capacity.max(1),
            counters,
            taps: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }

    /// A sequence begins to feed the queue.
    pub(super) fn tap(
        self: &Arc<Self>,
        node: &NodeId,
        key: &Key,
        sequence: Sequence,
        meter: &Arc<Meter>,
    ) -> Arc<Tap> {
        let mut state = self.state();
        state.epoch += 1;
        let epoch = state.epoch;
        let position = state.position(node, key);
        drop(state);
        self.taps.fetch_add(1, Relaxed);
        let tap =
            Arc::new(Tap::new(sequence, position, epoch, Arc::clone(self), Arc::clone(meter)));
        meter.add_tap(&tap);
        tap
    }

    pub(super) fn forget_tap(&self) {
        self.taps.fetch_sub(1, Relaxed);
    }

    /// How many sequences feed it, at least 1.
    pub(super) fn taps(&self) -> usize {
        self.taps.load(Relaxed).max(1)
    }

    /// How many samples of each sequence may wait.
    pub(super) fn share(&self) -> usize {
        self.capacity / self.taps()
    }

    /// Appends what a reader has collected, which begins with [`Item::From`] or values.
    pub(super) fn append(&self, items: &mut Vec<Item>, bytes: usize) {
        let mut state = self.state();
        if state.dropped {
            drop(state);
            items.clear();
            return;
        }
        let fits =
            state.items.len() + items.len() <= self.limit() && state.bytes + bytes <= QUEUE_BYTES;
        if fits && state.sheds.is_empty() {
            state.bytes += bytes;
            state.items.extend(items.drain(..));
        } else {
            self.append_what_fits(&mut state, items);
        }
        wake(state);
    }

    /// Moves everything that waits into `into`, which is empty. Ready with false if
    /// nothing will ever come.
    pub(in crate::node) fn poll_take(
        &self,
        cx: &mut Context<'_>,
        into: &mut VecDeque<Item>,
    ) -> Poll<bool> {
        let mut state = self.state();
        if state.take(into) {
            return Poll::Ready(true);
        }
        if state.ended {
            return Poll::Ready(false);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The same without waiting: false if nothing waits.
    pub(in crate::node) fn try_take(&self, into: &mut VecDeque<Item>) -> bool {
        self.state().take(into)
    }

    /// Drops the samples of one sequence from now on, until the application has caught up.
    pub(super) fn shed(&self, tap: &Arc<Tap>) {
        let mut state = self.state();
        if !state.dropped {
            state.shed(tap, 0);
        }
        wake(state);
    }

    /// How far it came with a node's values is of no use any more.
    pub(super) fn forget(&self, node: &NodeId) {
        self.state().positions.retain(|(owner, _), _| owner != node);
    }

    /// Nothing more will come.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        wake(state);
    }

    /// The application wants nothing more.
    pub(in crate::node) fn drop_all(&self) {
        // What is dropped announces credit, so not under the lock.
        let rest = std::mem::replace(
            &mut *self.state(),
            State { dropped: true, ended: true, ..State::default() },
        );
        drop(rest);
    }

    /// Items, beyond what credit allows by far: only who ignores credit meets it.
    fn limit(&self) -> usize {
        self.capacity.max(INITIAL_WINDOW as usize * self.taps()).saturating_mul(4)
    }

    fn append_what_fits(&self, state: &mut State, items: &mut Vec<Item>) {
        let mut from: Option<Arc<Tap>> = None;
        let mut drops = 0;
        for item in items.drain(..) {
            let bytes = if let Item::Sample(sample) = &item { sample.payload.len() } else { 0 };
            let fits = state.items.len() < self.limit() && state.bytes + bytes <= QUEUE_BYTES;
            match (&item, &from) {
                (Item::From(tap), _) => {
                    from = Some(Arc::clone(tap));
                    if tap.is_shed() || !fits {
                        state.shed(tap, 0);
                        continue;
                    }
                }
                (Item::Sample(sample), Some(tap)) if tap.is_shed() || !fits => {
                    state.shed(tap, sample.seq);
                    drops += 1;
                    continue;
                }
                (Item::Lost { to_seq }, Some(tap)) if tap.is_shed() || !fits => {
                    state.shed(tap, *to_seq);
                    continue;
                }
                (Item::Ended { closed }, Some(tap)) if tap.is_shed() || !fits => {
                    state.shed(tap, 0).ended = Some(*closed);
                    continue;
                }
                _ => {}
            }
            state.bytes += bytes;
            state.items.push_back(item);
        }
        count(&self.counters.drops, drops);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn take(&mut self, into: &mut VecDeque<Item>) -> bool {
        self.bytes = 0;
        std::mem::swap(&mut self.items, into);
        if into.is_empty() {
            // The application has taken all that was not dropped.
            for shed in std::mem::take(&mut self.sheds).into_values() {
                shed.tap.set_shed(false);
                into.push_back(Item::From(shed.tap));
                into.push_back(Item::Lost { to_seq: shed.lost_to });
                into.extend(shed.ended.map(|closed| Item::Ended { closed }));
            }
        }
        !into.is_empty()
    }

    fn shed(&mut self, tap: &Arc<Tap>, lost_to: u64) -> &mut Shed {
        let shed = self.sheds.entry(tap.epoch).or_insert_with(|| {
            tap.set_shed(true);
            Shed { tap: Arc::clone(tap), lost_to, ended: None }
        });
        shed.lost_to = shed.lost_to.max(lost_to);
        shed
    }

    fn position(&mut self, node: &NodeId, key: &Key) -> Arc<Position> {
        // A node that has many keys come and go makes room among its own first.
        for own in [true, false] {
            if self.positions.len() >= POSITIONS_PER_SUBSCRIPTION {
                self.positions.retain(|(owner, _), position| {
                    own && owner != node || Arc::strong_count(position) > 1
                });
            }
        }
        let new = || Arc::new(Position::new(node.clone(), key.clone()));
        let position = self.positions.entry((node.clone(), key.clone())).or_insert_with(new);
        Arc::clone(position)
    }
}

impl Position {
    fn new(node: NodeId, key: Key) -> Self {
        Self {
            node,
            key,
            present: Mutex::new(None),
            link: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            incarnation: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
        }
    }

    /// Puts a state's new value in place of one that was not taken yet; if there was none,
    /// the queue must be told.
    pub(super) fn replace(self: &Arc<Self>, tap: &Arc<Tap>, value: Stamped) -> Option<Item> {
        let old = {
            let mut present = lock(&self.present);
            if present.as_ref().is_some_and(|(old, _)| old.rank() > tap.rank()) {
                return None;
            }
            present.replace((Arc::clone(tap), value))
        };
        old.is_none().then(|| Item::Value(Unread(Some(Arc::clone(self)))))
    }
}

/// Wakes the application, once the lock is free.
fn wake(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::super::link::Link;
    use super::super::loopback;
    use super::super::writer::Writer;
    use super::*;
    use crate::protocol::{Incarnation, Kind, LinkId};

    /// A queue of the least capacity, and the sequences that feed it.
    struct Trial {
        queue: Arc<Queue>,
        link: Arc<Link>,
        node: NodeId,
        taps: Vec<Arc<Tap>>,
    }

    impl Trial {
        fn new(sequences: u32) -> Self {
            let node = NodeId::new("a").expect("a node id");
            let writer = Writer::new(loopback::lane().0, Duration::from_secs(1));
            let (id, incarnation) = (LinkId(1), Incarnation(1));
            let link = Link::new(id, 1, node.clone(), incarnation, Arc::default(), writer);
            let queue = Arc::new(Queue::new(1, Arc::default()));
            let mut trial = Self { queue, link: Arc::new(link), node, taps: Vec::new() };
            trial.taps = (0..sequences).map(|alias| trial.begin(alias)).collect();
            trial
        }

        fn begin(&self, alias: u32) -> Arc<Tap> {
            let (incarnation, kind) = (Incarnation(1), Kind::Stream);
            let sequence = Sequence { incarnation, kind, encoding: "".into(), next_seq: 1 };
            let meter = Arc::new(Meter::new(alias, Arc::clone(&self.link), 0));
            self.queue.tap(&self.node, &self.key(alias), sequence, &meter)
        }

        fn key(&self, alias: u32) -> Key {
            Key::new(format!("x/{alias}")).expect("a key")
        }

        fn append(&self, tap: usize, item: Item) {
            self.queue.append(&mut vec![Item::From(Arc::clone(&self.taps[tap])), item], 0);
        }

        fn sample(&self, tap: usize, seq: u64) {
            let payload = Bytes::new();
            self.append(tap, Item::Sample(Stamped { seq, time_ns: 0, payload }));
        }

        fn take(&self) -> VecDeque<Item> {
            let mut items = VecDeque::new();
            self.queue.try_take(&mut items);
            items
        }
    }

    #[test]
    fn sequences_that_take_turns_without_credit_fill_no_memory() {
        let trial = Trial::new(2);
        for seq in 1..=10_000 {
            trial.sample(0, seq);
            trial.sample(1, seq);
        }
        assert!(trial.queue.state().items.len() <= trial.queue.limit());
        assert!(trial.take().len() <= trial.queue.limit());
        // What was dropped is told once the rest is taken.
        let lost = trial.take().into_iter().filter_map(|item| match item {
            Item::Lost { to_seq } => Some(to_seq),
            _ => None,
        });
        assert_eq!(lost.collect::<Vec<_>>(), [10_000, 10_000]);
        trial.sample(0, 10_001);
        assert!(matches!(trial.take()[1], Item::Sample(Stamped { seq: 10_001, .. })));
    }

    #[test]
    fn a_begin_that_finds_no_room_is_told_later() {
        let trial = Trial::new(2);
        for seq in 1..=10_000 {
            trial.sample(0, seq);
        }
        let late = Arc::clone(&trial.taps[1]);
        trial.queue.append(&mut vec![Item::From(Arc::clone(&late))], 0);
        trial.append(1, Item::Ended { closed: true });
        let is_late = |item: &Item| matches!(item, Item::From(tap) if Arc::ptr_eq(tap, &late));
        assert!(!trial.take().iter().any(is_late));
        let told: Vec<_> = trial.take().into_iter().skip_while(|item| !is_late(item)).collect();
        assert!(matches!(told[..], [Item::From(_), _, Item::Ended { closed: true }]));
    }

    #[test]
    fn keys_that_come_and_go_make_a_subscription_forget_no_other_node() {
        let trial = Trial::new(1);
        let mut state = trial.queue.state();
        let (other, key) = (NodeId::new("b").expect("a node id"), Key::new("x").expect("a key"));
        state.position(&other, &key);
        for index in 0..=POSITIONS_PER_SUBSCRIPTION {
            state.position(&trial.node, &Key::new(format!("y/{index}")).expect("a key"));
        }
        assert!(state.positions.len() < POSITIONS_PER_SUBSCRIPTION);
        assert!(state.positions.contains_key(&(other, key)));
        assert!(state.positions.contains_key(&(trial.node.clone(), trial.key(0))));
    }

    #[test]
    fn a_value_that_comes_while_the_one_before_is_delivered_is_not_thrown_away() {
        let trial = Trial::new(1);
        let tap = &trial.taps[0];
        let value = |seq| Stamped { seq, time_ns: 0, payload: Bytes::new() };
        let mut items = [1, 2].into_iter().filter_map(|seq| {
            let item = tap.position.replace(tap, value(seq))?;
            let Item::Value(unread) = item else { panic!("a value is told as one") };
            Some(unread)
        });
        let mut first = items.next().expect("there was none before");
        assert_eq!(first.take().map(|(_, value)| value.seq), Some(1));
        let mut second = items.next().expect("the one before was taken");
        drop(first);
        assert_eq!(second.take().map(|(_, value)| value.seq), Some(2));
    }

    #[test]
    fn what_is_told_as_lost_takes_back_nothing_that_was_taken() {
        let trial = Trial::new(1);
        let tap = &trial.taps[0];
        tap.consume(7);
        trial.queue.shed(tap);
        for item in trial.take() {
            if let Item::Lost { to_seq } = item {
                tap.consume(to_seq);
            }
        }
        assert_eq!(tap.consumed(), 7);
        assert!(!tap.is_shed());
    }
}
