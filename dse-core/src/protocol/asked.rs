//! What a peer was asked and has not answered (PROTOCOL.md §7.1).

use alloc::collections::BTreeSet;

use serde::Serialize;

use super::limits;

/// The requests of this node to one peer, on its open link.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Asked {
    /// Those that it has not answered. It answers them also when they are over here.
    unanswered: BTreeSet<u64>,
    /// Those that wait for these, and are not over. Their numbers are their order.
    held: BTreeSet<u64>,
}

impl Asked {
    /// One more. True if it is to be sent now.
    pub(super) fn ask(&mut self, request: u64) -> bool {
        let room = self.unanswered.len() < limits::UNANSWERED_REQUESTS;
        let asked = if room { &mut self.unanswered } else { &mut self.held };
        asked.insert(request);
        room
    }

    /// Is the answer to this one awaited?
    pub(super) fn awaits(&self, request: u64) -> bool {
        self.unanswered.contains(&request)
    }

    /// One was answered. Gives the one that is to be sent in its place.
    pub(super) fn answered(&mut self, request: u64) -> Option<u64> {
        if !self.unanswered.remove(&request) {
            return None;
        }
        let next = self.held.pop_first()?;
        self.unanswered.insert(next);
        Some(next)
    }

    /// One is over: if it was held back, it is not sent any more.
    pub(super) fn over(&mut self, request: u64) {
        self.held.remove(&request);
    }
}
