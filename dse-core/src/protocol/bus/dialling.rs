//! Whom this node dials, and when again (PROTOCOL.md §4.5): what its dials want done.

use alloc::string::String;
use core::time::Duration;

use super::ControlBus;
use crate::protocol::dials::DialStep;
use crate::protocol::errors::DialError;
use crate::protocol::ids::{DialId, LinkId};
use crate::protocol::io::{Event, Output};
use crate::protocol::message::{Member, RejectReason};
use crate::protocol::names::Endpoint;
use crate::protocol::target::Target;
use crate::protocol::timers::Timer;

impl ControlBus {
    /// Does what the dials want done, in order.
    pub(super) fn dial(&mut self, steps: impl IntoIterator<Item = DialStep>) {
        for step in steps {
            match step {
                DialStep::Connect { dial, endpoint } => {
                    self.outbox.push(Output::Connect { dial, endpoint });
                }
                DialStep::Pause { dial, failures } => {
                    let pause = self.pause_after(failures);
                    self.timers.set(Timer::Redial(dial), self.now + pause);
                }
                DialStep::EndPause(dial) => self.timers.clear(&Timer::Redial(dial)),
                DialStep::Failed { endpoint, seed, error } => {
                    self.outbox.event(Event::DialFailed { endpoint, seed, error });
                }
                DialStep::Unreachable { node, why } => self.requests.unreachable(&node, &why),
            }
        }
    }

    /// The pause after so many failures in a row.
    fn pause_after(&mut self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let pause = self.config.redial_min.saturating_mul(1 << doublings);
        self.random.jitter(pause.min(self.config.redial_max))
    }

    pub(super) fn add_seed(&mut self, endpoint: Endpoint) {
        let steps = self.dials.add_seed(endpoint, self.now, &self.config);
        self.dial(steps);
    }

    pub(super) fn add_hint(&mut self, endpoint: Endpoint) {
        let steps = self.dials.add_hint(endpoint, self.now, &self.config);
        self.dial(steps);
    }

    /// Is a [`Connect`](Output::Connect) still wanted? One that is carried out all the same
    /// makes a link like any other.
    pub fn is_dialling(&self, dial: DialId) -> bool {
        self.dials.is_wanted(dial)
    }

    /// The pause before a target is over.
    pub(super) fn redial(&mut self, dial: DialId) {
        let steps = self.dials.pause_over(dial, self.now, &self.config);
        self.dial(steps);
    }

    /// The driver has no link for a dial.
    pub(super) fn connect_failed(&mut self, dial: DialId, error: String) {
        let steps = self.dials.not_connected(dial, error, self.now, &self.config);
        self.dial(steps);
    }

    /// A dialled link ended before it opened.
    pub(super) fn dial_fell(&mut self, target: &Target, link: LinkId, error: DialError) {
        let node = self.dials.node_behind(target);
        let stands = node.is_some_and(|node| self.peers.is_open(node));
        if stands && error == DialError::Rejected(RejectReason::Duplicate) {
            self.dials.second(target, link);
        } else {
            let steps = self.dials.fell(target, link, error, self.now, &self.config);
            self.dial(steps);
        }
    }

    /// A link tells of a member that this node has no link with.
    pub(super) fn dial_listed(&mut self, link: LinkId, member: Member) {
        self.requests.expects(&member.node);
        let steps = self.dials.listed(link, member, self.now, &self.config);
        self.dial(steps);
    }

    /// Whatever it is, it is dialled no more.
    pub(super) fn drop_dial(&mut self, target: &Target) {
        let step = self.dials.drop_target(target);
        self.dial(step);
    }
}
