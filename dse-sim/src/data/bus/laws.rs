//! What must hold after each step, of each report and at rest.

use dse_core::data::limits::{
    FRAME_BYTES, IN_FLIGHT_BYTES, INITIAL_WINDOW, LOG_BYTES, PAYLOAD_BYTES,
};
use dse_core::data::send::{Policy, Report, UnconfirmedCause};

use super::Bus;
use crate::data::node::DataNode;

impl Bus {
    /// Of a bus at rest: nobody holds anything up.
    pub(in crate::data) fn assert_settled(&self) {
        for (index, slot) in self.slots.iter().enumerate() {
            let Some(running) = &slot.node else { continue };
            for (id, publisher) in &running.publishers {
                let waiting = publisher.waiting.len();
                assert!(waiting == 0, "L8: {waiting} samples of {index}.{id} are blocked for ever");
                let settled = publisher.closing.is_none() || publisher.report.is_some();
                assert!(settled, "L10: the closed publisher {index}.{id} gives no report");
            }
            for (id, subscription) in &running.subscriptions {
                let waiting = subscription.feed.waiting();
                assert!(waiting == 0, "L8: {waiting} items wait for {index}.{id} at rest");
            }
        }
    }

    /// Every open publisher publishes one sample more, and forgets who was lost before.
    pub(in crate::data) fn publish_once_more(&mut self) {
        for index in 0..self.slots.len() {
            let Some(running) = &mut self.slots[index].node else { continue };
            let open = running.publishers.iter_mut().filter(|(_, it)| it.closing.is_none());
            for (_, publisher) in open {
                let _ = publisher.sequence.report(publisher.sequence.last_seq());
                publisher.waiting.push_back(100);
            }
            self.touch(index);
        }
    }

    /// Of a bus at rest: every subscription has what was published last (law L8).
    pub(in crate::data) fn assert_up_to_date(&self) {
        for slot in &self.slots {
            let Some(running) = &slot.node else { continue };
            for publisher in running.publishers.values().filter(|it| it.closing.is_none()) {
                let key = &publisher.sequence.config().origin.key;
                let source =
                    (slot.id.as_str().to_owned(), running.incarnation.0, key.as_str().to_owned());
                for (reader, other) in self.slots.iter().enumerate() {
                    let Some(other) = other.node.as_ref().filter(|_| other.id != slot.id) else {
                        continue;
                    };
                    for (id, subscription) in &other.subscriptions {
                        if subscription.wanted.keys.matches(key) {
                            let reader = (reader, other.incarnation.0, *id);
                            if let Err(word) = self.model.is_up_to_date(reader, &source) {
                                panic!("L8: not up to date at rest: {word}");
                            }
                        }
                    }
                }
            }
        }
    }

    /// Of a bus at rest where all take what is there: nobody is named for what came last but
    /// who lost something of before (law L10).
    pub(in crate::data) fn assert_reports_at_rest(&mut self) {
        for index in 0..self.slots.len() {
            let Some(running) = &mut self.slots[index].node else { continue };
            let mut all = Vec::new();
            for publisher in running.publishers.values_mut().filter(|it| it.closing.is_none()) {
                let last = publisher.sequence.last_seq();
                all.push((publisher.sequence.report(last), publisher.routed.len()));
            }
            for (report, routes) in all {
                for unconfirmed in &report.unconfirmed {
                    let lost = matches!(
                        unconfirmed.cause,
                        UnconfirmedCause::Stalled | UnconfirmedCause::Evicted
                    );
                    assert!(lost, "L10: {unconfirmed:?} of {index} at rest: {report:?}");
                }
                let named = report.confirmed + report.unconfirmed.len();
                assert!(named >= routes, "L10: {routes} routes of {index}: {report:?}");
            }
        }
    }

    /// L6: what a node holds is bounded.
    pub(super) fn check(&self, node: usize) {
        let Some(running) = &self.slots[node].node else { return };
        let frame = (FRAME_BYTES + 64 * 1024) as u64;
        for (link, state) in &running.links {
            let in_flight = state.schedule.written() - state.schedule.progress().received;
            assert!(in_flight <= IN_FLIGHT_BYTES + frame, "L6: {in_flight} in flight on {link}");
            assert!(state.sequences() <= self.ids as usize, "L6: sequences of link {link}");
        }
        for publisher in running.publishers.values() {
            let bytes = publisher.sequence.log_bytes();
            let most = LOG_BYTES.max(PAYLOAD_BYTES);
            assert!(bytes <= most, "L6: {bytes} in the log of node {node}");
        }
        self.check_waiting(node, running);
    }

