//! Bounds of the runtime around the data machines (law L6). Those of the machines are in
//! [`data::limits`](crate::data::limits).

use std::time::Duration;

use crate::protocol::limits::DECLARATIONS_PER_NODE;

/// How many samples a subscription holds unless it says otherwise.
pub(in crate::node) const QUEUE_SAMPLES: usize = 65_536;
/// For how many undeclared keys a node remembers where their sequences ended.
pub(super) const RETIRED_KEYS: usize = 4 * DECLARATIONS_PER_NODE;

/// How long what a leaving peer sent before is still read.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a link whose data lane ended is kept until it is known why. The driver closes it
/// before that.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many frames of a link that is gone are still looked through for credits.
pub(super) const LAST_FRAMES: usize = 64;
/// What is in flight from a node to itself, in bytes; a single frame always may be.
pub(super) const LOOPBACK_BYTES: usize = 1024 * 1024;
/// How many frames a publisher writes in the place of a link's task.
pub(super) const FRAMES_FOR_TASK: usize = 4;
/// How many answers to a peer's records may wait to be written: one for each sequence.
pub(super) const ANSWERS: usize = crate::data::limits::SEQUENCES_PER_LINK;
/// Of how many sequences of a peer a node remembers how far they came in.
pub(super) const PEER_SEQUENCES: usize = 2 * crate::data::limits::SEQUENCES_PER_LINK;
