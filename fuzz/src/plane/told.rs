//! Law L8, from outside: what a subscriber is told, and what a peer is sent.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dse_core::data::{Credit, Record};
use dse_core::node::{Delivery, Sample};
use dse_core::protocol::{Incarnation, Key, Kind, NodeId};

/// What a subscription was told of each value.
#[derive(Default)]
pub(super) struct Told {
    values: BTreeMap<(NodeId, Key), Value>,
}

#[derive(Default)]
struct Value {
    incarnation: Option<Incarnation>,
    last_seq: Option<u64>,
    last_number: Option<u64>,
}

impl Told {
    /// Checks what comes next against what came before.
    pub(super) fn note(&mut self, delivery: &Delivery) {
        let (node, key) = match delivery {
            Delivery::Sample(Sample { node, key, .. })
            | Delivery::Gap { node, key, .. }
            | Delivery::Restarted { node, key, .. }
            | Delivery::Ended { node, key } => (node.clone(), key.clone()),
        };
        let value = self.values.entry((node, key)).or_default();
        match delivery {
            Delivery::Sample(sample) => {
                let incarnation = *value.incarnation.get_or_insert(sample.incarnation);
                assert_eq!(incarnation, sample.incarnation, "{delivery:?}");
                match value.last_seq {
                    Some(last) if sample.kind == Kind::Stream => {
                        assert_eq!(sample.seq, last + 1, "{delivery:?}");
                    }
                    last => assert!(Some(sample.seq) > last, "{delivery:?} after {last:?}"),
                }
                value.last_seq = Some(sample.seq);
                value.holds(sample);
            }
            Delivery::Gap { from_seq, to_seq, .. } => {
                assert!(from_seq <= to_seq, "{delivery:?}");
                let fits = value.last_seq.is_none_or(|last| *from_seq == last + 1);
                assert!(fits, "{delivery:?} after {:?}", value.last_seq);
                value.last_seq = Some(*to_seq);
            }
            Delivery::Restarted { incarnation, .. } => {
                assert_ne!(value.incarnation, Some(*incarnation), "{delivery:?}");
                *value = Value { incarnation: Some(*incarnation), ..Value::default() };
            }
            Delivery::Ended { .. } => {}
        }
    }

    /// The node was forgotten: what it says from now on counts as its first word.
    pub(super) fn forget(&mut self, forgotten: &NodeId) {
        self.values.retain(|(node, _), _| node != forgotten);
    }
}

impl Value {
    /// A sample has the payload that was published as it, by the node itself or the peer.
    fn holds(&mut self, sample: &Sample) {
        let Some(stamp) = Stamp::read(&sample.payload) else { return };
        assert_eq!(stamp.key, sample.key, "the payload of another key");
        if sample.node == super::trial::peer() {
            assert_eq!(stamp.number, sample.seq, "the payload of another sample of {stamp:?}");
        } else {
            let last = self.last_number.replace(stamp.number);
            assert!(last < Some(stamp.number), "{stamp:?} after {last:?}");
        }
    }
}

/// What a payload says of the sample that it was published as.
#[derive(Debug)]
pub(super) struct Stamp {
    pub(super) key: Key,
    /// Of the peer's samples the sequence number, of the node's the how manieth it is.
    pub(super) number: u64,
}

impl Stamp {
    /// A payload of so many bytes, which says nothing if they are too few.
    pub(super) fn payload(&self, len: usize) -> Bytes {
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
pub(super) struct Sent {
    aliases: BTreeMap<u32, Sequence>,
}

struct Sequence {
    key: Key,
    last_seq: u64,
    last_number: Option<u64>,
    ended: bool,
    /// Samples that the peer has not confirmed.
    under_way: BTreeSet<u64>,
    /// How many of them there may be.
    window: usize,
}

impl Sent {
    /// Checks a record that the node sent.
    pub(super) fn note(&mut self, record: &Record) {
        match record {
            Record::Begin(begin) => {
                let last_seq = begin.next_seq - 1;
                let sequence = Sequence {
                    key: begin.key.clone(),
                    last_seq,
                    last_number: None,
                    ended: false,
                    under_way: BTreeSet::new(),
                    window: WINDOW,
                };
                let before = self.aliases.insert(begin.alias, sequence);
                assert!(before.is_none_or(|before| before.ended), "{record:?}: it goes on");
            }
            Record::Sample(sample) => {
                let sequence = self.going_on(sample.alias, record);
                assert!(sample.seq > sequence.last_seq, "{record:?}");
                sequence.last_seq = sample.seq;
                if let Some(stamp) = Stamp::read(&sample.payload) {
                    assert_eq!(stamp.key, sequence.key, "the payload of another key");
                    let last = sequence.last_number.replace(stamp.number);
                    assert!(last < Some(stamp.number), "{stamp:?} after {last:?}");
                }
                sequence.under_way.insert(sample.seq);
                let under_way = sequence.under_way.len();
                assert!(under_way <= sequence.window, "{under_way} samples are under way");
            }
            Record::Skip(skip) => {
                let sequence = self.going_on(skip.alias, record);
                assert!(skip.next_seq > sequence.last_seq, "{record:?}");
                sequence.last_seq = skip.next_seq - 1;
            }
            Record::End(end) => {
                let sequence = self.going_on(end.alias, record);
                assert!(end.last_seq >= sequence.last_seq, "{record:?}");
                (sequence.last_seq, sequence.ended) = (end.last_seq, true);
            }
            Record::Credit(_) => {}
        }
    }

    /// The peer gives a credit.
    pub(super) fn credited(&mut self, credit: Credit) {
        if let Some(sequence) = self.aliases.get_mut(&credit.alias) {
            sequence.under_way.retain(|seq| *seq > credit.consumed_seq);
            // A window that is hardly one is taken for a small one.
            sequence.window = sequence.window.max(credit.window as usize);
        }
    }

    /// How far a sequence came, if it was begun.
    pub(super) fn last_seq(&self, alias: u32) -> Option<u64> {
        Some(self.aliases.get(&alias)?.last_seq)
    }

    fn going_on(&mut self, alias: u32, record: &Record) -> &mut Sequence {
        let sequence = self.aliases.get_mut(&alias).filter(|sequence| !sequence.ended);
        sequence.unwrap_or_else(|| panic!("{record:?}: nothing was begun"))
    }
}

/// What may be under way before the first credit.
const WINDOW: usize = 64;
