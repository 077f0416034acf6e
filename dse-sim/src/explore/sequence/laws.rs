//! What holds in every state, when a report is made, and at rest. That deliveries come once, in
//! order, and that what is missing is told is held by the model as they are taken.

use std::rc::Rc;

use dse_core::data::SkipReason;
use dse_core::data::limits::{IN_FLIGHT_BYTES, LOG_BYTES};
use dse_core::data::send::{Policy, Report, UnconfirmedCause};

use super::plot::SequencePlot;
use super::state::{KEY, MOST_FRAME, NAMES, NOTHING, SEQUENCE, State};
use crate::data::model::{Fate, Position};
use crate::explore::clock::START;

impl State {
    /// What the present subscription was told.
    fn position(&self) -> Option<&Position> {
        self.model.position((1, 1, self.subscription?), NAMES[0], KEY)
    }

    /// L6: what the nodes hold is bounded.
    pub(super) fn hold_bounds(&self, plot: &SequencePlot) -> Result<(), String> {
        for node in self.nodes.iter().flatten() {
            for link in node.links.values() {
                let in_flight = link.schedule.written() - link.schedule.progress().received;
                if in_flight > IN_FLIGHT_BYTES + MOST_FRAME as u64 {
                    return Err(format!("L6: {in_flight} bytes in flight"));
                }
            }
            for publisher in node.publishers.values() {
                let sequence = &publisher.sequence;
                let samples = sequence.last_seq() + 1 - sequence.first_seq();
                let most = plot.log_samples.unwrap_or(usize::MAX).max(plot.history) as u64;
                if sequence.log_bytes() > LOG_BYTES || samples > most {
                    return Err(format!("L6: {samples} samples in a log of {most}"));
                }
            }
            // Beside what credit bounds: a sequence begins and ends, a link comes and goes.
            let most = plot.samples.len() + 2 * self.last_link as usize + 4;
            let waiting = node.subscriptions.values().map(|it| it.feed.waiting());
            if let Some(waiting) = waiting.max().filter(|waiting| *waiting > most) {
                return Err(format!("L6: {waiting} items wait for a subscription"));
            }
        }
        Ok(())
    }

    /// L10: a report names the node that wanted samples and has not confirmed them; who is not
    /// named has all or was told what it lacks.
    pub(super) fn hold_report(&self, plot: &SequencePlot, report: &Report) -> Result<(), String> {
        let last = self.last_seq();
        let Report { confirmed, unconfirmed, withdrawn, .. } = report;
        if confirmed + unconfirmed.len() + *withdrawn as usize > 1 && !self.withdrew {
            return Err(format!("L10: one node is named twice: {report:?}"));
        }
        if *withdrawn > 0 && !self.withdrew {
            return Err("L10: who did not withdraw is said to have".to_owned());
        }
        let node = self.nodes[0].as_ref();
        let publisher = node.and_then(|node| node.publishers.get(&SEQUENCE));
        let is_routed = publisher.is_some_and(|it| !it.routed.is_empty());
        let drops = matches!(plot.policy, Policy::DropOldest | Policy::DropNewest);
        let is_named = !unconfirmed.is_empty();
        // Of a stream that drops, what is published while no link is up is for nobody.
        let is_for_it = self.wanted_after.is_some_and(|after| last > after);
        let claims_all = *confirmed > 0 && is_routed && !self.withdrew;
        let says_nothing = is_routed && !self.withdrew && !drops;
        let is_held = is_for_it && (claims_all || says_nothing);
        if is_named || self.subscription.is_none() || !is_held {
            return Ok(());
        }
        let has_all = self.position().is_some_and(|it| {
            let reached = if plot.policy == Policy::Latest { it.delivered } else { it.told };
            reached.is_some_and(|reached| reached >= last)
        });
        if !has_all && last > 0 {
            let position = self.position();
            return Err(format!("L10: b is not named, and has not all of {last}: {position:?}"));
        }
        Ok(())
    }

    /// What holds once nothing more comes by itself.
    pub(super) fn settled(&self, plot: &SequencePlot) -> Result<(), String> {
        for node in self.nodes.iter().flatten() {
            for publisher in node.publishers.values() {
                if !publisher.waiting.is_empty() {
                    return Err("L8: the publisher is blocked for ever".to_owned());
                }
                if publisher.closing.is_some() && publisher.report.is_none() {
                    return Err("L10: the closed publisher gives no report".to_owned());
                }
            }
            for subscription in node.subscriptions.values() {
                let waiting = subscription.feed.waiting();
                if waiting > 0 {
                    return Err(format!("L8: {waiting} items wait"));
                }
            }
        }
        if self.nodes[1].is_some() && self.subscription.is_some() {
            self.subscriber_knows_all(plot)?;
        }
        self.report_agrees(plot)
    }

