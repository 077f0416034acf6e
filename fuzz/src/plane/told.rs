//! Law L8, from outside: what a subscriber is told, and what a peer is sent.

use std::collections::BTreeMap;

use bytes::Bytes;
use dse_core::data::limits::{INITIAL_WINDOW, LEAST_WINDOW, Window};
use dse_core::data::{Credit, DataFrame, Record, Resume};
use dse_core::node::{Delivery, Sample};
use dse_core::protocol::{Incarnation, Key, Kind, NodeId};

/// What a subscription was told of each value.
#[derive(Default)]
pub(crate) struct Told {
    values: BTreeMap<(NodeId, Key), Value>,
}

#[derive(Default)]
struct Value {
    incarnation: Option<Incarnation>,
    last_seq: Option<u64>,
    last_number: Option<u64>,
    is_stream: bool,
}

impl Told {
    /// Checks what comes next against what came before.
    pub(crate) fn note(&mut self, delivery: &Delivery) {
        let origin = delivery.origin();
        let value = self.values.entry((origin.node.clone(), origin.key.clone())).or_default();
        match delivery {
            Delivery::Sample(sample) => {
                let incarnation = *value.incarnation.get_or_insert(sample.origin.incarnation);
                assert_eq!(incarnation, sample.origin.incarnation, "{delivery:?}");
                match value.last_seq {
                    // A kind is the publisher's to change, and with it what a gap is.
                    Some(last) if sample.origin.kind == Kind::Stream && value.is_stream => {
                        assert_eq!(sample.seq, last + 1, "{delivery:?}");
                    }
                    last => assert!(Some(sample.seq) > last, "{delivery:?} after {last:?}"),
                }
                value.last_seq = Some(sample.seq);
                value.is_stream = sample.origin.kind == Kind::Stream;
                value.holds(sample);
            }
            Delivery::Gap { from_seq, to_seq, .. } => {
                assert!(to_seq.is_none_or(|to_seq| *from_seq <= to_seq), "{delivery:?}");
                let fits = value.last_seq.is_none_or(|last| *from_seq == last + 1);
                assert!(fits || !value.is_stream, "{delivery:?} after {:?}", value.last_seq);
                value.last_seq = to_seq.or(value.last_seq);
            }
            Delivery::Restarted { origin } => {
                assert_ne!(value.incarnation, Some(origin.incarnation), "{delivery:?}");
                *value = Value { incarnation: Some(origin.incarnation), ..Value::default() };
            }
            _ => {}
        }
    }

    /// The node was forgotten: what it says from now on counts as its first word.
    pub(crate) fn forget(&mut self, forgotten: &NodeId) {
        self.values.retain(|(node, _), _| node != forgotten);
    }
}

impl Value {
    /// A sample has the payload that was published as it, by the node itself or the peer.
    fn holds(&mut self, sample: &Sample) {
        let Some(stamp) = Stamp::read(&sample.payload) else { return };
        assert_eq!(stamp.key, sample.origin.key, "the payload of another key");
        if sample.origin.node == super::peer::peer() {
            assert_eq!(stamp.number, sample.seq, "the payload of another sample of {stamp:?}");
        } else {
            let last = self.last_number.replace(stamp.number);
            assert!(last < Some(stamp.number), "{stamp:?} after {last:?}");
        }
    }
}

/// What a payload says of the sample that it was published as.
#[derive(Debug)]
pub(crate) struct Stamp {
    pub(crate) key: Key,
    /// Of the peer's samples the sequence number, of the node's the how manieth it is.
    pub(crate) number: u64,
}

impl Stamp {
    /// A payload of so many bytes, which says nothing if they are too few.
    pub(crate) fn payload(&self, len: usize) -> Bytes {
        let mut payload = vec![0; len];
        let text = [MARK, &self.number.to_le_bytes(), self.key.as_str().as_bytes(), &[0]].concat();
        if text.len() <= len {
            payload[..text.len()].copy_from_slice(&text);
        }
        payload.into()
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let (number, rest) = payload.strip_prefix(MARK)?.split_first_chunk()?;
        let key = rest.split(|byte| *byte == 0).next()?;
        let key = Key::new(str::from_utf8(key).ok()?).ok()?;
        Some(Self { key, number: u64::from_le_bytes(*number) })
    }
}

/// Longer than what a fuzzer comes upon by itself.
const MARK: &[u8] = b"a payload of the trial: ";

/// What the peer was sent on one link.
#[derive(Default)]
pub(crate) struct Sent {
    sequences: BTreeMap<u64, Sequence>,
}

struct Sequence {
    key: Key,
    kind: Kind,
    epoch: u64,
    last_seq: u64,
    last_number: Option<u64>,
    /// A value of which only a part came: its number, how much, and its length.
    partial: Option<(u64, u64, u64)>,
    ended: bool,
    /// Nothing is to come before the peer has said where it goes on.
    waits: bool,
    /// The peer has said that it knows nothing of it: what it says later of this epoch is late.
    begins_anew: bool,
    /// Samples that the peer has not confirmed, and their lengths.
    unconfirmed: BTreeMap<u64, u64>,
    /// The most that was granted.
    window: Window,
}

impl Sent {
    /// Checks a frame that was sent.
    pub(crate) fn note(&mut self, frame: &DataFrame) {
        for record in frame.records() {
            let record = record.expect("what is sent can be read");
            crate::tell(|| format!("    sent: {record:?}"));
            self.record(frame, &record);
        }
    }

