//! What was published and what subscribers were told of it, held against laws L8 and L10.

use std::collections::{BTreeMap, BTreeSet};

use dse_core::data::receive::{Delivery, Sample};
use dse_core::data::send::Policy;
use dse_core::data::{Origin, SkipReason};
use dse_core::protocol::{InterestOptions, Key, KeyExpr, Kind, NodeId};

use super::counts::Counts;

/// Who publishes: node, incarnation and key. Of one that is declared again the numbers go on.
pub(crate) type Source = (String, u64, String);
/// Who subscribes: node, life and subscription.
pub(crate) type Reader = (usize, u64, u64);

/// All that is known of what should be.
#[derive(Clone, Default, Hash)]
pub(crate) struct Model {
    published: BTreeMap<Source, Published>,
    readers: BTreeMap<Reader, BTreeMap<(String, String), Position>>,
    /// Readers' wishes.
    options: BTreeMap<Reader, InterestOptions>,
    /// Lives of nodes some subscription of which wished for less.
    modest: BTreeSet<(usize, u64)>,
}

/// What a publisher published.
#[derive(Clone, Hash)]
pub(crate) struct Published {
    pub(crate) kind: Kind,
    /// Some publisher of the key dropped for who is slow.
    drops: bool,
    has_lifetime: bool,
    /// How often it was declared.
    declared: u64,
    /// Of each sample the length.
    pub(crate) samples: Vec<usize>,
}

/// What a subscription was told of one key of one node.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Position {
    pub(crate) incarnation: u64,
    /// The last number that was delivered or told as lost.
    pub(crate) told: Option<u64>,
    /// The last number that was delivered.
    pub(crate) delivered: Option<u64>,
    pub(crate) open_gap: Option<u64>,
    pub(crate) fate: Fate,
    /// How many ends of this incarnation's publishers were told.
    ends: u64,
    /// How many samples were told as lost, by reason.
    pub(crate) lost: BTreeMap<SkipReason, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    Live,
    Ended,
    Left,
    Lost,
}

impl Model {
    pub(crate) fn declare(&mut self, source: Source, kind: Kind, policy: Policy, lifetime: bool) {
        let known = self.published.entry(source).or_insert(Published {
            kind,
            drops: false,
            has_lifetime: lifetime,
            declared: 0,
            samples: Vec::new(),
        });
        assert_eq!(known.kind, kind, "the model's own rule");
        known.declared += 1;
        known.drops |= matches!(policy, Policy::DropOldest | Policy::DropNewest);
        known.has_lifetime |= lifetime;
    }

    pub(crate) fn publish(&mut self, source: &Source, seq: u64, len: usize) {
        let published = self.published.get_mut(source).expect("declared");
        published.samples.push(len);
        assert_eq!(published.samples.len() as u64, seq, "numbers follow each other");
    }

    pub(crate) fn published(&self, source: &Source) -> Option<&Published> {
        self.published.get(source)
    }

    /// How many sequences there ever were of such keys.
    pub(crate) fn sequences(&self, keys: &KeyExpr) -> u64 {
        let matches = |text: &str| Key::new(text).is_ok_and(|key| keys.matches(&key));
        let published = self.published.iter().filter(|((_, _, key), _)| matches(key));
        published.map(|(_, published)| published.declared).sum()
    }

    pub(crate) fn subscribe(&mut self, reader: Reader, options: InterestOptions) {
        self.readers.insert(reader, BTreeMap::new());
        self.options.insert(reader, options);
        if wishes_less(options) {
            self.modest.insert((reader.0, reader.1));
        }
    }

    pub(crate) fn unsubscribe(&mut self, reader: Reader) {
        self.readers.remove(&reader);
        self.options.remove(&reader);
    }

    /// Did some subscription of this life of a node wish for less? What was left out for it may
    /// not yet be told to another.
    pub(crate) fn is_modest(&self, node: usize, life: u64) -> bool {
        self.modest.contains(&(node, life))
    }

    /// How far a reader came with a key of a node.
    pub(crate) fn position(&self, reader: Reader, node: &str, key: &str) -> Option<&Position> {
        self.readers.get(&reader)?.get(&(node.to_owned(), key.to_owned()))
    }

