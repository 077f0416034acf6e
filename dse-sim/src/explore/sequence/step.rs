//! What a choice leads to.

use std::rc::Rc;

use bytes::Bytes;
use dse_core::data::receive::Wanted;
use dse_core::data::send::{Policy, Report};
use dse_core::data::{DataFrame, Headers};
use dse_core::protocol::{Incarnation, Instant, SubscriptionId};

use super::choice::Choice;
use super::plot::{SequencePlot, Word};
use super::state::{KEY, Lane, Link, MOST_FRAME, NAMES, NOTHING, SEQUENCE, Said, State, source};
use super::story::Story;
use crate::caught::caught;
use crate::data::Counts;
use crate::data::model::{payload, words};
use crate::data::node::DataNode;
use crate::explore::clock::START;
use crate::world::{expr, id, key};

impl State {
    /// The nodes are linked, and the publisher's node knows what the other wants.
    pub(super) fn settle(&mut self, plot: &SequencePlot, story: &mut Story) -> Result<(), String> {
        for choice in [Choice::Say(1), Choice::Connect, Choice::Hear(0, 0)] {
            self.apply(plot, choice, story)?;
        }
        Ok(())
    }

    /// Lets it happen.
    pub(super) fn apply(
        &mut self,
        plot: &SequencePlot,
        choice: Choice,
        story: &mut Story,
    ) -> Result<(), String> {
        story.choice(plot, self, choice);
        // A law that the model holds, and what a machine takes for granted, is a panic.
        let mut result = Ok(());
        let failure = caught(|| result = self.happens(plot, choice, story));
        match failure {
            Some(failure) => Err(format!("{} ({})", failure.what, failure.place)),
            None => result,
        }
    }

    fn happens(
        &mut self,
        plot: &SequencePlot,
        choice: Choice,
        story: &mut Story,
    ) -> Result<(), String> {
        match choice {
            Choice::Say(side) => {
                let side = usize::from(side);
                let word = plot.words[side][self.said[side]];
                self.said[side] += 1;
                self.say(plot, side, word, story)?;
            }
            Choice::Stop => {
                let words = &plot.words[0];
                let rest = words.iter().skip(self.said[0]).take_while(|it| **it == Word::Publish);
                self.said[0] += rest.count();
            }
            Choice::Connect => self.connect(plot, story)?,
            Choice::Write(at, side) => self.write(plot, at.into(), side.into(), story)?,
            Choice::Read(at, side) => self.read(plot, at.into(), side.into(), story)?,
            Choice::Hear(at, side) => self.hear(plot, at.into(), side.into(), story)?,
            Choice::Take => {
                self.take(story);
                self.touch(plot, 1, story)?;
            }
            Choice::Cut(at) => {
                self.left.losses -= 1;
                Rc::make_mut(&mut self.links[usize::from(at)]).broken = true;
            }
            Choice::Drop(at, side) => {
                self.left.drops -= 1;
                let link = Rc::make_mut(&mut self.links[usize::from(at)]);
                link.lanes[usize::from(side)].frames.pop_front();
            }
            Choice::Notice(at, side) => self.notice(plot, at.into(), side.into(), story)?,
            Choice::Delay => {
                self.left.delays -= 1;
                self.time_passes(plot, story)?;
            }
            Choice::Timeout => self.time_passes(plot, story)?,
        }
        self.links.retain(|link| link.up.contains(&true));
        Ok(())
    }

    /// The node of a side at the present time.
    fn node(&mut self, side: usize) -> Option<&mut DataNode> {
        let now = Instant::from_nanos(self.now);
        let node = Rc::make_mut(self.nodes[side].as_mut()?);
        node.set_now(now);
        Some(node)
    }

