//! The codecs of both lanes.

use bytes::Bytes;
use dse_core::data::{DataFrame, Fragment, Record, Sample};
use dse_core::protocol::wire::{self, Decoded};
use dse_core::protocol::{Message, limits};

/// Bytes to the decoders of the control and of the data lane: what can be read is
/// bounded by what came in, and is written and read again as the same.
pub fn decode(data: &[u8]) {
    let Some((lane, bytes)) = data.split_first() else { return };
    match lane % 3 {
        0 => control_message(bytes),
        1 => body_of_a_message(1 + lane / 3 % KINDS, bytes),
        _ => data_frame(bytes),
    }
}

/// Of messages, counted from 1 (PROTOCOL.md §3).
const KINDS: u8 = 18;

fn control_message(bytes: &[u8]) {
    let Ok((decoded, skipped)) = wire::decode_counting(bytes) else { return };
    assert!(bytes.len() <= limits::CONTROL_MESSAGE_BYTES);
    // Bits of flags and of features are in the same byte or number.
    let most = 8 + 64 + bytes.len() as u64;
    assert!(skipped.total() <= most, "{skipped:?} in {} bytes", bytes.len());
    if let Decoded::Known(message) = decoded {
        read_back(&message, bytes.len());
    }
}

/// The same with a right envelope before it, so that the fuzzer need not guess it.
fn body_of_a_message(kind: u8, body: &[u8]) {
    control_message(&[&[wire::VERSION, kind, 0], body].concat());
}

fn read_back(message: &Message, len: usize) {
    // Numbers may come in longer forms than they are written in, never in shorter ones.
    let again = wire::encode(message);
    assert!(again.len() <= len, "{} bytes read from {len}", again.len());
    assert_eq!(wire::decode(&again), Ok(Decoded::Known(message.clone())));
    assert_eq!(wire::encode(message), again, "one message, two encodings");
    let (lists, items) = (lists_of(message), items_of(message));
    assert!(lists <= items * 4 + len * 4, "{lists} places are reserved for {items} items");
}

/// How many places the lists of a message have reserved.
fn lists_of(message: &Message) -> usize {
    match message {
        Message::Hello(m) => m.endpoints.capacity(),
        Message::Open(m) => m.census.capacity(),
        Message::Members(m) => {
            let endpoints = m.members.iter().map(|member| member.endpoints.capacity());
            m.members.capacity() + endpoints.sum::<usize>()
        }
        Message::Snapshot(m) => m.declarations.capacity(),
        Message::Delta(m) => m.set.capacity() + m.unset.capacity(),
        Message::Answer(m) => m.declarations.capacity(),
        Message::Interest(m) => m.patterns.capacity(),
        Message::Stats(m) => m.counters.capacity(),
        _ => 0,
    }
}

/// How many items the lists of a message hold.
fn items_of(message: &Message) -> usize {
    match message {
        Message::Hello(m) => m.endpoints.len(),
        Message::Open(m) => m.census.len(),
        Message::Members(m) => {
            m.members.len() + m.members.iter().map(|m| m.endpoints.len()).sum::<usize>()
        }
        Message::Snapshot(m) => m.declarations.len(),
        Message::Delta(m) => m.set.len() + m.unset.len(),
        Message::Answer(m) => m.declarations.len(),
        Message::Interest(m) => m.patterns.len(),
        Message::Stats(m) => m.counters.len(),
        _ => 0,
    }
}

fn data_frame(bytes: &[u8]) {
    let Ok(frame) = DataFrame::from_wire(Bytes::copy_from_slice(bytes)) else { return };
    assert_eq!(frame.wire_len(), bytes.len());
    let pieces = frame.clone().into_wire(usize::MAX);
    assert_eq!(pieces.concat(), bytes, "what came in goes out as it was");
    let mut records = Vec::new();
    for record in frame.records() {
        let Ok(record) = record else { return };
        records.push(record);
    }
    assert!(records.len() <= bytes.len() / 2, "a record takes two bytes at least");
    // In one piece and in several the same is read.
    let Some(pieces) = in_pieces(&frame, &records) else { return };
    let again: Vec<_> = pieces.records().map(|record| record.expect("as before")).collect();
    assert_eq!(again.len(), records.len());
    for (record, again) in records.iter().zip(&again) {
        let (samples, again) = (samples(record), samples(again));
        for (one, other) in samples.zip(again) {
            assert_eq!(frame.payload(one.payload), pieces.payload(other.payload));
            let headers = frame.headers(one.headers);
            assert!(headers.iter().count() <= one.headers.len());
        }
    }
}

/// The same with each payload in a piece of its own; none if one is of a record that is not known.
fn in_pieces(frame: &DataFrame, records: &[Record<'_>]) -> Option<DataFrame> {
    let mut pieces = Vec::new();
    for record in records {
        match record {
            Record::Unknown(unknown) if unknown.tag % 2 == 1 => return None,
            // Their number, or a length, may not be true.
            Record::Samples(all) if samples(record).count() != all.more + 1 => return None,
            _ => pieces.extend(samples(record).map(|sample| frame.payload(sample.payload))),
        }
    }
    Some(DataFrame { head: frame.head.clone(), body: pieces.into() })
}

/// What owns payload in a record, as far as it can be read.
fn samples<'a>(record: &Record<'a>) -> impl Iterator<Item = Sample<'a>> + use<'a> {
    let (many, one) = match record {
        Record::Samples(samples) => (Some(samples.iter()), None),
        Record::Fragment(Fragment { sample, .. }) => (None, Some(*sample)),
        _ => (None, None),
    };
    many.into_iter().flatten().map_while(Result::ok).chain(one)
}
