//! How a publisher treats its samples and its subscribers.

use std::time::Duration;

use crate::protocol::Class;

/// What a stream does for a subscriber that is slower than its publisher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The publisher waits: the slowest subscriber that makes progress sets the pace. One that
    /// makes none for the stall timeout is waited for no more: its samples are dropped and
    /// reported to it as a gap until it moves again.
    #[default]
    Block,
    /// The oldest samples that wait for it are dropped and reported to it as a gap. At most
    /// 1024 samples of together 1 MiB wait, or one.
    DropOldest,
    /// The newest samples are dropped and reported to it as a gap; as many wait.
    DropNewest,
}

/// How a publisher treats its samples and its subscribers.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PublisherOptions {
    /// What a stream does for a subscriber that is slower.
    pub overflow: Overflow,
    /// How urgent the samples are.
    pub class: Class,
    /// How many samples a stream keeps for late joiners.
    pub history: usize,
    /// After this time a sample is not sent any more.
    pub expires: Option<Duration>,
    /// How long a subscriber that makes no progress is waited for, instead of the node's own.
    pub stall_timeout: Option<Duration>,
    /// Who takes fewer bytes a second while it is waited for is stalled, too. 0 is no floor.
    pub min_rate: u64,
}
