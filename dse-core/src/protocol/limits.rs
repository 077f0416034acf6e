//! Every bound of the protocol in one place (law L6).
//!
//! Constants on which peers must agree are protocol constants: changing one is a
//! new protocol version. What each node may choose for itself is in
//! [`Config`](super::Config).

use core::time::Duration;

/// Longest node id, in bytes.
pub const NODE_ID_BYTES: usize = 64;
/// Longest bus id, in bytes.
pub const BUS_ID_BYTES: usize = 64;
/// Longest key or key expression, in bytes.
pub const KEY_BYTES: usize = 255;
/// Most segments of a key or key expression.
pub const KEY_SEGMENTS: usize = 32;
/// Longest endpoint, in bytes.
pub const ENDPOINT_BYTES: usize = 300;
/// Most endpoints that one node advertises.
pub const ENDPOINTS_PER_NODE: usize = 16;
/// Longest encoding name (a media type), in bytes.
pub const ENCODING_BYTES: usize = 127;
/// Most bytes of one declaration as it is encoded, its metadata included.
pub const DECLARATION_BYTES: usize = 2048;
/// Most declarations of one node.
pub const DECLARATIONS_PER_NODE: usize = 16_384;
/// Most bytes of all declarations of one node together, as they are encoded.
pub const INDEX_BYTES: usize = 2 * 1024 * 1024;
/// Most member nodes of one bus.
pub const PEERS_PER_BUS: usize = 4096;
/// Most patterns in the interest that one node has in another.
pub const PATTERNS_PER_INTEREST: usize = 1024;
/// Most requests that a node has unanswered on a link. So many whole indexes fit what a
/// link may have unsent.
pub const UNANSWERED_REQUESTS: usize = 3;
/// By how many others each member is watched closely.
pub const WATCHERS: usize = 3;
/// Longest control message, in bytes, envelope included. What is larger goes in
/// parts.
pub const CONTROL_MESSAGE_BYTES: usize = 64 * 1024;
/// Where a message of several parts is cut, in bytes of its list.
pub const PART_BYTES: usize = 32 * 1024;
/// Most spans of a census (PROTOCOL.md §4.4). A bus of the most members takes 14.
pub const CENSUS_SPANS: usize = 64;
/// Most counters in an answer to a statistics request.
pub const STATS_COUNTERS: usize = 256;
/// Longest human-readable text in a reject, in bytes.
pub const REJECT_TEXT_BYTES: usize = 512;

/// A link on which the handshake is not done after this long is closed.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a leaving node waits for the acknowledgements.
pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after the last interest is gone the application is told.
pub const INTEREST_LINGER: Duration = Duration::from_secs(2);
/// Comparisons that a peer's interest may cost without a rest.
pub const INTEREST_WORK: usize = 1024;
/// How long the rest is for each comparison: about ten times as long as one takes.
pub const INTEREST_REST: Duration = Duration::from_micros(1);
/// How often a hint is tried.
pub const HINT_TRIES: u32 = 3;
