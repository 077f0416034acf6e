//! A peer that sends what it likes on the data lane.

use std::collections::BTreeMap;

use bytes::Bytes;
use dse_core::data::{
    Abort, Begin, Credit, DataFrame, End, EndReason, FrameWriter, Headers, Received, Refuse,
    Resume, Skip, SkipReason, tag,
};
use dse_core::protocol::{Class, Incarnation, Key, Kind, NodeId};

use super::told::{Sent, Stamp};
use crate::source::Source;

/// The peer's own sequences, and what it says of those of the node.
pub(crate) struct Peer {
    pub(crate) incarnation: Incarnation,
    begun: BTreeMap<u64, Begun>,
}

#[derive(Clone)]
struct Begun {
    key: Key,
    epoch: u64,
    last_seq: u64,
    /// A value of which a part was sent, and how much.
    partial: Option<(u64, Bytes, usize)>,
}

impl Peer {
    pub(crate) fn new(incarnation: Incarnation) -> Self {
        Self { incarnation, begun: BTreeMap::new() }
    }

    /// A frame, mostly of records that fit, perhaps as a transport receives it.
    pub(crate) fn frame(&mut self, source: &mut Source<'_>, sent: &mut Sent) -> Option<DataFrame> {
        let mut frame = FrameWriter::new();
        for _ in 0..=source.below(4) {
            match source.below(4) {
                0 => back(source, sent, &mut frame),
                _ => self.record(source, &mut frame),
            }
        }
        let mut frame = frame.take()?;
        crate::tell(|| {
            let records: Vec<_> = frame.records().collect();
            format!("the peer sends {records:?}")
        });
        if source.once_in(8) {
            // A record of another version follows, which may have to be understood.
            let must = source.pick(&[0, tag::MUST_UNDERSTAND]);
            let unknown = [60 | must, 3, source.below(3) as u8, 9, 9];
            frame.head = [&frame.head[..], &unknown].concat().into();
        }
        if source.once_in(2) {
            let wire = frame.into_wire(64).concat();
            frame = DataFrame::from_wire(wire.into()).expect("a frame that was written");
        }
        Some(frame)
    }

    /// Bytes that are no frame.
    pub(crate) fn noise(source: &mut Source<'_>) -> DataFrame {
        let head = Bytes::from(source.bytes(24));
        crate::tell(|| format!("the peer sends a head of {head:?}"));
        DataFrame { head, body: Bytes::from(source.bytes(16)).into() }
    }

