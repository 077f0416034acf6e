//! What follows at one node from what it was told, until nothing more follows.

use std::cell::RefCell;

use bytes::Bytes;
use dse_core::data::Headers;
use dse_core::data::limits::FRAME_BYTES;
use dse_core::protocol::Instant;

use super::Bus;
use super::parts::{Action, Link, nanos};
use super::setup::Pace;
use crate::data::model::{payload, words};

impl Bus {
    /// A node does what follows from what it was told, until nothing more follows.
    pub(super) fn touch(&mut self, node: usize) {
        if self.slots[node].paused || self.slots[node].node.is_none() {
            return;
        }
        for round in 0.. {
            assert!(round < ROUNDS, "L1: node {node} never waits");
            let mut any = self.eager_apps_take(node);
            self.publish_what_waits(node);
            any |= self.settle(node);
            if let Some(running) = &mut self.slots[node].node {
                running.set_now(Instant::from_nanos(self.now));
                running.pump();
            }
            let pulls = |bus: &Self| bus.slots[node].node.as_ref().map(|it| it.counts.pulls);
            let before = pulls(self);
            // What a route leaves out makes room for a publisher, too.
            any |= self.write_links(node) || pulls(self) != before;
            if !any {
                break;
            }
        }
        self.check(node);
        if self.slots[node].leaving && self.has_settled(node) {
            return self.finish_leave(node);
        }
        self.rearm(node);
    }

    pub(super) fn eager_apps_take(&mut self, node: usize) -> bool {
        let eager = self.slots[node].paces.iter().filter(|(_, pace)| **pace == Pace::Eager);
        let eager: Vec<u64> = eager.map(|(id, _)| *id).collect();
        eager.into_iter().filter(|id| self.take(node, *id, usize::MAX)).count() > 0
    }

    pub(super) fn publish_what_waits(&mut self, node: usize) {
        let now = self.now;
        let Self { slots, model, counts, .. } = self;
        let Some(running) = &mut slots[node].node else { return };
        running.set_now(Instant::from_nanos(now));
        let incarnation = running.incarnation.0;
        let waiting = running.publishers.iter().filter(|(_, it)| !it.waiting.is_empty());
        for id in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
            let config = running.publishers[&id].sequence.config();
            let (name, key) = (config.origin.node.clone(), config.origin.key.as_str().to_owned());
            let source = (name.as_str().to_owned(), incarnation, key.clone());
            let model = RefCell::new(&mut *model);
            running.publish(id, now, |seq, len| {
                model.borrow_mut().publish(&source, seq, len);
                counts.published += 1;
                let value = seq.to_string();
                let pairs = (seq % 3 == 0).then_some(("seq", value));
                let headers = Headers::from_pairs(pairs).unwrap_or_default();
                (headers, Bytes::from(payload(&name, &key, seq, len)))
            });
        }
    }

    pub(super) fn settle(&mut self, node: usize) -> bool {
        let Some(running) = &mut self.slots[node].node else { return false };
        running.set_now(Instant::from_nanos(self.now));
        let closing = running.publishers.iter().filter(|(_, it)| it.closing.is_some());
        for id in closing.map(|(id, _)| *id).collect::<Vec<_>>() {
            if !running.settle(id) {
                continue;
            }
            let publisher = running.publishers.get_mut(&id).expect("it was closed");
            publisher.done = true;
            let key = publisher.sequence.config().origin.key.as_str().to_owned();
            let last = publisher.sequence.last_seq();
            let report = publisher.report.clone().unwrap_or_default();
            self.check_report(node, id, &key, last, &report);
            self.slots[node].reports.insert(key.clone(), report);
            if self.has_control && !self.slots[node].leave_is_said {
                self.conceal(node, &key);
            }
            return true;
        }
        false
    }

    pub(super) fn write_links(&mut self, node: usize) -> bool {
        let mut any = false;
        for link in self.links_of(node) {
            let side = self.side_of(link, node);
            while self.links[link].up[side] && self.write(link, side, node) {
                any = true;
            }
        }
        any
    }

    pub(super) fn write(&mut self, link: usize, side: usize, node: usize) -> bool {
        let Some(running) = &mut self.slots[node].node else { return false };
        let Link { lanes, path, .. } = &mut self.links[link];
        let lane = &mut lanes[1 - side];
        let (frame, is_new) = match lane.pending.take() {
            Some(frame) => (frame, false),
            None => {
                running.set_now(Instant::from_nanos(self.now));
                match running.write(link as u64) {
                    Some(frame) => (frame, true),
                    None => return false,
                }
            }
        };
        let is_full = lane.bytes >= path.queue;
        if let Some(state) = running.links.get_mut(&(link as u64)) {
            state.is_full = is_full;
        }
        if is_full {
            lane.pending = Some(frame);
            self.counts.refused_frames += u64::from(is_new);
            return false;
        }
        let len = frame.wire_len();
        assert!(len <= FRAME_BYTES + 64 * 1024, "L6: a frame of {len} bytes");
        lane.bytes += len;
        let takes = (len as u64).saturating_mul(1_000_000_000) / path.bandwidth;
        lane.busy_until = lane.busy_until.max(self.now) + takes;
        let at = lane.busy_until + nanos(path.delay);
        let is_first = lane.queue.is_empty();
        lane.queue.push_back((at, frame));
        if is_first {
            self.plan_at(at, Action::Arrive { link, side: 1 - side });
        }
        true
    }

    /// The application of a subscription takes as much as is there, or this many deliveries.
    pub(super) fn take(&mut self, node: usize, subscription: u64, most: usize) -> bool {
        let reader = self.reader(node, subscription);
        let mut any = false;
        for _ in 0..most {
            let now = self.instant();
            let Some(running) = &mut self.slots[node].node else { return any };
            running.set_now(now);
            let Some(delivery) = running.next_delivery(subscription) else { return any };
            any = true;
            self.note(&[self.now, reader.2]);
            self.remark(|| format!("  {reader:?} takes {}", words(&delivery)));
            self.model.deliver(reader, &delivery, &mut self.counts);
            if self.transcript.is_some() {
                self.slots[node].taken.entry(subscription).or_default().push(delivery);
            }
        }
        any
    }
}

/// A node that does so much at one moment never waits.
const ROUNDS: usize = 100_000;
