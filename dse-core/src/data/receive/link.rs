//! What comes in on one link: records are checked, frames handed to the subscriptions that they
//! are for (PROTOCOL.md §9.3 to §9.9).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use super::{Account, Inbound, Item, Source, Tap, Value};
use crate::data::frame::DataFrame;
use crate::data::frame_error::FrameError;
use crate::data::limits::{LARGEST_WINDOW, LINK_KEPT_BYTES, PAYLOAD_BYTES, SEQUENCES_PER_LINK};
use crate::data::record::{
    Begin, Credit, End, EndReason, Fragment, Received, Record, Refuse, Resume, Sample, Samples,
    Unknown, tag,
};
use crate::data::records::Place;
use crate::data::send::Flight;
use crate::data::{Origin, Payload, SequenceFault};
use crate::protocol::{
    Incarnation, InterestOptions, Key, KeyExpr, Kind, NodeId, SubscriptionId, limits,
};

/// A subscription of this node.
#[derive(Clone, Debug, Hash)]
pub struct Wanted {
    /// Its id.
    pub id: SubscriptionId,
    /// What it is for.
    pub keys: KeyExpr,
    /// What it asks of its routes.
    pub options: InterestOptions,
}

/// What the receiver of a link needs of its node.
pub trait Host {
    /// What the taps of a sequence share.
    type Account: Account;
    /// A sequence begins, of which nothing came in beyond this number.
    fn open(&mut self, sequence: u64, epoch: u64, last_seq: u64) -> Self::Account;
    /// Up to which number this sequence came in on earlier links with the same instance of the
    /// peer, 0 if it never began on one; none if it fed subscriptions and none of them is left.
    fn received_before(&self, sequence: u64) -> Option<u64>;
}

/// What follows from a frame.
#[derive(Clone, Debug, Hash)]
pub enum Output<T> {
    /// Something for a subscription.
    Deliver(SubscriptionId, Item<T>),
    /// A subscriber's credit, for the sequence of this node that it names.
    Credit(Credit),
    /// What the peer has taken off the link.
    Received(Received),
    /// Where the peer goes on in a sequence of this node.
    Resume(Resume),
    /// The peer cannot follow a sequence of this node.
    Refuse(Refuse),
    /// To be sent back.
    SendResume(Resume),
    /// To be sent back.
    SendRefuse(Refuse),
}