    /// A reader was handed this.
    pub(crate) fn deliver(&mut self, reader: Reader, delivery: &Delivery, counts: &mut Counts) {
        let origin = delivery.origin();
        let source = source_of(origin);
        let published = self.published.get(&source);
        let published =
            published.unwrap_or_else(|| panic!("L8: {reader:?} is told of {source:?}, unknown"));
        let options = self.options.get(&reader).copied().unwrap_or_default();
        let positions = self.readers.get_mut(&reader).expect("a reader");
        let place = (source.0.clone(), source.2.clone());
        let is_new = !positions.contains_key(&place);
        let position = positions.entry(place).or_insert(Position {
            incarnation: source.1,
            told: None,
            delivered: None,
            open_gap: None,
            fate: Fate::Live,
            ends: 0,
            lost: BTreeMap::new(),
        });
        macro_rules! who {
            () => {
                format!("{reader:?} of {source:?}: {}, {position:?}", words(delivery))
            };
        }
        let goes_on = matches!(delivery, Delivery::Back { .. });
        if position.fate == Fate::Ended && position.ends < published.declared && !goes_on {
            // It may have been declared again, of which the first sample tells.
            position.fate = Fate::Live;
        }
        match delivery {
            Delivery::Sample(sample) => {
                assert_eq!(position.incarnation, source.1, "L8: no word of a restart: {}", who!());
                let is_live = position.ends < published.declared;
                assert!(is_live, "L8: after the end: {}", who!());
                check_payload(sample, published);
                let seq = sample.seq;
                if let Some(told) = position.told {
                    assert!(seq > told, "L8: again or out of order: {}", who!());
                    let may_miss = published.kind == Kind::State || !options.min_interval.is_zero();
                    assert!(seq == told + 1 || may_miss, "L8: a hole untold: {}", who!());
                }
                assert!(position.open_gap.is_none(), "L8: a gap without an end: {}", who!());
                counts.delivered += 1;
                (position.told, position.delivered) = (Some(seq), Some(seq));
            }
            Delivery::Gap { from_seq, to_seq, reason, .. } => {
                assert_eq!(published.kind, Kind::Stream, "L8: a state has no gaps: {}", who!());
                assert_eq!(position.incarnation, source.1, "L8: no word of a restart: {}", who!());
                if let Some(told) = position.told {
                    assert!(*from_seq > told, "L8: told before: {}", who!());
                    let may_miss = !options.min_interval.is_zero();
                    assert!(*from_seq == told + 1 || may_miss, "L8: a hole untold: {}", who!());
                }
                let modest = self.modest.contains(&(reader.0, reader.1));
                check_reason(*reason, published, modest, &who!());
                counts.gap(*reason);
                match to_seq {
                    None => {
                        assert!(position.open_gap.is_none(), "L8: open already: {}", who!());
                        counts.gaps_open += 1;
                        position.open_gap = Some(*from_seq);
                    }
                    Some(to) => {
                        assert!(to >= from_seq, "L8: an empty gap: {}", who!());
                        let last = published.samples.len() as u64;
                        assert!(*to <= last, "L8: {to} was not published: {}", who!());
                        if let Some(from) = position.open_gap.take() {
                            assert_eq!(from, *from_seq, "L8: another gap was open: {}", who!());
                        }
                        *position.lost.entry(*reason).or_default() += to + 1 - from_seq;
                        position.told = Some(*to);
                    }
                }
            }
            Delivery::Restarted { .. } => {
                assert!(source.1 > position.incarnation, "L8: a restart of before: {}", who!());
                position.incarnation = source.1;
                (position.told, position.delivered) = (None, None);
                (position.open_gap, position.fate, position.ends) = (None, Fate::Live, 0);
                counts.restarts += 1;
            }
            Delivery::Ended { .. } => {
                position.ends += 1;
                let is_due = position.ends <= published.declared;
                assert!(is_due, "L10: ended again: {}", who!());
                position.fate = Fate::Ended;
                position.open_gap = None;
                counts.ends += 1;
            }
            Delivery::Left { .. } => {
                assert!(
                    matches!(position.fate, Fate::Live | Fate::Lost),
                    "L10: left, of no live source: {}",
                    who!()
                );
                position.fate = Fate::Left;
                counts.left += 1;
            }
            Delivery::Lost { .. } => {
                assert_eq!(position.fate, Fate::Live, "L10: lost, of no live source: {}", who!());
                position.fate = Fate::Lost;
                counts.lost += 1;
            }
            Delivery::Back { .. } => {
                assert!(
                    !is_new && matches!(position.fate, Fate::Left | Fate::Lost | Fate::Ended),
                    "L10: back, and was not gone: {}",
                    who!()
                );
                if position.fate == Fate::Ended {
                    // The word that the key is exposed no more overtook what was under way.
                    position.ends -= 1;
                }
                position.fate = Fate::Live;
                counts.back += 1;
            }
            _ => panic!("nothing here is unsupported: {}", who!()),
        }
        if matches!(delivery, Delivery::Sample(_)) {
            position.fate = Fate::Live;
        }
    }

