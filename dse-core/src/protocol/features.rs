//! What a node can do beyond what every node can (PROTOCOL.md §2.6).

use core::ops::BitAnd;

use serde::{Deserialize, Serialize};

/// A set of optional abilities, one bit for each.
///
/// Hello carries the sender's. What both ends of a link have is *negotiated*: only that is
/// used on the link. Bits that this version does not know say nothing to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Features(u64);

impl Features {
    /// Samples carry headers (bit 0).
    pub const HEADERS: Self = Self(1);
    /// Patterns of an interest carry options (bit 1).
    pub const INTEREST_OPTIONS: Self = Self(1 << 1);
    /// All that this version has.
    pub const SUPPORTED: Self = Self(Self::HEADERS.0 | Self::INTEREST_OPTIONS.0);

    /// No feature.
    pub const fn none() -> Self {
        Self(0)
    }

    /// The set of these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its bits, those without a meaning in this version included.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Has it all of these?
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// How many of its bits have no meaning in this version.
    pub(super) const fn unknown_count(self) -> u32 {
        (self.0 & !Self::SUPPORTED.0).count_ones()
    }
}

/// What both have.
impl BitAnd for Features {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}
