//! What a subscription makes of the frames that were handed to it: samples in order, each once,
//! and the word of each gap (law L8), of each source the fate (law L10).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Delivery, Inbound, Item, Sample, Source, Tap, Value};
use crate::data::Origin;
use crate::data::frame::Place;
use crate::data::record::{self, EndReason, Record, SkipReason, Unknown};
use crate::protocol::{Instant, InterestOptions, Key, Kind, NodeId};

/// The deliveries of one subscription. To be filled by [`push`](Self::push), in the order in
/// which links handed things over, and emptied by [`next`](Self::next).
#[derive(Clone, Debug, Hash)]
pub struct Feed<T> {
    options: InterestOptions,
    items: VecDeque<Item<T>>,
    /// The frame that is being read.
    reading: Option<Box<Reading<T>>>,
    /// The sequences that feed it, by link and number.
    feeds: BTreeMap<(u64, u64), Fed<T>>,
    positions: Positions,
    /// What follows the delivery that was made last.
    next: VecDeque<Delivery>,
    /// Values of states that came too soon for the interval, by when they are due.
    held: BTreeMap<(Instant, NodeId, Key), Arc<Source<T>>>,
    gaps: u64,
}

/// A sequence that feeds the subscription.
#[derive(Clone, Debug, Hash)]
struct Fed<T> {
    source: Arc<Source<T>>,
    /// The place of its position.
    position: usize,
    /// The last number that was looked at.
    seen: u64,
}

impl<T> Fed<T> {
    /// Itself, if it is of a stream: what a frame holds of a state is handed over by itself.
    fn of_stream(&mut self) -> Option<&mut Self> {
        (self.source.origin.kind == Kind::Stream).then_some(self)
    }
}

#[derive(Clone, Debug, Hash)]
struct Reading<T> {
    inbound: Inbound<T>,
    place: Place,
    begun: usize,
    whole: usize,
}

/// How far a subscription came with one key of one node. Outlives links.
#[derive(Clone, Debug, Hash)]
struct Position {
    origin: Arc<Origin>,
    /// The link, number and epoch of the sequence that it came to last. Numbers grow with each
    /// publisher of a node; epochs count within one sequence.
    rank: (u64, u64, u64),
    /// The last number that was delivered or told as lost.
    delivered: u64,
    fate: Fate,
    /// Why what is missing next is missing.
    reason: SkipReason,
    /// Nothing is delivered before this time, at the subscriber's wish.
    next_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fate {
    /// A sequence feeds it.
    Live,
    Ended,
    /// Its key is exposed no more, and no end of it came. What was under way may still come.
    Undeclared,
    Left,
    Lost,
    /// It is of no use any more: another may take its place.
    Free,
}

/// A sample of a stream may come so much of its interval too early.
const EARLY: u32 = 4;

/// For how many values of others a subscription remembers how far it came.
const POSITIONS: usize = 4 * crate::protocol::limits::DECLARATIONS_PER_NODE;

impl<T: Tap> Feed<T> {
    /// A subscription that got nothing yet.
    pub fn new(options: InterestOptions) -> Self {
        Self {
            options,
            items: VecDeque::new(),
            reading: None,
            feeds: BTreeMap::new(),
            positions: Positions::default(),
            next: VecDeque::new(),
            held: BTreeMap::new(),
            gaps: 0,
        }
    }

    /// How many gaps were delivered.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Something was handed over.
    pub fn push(&mut self, item: Item<T>) {
        self.items.push_back(item);
    }

    /// How many items wait that were handed over.
    pub fn waiting(&self) -> usize {
        self.items.len()
    }

    /// Does something wait that was handed over?
    pub fn has_items(&self) -> bool {
        !self.items.is_empty() || self.reading.is_some() || !self.next.is_empty()
    }

    /// Does [`next`](Self::next) look at the time? Else it may be given any.
    pub fn needs_time(&self) -> bool {
        !self.options.min_interval.is_zero()
    }