/// Why a link cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The frame cannot be read.
    #[error("the peer sent a data frame that cannot be read: {0}")]
    Frame(#[from] FrameError),
    /// A record cannot be true.
    #[error("the peer broke the protocol of the data lane: {0}")]
    Fault(#[from] SequenceFault),
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ReceiverCounters {
    /// Samples, whole ones.
    pub samples: u64,
    /// Samples that no subscription was for.
    pub unwanted: u64,
    /// Records that this version does not know.
    pub unknown_records: u64,
    /// Fields of records, and numbers of kinds, classes and reasons, that this version does not
    /// know.
    pub unknown_fields: u64,
}

/// The receiving side of one link.
#[derive(Clone, Debug, Hash)]
pub struct LinkReceiver<A: Account> {
    node: NodeId,
    incarnation: Incarnation,
    /// The link's place among all.
    link: u64,
    subscriptions: Vec<Wanted>,
    inlets: BTreeMap<u64, Inlet<A>>,
    /// Sequences that were refused and that no record began which this version knows.
    strangers: BTreeSet<u64>,
    /// At so many sequences those that are over are looked for.
    sweep_at: usize,
    counters: ReceiverCounters,
    /// Bytes that were kept since it was looked how many there are.
    kept: usize,
    /// What the frame that is being read holds for each subscription.
    shares: Vec<Share<A::Tap>>,
    outputs: Vec<Output<A::Tap>>,
}

/// One sequence.
#[derive(Clone, Debug, Hash)]
struct Inlet<A: Account> {
    origin: Arc<Origin>,
    epoch: u64,
    base_time_ns: u64,
    state: InletState,
    last_seq: u64,
    account: A,
    /// The subscriptions that take from it, by their place.
    taps: Vec<(usize, Arc<Source<A::Tap>>)>,
    partial: Option<Partial>,
    /// The latest value of a state.
    present: Option<Value>,
    unconfirmed: Flight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum InletState {
    Open,
    /// This node answered that it knows nothing of the sequence: it begins anew.
    Reset,
    /// It has ended, and the peer is to be told the last credit.
    Ended,
    /// This node cannot follow it.
    Refused,
}

/// A sample in fragments.
#[derive(Clone, Debug, Hash)]
struct Partial {
    value: Value,
    total: u64,
    parts: Vec<Bytes>,
    /// Small parts that followed those, together: each of its own would cost more than it holds.
    small: BytesMut,
    len: u64,
}

/// A part of fewer bytes is put together with its neighbours.
const SMALL_PART: usize = 1024;

impl Partial {
    fn push(&mut self, frame: &DataFrame, part: Payload) {
        if part.len < SMALL_PART {
            self.small.extend_from_slice(&frame.payload(part));
        } else {
            self.flush();
            self.parts.push(frame.payload_alone(part));
        }
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.parts.push(self.small.split().freeze());
        }
    }
}

/// What was seen of a frame.
#[derive(Debug)]
struct Seen {
    /// Up to where it was read and found right.
    checked: Place,
    /// Where the first record stands that counts for `Received`, if there is one.
    counts_from: Option<Place>,
    /// Samples that were put together from fragments, with their sequences.
    whole: Vec<(u64, Value)>,
}

/// What a frame holds for one subscription.
#[derive(Clone, Debug, Hash)]
struct Share<T> {
    wanted: bool,
    /// Payload in it, in bytes.
    bytes: usize,
    begun: Vec<Arc<Source<T>>>,
}

impl<T> Default for Share<T> {
    fn default() -> Self {
        Self { wanted: false, bytes: 0, begun: Vec::new() }
    }
}

/// How many samples, or bytes, beyond the largest window are a fault: confirmations are
/// counted in groups, a window may have been narrowed while samples were under way, and before
/// each sample there may be a gap.
const CREDIT_SLACK: usize = 3;
/// Of fewer sequences those that are over are kept.
const SWEEP_AT: usize = 64;
/// Of a sequence in between so many samples it is looked for what was confirmed.
const CONFIRMED_EVERY: u64 = 1024;

impl<A: Account> LinkReceiver<A> {
    /// A link with this peer, on which nothing came in.
    pub fn new(node: NodeId, incarnation: Incarnation, link: u64) -> Self {
        Self {
            node,
            incarnation,
            link,
            subscriptions: Vec::new(),
            inlets: BTreeMap::new(),
            strangers: BTreeSet::new(),
            sweep_at: SWEEP_AT,
            counters: ReceiverCounters::default(),
            kept: 0,
            shares: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// What was counted since the last call.
    pub fn take_counters(&mut self) -> ReceiverCounters {
        core::mem::take(&mut self.counters)
    }

    /// What follows from the calls before.
    pub fn outputs(&mut self) -> alloc::vec::Drain<'_, Output<A::Tap>> {
        self.outputs.drain(..)
    }

    /// How many sequences are known.
    pub fn sequences(&self) -> usize {
        self.inlets.len()
    }

    /// The subscriptions of this node have changed. Only those that are new are compared with
    /// the keys of sequences.
    pub fn set_subscriptions(&mut self, subscriptions: &[Wanted]) {
        let before: BTreeMap<SubscriptionId, usize> =
            self.subscriptions.iter().enumerate().map(|(place, it)| (it.id, place)).collect();
        let mut moved = alloc::vec![None; self.subscriptions.len()];
        let mut fresh = Vec::new();
        for (place, wanted) in subscriptions.iter().enumerate() {
            match before.get(&wanted.id) {
                Some(old) => moved[*old] = Some(place),
                None => fresh.push(place),
            }
        }
        self.subscriptions = subscriptions.to_vec();
        self.shares.clear();
        self.shares.resize_with(subscriptions.len(), Share::default);
        for (sequence, inlet) in &mut self.inlets {
            inlet.taps.retain_mut(|(place, _)| match moved[*place] {
                Some(new) => {
                    *place = new;
                    true
                }
                None => false,
            });
            if inlet.state != InletState::Open {
                continue;
            }
            for place in &fresh {
                let wanted = &self.subscriptions[*place];
                if !wanted.keys.matches(&inlet.origin.key) {
                    continue;
                }
                let after = inlet.present.as_ref().map_or(inlet.last_seq, |value| value.seq - 1);
                let source = inlet.tap(*sequence, self.link, *place, (after, after), wanted);
                self.outputs.push(Output::Deliver(wanted.id, Item::Begin(Arc::clone(&source))));
                if let Some(value) = inlet.present.clone()
                    && source.tap.offer(value)
                {
                    self.outputs.push(Output::Deliver(wanted.id, Item::Value(source)));
                }
            }
        }
    }

    /// The link is no more: subscriptions are told.
    pub fn gone(&mut self, left: bool) {
        for wanted in &self.subscriptions {
            let gone = Item::Gone { link: self.link, node: self.node.clone(), left };
            self.outputs.push(Output::Deliver(wanted.id, gone));
        }
    }

    /// The link is no more, and a later one with the same peer took its place.
    pub fn replaced(&mut self) {
        for wanted in &self.subscriptions {
            self.outputs.push(Output::Deliver(wanted.id, Item::Replaced { link: self.link }));
        }
    }

    /// Takes in a frame. Tells whether it counts for `Received`.
    ///
    /// # Errors
    /// The peer broke a rule: the link ends. What came before the broken rule was taken in.
    pub fn frame(
        &mut self,
        mut frame: DataFrame,
        host: &mut impl Host<Account = A>,
    ) -> Result<bool, ReceiveError> {
        let mut seen = Seen { checked: frame.start(), counts_from: None, whole: Vec::new() };
        let read = self.records(&frame, host, &mut seen);
        // What was not looked over is for nobody.
        frame.head.truncate(seen.checked.head);
        let counts = seen.counts_from.is_some();
        self.hand_over(frame, seen);
        read?;
        Ok(counts)
    }

    fn records(
        &mut self,
        frame: &DataFrame,
        host: &mut impl Host<Account = A>,
        seen: &mut Seen,
    ) -> Result<(), ReceiveError> {
        let mut records = frame.records();
        loop {
            if let Some(samples) = records.next_samples() {
                let samples = samples?;
                let is_lone = samples.more == 0 && seen.counts_from.is_none() && records.is_over();
                seen.counts_from.get_or_insert(seen.checked);
                let taken = self.samples(frame, samples, is_lone);
                self.unless_refused(taken)?;
                seen.checked = records.place();
                continue;
            }
            let Some(record) = records.next() else { break };
            let goes_back = matches!(
                record,
                Ok(Record::Received(_) | Record::Credit(_) | Record::Resume(_) | Record::Refuse(_))
            );
            if !goes_back {
                seen.counts_from.get_or_insert(seen.checked);
            }
            let taken = match record? {
                Record::Samples(samples) => self.samples(frame, samples, false),
                record => self.other(frame, record, host, &mut seen.whole).map_err(Into::into),
            };
            self.unless_refused(taken)?;
            seen.checked = records.place();
        }
        self.counters.unknown_fields += records.unknown_fields();
        Ok(())
    }

    /// What is under way of a sequence that was refused is not looked at.
    fn unless_refused(&self, taken: Result<(), ReceiveError>) -> Result<(), ReceiveError> {
        match taken {
            Err(ReceiveError::Fault(SequenceFault::Unknown { sequence }))
                if self.strangers.contains(&sequence) =>
            {
                Ok(())
            }
            taken => taken,
        }
    }

    fn other(
        &mut self,
        frame: &DataFrame,
        record: Record<'_>,
        host: &mut impl Host<Account = A>,
        whole: &mut Vec<(u64, Value)>,
    ) -> Result<(), SequenceFault> {
        match record {
            // Read by itself.
            Record::Samples(_) => {}
            Record::Begin(begin) => self.begin(begin, host)?,
            Record::Fragment(fragment) => whole.extend(self.fragment(frame, fragment)?),
            Record::Skip(skip) => {
                let to = skip.next_seq.saturating_sub(1);
                self.advance(skip.sequence, to, skip.next_seq == 0)?;
            }
            Record::End(end) if self.strangers.remove(&end.sequence) => {}
            Record::End(end) => self.end(end)?,
            Record::Abort(abort) => self.advance(abort.sequence, abort.seq, false)?,
            Record::Credit(credit) => self.outputs.push(Output::Credit(credit)),
            Record::Received(received) => self.outputs.push(Output::Received(received)),
            Record::Resume(resume) => self.outputs.push(Output::Resume(resume)),
            Record::Refuse(refuse) => self.outputs.push(Output::Refuse(refuse)),
            Record::Unknown(unknown) => self.unknown(unknown)?,
        }
        Ok(())
    }

    /// A record that this version does not know. If it must be understood, its sequence ends;
    /// the link never does.
    fn unknown(&mut self, unknown: Unknown) -> Result<(), SequenceFault> {
        self.counters.unknown_records += 1;
        let Unknown { tag, sequence: Some(sequence) } = unknown else { return Ok(()) };
        match self.inlets.get(&sequence).map(|inlet| inlet.state) {
            Some(InletState::Open) => self.refuse(sequence, tag)?,
            // It is refused already, or begins anew.
            Some(InletState::Refused | InletState::Reset) => {}
            Some(InletState::Ended) | None => {
                if self.inlets.len() + self.strangers.len() >= SEQUENCES_PER_LINK {
                    return Err(SequenceFault::TooMany);
                }
                if self.strangers.insert(sequence) {
                    self.outputs.push(Output::SendRefuse(Refuse { sequence, epoch: 0, tag }));
                }
            }
        }
        Ok(())
    }

    /// Gives the frame to the subscriptions that it is for.
    fn hand_over(&mut self, frame: DataFrame, seen: Seen) {
        let wanted = self.shares.iter().filter(|share| share.wanted).count();
        if wanted == 0 {
            return;
        }
        // What holds a payload of it may hold all of it.
        let pinned = frame.body.len();
        let whole = (!seen.whole.is_empty()).then(|| Arc::<[_]>::from(seen.whole));
        let from = seen.counts_from.unwrap_or_else(|| frame.start());
        let frame = Arc::new(frame);
        for (share, wanted) in self.shares.iter_mut().zip(&self.subscriptions) {
            let bytes = core::mem::take(&mut share.bytes);
            if core::mem::take(&mut share.wanted) {
                let inbound = Inbound {
                    link: self.link,
                    frame: Arc::clone(&frame),
                    from,
                    begun: core::mem::take(&mut share.begun),
                    copies: bytes * 4 < pinned,
                    whole: whole.clone(),
                };
                self.outputs.push(Output::Deliver(wanted.id, Item::Frame(inbound)));
            }
        }
    }

    fn begin(
        &mut self,
        begin: Begin<'_>,
        host: &mut impl Host<Account = A>,
    ) -> Result<(), SequenceFault> {
        let Begin { sequence, epoch, .. } = begin;
        let invalid = |what| SequenceFault::Begin { sequence, what };
        let key = Key::new(begin.key).map_err(|_| invalid("key"))?;
        if begin.incarnation != self.incarnation {
            return Err(invalid("incarnation"));
        }
        if begin.encoding.len() > limits::ENCODING_BYTES {
            return Err(invalid("encoding"));
        }
        // Sequences begin at 1, and leave room for the number after the last.
        if begin.next_seq == 0 || begin.next_seq == u64::MAX {
            return Err(invalid("number"));
        }
        self.sweep();
        match self.inlets.get(&sequence) {
            Some(inlet) if !inlet.may_begin_again(epoch) => {
                return Err(SequenceFault::BegunTwice { sequence });
            }
            None if self.inlets.len() + self.strangers.len() >= SEQUENCES_PER_LINK => {
                self.inlets.retain(|_, inlet| !inlet.is_over());
                if self.inlets.len() + self.strangers.len() >= SEQUENCES_PER_LINK {
                    return Err(SequenceFault::TooMany);
                }
            }
            _ => {}
        }
        self.strangers.remove(&sequence);
        let followed = matches!(begin.kind, Kind::Stream | Kind::State);
        // One that cannot be followed is refused, wherever it would go on.
        let resume = begin.resume && followed;
        let before = if resume { host.received_before(sequence) } else { None };
        // What came in on an earlier link and is beyond what the publisher knows to be taken.
        let last_seq = before.map_or(begin.next_seq - 1, |seq| seq.max(begin.next_seq - 1));
        let node = self.node.clone();
        let origin = Origin::new(node, key, begin.incarnation, begin.kind, begin.encoding);
        let mut inlet = Inlet {
            origin: Arc::new(origin),
            epoch,
            base_time_ns: begin.base_time_ns,
            state: InletState::Open,
            last_seq,
            account: host.open(sequence, epoch, begin.next_seq - 1),
            taps: Vec::new(),
            partial: None,
            present: None,
            unconfirmed: Flight::default(),
        };
        if resume {
            if before.is_none() {
                inlet.state = InletState::Reset;
            }
            let next_seq = before.map_or(0, |_| last_seq + 1);
            self.outputs.push(Output::SendResume(Resume { sequence, epoch, next_seq }));
        }
        if inlet.state == InletState::Open {
            self.tap_all(sequence, &mut inlet, begin.next_seq - 1);
            if last_seq >= begin.next_seq {
                inlet.account.received(last_seq, 0, 0);
            }
        }
        self.inlets.insert(sequence, inlet);
        if followed { Ok(()) } else { self.refuse(sequence, tag::BEGIN) }
    }

    /// Forgets sequences that are over, where there are many.
    fn sweep(&mut self) {
        if self.inlets.len() >= self.sweep_at {
            self.inlets.retain(|_, it| match it.state {
                InletState::Open | InletState::Refused => true,
                // If it begins anew, then as one that is new.
                InletState::Reset => false,
                InletState::Ended => !it.account.is_over(),
            });
            self.sweep_at = (2 * self.inlets.len()).clamp(SWEEP_AT, SEQUENCES_PER_LINK);
        }
    }

    /// Feeds a sequence to the subscriptions that want it. The publisher knows all up to `taken`
    /// as taken.
    fn tap_all(&mut self, sequence: u64, inlet: &mut Inlet<A>, taken: u64) {
        let after = inlet.last_seq;
        for (place, wanted) in self.subscriptions.iter().enumerate() {
            if !wanted.keys.matches(&inlet.origin.key) {
                continue;
            }
            let source = inlet.tap(sequence, self.link, place, (after, taken), wanted);
            if inlet.origin.kind == Kind::Stream {
                let share = &mut self.shares[place];
                share.wanted = true;
                share.begun.push(source);
            } else {
                self.outputs.push(Output::Deliver(wanted.id, Item::Begin(source)));
            }
        }
    }

    /// `is_lone`: what else is in the frame is for nobody here.
    fn samples(
        &mut self,
        frame: &DataFrame,
        samples: Samples<'_>,
        is_lone: bool,
    ) -> Result<(), ReceiveError> {
        let Samples { sequence, seq, payload, .. } = samples;
        let Some(inlet) = open(&mut self.inlets, sequence)? else { return Ok(()) };
        let last_seq = samples.last_seq().unwrap_or(u64::MAX);
        inlet.check(sequence, seq, last_seq)?;
        if inlet.partial.is_some() {
            return Err(SequenceFault::Fragment { sequence }.into());
        }
        // It is read whole here: subscriptions take it for readable.
        let is_counted = inlet.origin.kind == Kind::Stream && !inlet.taps.is_empty();
        samples.check()?;
        let count = samples.more as u64 + 1;
        self.counters.samples += count;
        if inlet.origin.kind == Kind::State {
            for sample in samples.iter() {
                let Sample { seq, time_ns, headers, payload, .. } = sample?;
                let payload = frame.payload_alone(payload);
                let time_ns = inlet.time_ns(time_ns);
                let value = Value { seq, time_ns, headers: frame.headers(headers), payload };
                inlet.value(value, &self.subscriptions, &mut self.outputs);
            }
            return Ok(self.keeps(payload.len)?);
        }
        inlet.last_seq = last_seq;
        if !is_counted {
            inlet.account.received(last_seq, count, 0);
            self.counters.unwanted += count;
            return Ok(());
        }
        inlet.account.received(last_seq, count, payload.len);
        inlet.unconfirmed.add_all(last_seq, samples.more as u32 + 1, payload.len);
        inlet.within_credit(sequence, count)?;
        let serves = |source: &Source<A::Tap>| source.tap.left_out_from().is_none();
        if is_lone {
            let headers = frame.headers(samples.headers);
            let (time_ns, payload) = (inlet.time_ns(samples.time_ns), frame.payload(payload));
            let value = Value { seq, time_ns, headers, payload };
            for (place, source) in inlet.taps.iter().filter(|(_, source)| serves(source)) {
                let item = Item::Sample(Arc::clone(source), value.clone());
                self.outputs.push(Output::Deliver(self.subscriptions[*place].id, item));
            }
            return Ok(());
        }
        for (place, source) in &inlet.taps {
            let share = &mut self.shares[*place];
            share.wanted |= serves(source);
            share.bytes += payload.len;
        }
        Ok(())
    }

    fn fragment(
        &mut self,
        frame: &DataFrame,
        fragment: Fragment<'_>,
    ) -> Result<Option<(u64, Value)>, SequenceFault> {
        let Fragment { sample, offset, total } = fragment;
        let sequence = sample.sequence;
        if total > PAYLOAD_BYTES as u64 {
            return Err(SequenceFault::TooLong { sequence, len: total });
        }
        let Some(inlet) = open(&mut self.inlets, sequence)? else { return Ok(None) };
        inlet.check(sequence, sample.seq, sample.seq)?;
        if offset == 0 {
            let time_ns = inlet.time_ns(sample.time_ns);
            let headers = frame.headers(sample.headers);
            let value = Value { seq: sample.seq, time_ns, headers, payload: Bytes::new() };
            if inlet.partial.is_some() {
                return Err(SequenceFault::Fragment { sequence });
            }
            inlet.partial =
                Some(Partial { value, total, parts: Vec::new(), small: BytesMut::new(), len: 0 });
        }
        let follows =
            |it: &&mut Partial| it.value.seq == sample.seq && it.len == offset && it.total == total;
        let partial = inlet.partial.as_mut().filter(follows);
        let partial = partial.ok_or(SequenceFault::Fragment { sequence })?;
        if sample.payload.len == 0 && total > 0 {
            // Of such there is no end.
            return Err(SequenceFault::Fragment { sequence });
        }
        partial.len += sample.payload.len as u64;
        // Also while nobody takes it: who comes amid a sample gets it whole.
        partial.push(frame, sample.payload);
        if !fragment.is_last() {
            self.keeps(sample.payload.len)?;
            return Ok(None);
        }
        let Some(mut partial) = inlet.partial.take() else { return Ok(None) };
        partial.flush();
        let Partial { mut value, parts, .. } = partial;
        value.payload = concat(parts);
        self.counters.samples += 1;
        if inlet.taps.is_empty() && inlet.origin.kind == Kind::Stream {
            inlet.last_seq = sample.seq;
            inlet.account.received(sample.seq, 1, 0);
            self.counters.unwanted += 1;
            return Ok(None);
        }
        if inlet.origin.kind == Kind::State {
            inlet.value(value, &self.subscriptions, &mut self.outputs);
            return Ok(None);
        }
        inlet.last_seq = sample.seq;
        for (place, source) in &inlet.taps {
            self.shares[*place].wanted |= source.tap.left_out_from().is_none();
        }
        inlet.received(sequence, sample.seq, value.payload.len())?;
        Ok(Some((sequence, value)))
    }

    /// So many bytes more are kept, of states and of samples in fragments. Now and then it is
    /// looked how many there are in all.
    fn keeps(&mut self, bytes: usize) -> Result<(), SequenceFault> {
        self.kept += bytes;
        // What a node sends itself it holds anyway.
        if self.kept < LINK_KEPT_BYTES / 16 || self.link == 0 {
            return Ok(());
        }
        self.kept = 0;
        let kept: usize = self.inlets.values().map(Inlet::kept).sum();
        if kept > LINK_KEPT_BYTES { Err(SequenceFault::TooMuch) } else { Ok(()) }
    }

    /// What came up to here and did not arrive will not arrive. `open` says that the end of it
    /// is not known yet.
    fn advance(&mut self, sequence: u64, to: u64, open_ended: bool) -> Result<(), SequenceFault> {
        let Some(inlet) = open(&mut self.inlets, sequence)? else { return Ok(()) };
        inlet.partial = None;
        if !open_ended {
            if to < inlet.last_seq || to == u64::MAX {
                let last_seq = inlet.last_seq;
                return Err(SequenceFault::Backwards { sequence, last_seq, seq: to });
            }
            inlet.last_seq = to;
        }
        if inlet.origin.kind == Kind::Stream {
            for (place, _) in &inlet.taps {
                self.shares[*place].wanted = true;
            }
            if !inlet.taps.is_empty() {
                // It waits as a sample does.
                return inlet.received(sequence, inlet.last_seq, 0);
            }
        }
        inlet.account.received(inlet.last_seq, 0, 0);
        Ok(())
    }

    fn end(&mut self, end: End) -> Result<(), SequenceFault> {
        let End { sequence, last_seq, reason } = end;
        let Some(inlet) = self.inlets.get_mut(&sequence) else {
            return Err(SequenceFault::Unknown { sequence });
        };
        match inlet.state {
            InletState::Ended => return Err(SequenceFault::Unknown { sequence }),
            InletState::Open if last_seq < inlet.last_seq || last_seq == u64::MAX => {
                let seq = last_seq;
                let last_seq = inlet.last_seq;
                return Err(SequenceFault::Backwards { sequence, last_seq, seq });
            }
            _ => {}
        }
        inlet.partial = None;
        inlet.present = None;
        inlet.state = InletState::Ended;
        inlet.last_seq = inlet.last_seq.max(last_seq);
        for (place, source) in inlet.taps.drain(..) {
            if inlet.origin.kind == Kind::Stream {
                self.shares[place].wanted = true;
            } else {
                let id = self.subscriptions[place].id;
                self.outputs.push(Output::Deliver(id, Item::End(source, reason)));
            }
        }
        inlet.account.ended(last_seq);
        Ok(())
    }

    /// A record that must be understood is not: its sequence ends here.
    fn refuse(&mut self, sequence: u64, tag: u8) -> Result<(), SequenceFault> {
        let Some(inlet) = open(&mut self.inlets, sequence)? else { return Ok(()) };
        inlet.state = InletState::Refused;
        inlet.partial = None;
        inlet.present = None;
        let epoch = inlet.epoch;
        for (place, source) in inlet.taps.drain(..) {
            if inlet.origin.kind == Kind::Stream {
                // What came before it in the frame is still delivered, and the frame tells.
                self.shares[place].wanted = true;
            } else {
                let id = self.subscriptions[place].id;
                self.outputs.push(Output::Deliver(id, Item::End(source, EndReason::Refused)));
            }
        }
        self.outputs.push(Output::SendRefuse(Refuse { sequence, epoch, tag }));
        Ok(())
    }
}

/// The sequence of a record, if this node follows it.
fn open<A: Account>(
    inlets: &mut BTreeMap<u64, Inlet<A>>,
    sequence: u64,
) -> Result<Option<&mut Inlet<A>>, SequenceFault> {
    let inlet = inlets.get_mut(&sequence).ok_or(SequenceFault::Unknown { sequence })?;
    match inlet.state {
        InletState::Open => Ok(Some(inlet)),
        InletState::Refused => Ok(None),
        InletState::Reset | InletState::Ended => Err(SequenceFault::Unknown { sequence }),
    }
}

impl<A: Account> Inlet<A> {
    /// What it keeps of a state or of a sample in fragments, in bytes.
    fn kept(&self) -> usize {
        let present = self.present.as_ref().map_or(0, |value| value.payload.len());
        let partial = self.partial.as_ref().map_or(0, |partial| partial.len as usize);
        present + partial
    }

    fn may_begin_again(&self, epoch: u64) -> bool {
        epoch > self.epoch
            && match self.state {
                InletState::Open | InletState::Refused => false,
                InletState::Reset => true,
                InletState::Ended => self.is_over(),
            }
    }

    /// Has it ended, and was the peer told the last credit?
    fn is_over(&self) -> bool {
        self.state == InletState::Ended && self.account.is_over()
    }

    fn tap(
        &mut self,
        sequence: u64,
        link: u64,
        place: usize,
        (after, taken): (u64, u64),
        wanted: &Wanted,
    ) -> Arc<Source<A::Tap>> {
        let source = Arc::new(Source {
            origin: Arc::clone(&self.origin),
            link,
            sequence,
            epoch: self.epoch,
            next_seq: after + 1,
            taken,
            base_time_ns: self.base_time_ns,
            tap: self.account.tap(taken, wanted),
        });
        self.taps.push((place, Arc::clone(&source)));
        source
    }

    fn time_ns(&self, offset: i64) -> u64 {
        self.base_time_ns.wrapping_add_signed(offset)
    }

    /// Do samples from one number to another follow what came before?
    fn check(&self, sequence: u64, seq: u64, last: u64) -> Result<(), SequenceFault> {
        if seq <= self.last_seq || last == u64::MAX {
            return Err(SequenceFault::Backwards { sequence, last_seq: self.last_seq, seq });
        }
        Ok(())
    }

    /// A stream's sample came in, or the word of a gap that waits as one: more than was granted
    /// is a fault.
    fn received(&mut self, sequence: u64, seq: u64, bytes: usize) -> Result<(), SequenceFault> {
        self.account.received(seq, 1, bytes);
        self.unconfirmed.add(seq, bytes);
        self.within_credit(sequence, 1)
    }

    /// Was what is not confirmed granted? So many samples came in just now.
    fn within_credit(&mut self, sequence: u64, count: u64) -> Result<(), SequenceFault> {
        let samples = u64::from(self.unconfirmed.samples());
        let most_bytes = CREDIT_SLACK * LARGEST_WINDOW.bytes as usize;
        let is_looked_at = samples % CONFIRMED_EVERY < count;
        if is_looked_at || self.unconfirmed.bytes() > most_bytes {
            self.unconfirmed.release(self.account.consumed());
            let (samples, waiting) = (self.unconfirmed.samples(), self.unconfirmed.bytes());
            if samples as usize > CREDIT_SLACK * LARGEST_WINDOW.samples as usize
                || waiting > most_bytes && samples > 8
            {
                return Err(SequenceFault::BeyondCredit { sequence });
            }
        }
        Ok(())
    }

    /// A state's value came in.
    fn value(&mut self, value: Value, wanted: &[Wanted], outputs: &mut Vec<Output<A::Tap>>) {
        self.last_seq = value.seq;
        self.account.received(value.seq, 1, 0);
        for (place, source) in &self.taps {
            if source.tap.offer(value.clone()) {
                let item = Item::Value(Arc::clone(source));
                outputs.push(Output::Deliver(wanted[*place].id, item));
            }
        }
        self.present = Some(value);
    }
}

fn concat(parts: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(parts) {
        Ok([only]) => only,
        Err(parts) => {
            let mut all = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
            parts.iter().for_each(|part| all.extend_from_slice(part));
            all.freeze()
        }
    }
}
