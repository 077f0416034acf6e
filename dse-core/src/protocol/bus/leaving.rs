//! Leaving (PROTOCOL.md §4.7).

use super::{ControlBus, Phase};
use crate::protocol::{
    Event, Leave, LeaveAck, LeaveReason, LinkId, Message, NodeId, Output, StopReason, Timer, limits,
};

impl ControlBus {
    /// Says Leave on every open link and stops once each is acknowledged, fallen or left
    /// by the other side too, or the time for it is over.
    pub(super) fn leave_for(&mut self, reason: StopReason) {
        let word = match reason {
            StopReason::Left => LeaveReason::Asked,
            StopReason::Clash { .. } => LeaveReason::Clash,
        };
        self.announce();
        self.phase = Phase::Leaving(reason);
        self.timers.clear_all();
        self.dials.drop_all();
        self.end_requests();
        self.close_handshakes("this node is leaving the bus");
        for link in self.peers.iter().filter_map(|peer| Some(peer.open?.link)) {
            self.outbox.send(link, &Message::Leave(Leave { reason: word }));
        }
        self.timers.set(Timer::Leave, self.now + limits::LEAVE_TIMEOUT);
        self.leave_progress();
    }

    pub(super) fn leave_received(&mut self, link: LinkId, node: &NodeId, leave: &Leave) {
        self.outbox.send(link, &Message::LeaveAck(LeaveAck {}));
        self.links.left(link, node);
        // The leaver closes the link; one that does not is not waited for.
        self.timers.set(Timer::Handshake(link), self.now + limits::HANDSHAKE_TIMEOUT);
        self.peer_left(link, node, leave.reason);
    }

    pub(super) fn leave_acknowledged(&mut self, link: LinkId) -> Result<(), &'static str> {
        if !matches!(self.phase, Phase::Leaving(_)) {
            return Err("a LeaveAck came without a Leave");
        }
        self.close_any(link, "left the bus");
        Ok(())
    }

    /// Is there still somebody whose acknowledgement is awaited?
    pub(super) fn leave_progress(&mut self) {
        if matches!(self.phase, Phase::Leaving(_)) && !self.peers.any_open() {
            self.stop();
        }
    }

    /// The end: closes what is left.
    pub(super) fn stop(&mut self) {
        let Phase::Leaving(reason) = core::mem::replace(&mut self.phase, Phase::Stopped) else {
            return;
        };
        for link in self.links.take_all() {
            self.outbox.push(Output::Disconnect { link });
        }
        self.timers.clear_all();
        self.outbox.event(Event::Stopped { reason });
    }
}
