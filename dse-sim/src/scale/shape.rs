//! What the nodes of a measured bus are called and declare, and what that takes on the
//! wire by the real codec. All three ways of spreading news carry the same.

use dse_core::protocol::wire::{self, encoded_len, plain_len};
use dse_core::protocol::{
    Declaration, Delta, Endpoint, Incarnation, IndexVersion, Key, Kind, Message, NodeId, Snapshot,
};

use crate::world::Random;

/// How long a message takes, at least and at most, in nanoseconds: a local network.
pub const LATENCY_NS: (u64, u64) = (100_000, 1_000_000);
/// Nodes that start together do so within this time, each at a moment of its own.
const START_WITHIN_NS: u64 = SECOND_NS;
/// A second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// When which of nodes that start together starts, in nanoseconds, in that order.
pub fn start_times(nodes: usize, random: &mut Random) -> Vec<(u64, usize)> {
    let mut starts: Vec<_> = (0..nodes).map(|node| (random.below(START_WITHIN_NS), node)).collect();
    starts.sort_unstable();
    starts
}

/// The id of the n-th node: 9 bytes.
pub fn node_id(node: usize) -> NodeId {
    NodeId::new(node_name(node)).expect("letters and digits")
}

/// The same as text.
pub fn node_name(node: usize) -> String {
    format!("node-{node:04}")
}

/// Where the n-th node listens.
pub fn endpoint(node: usize) -> Endpoint {
    let text = format!("quic://10.1.{}.{}:7447", node / 250, node % 250 + 1);
    Endpoint::new(text).expect("a URL")
}

/// What the n-th node declares: states of JSON under keys of 24 bytes.
pub fn declarations(node: usize, keys: usize) -> Vec<Declaration> {
    (0..keys).map(|key| declaration(node, key, 0)).collect()
}

/// One of them, as it is after so many changes of its metadata.
pub fn declaration(node: usize, key: usize, change: usize) -> Declaration {
    let text = format!("plant/{}/value-{key:02}", node_name(node));
    let key = Key::new(text).expect("segments of letters and digits");
    let mut declaration = Declaration::new(key, Kind::State, "application/json");
    if change > 0 {
        declaration.meta.push(("unit".into(), format!("{change}").into()));
    }
    declaration
}

/// Bytes of a message that tells a node's whole index.
pub fn snapshot_bytes(node: usize, keys: usize) -> u64 {
    let declarations = declarations(node, keys);
    let snapshot = Snapshot { version: IndexVersion(1), part: 0, last: true, declarations };
    wire::encode(&Message::Snapshot(snapshot)).len() as u64
}

/// Bytes of the news that a node is there with this index, where others pass it on.
pub fn alive_bytes(node: usize, keys: usize) -> u64 {
    let who = (node_id(node), Incarnation(1), IndexVersion(1), endpoint(node));
    let list: usize = declarations(node, keys).iter().map(encoded_len).sum();
    (KIND_BYTES + plain_len(&who) + plain_len(&(keys as u32)) + list) as u64
}

/// Bytes of the news that one declaration changed, where others pass it on.
pub fn change_bytes(node: usize) -> u64 {
    let set = vec![declaration(node, 0, 1)];
    let (from, to) = (IndexVersion(1), IndexVersion(2));
    let delta = Delta { from, to, part: 0, last: true, set, unset: Vec::new() };
    let delta = wire::encode(&Message::Delta(delta)).len() - wire::ENVELOPE_BYTES;
    (KIND_BYTES + plain_len(&(node_id(node), Incarnation(1))) + delta) as u64
}

/// Bytes of the news that a node is suspected, dead or gone.
pub fn verdict_bytes(node: usize) -> u64 {
    (KIND_BYTES + plain_len(&(node_id(node), Incarnation(1), node_id(node)))) as u64
}

/// Bytes of a probe, and of what asks another node for one.
pub fn ping_bytes(node: usize) -> u64 {
    (KIND_BYTES + plain_len(&(SEQUENCE, node_id(node), node_id(node)))) as u64
}

/// Bytes of what asks another node to probe.
pub fn ping_request_bytes(node: usize) -> u64 {
    ping_bytes(node) + encoded_len(&endpoint(node)) as u64
}

/// Bytes of the answer to a probe.
pub fn ack_bytes() -> u64 {
    (KIND_BYTES + plain_len(&SEQUENCE)) as u64
}

/// A number of a probe, of usual length.
const SEQUENCE: u32 = 10_000;
/// What tells one message from another.
const KIND_BYTES: usize = 1;
