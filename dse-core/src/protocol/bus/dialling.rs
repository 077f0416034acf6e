//! Whom this node dials, and when again (PROTOCOL.md §4.5): what its dials want done.

use core::time::Duration;

use super::ControlBus;
use crate::protocol::dials::{DialStep, Dials, Here};
use crate::protocol::target::Target;
use crate::protocol::{DialError, DialId, LinkId, Member, Timer};

impl ControlBus {
    /// Changes the dials, and does what they then want done, in order.
    pub(super) fn dial<S: IntoIterator<Item = DialStep>>(
        &mut self,
        change: impl FnOnce(&mut Dials, Here<'_>) -> S,
    ) {
        let here = Here { config: &self.config, now: self.now };
        for step in change(&mut self.dials, here) {
            match step {
                DialStep::Out(output) => self.outbox.push(output),
                DialStep::Pause { dial, failures } => {
                    let pause = self.pause_after(failures);
                    self.timers.set(Timer::Redial(dial), self.now + pause);
                }
                DialStep::EndPause(dial) => self.timers.clear(&Timer::Redial(dial)),
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

    /// Is a [`Connect`](crate::protocol::Output::Connect) still wanted? One that is carried
    /// out all the same makes a link like any other.
    pub fn is_dialling(&self, dial: DialId) -> bool {
        self.dials.is_wanted(dial)
    }

    /// A dialled link ended before it opened.
    pub(super) fn dial_fell(&mut self, target: &Target, link: LinkId, error: DialError) {
        let node = self.dials.node_behind(target);
        let stands = node.is_some_and(|node| self.peers.is_open(node));
        self.dial(|dials, here| dials.fell(target, link, error, stands, here));
    }

    /// A link tells of a member that this node has no link with.
    pub(super) fn dial_listed(&mut self, link: LinkId, member: Member) {
        self.requests.expects(&member.node);
        self.dial(|dials, here| dials.listed(link, member, here));
    }
}
