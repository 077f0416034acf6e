//! What arrives at the end of a link.

use bytes::Bytes;
use dse_core::data::DataFrame;
use dse_core::protocol::{Input, LinkId};

use super::Bus;
use super::parts::Action;
use super::parts::Said;
use crate::data::words::of_frame;

impl Bus {
    pub(super) fn arrive(&mut self, link: usize, side: usize) {
        let node = self.links[link].ends[side];
        loop {
            let state = &mut self.links[link];
            let is_open = self.slots[node]
                .node
                .as_ref()
                .is_some_and(|it| it.links.contains_key(&(link as u64)));
            if state.frozen || !state.up[side] || self.slots[node].paused || !is_open {
                return;
            }
            let lane = &mut state.lanes[side];
            let due = lane.queue.front().map(|(at, _)| *at);
            let Some(due) = due else { break };
            if due > self.now {
                self.plan_at(due, Action::Arrive { link, side });
                break;
            }
            let Some((_, frame)) = lane.queue.pop_front() else { break };
            lane.bytes -= frame.wire_len();
            self.note(&[self.now, link as u64, side as u64, frame.wire_len() as u64]);
            self.read(link, side, frame);
            let sender = self.links[link].ends[1 - side];
            self.touch(node);
            self.touch(sender);
        }
        let lane = &self.links[link].lanes[side];
        if lane.left && lane.queue.is_empty() && lane.pending.is_none() {
            self.close_end(link, side, true, "is left");
        }
    }

    pub(super) fn read(&mut self, link: usize, side: usize, frame: DataFrame) {
        let node = self.links[link].ends[side];
        self.remark(|| format!("  node {node} reads link {link}: {}", of_frame(&frame)));
        let now = self.instant();
        let frame = recoded(frame);
        let Some(running) = &mut self.slots[node].node else { return };
        running.set_now(now);
        if let Err(fault) = running.read(link as u64, frame) {
            panic!("node {node} takes link {link} for broken: {fault}");
        }
    }

    pub(super) fn control(&mut self, link: usize, side: usize) {
        let node = self.links[link].ends[side];
        let now = self.instant();
        loop {
            let state = &mut self.links[link];
            if state.frozen || !state.up[side] || self.slots[node].paused {
                return;
            }
            let due = state.lanes[side].control.front().is_some_and(|(at, _)| *at <= self.now);
            if !due {
                return;
            }
            let Some((_, said)) = state.lanes[side].control.pop_front() else { return };
            match (said, &mut self.slots[node].node) {
                (Said::Wishes(wishes), Some(running)) => {
                    running.set_now(now);
                    running.set_wishes(link as u64, wishes);
                }
                (Said::Message(bytes), Some(_)) => {
                    self.feed(node, Input::Message { link: LinkId(link as u64), bytes });
                }
                (Said::Close, Some(_)) => self.fall(link, side, "is closed"),
                (_, None) => {}
            }
            self.touch(node);
        }
    }
}

/// Small frames take the way over their wire form.
fn recoded(frame: DataFrame) -> DataFrame {
    if frame.wire_len() > 32 * 1024 {
        return frame;
    }
    let wire = frame.into_wire(1024).concat();
    DataFrame::from_wire(Bytes::from(wire)).expect("a frame as it was written")
}