    fn record(&mut self, source: &mut Source<'_>, frame: &mut FrameWriter) {
        let sequence = if source.once_in(24) { source.number() } else { source.below(3) as u64 };
        let begun = self.begun.get(&sequence).cloned();
        let last = begun.as_ref().map_or(0, |begun| begun.last_seq);
        let key = begun.as_ref().map(|begun| begun.key.clone());
        let payload = |seq, len| {
            let stamp = key.clone().map(|key| Stamp { key, number: seq });
            stamp.map_or_else(Bytes::new, |stamp| stamp.payload(len))
        };
        let headers = match source.once_in(16) {
            true => Headers::from_pairs([("a", "b")]).expect("headers"),
            false => Headers::new(),
        };
        match source.below(9) {
            0 | 1 => self.begin(source, sequence, begun.as_ref(), frame),
            2..=4 => {
                let seq = number(source, last);
                self.come_to(sequence, seq);
                let payload = payload(seq, source.pick(&[4, 0, 200, 70_000]));
                frame.sample((sequence, seq, source.number().cast_signed()), &headers, &payload);
            }
            5 => {
                let started = begun.as_ref().and_then(|it| it.partial.clone());
                let new = |source: &mut Source<'_>| {
                    let seq = number(source, last);
                    (seq, payload(seq, source.pick(&[40, 200, 70_000])), 0)
                };
                let (seq, whole, from) = started.unwrap_or_else(|| new(source));
                let rest = whole.len().saturating_sub(from);
                let to = from + source.pick(&[rest, rest / 2, 1, 0]).min(rest);
                frame.fragment((sequence, seq, 0), &headers, &whole, from..to);
                if let Some(begun) = self.begun.get_mut(&sequence) {
                    let left = to < whole.len();
                    begun.partial = left.then_some((seq, whole, to));
                    if !left {
                        begun.last_seq = seq;
                    }
                }
            }
            6 => {
                let next_seq = number(source, last);
                let next_seq = if source.once_in(6) { 0 } else { next_seq };
                self.come_to(sequence, next_seq.saturating_sub(1).max(last));
                let reason = SkipReason::from_number(source.below(9) as u8);
                frame.skip(Skip { sequence, next_seq, reason });
            }
            7 => {
                let last_seq = if source.once_in(4) { source.number() } else { last };
                let reason = EndReason::from_number(source.below(4) as u8);
                self.come_to(sequence, last_seq);
                frame.end(End { sequence, last_seq, reason });
            }
            _ => {
                let seq = number(source, last);
                self.come_to(sequence, seq);
                frame.abort(Abort { sequence, seq, reason: SkipReason::Wish });
            }
        }
    }

    fn begin(
        &mut self,
        source: &mut Source<'_>,
        sequence: u64,
        before: Option<&Begun>,
        frame: &mut FrameWriter,
    ) {
        let last = before.map_or(0, |begun| begun.last_seq);
        let next_seq = number(source, last);
        let odd = source.once_in(32);
        let key = before.filter(|_| !odd).map_or_else(|| key(source), |begun| begun.key.clone());
        let epoch = before.map_or(1, |begun| begun.epoch + 1);
        let encoding = if odd { "x".repeat(200) } else { String::new() };
        frame.begin(&Begin {
            sequence,
            epoch,
            key: key.as_str(),
            kind: source.pick(&[Kind::Stream, Kind::State, Kind::Table, Kind::Service]),
            encoding: &encoding,
            incarnation: if odd { Incarnation(9) } else { self.incarnation },
            next_seq,
            base_time_ns: source.number(),
            class: source.pick(&Class::ALL),
            resume: source.once_in(6),
        });
        let last_seq = next_seq.saturating_sub(1);
        self.begun.insert(sequence, Begun { key, epoch, last_seq, partial: None });
    }

    fn come_to(&mut self, sequence: u64, seq: u64) {
        if let Some(begun) = self.begun.get_mut(&sequence) {
            (begun.last_seq, begun.partial) = (seq, None);
        }
    }
}

/// What goes back to the node for one of its sequences.
pub(crate) fn back(source: &mut Source<'_>, sent: &mut Sent, frame: &mut FrameWriter) {
    let sequence = if source.once_in(24) { source.number() } else { 1 + source.below(3) as u64 };
    let (epoch, last, waits) = sent.of(sequence).unwrap_or((1, 0, false));
    let epoch = if source.once_in(12) { source.number() } else { epoch };
    let less = source.below(3) as u64;
    let seq = if source.once_in(12) { source.number() } else { last.saturating_sub(less) };
    match source.below(8) {
        0 if !source.once_in(4) => {
            let bytes = if source.once_in(16) { source.number() } else { 0 };
            frame.received(Received { bytes, delay_us: source.number() });
        }
        0 => frame.refuse(Refuse { sequence, epoch, tag: source.below(256) as u8 }),
        choice if choice == 1 || waits => {
            let next_seq = if source.once_in(4) { 0 } else { seq.saturating_add(1) };
            let resume = Resume { sequence, epoch, next_seq };
            sent.resumed(resume);
            frame.resume(resume);
        }
        _ => {
            let credit = Credit {
                sequence,
                epoch,
                consumed_seq: seq,
                samples: source.pick(&[64, 0, 1, 65_536, u32::MAX]),
                bytes: source.pick(&[65_536, 0, 1, 4 << 20, u32::MAX]),
                missed: source.pick(&[0, 1, u64::MAX]),
                last: source.once_in(3),
            };
            sent.credited(credit);
            frame.credit(credit);
        }
    }
}

/// Mostly the one after this, or a little more.
fn number(source: &mut Source<'_>, last: u64) -> u64 {
    match source.below(8) {
        0 => source.number(),
        1 => last.saturating_add(source.below(4) as u64),
        _ => last.saturating_add(1),
    }
}

pub(crate) fn peer() -> NodeId {
    NodeId::new("peer").expect("a node id")
}

pub(crate) fn key(source: &mut Source<'_>) -> Key {
    Key::new(source.pick(&["a", "a/b", "c/d", "c"])).expect("a key")
}
