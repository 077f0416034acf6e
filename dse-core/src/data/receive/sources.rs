//! The sequences that feed a subscription, and what follows from each record of them.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::positions::{Fate, Positions, before_first};
use super::{Delivery, Inbound, Sample, Source, Tap, Value};
use crate::data::Origin;
use crate::data::headers::Headers;
use crate::data::record::{EndReason, Samples, SkipReason};
use crate::data::samples::{Cursor, Step};
use crate::protocol::{Instant, InterestOptions, Key, Kind, NodeId};

/// The sequences that feed a subscription, and how far it came with each.
#[derive(Clone, Debug, Hash)]
pub(super) struct Sources<T> {
    pub(super) options: InterestOptions,
    /// The sequences that feed it, by link and number.
    feeds: BTreeMap<(u64, u64), Fed<T>>,
    positions: Positions,
    /// What follows the delivery that was made last.
    pub(super) next: VecDeque<Delivery>,
    /// Values of states that came too soon for the interval, by when they are due.
    held: BTreeMap<(Instant, NodeId, Key), Arc<Source<T>>>,
    pub(super) gaps: u64,
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

/// Samples of one record, from one on.
#[derive(Clone, Debug, Hash)]
pub(super) struct Run<T> {
    cursor: Cursor,
    source: Arc<Source<T>>,
    /// The place of its position.
    position: usize,
    /// The last number that was looked at before.
    seen: u64,
    headers: Headers,
}

impl<T> Run<T> {
    /// Was its last sample looked at?
    pub(super) fn is_over(&self) -> bool {
        self.cursor.is_over()
    }
}

impl<T: Tap> Sources<T> {
    pub(super) fn new(options: InterestOptions) -> Self {
        Self {
            options,
            feeds: BTreeMap::new(),
            positions: Positions::default(),
            next: VecDeque::new(),
            held: BTreeMap::new(),
            gaps: 0,
        }
    }

    /// When a value is due that came too soon.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.held.first_key_value().map(|((at, ..), _)| *at)
    }

    /// Lets a value go that came too soon, if one is due.
    pub(super) fn release_due(&mut self, now: Instant) -> bool {
        let Some(first) = self.held.first_entry().filter(|first| first.key().0 <= now) else {
            return false;
        };
        let source = first.remove();
        self.value(&source, now);
        true
    }

    /// A node that was lost or has left is forgotten.
    pub(super) fn forget(&mut self, node: &NodeId) {
        self.positions.retain(|owner, it| owner != node || it.fate == Fate::Live);
    }

    /// Samples of a stream that feeds it.
    pub(super) fn run(&mut self, inbound: &Inbound<T>, samples: &Samples<'_>) -> Option<Run<T>> {
        let feed = self.feeds.get_mut(&(inbound.link, samples.sequence))?.of_stream()?;
        let seen = feed.seen;
        feed.seen = seen.max(samples.last_seq()?);
        Some(Run {
            cursor: samples.cursor(),
            source: Arc::clone(&feed.source),
            position: feed.position,
            seen,
            headers: inbound.frame.headers(samples.headers),
        })
    }

    /// The next of these samples that is to be delivered, or the gap in front of it.
    #[inline]
    pub(super) fn sample(
        &mut self,
        inbound: &Inbound<T>,
        run: &mut Run<T>,
        now: Instant,
    ) -> Option<Delivery> {
        let Inbound { frame, copies, .. } = inbound;
        let Run { cursor, source, position, seen, headers } = run;
        let Self { positions, options, next, gaps, .. } = self;
        let position = positions.get(*position);
        loop {
            let Step { seq, time_ns, payload } =
                cursor.next(&frame.head, frame.body.pieces())?.ok()?;
            let left_out = || source.tap.left_out_from().is_some_and(|from| seq >= from);
            if seq <= *seen || left_out() {
                continue;
            }
            let Some(gap) = position.accept(source, seq, options, now, gaps) else {
                source.tap.consumed(seq, 0);
                continue;
            };
            let bytes = payload.len;
            let sample = Sample {
                origin: Arc::clone(&position.origin),
                seq,
                time_ns: source.base_time_ns.wrapping_add_signed(time_ns),
                headers: headers.clone(),
                payload: match copies {
                    true => frame.payload_alone(payload),
                    false => frame.payload(payload),
                },
            };
            source.tap.consumed(seq, bytes);
            if gap.is_some() {
                next.push_back(Delivery::Sample(sample));
                return gap;
            }
            return Some(Delivery::Sample(sample));
        }
    }

    /// A sample that came in fragments, or alone.
    pub(super) fn whole(
        &mut self,
        feed: (u64, u64),
        value: Value,
        now: Instant,
    ) -> Option<Delivery> {
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
        let sample = Delivery::Sample(position.sample(value));
        match gap? {
            Some(gap) => {
                next.push_back(sample);
                Some(gap)
            }
            None => Some(sample),
        }
    }

    /// A state's newest value, if it is not too soon for it.
    pub(super) fn value(&mut self, source: &Arc<Source<T>>, now: Instant) {
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
    pub(super) fn begin(&mut self, source: Arc<Source<T>>, now: Instant) {
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
            position.undeclared = false;
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

    pub(super) fn skip(
        &mut self,
        feed: (u64, u64),
        next_seq: u64,
        reason: SkipReason,
    ) -> Option<Delivery> {
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
    pub(super) fn end(
        &mut self,
        feed: (u64, u64),
        last_seq: u64,
        reason: EndReason,
    ) -> Option<Delivery> {
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
    pub(super) fn unsupported(&mut self, feed: (u64, u64)) -> Option<Delivery> {
        let Fed { source, position, .. } = self.feeds.remove(&feed)?;
        let position = self.positions.get(position);
        let told =
            if position.is_current(&source) { position.ended(EndReason::Refused) } else { None };
        source.tap.finished();
        told
    }

    /// A state's sequence has ended, or one that this node cannot follow.
    pub(super) fn ended(&mut self, source: &Arc<Source<T>>, reason: EndReason, now: Instant) {
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
    pub(super) fn gone(&mut self, link: u64, node: &NodeId, left: bool, now: Instant) {
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

    /// A later link took the place of a link. What was undeclared over that one is at its end, now
    /// that the former one feeds it no more.
    pub(super) fn replaced(&mut self, link: u64, now: Instant) {
        self.drop_link(link, now);
        for place in self.positions.undeclared() {
            self.end_undeclared(place);
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
    pub(super) fn undeclared(&mut self, node: &NodeId, key: &Key) {
        let Some(place) = self.positions.place(node, key) else {
            return;
        };
        let position = self.positions.get(place);
        position.undeclared = position.fate == Fate::Live;
        self.end_undeclared(place);
    }

    /// Ends what is exposed no more, if no sequence feeds it.
    fn end_undeclared(&mut self, place: usize) {
        let is_fed = self.feeds.values().any(|feed| feed.position == place);
        let position = self.positions.get(place);
        if !is_fed && matches!(position.fate, Fate::Live | Fate::Lost | Fate::Left) {
            self.next.extend(position.ended(EndReason::Closed));
            position.fate = Fate::Undeclared;
            position.undeclared = false;
        }
    }

    /// The application has taken all that there was: what it was left out of, it is told. Tells
    /// whether there was such a sequence.
    pub(super) fn rejoin(&mut self) -> bool {
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