    fn subscriber_knows_all(&self, plot: &SequencePlot) -> Result<(), String> {
        let last = self.last_seq();
        let is_closed = self.report.is_some();
        let Some(position) = self.position() else {
            let after = self.wanted_after.unwrap_or(last);
            // Who was never told of the sequence lacks nothing that it knows of: what is kept no
            // more, after a loss, is as what was published before it came.
            let drops = matches!(plot.policy, Policy::DropOldest | Policy::DropNewest);
            let was_lost = self.left != plot.faults && (drops || self.now > START);
            let has_value = plot.policy == Policy::Latest && last > 0;
            let lacks = last > after || has_value;
            let gone = self.nodes[0].is_none() || is_closed;
            return match lacks && self.is_linked() && !was_lost && !gone {
                true => Err(format!("L8: b was told nothing of {last} samples after {after}")),
                false => Ok(()),
            };
        };
        let word = || format!("last is {last}, {position:?}");
        if position.open_gap.is_some() {
            return Err(format!("L8: a gap stays open: {}", word()));
        }
        let fate_is_right = match (&self.nodes[0], is_closed) {
            (Some(_), false) => position.fate == Fate::Live,
            (Some(_), true) => position.fate == Fate::Ended,
            (None, _) => position.fate != Fate::Live,
        };
        if !fate_is_right {
            return Err(format!("L10: the fate of the source is not told: {}", word()));
        }
        if self.nodes[0].is_none() {
            return Ok(());
        }
        let reached =
            if plot.policy == Policy::Latest { position.delivered } else { position.told };
        let is_wished = !plot.options.min_interval.is_zero();
        let after = self.wanted_after.unwrap_or(last);
        let is_stream = plot.policy != Policy::Latest;
        let none_for_it = last <= after && (is_stream || last == 0 || after == NOTHING);
        let has_all = reached == Some(last) || none_for_it || is_wished;
        // What was published and never sent, of a publisher that was closed and then gave up.
        // It was told of the loss, and then that the key has ended: what came meanwhile was for
        // nobody.
        let drops = matches!(plot.policy, Policy::DropOldest | Policy::DropNewest);
        let was_lost = self.left.losses < plot.faults.losses;
        let for_nobody = drops || self.now > START || self.withdrew;
        if !(has_all || is_closed && was_lost && for_nobody) {
            return Err(format!("L8: what was published last has not arrived: {}", word()));
        }
        Ok(())
    }

    /// L10: what the publisher would report now agrees with what the subscriber was told.
    fn report_agrees(&self, plot: &SequencePlot) -> Result<(), String> {
        let (Some(node), Some(_), true) = (&self.nodes[0], self.subscription, self.is_linked())
        else {
            return Ok(());
        };
        let last = self.last_seq();
        let mut node = Rc::clone(node);
        let node = Rc::make_mut(&mut node);
        let Some(publisher) = node.publishers.get_mut(&SEQUENCE) else { return Ok(()) };
        if publisher.done || self.withdrew {
            return Ok(());
        }
        let report = publisher.sequence.report(last);
        let Some(position) = self.position() else { return Ok(()) };
        let word = || format!("{report:?}, and b: {position:?}");
        let lost = |reason: SkipReason| position.lost.get(&reason).copied().unwrap_or(0);
        for unconfirmed in &report.unconfirmed {
            let is_true = match unconfirmed.cause {
                UnconfirmedCause::Stalled => lost(SkipReason::Stalled) > 0,
                // It was, for a while.
                UnconfirmedCause::Lost => self.left.losses < plot.faults.losses,
                _ => false,
            };
            if !is_true {
                return Err(format!("L10: {unconfirmed:?} at rest: {}", word()));
            }
        }
        if self.left.losses == plot.faults.losses && plot.policy != Policy::Latest {
            let reasons =
                [SkipReason::Policy, SkipReason::Wish, SkipReason::Stalled, SkipReason::Expired];
            for reason in reasons {
                if report.dropped_by(reason) != lost(reason) {
                    return Err(format!("L10: {reason} is counted otherwise: {}", word()));
                }
            }
        }
        Ok(())
    }
}