    /// When [`next`](Self::next) has something although nothing was handed over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.held.first_key_value().map(|((at, ..), _)| *at)
    }

    /// The next delivery; none if nothing is there. All that was handed over has been
    /// [pushed](Self::push) before.
    pub fn next(&mut self, now: Instant) -> Option<Delivery> {
        loop {
            let delivery = self.read_on(now);
            if delivery.is_some() || !self.rejoin() {
                return delivery;
            }
        }
    }

    /// As [`next`](Self::next), where more may wait to be pushed.
    pub fn read_on(&mut self, now: Instant) -> Option<Delivery> {
        loop {
            if let Some(delivery) = self.next.pop_front() {
                return Some(delivery);
            }
            if let Some(reading) = self.reading.take() {
                match self.read(reading, now) {
                    Some(delivery) => return Some(delivery),
                    None => continue,
                }
            }
            if let Some((at, node, key)) = self.held.keys().next().cloned()
                && at <= now
                && let Some(source) = self.held.remove(&(at, node, key))
            {
                self.value(&source, now);
                continue;
            }
            match self.items.pop_front()? {
                Item::Begin(source) => self.begin(source, now),
                Item::Value(source) => self.value(&source, now),
                Item::End(source, reason) => self.ended(&source, reason, now),
                Item::Gone { link, node, left } => self.gone(link, &node, left, now),
                Item::Replaced { link } => self.drop_link(link, now),
                Item::Undeclared { node, key } => self.undeclared(&node, &key),
                Item::Forget { node } => {
                    self.positions.retain(|owner, it| *owner != node || it.fate == Fate::Live);
                }
                Item::Frame(inbound) => {
                    let place = Place::default();
                    let reading = Reading { inbound, place, begun: 0, whole: 0 };
                    self.reading = Some(Box::new(reading));
                }
            }
        }
    }

    /// Reads on in a frame, up to a delivery or to its end.
    fn read(&mut self, mut reading: Box<Reading<T>>, now: Instant) -> Option<Delivery> {
        let Reading { inbound, place, begun, whole } = &mut *reading;
        let mut records = inbound.frame.records_from(*place).forward();
        while let Some(Ok(record)) = records.next() {
            let delivery = match record {
                Record::Sample(sample) => self.sample(inbound, &sample, now),
                record => self.record(inbound, (begun, whole), record, now),
            };
            let delivery = delivery.or_else(|| self.next.pop_front());
            if delivery.is_some() {
                *place = records.place(&inbound.frame.head);
                self.reading = Some(reading);
                return delivery;
            }
        }
        None
    }

    fn record(
        &mut self,
        inbound: &Inbound<T>,
        (begun, whole): (&mut usize, &mut usize),
        record: Record<'_>,
        now: Instant,
    ) -> Option<Delivery> {
        let link = inbound.link;
        match record {
            Record::Fragment(fragment) if fragment.is_last() => {
                let (sequence, value) = inbound.whole.as_ref()?.get(*whole)?;
                let sample = fragment.sample;
                if *sequence != sample.sequence || value.seq != sample.seq {
                    return None;
                }
                *whole += 1;
                self.whole((link, *sequence), value.clone(), now)
            }
            Record::Begin(begin) => {
                let next = inbound.begun.get(*begun)?;
                if next.sequence == begin.sequence && next.epoch == begin.epoch {
                    *begun += 1;
                    self.begin(Arc::clone(next), now);
                }
                None
            }
            Record::Skip(skip) => self.skip((link, skip.sequence), skip.next_seq, skip.reason),
            Record::Abort(abort) => {
                self.skip((link, abort.sequence), abort.seq.saturating_add(1), abort.reason)
            }
            Record::End(end) => self.end((link, end.sequence), end.last_seq, end.reason),
            Record::Unknown(Unknown { sequence: Some(sequence), .. }) => {
                self.unsupported((link, sequence))
            }
            _ => None,
        }
    }

