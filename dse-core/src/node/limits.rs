//! Every bound of the driver in one place (law L6). Those of the data plane are in
//! [`plane::limits`](super::plane::limits).

use std::time::Duration;

use crate::protocol::limits::PEERS_PER_BUS;

/// A timer that fires this late tells of a machine that stood still or is overloaded;
/// below, of the timer's grain. What others did meanwhile may not have been read yet, so
/// nobody is blamed for it.
pub(super) const LATE: Duration = Duration::from_millis(50);

/// How long a publisher may wait for a subscriber that makes no progress.
pub(super) const STALL_TIMEOUT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);

/// Calls that may wait for the control task before a caller waits, too.
pub(super) const CALLS_QUEUED: usize = 256;
/// Requests of this node, for declarations and for counters, that may be out at a time.
/// One that nobody waits for any more is out until its deadline.
pub(super) const REQUESTS: usize = 1024;
/// Waits of publishers that the counters name: with all others they fit one message.
pub(super) const WAITS_TOLD: usize = 128;
/// Changes that wait for a watcher before it counts as too slow.
pub(super) const CHANGES_QUEUED: usize = 1024;
/// Notices kept for a reader that does not keep up.
pub(super) const NOTICES_KEPT: usize = 64;

/// Inputs of one source that are taken in one turn.
pub(super) const BATCH: usize = 64;
/// Events of links that wait before their supervisors wait, too.
pub(super) const LINK_EVENTS_QUEUED: usize = 256;
/// Most bytes of control messages that wait for a peer, and most of those that came from
/// it and wait for the control task. The largest index fits several times, since a peer
/// that is new is sent it at once.
pub(super) const CONTROL_QUEUE_BYTES: usize = 8 * 1024 * 1024;

/// Links that wait for the control task before a listener waits, too.
pub(super) const ACCEPTED_QUEUED: usize = 16;
/// Links that were accepted and may stand without being open before no more are accepted.
/// Each opens or falls within
/// [`HANDSHAKE_TIMEOUT`](crate::protocol::limits::HANDSHAKE_TIMEOUT).
pub(super) const OPENING_LINKS: usize = 256;
/// How long a listener rests after it refused a peer, so that a flood of bad ones fills
/// neither the processor nor the log.
pub(super) const REST_AFTER_REFUSAL: Duration = Duration::from_millis(10);
/// Dials that may be under way, each until its link is open or gone. A peer may list
/// members without end, and each dial takes sockets.
pub(super) const DIALS: usize = 1024;
/// Dials that may be under way before any of them is over.
pub(super) const DIALS_AT_FIRST: usize = 4;
/// Dials that may be under way, whatever became of those before.
pub(super) const DIALS_AT_LEAST: usize = 2;
/// A dial that is over within this time makes room for one more.
pub(super) const DIAL_SOON: Duration = Duration::from_millis(250);
/// After this time a dial gives its place to the next one.
pub(super) const DIAL_LONG: Duration = Duration::from_secs(1);
/// Dials that may wait in line until those are dropped from it that the bus gave up
/// meanwhile. More than the bus ever wants at a time.
pub(super) const DIALS_IN_LINE: usize = PEERS_PER_BUS * 4;
/// How long a dial may take.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a link whose data lane ended is kept for the last words on its control lane. A
/// peer that closes a link takes a second at most to deliver them.
pub(super) const DATA_LANE_LOST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a node that leaves waits for its subscribers to take what was published.
pub(super) const FINISH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a node that stops waits for the last words on its links.
pub(super) const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);