    fn say(
        &mut self,
        plot: &SequencePlot,
        side: usize,
        word: Word,
        story: &mut Story,
    ) -> Result<(), String> {
        let now = Instant::from_nanos(self.now);
        match word {
            Word::Publish => {
                let len = plot.samples[self.last_seq() as usize];
                if let Some(node) = self.node(0) {
                    let publisher = node.publishers.get_mut(&SEQUENCE);
                    publisher.into_iter().for_each(|it| it.waiting.push_back(len));
                }
            }
            Word::Close => {
                if let Some(node) = self.node(0) {
                    node.close(SEQUENCE, Instant::from_nanos(u64::MAX));
                }
            }
            Word::Want => {
                self.subscriptions += 1;
                let subscription = self.subscriptions;
                self.subscription = Some(subscription);
                let keys = expr(KEY);
                let wanted =
                    Wanted { id: SubscriptionId(subscription), keys, options: plot.options };
                Rc::make_mut(&mut self.model).subscribe((1, 1, subscription), plot.options);
                let all = self.node(1).map(|node| node.subscribe(wanted)).unwrap_or_default();
                self.says_wants(all);
            }
            Word::Withdraw => {
                let Some(subscription) = self.subscription.take() else { return Ok(()) };
                self.withdrew = true;
                Rc::make_mut(&mut self.model).unsubscribe((1, 1, subscription));
                let all = self.node(1).map(|node| node.unsubscribe(subscription));
                self.says_wants(all.unwrap_or_default());
            }
            Word::Leave => {
                if let Some(node) = self.node(side) {
                    // What is not confirmed by now it never will.
                    node.close(SEQUENCE, now);
                    let publisher = node.publishers.get_mut(&SEQUENCE);
                    publisher.into_iter().for_each(|it| it.closing = Some(now));
                }
                self.touch(plot, side, story)?;
                self.leave(side);
                return Ok(());
            }
        }
        self.touch(plot, side, story)
    }

    fn leave(&mut self, side: usize) {
        self.nodes[side] = None;
        if side == 1
            && let Some(subscription) = self.subscription.take()
        {
            Rc::make_mut(&mut self.model).unsubscribe((1, 1, subscription));
        }
        for link in &mut self.links {
            let link = Rc::make_mut(link);
            if std::mem::take(&mut link.up[side]) {
                link.lanes[side] = Lane::default();
                link.lanes[1 - side].left = true;
            }
        }
    }

    /// The subscriber's node tells the other what it wants.
    fn says_wants(&mut self, wanted: Vec<Wanted>) {
        let wanted = Rc::new(wanted);
        for link in self.links.iter_mut().filter(|link| link.up[1] && !link.broken) {
            let link = Rc::make_mut(link);
            if link.up[0] {
                link.lanes[0].control.push_back(Said::Wants(wanted.clone()));
            }
        }
    }

    fn connect(&mut self, plot: &SequencePlot, story: &mut Story) -> Result<(), String> {
        self.last_link += 1;
        let number = self.last_link;
        let lanes = [Lane::default(), Lane::default()];
        self.links.push(Rc::new(Link { number, up: [true; 2], broken: false, lanes }));
        for side in [0, 1] {
            let peer = (id(NAMES[1 - side]), Incarnation(1));
            if let Some(node) = self.node(side) {
                node.open_link(number, peer);
            }
        }
        let wanted = self.node(1).map(|node| node.wanted()).unwrap_or_default();
        self.says_wants(wanted);
        if self.report.is_some() {
            self.says_undeclared();
        }
        self.touch(plot, 0, story)?;
        self.touch(plot, 1, story)
    }

    fn says_undeclared(&mut self) {
        for link in self.links.iter_mut().filter(|link| link.up == [true; 2] && !link.broken) {
            Rc::make_mut(link).lanes[1].control.push_back(Said::Undeclared);
        }
    }

    fn write(
        &mut self,
        plot: &SequencePlot,
        at: usize,
        side: usize,
        story: &mut Story,
    ) -> Result<(), String> {
        let number = self.links[at].number;
        let Some(node) = self.node(side) else { return Ok(()) };
        if let Some(link) = node.links.get_mut(&number) {
            link.hurry();
        }
        let Some(frame) = node.write(number) else { return Ok(()) };
        story.frame(&frame);
        if frame.wire_len() > MOST_FRAME {
            return Err(format!("L6: a frame of {} bytes", frame.wire_len()));
        }
        let link = Rc::make_mut(&mut self.links[at]);
        if link.up[1 - side] {
            link.lanes[1 - side].frames.push_back(Rc::new(frame));
        }
        // What a route leaves out makes room for a publisher.
        self.touch(plot, side, story)
    }

    fn read(
        &mut self,
        plot: &SequencePlot,
        at: usize,
        side: usize,
        story: &mut Story,
    ) -> Result<(), String> {
        let link = Rc::make_mut(&mut self.links[at]);
        let (number, frame) = (link.number, link.lanes[side].frames.pop_front());
        if let Some(frame) = frame
            && let Some(node) = self.node(side)
        {
            node.read(number, DataFrame::clone(&frame))
                .map_err(|fault| format!("{} takes the link for broken: {fault}", NAMES[side]))?;
        }
        self.touch(plot, side, story)
    }

