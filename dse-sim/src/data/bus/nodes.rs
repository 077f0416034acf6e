//! Nodes start, crash, leave, stand still and go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dse_core::data::limits::Window;
use dse_core::data::send::Policy;
use dse_core::protocol::{Command, Incarnation, Input, Instant, Kind};

use super::parts::{Action, Slot, nanos};
use super::setup::{PublisherSetup, STALL_TIMEOUT};
use super::{Bus, add};
use crate::data::node::DataNode;
use crate::world::id;

impl Bus {
    /// Starts a node, for the first time or again, which grants each sequence this window.
    pub fn start(&mut self, name: &str, window: Window) -> usize {
        let found = self.slots.iter().position(|slot| slot.id.as_str() == name);
        let index = found.unwrap_or_else(|| {
            self.slots.push(Slot {
                id: id(name),
                incarnation: 0,
                node: None,
                paused: false,
                window,
                paces: BTreeMap::new(),
                timer: None,
                core: None,
                left: BTreeSet::new(),
                leave_is_said: false,
                stopped: false,
                leaving: false,
                reports: BTreeMap::new(),
                taken: BTreeMap::new(),
            });
            self.slots.len() - 1
        });
        let core = self.control_bus(id(name), self.slots[index].incarnation + 1);
        let slot = &mut self.slots[index];
        assert!(slot.node.is_none(), "{name} runs");
        slot.incarnation += 1;
        let incarnation = Incarnation(slot.incarnation);
        slot.node = Some(DataNode::new(incarnation, slot.window, STALL_TIMEOUT));
        (slot.paused, slot.leaving, slot.timer) = (false, false, None);
        (slot.core, slot.leave_is_said, slot.stopped) = (core, false, false);
        slot.left.clear();
        self.remark(|| format!("{name} starts"));
        index
    }

    /// Was there ever such a node?
    pub(in crate::data) fn has(&self, node: usize) -> bool {
        node < self.slots.len()
    }

    /// Is a publisher of this life there and not closed?
    pub(in crate::data) fn is_open(&self, node: usize, life: u64, publisher: u64) -> bool {
        let running = self.slots[node].node.as_ref().filter(|_| self.life(node) == life);
        let publisher = running.and_then(|it| it.publishers.get(&publisher));
        publisher.is_some_and(|publisher| publisher.closing.is_none())
    }

    /// Is such a key declared and not yet ended, or as another kind?
    pub(in crate::data) fn declares(&self, node: usize, setup: &PublisherSetup) -> bool {
        let text = format!("{}/{}", self.slots[node].id, setup.leaf);
        let running = self.slots[node].node.as_ref();
        let declared = running.is_some_and(|it| {
            let same = |key: &str| key == text;
            it.publishers.values().any(|publisher| {
                same(publisher.sequence.config().origin.key.as_str()) && !publisher.done
            })
        });
        let source = (self.slots[node].id.as_str().to_owned(), self.life(node), text);
        let kind = if setup.policy == Policy::Latest { Kind::State } else { Kind::Stream };
        declared || self.model.published(&source).is_some_and(|it| it.kind != kind)
    }

    /// Does it run?
    pub fn runs(&self, node: usize) -> bool {
        self.slots[node].node.is_some()
    }

    pub(in crate::data) fn is_leaving(&self, node: usize) -> bool {
        self.slots[node].leaving
    }

    pub(in crate::data) fn life(&self, node: usize) -> u64 {
        self.slots[node].incarnation
    }

    /// A node ends without a word; its peers notice after this time.
    pub fn crash(&mut self, node: usize, notice: Duration) {
        self.end_life(node);
        for link in self.links_of(node) {
            let side = self.side_of(link, node);
            self.links[link].up[side] = false;
            self.lose_lane(link, side);
            if self.links[link].up[1 - side] {
                self.plan(notice, Action::Fall { link, side: 1 - side });
            }
        }
    }

    pub(super) fn end_life(&mut self, node: usize) {
        self.remark(|| format!("node {node} ends"));
        let life = self.slots[node].incarnation;
        let slot = &mut self.slots[node];
        if let Some(ended) = slot.node.take() {
            add(&mut self.counts, &ended);
            for subscription in ended.subscriptions.keys() {
                self.model.unsubscribe((node, life, *subscription));
            }
        }
        slot.core = None;
        slot.paces.clear();
        slot.timer = None;
    }

    /// A node leaves in order, once its publishers have everything confirmed or that much time
    /// has passed.
    pub fn leave(&mut self, node: usize, deadline: Duration) {
        let at = self.instant() + deadline;
        let Some(running) = &mut self.slots[node].node else { return };
        running.set_now(Instant::from_nanos(self.now));
        for publisher in running.publishers.keys().copied().collect::<Vec<_>>() {
            running.close(publisher, at);
        }
        self.slots[node].leaving = true;
        self.touch(node);
    }

    pub(super) fn finish_leave(&mut self, node: usize) {
        if self.slots[node].core.is_some() && !self.slots[node].stopped {
            if !std::mem::replace(&mut self.slots[node].leave_is_said, true) {
                self.feed(node, Input::Command(Command::Leave));
                self.touch(node);
            }
            return self.rearm(node);
        }
        self.remark(|| format!("node {node} has left"));
        self.end_life(node);
        for link in self.links_of(node) {
            let side = self.side_of(link, node);
            self.links[link].up[side] = false;
            let to = 1 - side;
            let at = self.now + nanos(self.links[link].path.delay);
            let lane = &mut self.links[link].lanes[to];
            // Else the control bus says so.
            lane.left = !self.has_control;
            // What was written goes, the queue full or not.
            if let Some(frame) = lane.pending.take() {
                lane.bytes += frame.wire_len();
                lane.queue.push_back((at.max(lane.busy_until), frame));
            }
            self.lose_lane(link, side);
            self.plan(Duration::ZERO, Action::Arrive { link, side: to });
            if self.has_control {
                self.plan(self.links[link].path.delay * 2, Action::Fall { link, side: to });
            }
        }
    }

    /// The whole process of a node stands still.
    pub fn pause(&mut self, node: usize) {
        self.slots[node].paused = true;
    }

    /// It goes on.
    pub fn resume(&mut self, node: usize) {
        if !std::mem::take(&mut self.slots[node].paused) {
            return;
        }
        // What lies unread is read after the timers that are due, which is the worse order.
        self.slots[node].timer = None;
        self.time_out(node);
        for link in self.links_of(node) {
            let side = self.side_of(link, node);
            self.plan(Duration::ZERO, Action::Control { link, side });
            self.plan(Duration::ZERO, Action::Arrive { link, side });
        }
        let life = self.life(node);
        for subscription in self.slots[node].paces.keys().copied().collect::<Vec<_>>() {
            self.plan(Duration::ZERO, Action::App { node, life, subscription });
        }
    }

    pub(super) fn has_settled(&self, node: usize) -> bool {
        let running = self.slots[node].node.as_ref();
        running.is_none_or(|it| it.publishers.values().all(|publisher| publisher.done))
    }
}
