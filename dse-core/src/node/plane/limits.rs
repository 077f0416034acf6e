//! Every bound of the data plane in one place (law L6).

use std::time::Duration;

use crate::protocol::limits::{DECLARATIONS_PER_NODE, PEERS_PER_BUS};

/// Longest payload of one sample, in bytes.
pub(in crate::node) const PAYLOAD_BYTES: usize = 16 * 1024 * 1024;

/// The present values of all states that one link brings, in bytes: as many as a node may
/// declare, of 16 KiB each, or 16 of the longest. Those of sequences that have ended count
/// until the end is confirmed.
pub(super) const STATE_BYTES: usize = 16 * PAYLOAD_BYTES;

/// What accumulates for a link while its previous frame is being sent, in bytes. One
/// sample that is longer goes alone.
pub(super) const FRAME_BYTES: usize = 256 * 1024;
/// How far the records without payload may go beyond, in bytes: credits above all.
pub(super) const FRAME_SPARE_BYTES: usize = 32 * 1024;
/// Longest head of a frame that comes in, in bytes: more than those two together, and what
/// a reader goes through at a time.
pub(super) const HEAD_BYTES: usize = 512 * 1024;
/// What one route may put into a frame at its turn while others wait, in bytes.
pub(super) const TURN_BYTES: usize = 64 * 1024;

/// How many samples a publisher may have under way to a subscriber before it hears the
/// first credit.
pub(super) const INITIAL_WINDOW: u32 = 64;
/// Least and most samples that one credit allows to be under way.
pub(super) const WINDOW: std::ops::RangeInclusive<u32> = 16..=65_536;
/// How many bytes may be under way on one route; a single sample always may.
pub(super) const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// What waits at the publisher for one slow subscriber of a stream that drops.
pub(super) const PENDING_SAMPLES: usize = 1024;
/// The same, in bytes; one sample always waits.
pub(super) const PENDING_BYTES: usize = 1024 * 1024;
/// Most samples that a stream keeps for late joiners.
pub(super) const HISTORY_SAMPLES: usize = PENDING_SAMPLES;
/// The same, in bytes; the last one is always kept. More fits no subscription.
pub(super) const HISTORY_BYTES: usize = QUEUE_BYTES;

/// What waits in one subscription, in bytes; honest publishers stay below by credit.
pub(super) const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// How many samples a subscription holds unless it says otherwise.
pub(in crate::node) const QUEUE_SAMPLES: usize = 65_536;
/// How many items a reader collects before it hands them to the subscription.
pub(super) const STAGE_ITEMS: usize = 4096;
/// For how many values of others a subscription remembers how far it came.
pub(super) const POSITIONS_PER_SUBSCRIPTION: usize = 4 * DECLARATIONS_PER_NODE;

/// Most sequences that one side of a link has begun and the other not yet done with.
pub(super) const ALIASES_PER_LINK: usize = 2 * DECLARATIONS_PER_NODE;
/// Most sequences of one publisher that a link has begun and the other side not yet done
/// with. Interest that comes and goes faster waits for the receipts: each publish looks at
/// all routes.
pub(super) const ROUTES_PER_LINK: usize = 16;
/// For how many undeclared keys a node remembers where their sequences ended.
pub(super) const RETIRED_KEYS: usize = 4 * DECLARATIONS_PER_NODE;

/// Of how many subscribers that are gone a publisher remembers how far they came: about as
/// many as there are nodes on a bus.
pub(super) const DEPARTED: usize = PEERS_PER_BUS;

/// How long a credit waits for company.
pub(super) const CREDIT_DELAY: Duration = Duration::from_millis(5);
/// How often subscriptions are looked at while one holds up another.
pub(super) const HOLD_REVIEW: Duration = Duration::from_millis(20);
/// How long what a leaving peer sent before is still read.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How many frames of a link that is gone are still looked through for credits.
pub(super) const LAST_FRAMES: usize = 64;
/// What is under way from a node to itself, in bytes; a single frame always may be.
pub(super) const LOOPBACK_BYTES: usize = 1024 * 1024;
