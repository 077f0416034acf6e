//! What the core waits for. A closed enum: every reason to come back is here.

use alloc::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::ids::{DialId, LinkId, Ticket};
use super::key::Key;
use super::names::NodeId;
use super::time::Instant;

/// Why the core wants to be called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Timer {
    /// Changes of the index are to be announced now.
    Announce,
    /// A link's handshake has taken too long.
    Handshake(LinkId),
    /// An endpoint is to be dialled again.
    Redial(DialId),
    /// A vanished peer is to be forgotten.
    Forget(NodeId),
    /// A request's time is up.
    Request(Ticket),
    /// What a peer wants is to be looked at again.
    Interest(NodeId),
    /// Nobody has wanted a key for the linger time.
    Linger(Key),
    /// Leaving has taken long enough.
    Leave,
}

/// When to come back, and what for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// What for.
    pub reason: Timer,
}

/// The timers that are armed: each at most once.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Instant>,
    queue: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        self.clear(&timer);
        self.queue.insert((at, timer.clone()));
        self.at.insert(timer, at);
    }

    pub(super) fn clear(&mut self, timer: &Timer) {
        if let Some(at) = self.at.remove(timer) {
            self.queue.remove(&(at, timer.clone()));
        }
    }

    pub(super) fn is_set(&self, timer: &Timer) -> bool {
        self.at.contains_key(timer)
    }

    pub(super) fn clear_all(&mut self) {
        self.at.clear();
        self.queue.clear();
    }

    /// Takes the earliest timer that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        if self.queue.first()?.0 > now {
            return None;
        }
        let (_, timer) = self.queue.pop_first()?;
        self.at.remove(&timer);
        Some(timer)
    }

    pub(super) fn next(&self) -> Option<Deadline> {
        let (at, reason) = self.queue.first()?;
        Some(Deadline { at: *at, reason: reason.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_is_set_again_goes_off_once_and_then() {
        let at = |nanos| Instant::ZERO + core::time::Duration::from_nanos(nanos);
        let mut timers = Timers::default();
        timers.set(Timer::Announce, at(1));
        timers.set(Timer::Announce, at(3));
        assert_eq!(timers.pop_due(at(2)), None);
        assert_eq!(timers.pop_due(at(3)), Some(Timer::Announce));
        assert_eq!(timers.next(), None);
    }
}
