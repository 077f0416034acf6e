//! What a node writes on its links and takes off them.

use dse_core::data::limits::FRAGMENT_BYTES;
use dse_core::data::receive::Output;
use dse_core::data::send::Pulled;
use dse_core::data::{DataFrame, FrameWriter};
use dse_core::protocol::LinkId;

use super::cells::{NodeHost, TapRef};
use super::{DataNode, NodeLink};

impl DataNode {
    /// Gives the links what became ready, and the peers their credits.
    pub(crate) fn pump(&mut self) {
        let now = self.now();
        for (id, publisher) in &mut self.publishers {
            for (link, class) in publisher.sequence.take_ready() {
                if let Some(state) = self.links.get_mut(&link) {
                    state.schedule.ready(*id, class);
                }
            }
        }
        for name in std::mem::take(&mut self.cells.dirty) {
            let Some(state) = self.links.get_mut(&name.link) else { continue };
            if state.epochs.get(&name.sequence) != Some(&name.epoch) {
                continue;
            }
            let Some((out, again)) = self.cells.review(name, self.stall_timeout / 2) else {
                continue;
            };
            self.counts.left_out += out as u64;
            if let Some(again) = again {
                state.review_at = Some(state.review_at.map_or(again, |at| at.min(again)));
            }
            if let Some((credit, urgent)) = self.cells.credit(name, self.window) {
                state.schedule.credit(now, credit, urgent);
            }
        }
        self.forget_accounts();
    }

    /// Accounts of links that are gone, and of epochs that are over, are of use until all
    /// subscriptions have taken what waits for them.
    fn forget_accounts(&mut self) {
        if self.subscriptions.values().any(|it| it.feed.has_items()) {
            return;
        }
        let links = &self.links;
        self.cells.keep(|name| {
            let epoch = links.get(&name.link).and_then(|it| it.epochs.get(&name.sequence));
            epoch == Some(&name.epoch)
        });
    }

    /// The next frame of a link, if one is due.
    pub(crate) fn write(&mut self, link: u64) -> Option<DataFrame> {
        let now = self.now();
        let Self { links, publishers, counts, frame_bytes, .. } = self;
        let state = links.get_mut(&link)?;
        let mut frame = FrameWriter::new();
        let due = state.schedule.poll_timeout().is_some_and(|at| at <= now);
        if state.schedule.is_idle() && !due {
            return None;
        }
        state.schedule.begin_frame(now, &mut frame);
        loop {
            state.turns.waiting = state.schedule.waiting();
            let Some((id, class, turn)) = state.schedule.next_turn(&frame) else { break };
            let before = frame.len();
            counts.pulls += 1;
            counts.inversions += u64::from(state.turns.taken(class));
            let pulled = match publishers.get_mut(&id) {
                Some(publisher) => publisher.sequence.pull(now, LinkId(link), &mut frame, turn),
                None => Pulled::Idle,
            };
            let wrote = frame.len() - before;
            assert!(
                wrote <= turn.budget + RECORD_BYTES,
                "L9: a turn of {} bytes wrote {wrote}",
                turn.budget
            );
            assert!(
                wrote <= FRAGMENT_BYTES + RECORD_BYTES || state.turns.is_alone(),
                "L9: {wrote} bytes while others wait"
            );
            // What does not fit into the rest of a frame begins the next.
            let may_wait = before > 0 && !turn.may_cut;
            if pulled == Pulled::More {
                assert!(wrote > 0 || may_wait, "a turn that wrote nothing asks for more");
            }
            state.schedule.end_turn(id, class, pulled);
        }
        let counts = frame.counts();
        for publisher in publishers.values_mut() {
            let _ = publisher.sequence.take_dropped();
        }
        let frame = frame.take()?;
        let wire_len = frame_bytes.unwrap_or(frame.wire_len() as u64);
        state.schedule.end_frame(now, wire_len, counts);
        Some(frame)
    }

    /// Takes a frame off a link.
    pub(crate) fn read(&mut self, link: u64, frame: DataFrame) -> Result<(), String> {
        let now = self.now();
        let Some(mut state) = self.links.remove(&link) else { return Ok(()) };
        let wire_len = self.frame_bytes.unwrap_or(frame.wire_len() as u64);
        let NodeLink { receiver, epochs, peer, .. } = &mut state;
        let mut host = NodeHost { peer: peer.clone(), link, epochs };
        let counts = self.cells.during(|| receiver.frame(frame, &mut host));
        let _ = receiver.take_counters();
        if matches!(counts, Ok(true)) && self.tells_received {
            state.schedule.took(now, wire_len);
        }
        let done = self.deliver(&mut state);
        self.links.insert(link, state);
        counts.map_err(|error| error.to_string())?;
        done.into_iter().try_for_each(|word| self.peer_said(link, word))
    }

    /// Hands out what the receiver of a link made. What is of this node's own sequences is
    /// left over.
    pub(super) fn deliver(&mut self, state: &mut NodeLink) -> Vec<Output<TapRef>> {
        let mut rest = Vec::new();
        for output in state.receiver.outputs() {
            match output {
                Output::Deliver(id, item) => {
                    if let Some(subscription) = self.subscriptions.get_mut(&id.0) {
                        subscription.feed.push(item);
                    }
                }
                Output::SendResume(resume) => {
                    self.counts.resumes += 1;
                    state.schedule.resume(resume);
                }
                Output::SendRefuse(refuse) => {
                    self.counts.refusals += 1;
                    state.schedule.refuse(refuse);
                }
                other => rest.push(other),
            }
        }
        rest
    }

    fn peer_said(&mut self, link: u64, word: Output<TapRef>) -> Result<(), String> {
        let now = self.now();
        let id = LinkId(link);
        let result = match word {
            Output::Credit(credit) => match self.publishers.get_mut(&credit.sequence) {
                Some(publisher) => {
                    let is_late = publisher.done && credit.last;
                    self.counts.late_confirmations += u64::from(is_late);
                    publisher.sequence.credit(now, id, credit)
                }
                None => Ok(()),
            },
            Output::Resume(resume) => match self.publishers.get_mut(&resume.sequence) {
                Some(publisher) => publisher.sequence.resume(now, id, resume),
                None => Ok(()),
            },
            Output::Refuse(refuse) => {
                if let Some(publisher) = self.publishers.get_mut(&refuse.sequence) {
                    publisher.sequence.refuse(now, id, refuse);
                }
                Ok(())
            }
            Output::Received(received) => match self.links.get_mut(&link) {
                Some(state) => state.schedule.received(now, received),
                None => Ok(()),
            },
            Output::Deliver(..) | Output::SendResume(_) | Output::SendRefuse(_) => Ok(()),
        };
        result.map_err(|fault| fault.to_string())
    }
}

/// What a record takes beside its payload, at most, with a Begin and a Skip before it.
const RECORD_BYTES: usize = 4096 + 1024;
