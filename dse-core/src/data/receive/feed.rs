//! What a subscription makes of the frames that were handed to it: samples in order, each once,
//! and the word of each gap (law L8), of each source the fate (law L10).

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use super::sources::{Run, Sources};
use super::{Delivery, Inbound, Item, Tap};
use crate::data::record::{Record, Unknown};
use crate::data::records::Place;
use crate::protocol::{Instant, InterestOptions};

/// The deliveries of one subscription. To be filled by [`push`](Self::push), in the order in
/// which links handed things over, and emptied by [`next`](Self::next).
#[derive(Clone, Debug, Hash)]
pub struct Feed<T> {
    items: VecDeque<Item<T>>,
    /// The frame that is being read.
    reading: Option<Reading<T>>,
    sources: Sources<T>,
}

#[derive(Clone, Debug, Hash)]
struct Reading<T> {
    inbound: Inbound<T>,
    place: Place,
    /// The samples that stand in front of that place.
    run: Option<Run<T>>,
    begun: usize,
    whole: usize,
}

impl<T: Tap> Feed<T> {
    /// A subscription that got nothing yet.
    pub fn new(options: InterestOptions) -> Self {
        Self { items: VecDeque::new(), reading: None, sources: Sources::new(options) }
    }

    /// How many gaps were delivered.
    pub fn gaps(&self) -> u64 {
        self.sources.gaps
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
        !self.items.is_empty() || self.reading.is_some() || !self.sources.next.is_empty()
    }

    /// Does [`next`](Self::next) look at the time? Else it may be given any.
    pub fn needs_time(&self) -> bool {
        !self.sources.options.min_interval.is_zero()
    }

    /// When [`next`](Self::next) has something although nothing was handed over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.sources.poll_timeout()
    }

    /// The next delivery; none if nothing is there. All that was handed over has been
    /// [pushed](Self::push) before.
    pub fn next(&mut self, now: Instant) -> Option<Delivery> {
        loop {
            let delivery = self.read_on(now);
            if delivery.is_some() || !self.sources.rejoin() {
                return delivery;
            }
        }
    }

    /// As [`next`](Self::next), where more may wait to be pushed.
    pub fn read_on(&mut self, now: Instant) -> Option<Delivery> {
        let Self { items, reading, sources } = self;
        loop {
            if let Some(delivery) = sources.next.pop_front() {
                return Some(delivery);
            }
            if let Some(frame) = reading {
                let delivery = frame.read(sources, now);
                if delivery.is_none() || frame.is_over() {
                    *reading = None;
                }
                if delivery.is_some() {
                    return delivery;
                }
                continue;
            }
            if sources.release_due(now) {
                continue;
            }
            match items.pop_front()? {
                Item::Sample(source, value) => {
                    let delivery = sources.whole((source.link, source.sequence), value, now);
                    if delivery.is_some() {
                        return delivery;
                    }
                }
                Item::Begin(source) => sources.begin(source, now),
                Item::Value(source) => sources.value(&source, now),
                Item::End(source, reason) => sources.ended(&source, reason, now),
                Item::Gone { link, node, left } => sources.gone(link, &node, left, now),
                Item::Replaced { link } => sources.replaced(link, now),
                Item::Undeclared { node, key } => sources.undeclared(&node, &key),
                Item::Forget { node } => sources.forget(&node),
                Item::Frame(inbound) => {
                    let place = inbound.from;
                    *reading = Some(Reading { inbound, place, run: None, begun: 0, whole: 0 });
                }
            }
        }
    }
}

impl<T: Tap> Reading<T> {
    /// Was its last record read?
    fn is_over(&self) -> bool {
        self.run.as_ref().is_none_or(Run::is_over)
            && self.place.head == self.inbound.frame.head.len()
    }

    /// Reads on, up to a delivery or to the end.
    fn read(&mut self, sources: &mut Sources<T>, now: Instant) -> Option<Delivery> {
        loop {
            let Self { inbound, place, run, begun, whole } = self;
            if let Some(samples) = run {
                let delivery = sources.sample(inbound, samples, now);
                if delivery.is_some() {
                    return delivery;
                }
                *run = None;
            }
            let mut records = inbound.frame.records_from(*place);
            if let Some(samples) = records.next_samples() {
                *run = sources.run(inbound, &samples.ok()?);
                *place = records.place();
                continue;
            }
            let record = records.next()?.ok()?;
            *place = records.place();
            if let Record::Samples(samples) = record {
                *run = sources.run(inbound, &samples);
                continue;
            }
            let delivery = Self::record(inbound, (begun, whole), sources, record, now);
            if let Some(delivery) = delivery.or_else(|| sources.next.pop_front()) {
                return Some(delivery);
            }
        }
    }

    fn record(
        inbound: &Inbound<T>,
        (begun, whole): (&mut usize, &mut usize),
        sources: &mut Sources<T>,
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
                sources.whole((link, *sequence), value.clone(), now)
            }
            Record::Begin(begin) => {
                let next = inbound.begun.get(*begun)?;
                if next.sequence == begin.sequence && next.epoch == begin.epoch {
                    *begun += 1;
                    sources.begin(Arc::clone(next), now);
                }
                None
            }
            Record::Skip(skip) => sources.skip((link, skip.sequence), skip.next_seq, skip.reason),
            Record::Abort(abort) => {
                sources.skip((link, abort.sequence), abort.seq.saturating_add(1), abort.reason)
            }
            Record::End(end) => sources.end((link, end.sequence), end.last_seq, end.reason),
            Record::Unknown(Unknown { sequence: Some(sequence), .. }) => {
                sources.unsupported((link, sequence))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    use super::super::{Source, Value};
    use super::*;
    use crate::data::Origin;
    use crate::protocol::{Incarnation, Key, Kind, NodeId};

    /// Who reads along nothing.
    #[derive(Clone, Debug)]
    struct Nobody;

    impl Tap for Nobody {
        fn consumed(&self, _seq: u64, _bytes: usize) {}
        fn missed(&self, _samples: u64) {}
        fn finished(&self) {}
        fn offer(&self, _value: Value) -> bool {
            false
        }
        fn take(&self) -> Option<Value> {
            None
        }
        fn left_out_from(&self) -> Option<u64> {
            None
        }
        fn rejoin(&self) -> u64 {
            0
        }
    }

    /// The word of it may come over a link that replaced the one that fed the key.
    #[test]
    fn a_key_that_is_undeclared_while_an_old_link_feeds_it_ends_with_that_link() {
        let (node, key) = (NodeId::new("a").expect("an id"), Key::new("x").expect("a key"));
        let origin = Origin::new(node.clone(), key.clone(), Incarnation(1), Kind::Stream, "");
        let source = Source {
            origin: Arc::new(origin),
            link: 1,
            sequence: 1,
            epoch: 1,
            next_seq: 1,
            taken: 0,
            base_time_ns: 0,
            tap: Nobody,
        };
        for replaced_first in [true, false] {
            let mut feed = Feed::new(InterestOptions::default());
            feed.push(Item::Begin(Arc::new(source.clone())));
            let undeclared = Item::Undeclared { node: node.clone(), key: key.clone() };
            let replaced = Item::Replaced { link: 1 };
            let words =
                if replaced_first { [replaced, undeclared] } else { [undeclared, replaced] };
            words.into_iter().for_each(|word| feed.push(word));
            let told: Vec<_> = core::iter::from_fn(|| feed.next(Instant::ZERO)).collect();
            assert!(matches!(told[..], [Delivery::Ended { .. }]), "{told:?}");
        }
    }
}
