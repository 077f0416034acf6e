//! One sequence as it comes in on a link.

use std::sync::Arc;

use super::link::Link;
use super::meter::{Meter, Sequence, Tap};
use super::queue::Item;
use super::reader::{RecordFault, unpinned};
use super::route::Stamped;
use super::stage::Stage;
use crate::data::{Begin, Sample};
use crate::protocol::{Incarnation, Key, Kind};

/// One sequence as it comes in on a link, owned by the link's reader.
pub(super) struct Inlet {
    alias: u32,
    key: Key,
    kind: Kind,
    encoding: Arc<str>,
    incarnation: Incarnation,
    last_seq: u64,
    /// A moving mean of the payloads, in bytes times 8.
    mean: usize,
    /// The present value of a state, for subscriptions that come later.
    present: Option<Stamped>,
    meter: Arc<Meter>,
    taps: Vec<Outlet>,
}

/// A subscription that takes from an inlet.
struct Outlet {
    tap: Arc<Tap>,
    /// Its place among the reader's stages.
    stage: usize,
}

impl Inlet {
    pub(super) fn open(begin: Begin, link: &Arc<Link>, stages: &mut [Stage]) -> Self {
        let last_seq = begin.next_seq - 1;
        let mut inlet = Self {
            alias: begin.alias,
            key: begin.key,
            kind: begin.kind,
            encoding: begin.encoding.into(),
            incarnation: begin.incarnation,
            last_seq,
            mean: 0,
            present: None,
            meter: Arc::new(Meter::new(begin.alias, Arc::clone(link), last_seq)),
            taps: Vec::new(),
        };
        for place in 0..stages.len() {
            inlet.tap(place, stages, link);
        }
        inlet
    }

    pub(super) fn sample(
        &mut self,
        sample: Sample,
        pinned: usize,
        stages: &mut [Stage],
    ) -> Result<(), RecordFault> {
        let Sample { seq, time_ns, payload, .. } = sample;
        self.advance(seq, self.last_seq.saturating_add(1))?;
        self.mean = self.mean - self.mean / 8 + payload.len();
        self.meter.receive(seq, self.mean / 8);
        if self.kind == Kind::State {
            let value = Stamped { seq, time_ns, payload: unpinned(payload, pinned) };
            for Outlet { tap, stage } in &self.taps {
                stages[*stage].value(tap, value.clone());
            }
            self.present = Some(value);
        } else if let Some((last, others)) = self.taps.split_last() {
            let sample = Stamped { seq, time_ns, payload };
            for Outlet { tap, stage } in others {
                stages[*stage].item(tap, Item::Sample(sample.clone()));
            }
            stages[last.stage].item(&last.tap, Item::Sample(sample));
        }
        if self.taps.iter().all(|outlet| outlet.tap.is_shed()) {
            self.meter.credit_later();
        }
        Ok(())
    }

    /// How long the present value of a state is, in bytes.
    pub(super) fn held(&self) -> usize {
        self.present.as_ref().map_or(0, |value| value.payload.len())
    }

    /// What came up to here and did not arrive will not arrive.
    pub(super) fn skip(&mut self, to_seq: u64, stages: &mut [Stage]) -> Result<(), RecordFault> {
        self.advance(to_seq, self.last_seq)?;
        self.meter.receive(to_seq, self.mean / 8);
        for Outlet { tap, stage } in &self.taps {
            stages[*stage].item(tap, Item::Lost { to_seq });
        }
        self.meter.credit_later();
        Ok(())
    }

    /// The sequence ends. Returns what gives the receipt for it.
    pub(super) fn end(
        mut self,
        last_seq: u64,
        closed: bool,
        stages: &mut [Stage],
    ) -> Result<Arc<Meter>, RecordFault> {
        self.advance(last_seq, self.last_seq)?;
        for Outlet { tap, stage } in &self.taps {
            stages[*stage].item(tap, Item::Lost { to_seq: last_seq });
            stages[*stage].item(tap, Item::Ended { closed });
        }
        self.meter.end(last_seq);
        Ok(self.meter)
    }

    /// The subscriptions have changed: those of before have these places now, or none, and
    /// these are new. Only the new ones are compared with the key.
    pub(super) fn refresh(
        &mut self,
        moved: &[Option<usize>],
        fresh: &[usize],
        stages: &mut [Stage],
        link: &Link,
    ) {
        self.taps.retain_mut(|outlet| match moved[outlet.stage] {
            Some(stage) => {
                outlet.stage = stage;
                true
            }
            None => false,
        });
        for place in fresh {
            self.tap(*place, stages, link);
        }
    }

    /// Feeds the subscription at this place, if it wants the key.
    fn tap(&mut self, place: usize, stages: &mut [Stage], link: &Link) {
        let stage = &mut stages[place];
        if !stage.subscription.keys.matches(&self.key) {
            return;
        }
        let present = self.present.clone();
        let sequence = Sequence {
            incarnation: self.incarnation,
            kind: self.kind,
            encoding: Arc::clone(&self.encoding),
            next_seq: present.as_ref().map_or(self.last_seq.saturating_add(1), |value| value.seq),
        };
        let queue = &stage.subscription.queue;
        let tap = queue.tap(&link.node, &self.key, sequence, &self.meter);
        stage.begin(&tap);
        if let Some(value) = present {
            stage.value(&tap, value);
        }
        self.taps.push(Outlet { tap, stage: place });
    }

    fn advance(&mut self, seq: u64, least: u64) -> Result<(), RecordFault> {
        if seq < least || seq == u64::MAX {
            let (alias, last_seq) = (self.alias, self.last_seq);
            return Err(RecordFault::Backwards { alias, last_seq, seq });
        }
        self.last_seq = seq;
        Ok(())
    }
}