    fn sample(
        &mut self,
        inbound: &Inbound<T>,
        sample: &record::Sample<'_>,
        now: Instant,
    ) -> Option<Delivery> {
        let Inbound { link, frame, copies, .. } = inbound;
        let Self { feeds, positions, options, next, gaps, .. } = self;
        let feed = feeds.get_mut(&(*link, sample.sequence))?.of_stream()?;
        let (seq, bytes) = (sample.seq, sample.payload.len);
        if seq <= feed.seen {
            return None;
        }
        feed.seen = seq;
        let source = &feed.source;
        if source.tap.left_out_from().is_some_and(|from| seq >= from) {
            return None;
        }
        let position = positions.get(feed.position);
        let gap = position.accept(source, seq, options, now, gaps);
        let Some(gap) = gap else {
            source.tap.consumed(seq, 0);
            return None;
        };
        let payload = frame.payload(sample.payload);
        let delivery = Delivery::Sample(Sample {
            origin: Arc::clone(&position.origin),
            seq,
            time_ns: source.base_time_ns.wrapping_add_signed(sample.time_ns),
            headers: frame.headers(sample),
            payload: if *copies { Bytes::copy_from_slice(&payload) } else { payload },
        });
        source.tap.consumed(seq, bytes);
        match gap {
            None => Some(delivery),
            Some(gap) => {
                next.push_back(delivery);
                Some(gap)
            }
        }
    }

    /// A sample that came in fragments.
    fn whole(&mut self, feed: (u64, u64), value: Value, now: Instant) -> Option<Delivery> {
        let Self { feeds, positions, options, next, gaps, .. } = self;
        let feed = feeds.get_mut(&feed)?.of_stream()?;
        if value.seq <= feed.seen {
            return None;
        }
        feed.seen = value.seq;
        let source = &feed.source;
        if source.tap.left_out_from().is_some_and(|from| value.seq >= from) {
            return None;
        }
        let position = positions.get(feed.position);
        let gap = position.accept(source, value.seq, options, now, gaps);
        source.tap.consumed(value.seq, value.payload.len());
        next.extend(gap?);
        next.push_back(Delivery::Sample(position.sample(value)));
        next.pop_front()
    }

    /// A state's newest value, if it is not too soon for it.
    fn value(&mut self, source: &Arc<Source<T>>, now: Instant) {
        let Self { feeds, positions, options, held, next, .. } = self;
        let Some(feed) = feeds.get(&(source.link, source.sequence)) else { return };
        let position = positions.get(feed.position);
        let Some(value) = source.tap.take() else { return };
        let seq = value.seq;
        if position.is_current(source) && seq > position.delivered {
            if now < position.next_at {
                let Origin { node, key, .. } = &*source.origin;
                held.insert((position.next_at, node.clone(), key.clone()), Arc::clone(source));
                // One that came meanwhile stays in its place.
                source.tap.offer(value);
                return;
            }
            position.delivered = seq;
            if !options.min_interval.is_zero() {
                position.next_at = now + options.min_interval;
            }
            next.push_back(Delivery::Sample(position.sample(value)));
        }
        source.tap.consumed(seq, 0);
    }

    /// What waits of a source that ends goes first, interval or not.
    fn value_at_once(&mut self, source: &Arc<Source<T>>, now: Instant) {
        self.held.retain(|_, held| !Arc::ptr_eq(held, source));
        if let Some(feed) = self.feeds.get(&(source.link, source.sequence)) {
            self.positions.get(feed.position).next_at = Instant::ZERO;
            self.value(source, now);
        }
    }