    fn hear(
        &mut self,
        plot: &SequencePlot,
        at: usize,
        side: usize,
        story: &mut Story,
    ) -> Result<(), String> {
        let link = Rc::make_mut(&mut self.links[at]);
        let (number, said) = (link.number, link.lanes[side].control.pop_front());
        let last_seq = self.last_seq();
        match said {
            Some(Said::Wants(wanted)) => {
                // What a lost link left behind is kept for a while, of some policies.
                let drops = matches!(plot.policy, Policy::DropOldest | Policy::DropNewest);
                let subscription = wanted.first().map(|it| it.id.0);
                let begins_anew = subscription != self.wanted_by
                    || number != self.wanted_on && (drops || self.now > START);
                let before = self.wanted_after.filter(|_| !begins_anew);
                let publisher = self.nodes[0].as_ref().and_then(|it| it.publishers.get(&SEQUENCE));
                let is_closed = publisher.is_none_or(|it| it.closing.is_some());
                let from_now = if is_closed { NOTHING } else { last_seq };
                self.wanted_after = subscription.map(|_| before.unwrap_or(from_now));
                (self.wanted_by, self.wanted_on) = (subscription, number);
                if let Some(node) = self.node(side) {
                    node.set_wishes(number, Vec::clone(&wanted));
                }
            }
            Some(Said::Undeclared) => {
                if let Some(node) = self.node(side) {
                    node.undeclared(&id(NAMES[0]), &key(KEY));
                }
            }
            None => {}
        }
        self.touch(plot, side, story)
    }

    fn take(&mut self, story: &mut Story) {
        let Some(subscription) = self.subscription else { return };
        let delivery = self.node(1).and_then(|node| node.next_delivery(subscription));
        if let Some(delivery) = delivery {
            story.follows(|| words(&delivery));
            let model = Rc::make_mut(&mut self.model);
            model.deliver((1, 1, subscription), &delivery, &mut Counts::default());
        }
    }

    fn notice(
        &mut self,
        plot: &SequencePlot,
        at: usize,
        side: usize,
        story: &mut Story,
    ) -> Result<(), String> {
        let link = Rc::make_mut(&mut self.links[at]);
        let left = link.lanes[side].left && !link.broken;
        let number = link.number;
        link.up[side] = false;
        link.lanes[side] = Lane::default();
        if let Some(node) = self.node(side) {
            node.close_link(number, left);
        }
        self.touch(plot, side, story)
    }

    fn time_passes(&mut self, plot: &SequencePlot, story: &mut Story) -> Result<(), String> {
        if let Some(at) = self.deadline(plot) {
            self.now = self.now.max(at.as_nanos());
        }
        for side in [0, 1] {
            if let Some(node) = self.node(side) {
                node.handle_timeout();
            }
            self.touch(plot, side, story)?;
        }
        Ok(())
    }

    /// A node does at once what follows from what it was told.
    fn touch(&mut self, plot: &SequencePlot, side: usize, story: &mut Story) -> Result<(), String> {
        let Some(mut node) = self.nodes[side].take() else { return Ok(()) };
        let running = Rc::make_mut(&mut node);
        running.set_now(Instant::from_nanos(self.now));
        let model = &mut self.model;
        let name = id(NAMES[0]);
        running.publish(SEQUENCE, 0, |seq, len| {
            Rc::make_mut(model).publish(&source(), seq, len);
            let number = seq.to_string();
            let pairs = (seq % 3 == 0).then_some(("seq", number));
            let headers = Headers::from_pairs(pairs).unwrap_or_default();
            (headers, Bytes::from(payload(&name, KEY, seq, len)))
        });
        let closing = running.publishers.get(&SEQUENCE).and_then(|it| it.closing);
        let leaves = closing.is_some_and(|at| at.as_nanos() <= self.now);
        let is_done = running.settle(SEQUENCE);
        running.pump();
        running.counts = Default::default();
        let report = running.publishers.get_mut(&SEQUENCE).filter(|_| is_done).map(|publisher| {
            publisher.done = true;
            publisher.report.clone().unwrap_or_default()
        });
        self.nodes[side] = Some(node);
        if let Some(report) = report {
            self.reported(plot, report, story)?;
            // Who leaves says that, and nothing more.
            if !leaves {
                self.says_undeclared();
            }
        }
        self.hold_bounds(plot)
    }

    fn reported(
        &mut self,
        plot: &SequencePlot,
        report: Report,
        story: &mut Story,
    ) -> Result<(), String> {
        story.follows(|| format!("a reports: {report:?}"));
        self.hold_report(plot, &report)?;
        self.report = Some(Rc::new(report));
        Ok(())
    }
}
