//! The control bus: the one door in and the one door out.

use super::config::Config;
use alloc::vec::Vec;

use super::io::{Counters, Deadline, Input, Match, Output, PeerStatus};
use super::key::KeyExpr;
use super::time::Instant;

/// The state machine of one node on the control bus.
#[derive(Debug)]
pub struct ControlBus {
    config: Config,
}

impl ControlBus {
    /// A node that has just started. `seed` feeds all that is random in it: nonces and
    /// the jitter of pauses.
    pub fn new(config: Config, _seed: u64, _now: Instant) -> Self {
        Self { config }
    }

    /// Takes one input. Infallible: a bad peer makes an event and a disconnect.
    pub fn handle_input(&mut self, _now: Instant, _input: Input) {}

    /// The next thing to be done, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// When to call [`handle_input`](Self::handle_input) with [`Input::Timeout`]; `None`
    /// means not until something happens.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        None
    }

    /// What the node was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        Counters::default()
    }

    /// What this node's directory holds under a key expression, its own declarations
    /// included, in order of node and key. Asks nobody.
    pub fn lookup(&self, _keys: &KeyExpr) -> Vec<Match> {
        Vec::new()
    }

    /// The members and guests that this node knows, in order of their ids.
    pub fn peers(&self) -> Vec<PeerStatus> {
        Vec::new()
    }
}