    /// A sequence begins, or goes on: what does that say of the one before?
    fn begin(&mut self, source: Arc<Source<T>>, now: Instant) {
        let Origin { node, key, .. } = &*source.origin;
        self.release_held(|held| held.origin.node == *node && held.origin.key == *key, now);
        let start = source.next_seq - 1;
        let rank = source.rank();
        let (place, is_new) = self.positions.of(&source.origin, start);
        let position = self.positions.get(place);
        if rank > position.rank {
            let before = core::mem::replace(&mut position.origin, Arc::clone(&source.origin));
            let (_, sequence, _) = core::mem::replace(&mut position.rank, rank);
            let fate = position.fate;
            // One whose end was handed out comes again for its last credit alone.
            if fate != Fate::Ended || sequence != source.sequence {
                position.fate = Fate::Live;
            }
            if before.incarnation != source.origin.incarnation {
                position.delivered = before_first(&source.origin, start);
                let origin = Arc::clone(&source.origin);
                self.next.push_back(Delivery::Restarted { origin });
            } else if !is_new {
                let goes_on = fate == Fate::Undeclared && sequence == source.sequence;
                if matches!(fate, Fate::Lost | Fate::Left) || goes_on {
                    let origin = Arc::clone(&source.origin);
                    self.next.push_back(Delivery::Back { origin });
                }
                if source.origin.kind == Kind::Stream {
                    // The publisher takes it for received.
                    let received = position.delivered.max(source.taken);
                    source.tap.missed(start.saturating_sub(received));
                    let gap = position.gap(start, &mut self.gaps);
                    self.next.extend(gap);
                }
            }
        }
        let position = self.positions.get(place);
        let taken = position.delivered.min(start);
        if position.is_current(&source) && taken > source.taken {
            // What came on an earlier link was taken meanwhile: the publisher does not know.
            source.tap.consumed(taken, 0);
        }
        let feed = (source.link, source.sequence);
        self.feeds.insert(feed, Fed { source, position: place, seen: start });
    }

    fn skip(&mut self, feed: (u64, u64), next_seq: u64, reason: SkipReason) -> Option<Delivery> {
        let Self { feeds, positions, options, gaps, .. } = self;
        let feed = feeds.get_mut(&feed)?.of_stream()?;
        let source = &feed.source;
        let position = positions.get(feed.position);
        if !position.is_current(source) {
            return None;
        }
        position.reason = reason;
        let wished = reason == SkipReason::Wish && !options.min_interval.is_zero();
        if next_seq == 0 && (wished || source.tap.left_out_from().is_some()) {
            // Its end will not be told, either; of one that is left out all is told at once.
            return None;
        }
        if next_seq == 0 {
            *gaps += 1;
            return Some(Delivery::Gap {
                origin: Arc::clone(&position.origin),
                from_seq: position.delivered + 1,
                to_seq: None,
                reason,
            });
        }
        feed.seen = feed.seen.max(next_seq - 1);
        if source.tap.left_out_from().is_some_and(|from| next_seq > from) {
            return None;
        }
        let gap = if wished {
            position.delivered = position.delivered.max(next_seq - 1);
            None
        } else {
            position.gap(next_seq - 1, gaps)
        };
        source.tap.consumed(next_seq - 1, 0);
        gap
    }

    /// A stream's sequence has ended.
    fn end(&mut self, feed: (u64, u64), last_seq: u64, reason: EndReason) -> Option<Delivery> {
        self.feeds.get_mut(&feed)?.of_stream()?;
        let Fed { source, position, .. } = self.feeds.remove(&feed)?;
        if let Some(from) = source.tap.left_out_from() {
            source.tap.missed((last_seq + 1).saturating_sub(from));
            source.tap.rejoin();
        }
        let position = self.positions.get(position);
        if position.is_current(&source) && reason != EndReason::NoInterest {
            self.next.extend(position.gap(last_seq, &mut self.gaps));
            self.next.extend(position.ended(reason));
        }
        source.tap.consumed(last_seq, 0);
        source.tap.finished();
        self.next.pop_front()
    }