    fn record(&mut self, frame: &DataFrame, record: &Record<'_>) {
        match record {
            Record::Begin(begin) => {
                let sequence = Sequence {
                    key: Key::new(begin.key).expect("a key"),
                    kind: begin.kind,
                    epoch: begin.epoch,
                    last_seq: begin.next_seq - 1,
                    last_number: None,
                    partial: None,
                    ended: false,
                    waits: begin.resume,
                    begins_anew: false,
                    unconfirmed: BTreeMap::new(),
                    window: INITIAL_WINDOW,
                };
                let before = self.sequences.insert(begin.sequence, sequence);
                // One that was to go on where nothing is known of it begins anew.
                let over = |before: Sequence| before.ended || before.waits;
                assert!(before.is_none_or(over), "{record:?}: it goes on");
            }
            Record::Samples(samples) => {
                let sequence = self.going_on(samples.sequence, record);
                assert_eq!(sequence.partial, None, "{record:?} within another");
                for sample in samples.iter().map(|sample| sample.expect("it can be read")) {
                    sequence.sample(sample.seq, sample.payload.len as u64);
                    if let Some(stamp) = Stamp::read(&frame.payload(sample.payload)) {
                        assert_eq!(stamp.key, sequence.key, "the payload of another key");
                        let last = sequence.last_number.replace(stamp.number);
                        assert!(last < Some(stamp.number), "{stamp:?} after {last:?}");
                    }
                }
            }
            Record::Fragment(fragment) => {
                let sequence = self.going_on(fragment.sample.sequence, record);
                let (seq, len) = (fragment.sample.seq, fragment.sample.payload.len as u64);
                let total = fragment.total;
                let due = (seq, fragment.offset, total);
                assert_eq!(sequence.partial.unwrap_or((seq, 0, total)), due, "{record:?}");
                assert!(len > 0, "{record:?}");
                sequence.partial = Some((seq, fragment.offset + len, total));
                if fragment.is_last() {
                    sequence.partial = None;
                    sequence.sample(seq, total);
                }
            }
            Record::Skip(skip) => {
                let sequence = self.going_on(skip.sequence, record);
                assert_eq!(sequence.kind, Kind::Stream, "{record:?}");
                if skip.next_seq > 0 {
                    assert!(skip.next_seq > sequence.last_seq, "{record:?}");
                    sequence.last_seq = skip.next_seq - 1;
                }
                sequence.partial = None;
            }
            Record::End(end) => {
                let sequence = self.going_on(end.sequence, record);
                assert!(end.last_seq >= sequence.last_seq, "{record:?}");
                (sequence.last_seq, sequence.ended) = (end.last_seq, true);
            }
            Record::Unknown(_) => panic!("{record:?}"),
            _ => {}
        }
    }

    /// The peer gives a credit.
    pub(crate) fn credited(&mut self, credit: Credit) {
        let sequence = self.sequences.get_mut(&credit.sequence);
        if let Some(sequence) = sequence.filter(|it| it.epoch == credit.epoch) {
            sequence.unconfirmed.retain(|seq, _| *seq > credit.consumed_seq);
            // A window that is hardly one is taken for a small one.
            let (samples, bytes) = (LEAST_WINDOW.samples, LEAST_WINDOW.bytes);
            let window = &mut sequence.window;
            window.samples = window.samples.max(credit.samples).max(samples);
            window.bytes = window.bytes.max(credit.bytes).max(bytes);
        }
    }

    /// The peer says where it goes on.
    pub(crate) fn resumed(&mut self, resume: Resume) {
        let sequence = self.sequences.get_mut(&resume.sequence);
        if let Some(sequence) = sequence.filter(|it| it.epoch == resume.epoch)
            && sequence.waits
            && !sequence.begins_anew
        {
            sequence.begins_anew = resume.next_seq == 0;
            sequence.waits = sequence.begins_anew;
            // What is confirmed is not sent again, wherever the peer goes on.
            sequence.last_seq = sequence.last_seq.max(resume.next_seq.saturating_sub(1));
        }
    }

    /// The sequences that were sent, with their epochs, how far they came, and whether they
    /// wait for a word.
    pub(crate) fn of(&self, sequence: u64) -> Option<(u64, u64, bool)> {
        self.sequences.get(&sequence).map(|it| (it.epoch, it.last_seq, it.waits))
    }

    fn going_on(&mut self, sequence: u64, record: &Record<'_>) -> &mut Sequence {
        let sequence = self.sequences.get_mut(&sequence).filter(|it| !it.ended && !it.waits);
        sequence.unwrap_or_else(|| panic!("{record:?}: nothing was begun"))
    }
}

impl Sequence {
    fn sample(&mut self, seq: u64, len: u64) {
        match self.kind {
            Kind::Stream => assert_eq!(seq, self.last_seq + 1, "a silent gap"),
            _ => assert!(seq > self.last_seq, "{seq} after {}", self.last_seq),
        }
        self.last_seq = seq;
        if self.kind == Kind::Stream {
            self.unconfirmed.insert(seq, len);
            let (samples, bytes) = (self.unconfirmed.len(), self.unconfirmed.values().sum::<u64>());
            assert!(samples <= self.window.samples as usize, "{samples} samples unconfirmed");
            let fits = bytes <= u64::from(self.window.bytes) || samples == 1;
            assert!(fits, "{bytes} bytes unconfirmed");
        }
    }
}
