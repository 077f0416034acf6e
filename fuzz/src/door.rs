//! What a zmq node reads of strangers.

use bytes::Bytes;
use dse_transport_zmq::fuzz;

use crate::source::Source;

/// Bytes to what reads them on the zmq transport: a greeting and messages at a node's
/// door, and the parts of messages on both lanes.
pub fn door(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    let piece = usize::from(choice / 4) + 1;
    match choice % 4 {
        0 => fuzz::visit(bytes, piece),
        // Most of what is random never gets through the greeting.
        1 => fuzz::visit(&[GREETING, bytes].concat(), piece),
        2 => fuzz::visit(&[GREETING, READY, bytes].concat(), piece),
        _ => message(bytes),
    }
}

fn message(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let control = source.once_in(2);
    let mut parts = Vec::new();
    if !source.once_in(8) {
        let topic: &[u8] = if control { b"dse/control/" } else { b"dse/data/" };
        let mut header = topic.to_vec();
        header.push(source.below(7) as u8);
        header.extend(source.number().to_be_bytes());
        header.extend(source.number().to_be_bytes());
        parts.push(Bytes::from(header));
    }
    let many = if source.once_in(16) { 80 } else { 5 };
    parts.extend(source.list(many, |source| Bytes::from(source.bytes(64))));
    fuzz::parts(control, parts);
}

/// What begins every connection of ZMTP 3.0 with the NULL mechanism.
const GREETING: &[u8] = b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const READY: &[u8] = b"\x04\x06\x05READY";