    /// A stream's sequence goes on with what this version does not understand.
    fn unsupported(&mut self, feed: (u64, u64)) -> Option<Delivery> {
        let Fed { source, position, .. } = self.feeds.remove(&feed)?;
        let position = self.positions.get(position);
        let told =
            if position.is_current(&source) { position.ended(EndReason::Refused) } else { None };
        source.tap.finished();
        told
    }

    /// A state's sequence has ended, or one that this node cannot follow.
    fn ended(&mut self, source: &Arc<Source<T>>, reason: EndReason, now: Instant) {
        let feed = (source.link, source.sequence);
        let Some(position) = self.feeds.get(&feed).map(|feed| feed.position) else { return };
        self.value_at_once(source, now);
        self.feeds.remove(&feed);
        let position = self.positions.get(position);
        if position.is_current(source) && reason != EndReason::NoInterest {
            self.next.extend(position.ended(reason));
        }
        source.tap.finished();
    }

    /// A link is no more: what it fed is stale, unless a later link feeds it.
    fn gone(&mut self, link: u64, node: &NodeId, left: bool, now: Instant) {
        self.drop_link(link, now);
        for position in self.positions.of_node(node) {
            let stale = position.rank.0 <= link
                && (position.fate == Fate::Live || left && position.fate == Fate::Lost);
            if stale {
                let origin = Arc::clone(&position.origin);
                position.fate = if left { Fate::Left } else { Fate::Lost };
                self.next.push_back(match left {
                    true => Delivery::Left { origin },
                    false => Delivery::Lost { origin },
                });
            }
        }
    }

    fn drop_link(&mut self, link: u64, now: Instant) {
        self.release_held(|held| held.link == link, now);
        self.feeds.retain(|(of, _), _| *of != link);
    }

    /// Values that wait and of which no more comes go at once: the latest always arrives.
    fn release_held(&mut self, which: impl Fn(&Source<T>) -> bool, now: Instant) {
        let held: Vec<_> = self.held.values().filter(|held| which(held)).cloned().collect();
        held.iter().for_each(|source| self.value_at_once(source, now));
    }

    /// A key is exposed no more, and its end may have been lost with a link.
    fn undeclared(&mut self, node: &NodeId, key: &Key) {
        let Some(place) = self.positions.places.get(&(node.clone(), key.clone())).copied() else {
            return;
        };
        let is_fed = self.feeds.values().any(|feed| feed.position == place);
        let position = self.positions.get(place);
        if !is_fed && matches!(position.fate, Fate::Live | Fate::Lost | Fate::Left) {
            self.next.extend(position.ended(EndReason::Closed));
            position.fate = Fate::Undeclared;
        }
    }

    /// The application has taken all that there was: what it was left out of, it is told. Tells
    /// whether there was such a sequence.
    fn rejoin(&mut self) -> bool {
        let Self { feeds, positions, next, gaps, .. } = self;
        let mut any = false;
        for feed in feeds.values_mut() {
            let source = &feed.source;
            let Some(from) = source.tap.left_out_from() else { continue };
            any = true;
            let to = source.tap.rejoin();
            if source.origin.kind == Kind::State {
                // It lost nothing: the latest value waited in its slot.
                continue;
            }
            source.tap.missed((to + 1).saturating_sub(from));
            feed.seen = feed.seen.max(to);
            let position = positions.get(feed.position);
            if position.is_current(source) {
                position.reason = SkipReason::Stalled;
                next.extend(position.gap(to, gaps));
            }
            source.tap.consumed(to, 0);
        }
        any
    }
}

/// The positions of a subscription. A sequence knows the place of its own.
#[derive(Clone, Debug, Default, Hash)]
struct Positions {
    places: BTreeMap<(NodeId, Key), usize>,
    positions: Vec<Position>,
    free: Vec<usize>,
}

impl Positions {
    fn get(&mut self, place: usize) -> &mut Position {
        &mut self.positions[place]
    }