    /// L6: what waits for an application that takes nothing is bounded, over however many links
    /// it came: by the window of each sequence, and a few words for each sequence and link.
    fn check_waiting(&self, node: usize, running: &DataNode) {
        let window = u64::from(self.slots[node].window.samples.max(INITIAL_WINDOW.samples));
        let links = self.links.iter().filter(|link| link.ends.contains(&node)).count() as u64;
        for (id, subscription) in &running.subscriptions {
            let sequences = self.model.sequences(&subscription.wanted.keys);
            let most = sequences * (window + SLACK) + (links + 1) * (2 * sequences + WORDS);
            let waiting = subscription.feed.waiting() as u64;
            assert!(waiting <= most, "L6: {waiting} items wait for {node}.{id}, most is {most}");
        }
    }

    /// L10: a report names who wanted the samples and has not confirmed them. Who is not named
    /// was handed all of them, or told that they are lost.
    pub(super) fn check_report(
        &mut self,
        node: usize,
        publisher: u64,
        key: &str,
        last: u64,
        report: &Report,
    ) {
        self.counts.reports += 1;
        self.counts.withdrawn += report.withdrawn;
        self.counts.conflations += report.dropped_by(dse_core::data::SkipReason::Superseded);
        for unconfirmed in &report.unconfirmed {
            let place = match unconfirmed.cause {
                UnconfirmedCause::Stalled => 0,
                UnconfirmedCause::Lost => 1,
                UnconfirmedCause::Left => 2,
                UnconfirmedCause::Restarted => 3,
                UnconfirmedCause::Evicted => 4,
                UnconfirmedCause::Refused => 5,
                _ => 6,
            };
            self.counts.unconfirmed[place] += 1;
        }
        self.remark(|| format!("node {node} reports of {key} up to {last}: {report:?}"));
        let Some(running) = &self.slots[node].node else { return };
        let Some(own) = running.publishers.get(&publisher) else { return };
        let policy = own.sequence.config().policy;
        // All samples may be of an earlier publisher of the key; and of a stream that drops, what
        // is published while a link is down is for nobody, though a subscriber is told the gap.
        let drops = matches!(policy, Policy::DropOldest | Policy::DropNewest);
        if own.sequence.config().last_seq == last || drops {
            return;
        }
        for link in own.routed.keys().filter(|link| !own.withdrawn.contains(link)) {
            let Some(state) = running.links.get(link) else { continue };
            let named = report.unconfirmed.iter().any(|it| it.node == state.peer.0);
            let peer = self.slots.iter().position(|slot| slot.id == state.peer.0);
            let Some(peer) = peer.filter(|it| self.life(*it) == state.peer.1.0) else { continue };
            let Some(other) = self.slots[peer].node.as_ref().filter(|_| !named) else { continue };
            for (id, subscription) in &other.subscriptions {
                let wanted = &subscription.wanted;
                // The control bus tells of a route, not of whom it is for.
                let said = self.has_control || state.wishes.iter().any(|it| it.id == wanted.id);
                let waits = !self.model.is_modest(peer, self.life(peer));
                if !said || !waits || !wanted.keys.matches(&own.sequence.config().origin.key) {
                    continue;
                }
                let reader = (peer, self.life(peer), *id);
                let position = self.model.position(reader, self.slots[node].id.as_str(), key);
                // One that came after the last sample wants none.
                let Some(position) = position
                    .filter(|it| it.told.is_some() && it.incarnation == running.incarnation.0)
                else {
                    continue;
                };
                let told = match policy {
                    Policy::Latest => position.delivered,
                    _ => position.told,
                };
                let has_all = position.incarnation == running.incarnation.0
                    && told.is_some_and(|told| told >= last);
                assert!(
                    has_all,
                    "L10: {} is not named, and {reader:?} has not all up to {last}: {position:?}",
                    state.peer.0
                );
            }
        }
    }
}

/// Samples are confirmed in groups, and before each there may be a gap.
const SLACK: u64 = 32;
/// A link is gone or replaced, keys are undeclared.
const WORDS: u64 = 4;
