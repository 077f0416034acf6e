//! Every bound of the data path in one place (law L6). PROTOCOL.md §11 lists those that peers
//! agree on.

use core::time::Duration;

/// Longest payload of one sample, in bytes.
pub const PAYLOAD_BYTES: usize = 64 * 1024 * 1024;
/// Most headers of one sample.
pub const HEADERS_PER_SAMPLE: usize = 16;
/// Longest name of a header, in bytes.
pub const HEADER_NAME_BYTES: usize = 64;
/// All headers of a sample together, names and values, in bytes.
pub const HEADERS_BYTES: usize = 4096;

/// What is put into one frame, in bytes: about what a transport sends at a time.
pub const FRAME_BYTES: usize = 256 * 1024;
/// Longest head of a frame that comes in, in bytes.
pub const HEAD_BYTES: usize = 512 * 1024;
/// What a sequence may put into a frame at its turn while another waits, in bytes. A longer
/// sample goes in fragments of that.
pub const FRAGMENT_BYTES: usize = 16 * 1024;
/// Of so many fragments at least one is of each lower class that waits.
pub const LOWER_CLASS_SHARE: u32 = 16;

/// What a link may have written and the peer's node not yet received, in bytes.
pub const IN_FLIGHT_BYTES: u64 = 4 * 1024 * 1024;
/// After how many bytes that came in a node says `Received` at once: a quarter of what may be
/// in flight.
pub const RECEIVED_BYTES: u64 = IN_FLIGHT_BYTES / 4;
/// How long `Received` and a credit wait for company, at least and at most; between these
/// a quarter of a round trip.
pub const REVERSE_DELAY: core::ops::RangeInclusive<Duration> =
    Duration::from_millis(5)..=Duration::from_millis(25);

/// What waits for company goes with every such number of frames. While fewer lone samples
/// than that are not confirmed, a publisher is not in a hurry and may write by itself.
pub const COMPANY_FRAMES: u32 = 4;

/// How many samples and bytes a publisher may have unconfirmed before it hears the first
/// credit; one sample always may be.
pub const INITIAL_WINDOW: Window = Window { samples: 64, bytes: 64 * 1024 };
/// The least that a credit grants.
pub const LEAST_WINDOW: Window = Window { samples: 16, bytes: 16 * 1024 };
/// The most that a credit grants.
pub const LARGEST_WINDOW: Window = Window { samples: 65_536, bytes: 4 * 1024 * 1024 };
/// What all sequences that come in on a node are granted together, in bytes, beyond the least
/// of each.
pub const NODE_GRANT_BYTES: usize = 256 * 1024 * 1024;

/// What a publisher may send beyond what its subscriber has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Samples.
    pub samples: u32,
    /// Payload bytes; a single sample always may be sent.
    pub bytes: u32,
}

/// Most samples that the log of a `Block` stream holds.
pub const LOG_SAMPLES: usize = 65_536;
/// The same, in bytes; one sample always fits.
pub const LOG_BYTES: usize = 4 * 1024 * 1024;
/// Most samples that the log of a stream that drops holds.
pub const DROPPING_LOG_SAMPLES: usize = 1024;
/// The same, in bytes; one sample always fits.
pub const DROPPING_LOG_BYTES: usize = 1024 * 1024;
/// Most samples that a stream keeps for late joiners.
pub const HISTORY_SAMPLES: usize = 1024;
/// The same, in bytes; the last one is always kept.
pub const HISTORY_BYTES: usize = 64 * 1024 * 1024;

/// How many nodes that are gone a publisher's report names; of others it has the number.
pub const REPORTED_NODES: usize = 1024;

/// Most sequences that a link has begun and not ended, one way.
pub const SEQUENCES_PER_LINK: usize = 32_768;

/// What a node keeps for one link: the latest values of states and samples of which fragments
/// came, in bytes; a sixteenth more between two looks.
pub const LINK_KEPT_BYTES: usize = 4 * PAYLOAD_BYTES;