    /// The place of a key's position, and whether it is new: then all up to `start` is none of
    /// the subscription's.
    fn of(&mut self, origin: &Arc<Origin>, start: u64) -> (usize, bool) {
        let name = (origin.node.clone(), origin.key.clone());
        if let Some(place) = self.places.get(&name) {
            return (*place, false);
        }
        // A node that has many keys come and go makes room among its own first.
        for own in [true, false] {
            if self.places.len() >= POSITIONS {
                let of_others = |owner: &NodeId| own && *owner != origin.node;
                self.retain(|owner, it| it.fate == Fate::Live || of_others(owner));
            }
        }
        let position = Position {
            origin: Arc::clone(origin),
            rank: (0, 0, 0),
            delivered: before_first(origin, start),
            fate: Fate::Live,
            reason: SkipReason::Lost,
            next_at: Instant::ZERO,
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.positions[place] = position;
                place
            }
            None => {
                self.positions.push(position);
                self.positions.len() - 1
            }
        };
        self.places.insert(name, place);
        (place, true)
    }

    fn of_node(&mut self, node: &NodeId) -> impl Iterator<Item = &mut Position> {
        self.positions.iter_mut().filter(move |it| it.origin.node == *node && it.fate != Fate::Free)
    }

    fn retain(&mut self, keep: impl Fn(&NodeId, &Position) -> bool) {
        let Self { places, positions, free } = self;
        places.retain(|(owner, _), place| {
            let keeps = keep(owner, &positions[*place]);
            if !keeps {
                positions[*place].fate = Fate::Free;
                free.push(*place);
            }
            keeps
        });
    }
}

/// The number before the first one that is for a subscription. Of a state any value is, for a
/// sequence that began only to end for want of interest may have left it out.
fn before_first(origin: &Origin, start: u64) -> u64 {
    if origin.kind == Kind::State { 0 } else { start }
}

impl Position {
    /// Is there no later sequence of the same key?
    fn is_current<T>(&self, source: &Source<T>) -> bool {
        self.rank == source.rank()
    }

    /// Is a sample of a stream to be delivered? Then perhaps a gap first.
    fn accept<T>(
        &mut self,
        source: &Source<T>,
        seq: u64,
        options: &InterestOptions,
        now: Instant,
        gaps: &mut u64,
    ) -> Option<Option<Delivery>> {
        if !self.is_current(source) || seq <= self.delivered {
            return None;
        }
        let gap = self.gap(seq - 1, gaps);
        self.delivered = seq;
        if !options.min_interval.is_zero() {
            // The publisher's node keeps the interval, too: what it lets pass may come a little
            // early here, and is not to be left out for that.
            let early = self.next_at.since(now);
            if early > options.min_interval / EARLY {
                return None;
            }
            self.next_at = now + early + options.min_interval;
        }
        Some(gap)
    }

    /// All up to `to_seq` that was not delivered will not be.
    fn gap(&mut self, to_seq: u64, gaps: &mut u64) -> Option<Delivery> {
        if to_seq <= self.delivered {
            return None;
        }
        let from_seq = self.delivered + 1;
        self.delivered = to_seq;
        let reason = core::mem::replace(&mut self.reason, SkipReason::Lost);
        *gaps += 1;
        let origin = Arc::clone(&self.origin);
        Some(Delivery::Gap { origin, from_seq, to_seq: Some(to_seq), reason })
    }

    /// The source has ended, which is told once.
    fn ended(&mut self, reason: EndReason) -> Option<Delivery> {
        if core::mem::replace(&mut self.fate, Fate::Ended) == Fate::Ended {
            return None;
        }
        let origin = Arc::clone(&self.origin);
        Some(match reason {
            EndReason::Refused => Delivery::Unsupported { origin },
            _ => Delivery::Ended { origin },
        })
    }

    fn sample(&self, value: Value) -> Sample {
        let Value { seq, time_ns, headers, payload } = value;
        Sample { origin: Arc::clone(&self.origin), seq, time_ns, headers, payload }
    }
}
