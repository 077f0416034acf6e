//! What a model of one sequence consists of.

use std::time::Duration;

use dse_core::data::limits::Window;
use dse_core::data::send::Policy;
use dse_core::protocol::InterestOptions;

use crate::explore::plot::Faults;

/// One sequence, and the bounds within which everything that can happen to it is tried.
#[derive(Clone, Debug)]
pub struct SequencePlot {
    /// As it is asked for.
    pub name: &'static str,
    /// What is tried in it, in one sentence.
    pub about: &'static str,
    /// How often what goes wrong may go wrong on one path.
    pub faults: Faults,
    pub(super) policy: Policy,
    /// How many samples the log holds, if not as many as the policy says.
    pub(super) log_samples: Option<usize>,
    pub(super) history: usize,
    pub(super) lifetime: Option<Duration>,
    /// The lengths of the samples, which all are of the first key.
    pub(super) samples: Vec<usize>,
    pub(super) options: InterestOptions,
    /// What the subscriber's node grants.
    pub(super) window: Window,
    /// How many frames may be under way, in each direction.
    pub(super) lane: usize,
    /// What the applications say, in this order, each at any moment: the publisher's and the
    /// subscriber's.
    pub(super) words: [Vec<Word>; 2],
    /// The search begins once the nodes are linked and the publisher's node knows that the other
    /// wants the samples.
    pub(super) is_settled: bool,
    /// The publisher may say what comes after the samples before it has published them all.
    pub(super) may_stop: bool,
}

/// What an application says to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Publishes the next sample.
    Publish,
    /// Closes the publisher.
    Close,
    /// Subscribes.
    Want,
    /// Withdraws the subscription.
    Withdraw,
    /// Leaves the bus in order.
    Leave,
}