    /// L8 of a bus at rest: what a live publisher that is reachable published last has arrived.
    pub(crate) fn is_up_to_date(&self, reader: Reader, source: &Source) -> Result<(), String> {
        let published = &self.published[source];
        let last = published.samples.len() as u64;
        let options = self.options.get(&reader).copied().unwrap_or_default();
        let position = self.position(reader, &source.0, &source.2);
        let Some(position) = position else {
            return Err(format!("{reader:?} was told nothing of {source:?}, last {last}"));
        };
        let reached = match published.kind {
            Kind::State => position.delivered == Some(last),
            _ => position.told == Some(last) || !options.min_interval.is_zero(),
        };
        let holds = position.incarnation == source.1
            && reached
            && position.open_gap.is_none()
            && position.fate == Fate::Live;
        let word = || format!("{reader:?} of {source:?}, last {last}: {position:?}");
        if holds { Ok(()) } else { Err(word()) }
    }
}

/// Whose samples these are.
pub(crate) fn source_of(origin: &Origin) -> Source {
    (origin.node.as_str().to_owned(), origin.incarnation.0, origin.key.as_str().to_owned())
}

/// A payload that can be told from all others of its publisher.
pub(crate) fn payload(node: &NodeId, key: &str, seq: u64, len: usize) -> Vec<u8> {
    let mark = mark_of(node.as_str(), key) ^ seq;
    let mut payload = vec![mark as u8; len];
    let edge = mark.to_le_bytes();
    let head = len.min(8);
    payload[..head].copy_from_slice(&edge[..head]);
    payload[len - head..].copy_from_slice(&edge[..head]);
    payload
}

fn mark_of(node: &str, key: &str) -> u64 {
    let bytes = node.bytes().chain(key.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |mark: u64, byte| {
        (mark ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn check_payload(sample: &Sample, published: &Published) {
    let Origin { node, key, .. } = &*sample.origin;
    let len = published.samples.get(sample.seq as usize - 1).copied();
    assert_eq!(len, Some(sample.payload.len()), "L8: the length of {} {}", key, sample.seq);
    let right = payload(node, key.as_str(), sample.seq, sample.payload.len());
    assert!(right == sample.payload, "L8: the payload of {} {}", key, sample.seq);
    let header = sample.headers.get("seq");
    let wanted = sample.seq.to_string();
    let has = header.is_none_or(|value| value == wanted.as_bytes());
    assert!(
        has && header.is_some() == sample.seq.is_multiple_of(3),
        "L8: the headers of {}",
        sample.seq
    );
}

/// A delivery in words.
pub(crate) fn words(delivery: &Delivery) -> String {
    let key = &delivery.origin().key;
    match delivery {
        Delivery::Sample(sample) => format!("{key} {}", sample.seq),
        Delivery::Gap { from_seq, to_seq: Some(to_seq), reason, .. } => {
            format!("{key} gap {from_seq} to {to_seq}: {reason}")
        }
        Delivery::Gap { from_seq, reason, .. } => format!("{key} gap from {from_seq}: {reason}"),
        Delivery::Ended { .. } => format!("{key} ended"),
        Delivery::Left { .. } => format!("{key} left"),
        Delivery::Lost { .. } => format!("{key} lost"),
        Delivery::Back { .. } => format!("{key} back"),
        Delivery::Restarted { .. } => format!("{key} restarted"),
        _ => format!("{key} unsupported"),
    }
}

fn wishes_less(options: InterestOptions) -> bool {
    options.never_wait || !options.min_interval.is_zero()
}

fn check_reason(reason: SkipReason, published: &Published, modest: bool, who: &str) {
    let fits = match reason {
        SkipReason::Policy => published.drops,
        // What one subscription of a node wished before, another one may be told.
        SkipReason::Wish => modest,
        SkipReason::Stalled => true,
        SkipReason::Expired => published.has_lifetime,
        SkipReason::Lost | SkipReason::Evicted => true,
        _ => false,
    };
    assert!(fits, "L10: no such reason here: {who}");
}
