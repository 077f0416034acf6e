//! What lanes, applications and publishers are like.

use std::time::Duration;

use dse_core::data::send::Policy;
use dse_core::protocol::Class;

/// What a lane is like.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// How long everything takes beside its own length.
    pub delay: Duration,
    /// Bytes a second.
    pub bandwidth: u64,
    /// What the lane holds before it refuses a frame, in bytes.
    pub queue: usize,
}

impl Default for Path {
    /// A millisecond, 10 MB/s, 256 KiB.
    fn default() -> Self {
        Self { delay: Duration::from_millis(1), bandwidth: 10_000_000, queue: 256 * 1024 }
    }
}

/// How fast an application takes what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All at once.
    Eager,
    /// One delivery in each such time.
    Every(Duration),
    /// Nothing.
    Stopped,
}

/// What a publisher is like.
#[derive(Clone, Debug)]
pub struct PublisherSetup {
    /// Below the node's own name.
    pub leaf: String,
    /// What happens to a slow subscriber; `Latest` is a state.
    pub policy: Policy,
    /// How urgent it is.
    pub class: Class,
    /// How many samples late joiners get.
    pub history: usize,
    /// For how long a sample is sent.
    pub lifetime: Option<Duration>,
    /// The floor, in bytes a second.
    pub min_rate: u64,
}

impl PublisherSetup {
    /// One of normal class without more.
    pub fn new(leaf: &str, policy: Policy) -> Self {
        let leaf = leaf.to_owned();
        let class = Class::Normal;
        Self { leaf, policy, class, history: 0, lifetime: None, min_rate: 0 }
    }
}

/// For how long publishers wait for subscribers that make no progress.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(5);
