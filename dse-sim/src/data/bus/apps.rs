//! What applications do: publishers and subscriptions.

use std::time::Duration;

use dse_core::data::Origin;
use dse_core::data::receive::{Delivery, Wanted};
use dse_core::data::send::{Policy, Report, SequenceConfig};
use dse_core::protocol::{Command, Incarnation, InterestOptions, Kind, SubscriptionId};

use super::Bus;
use super::parts::Action;
use super::setup::{Pace, PublisherSetup, STALL_TIMEOUT};
use crate::data::model::{Reader, Source};
use crate::world::{expr, key};

impl Bus {
    /// Declares a publisher. Its number.
    pub fn declare(&mut self, node: usize, setup: &PublisherSetup) -> u64 {
        self.ids += 1;
        let now = self.instant();
        let (sequence, incarnation) = (self.ids, self.slots[node].incarnation);
        let text = format!("{}/{}", self.slots[node].id, setup.leaf);
        let kind = if setup.policy == Policy::Latest { Kind::State } else { Kind::Stream };
        let name = self.slots[node].id.clone();
        let source: Source = (name.as_str().to_owned(), incarnation, text.clone());
        let origin = Origin::new(name, key(&text), Incarnation(incarnation), kind, "x");
        self.model.declare(source.clone(), kind, setup.policy, setup.lifetime.is_some());
        let mut config = SequenceConfig::new(sequence, origin.into());
        config.policy = setup.policy;
        config.class = setup.class;
        config.history = setup.history;
        config.lifetime = setup.lifetime;
        config.min_rate = setup.min_rate;
        config.stall_timeout = STALL_TIMEOUT;
        config.last_seq =
            self.model.published(&source).map_or(0, |known| known.samples.len() as u64);
        config.base_time_ns = self.now;
        self.remark(|| format!("node {node} declares {text}, {sequence}: {setup:?}"));
        if let Some(running) = &mut self.slots[node].node {
            running.set_now(now);
            running.declare(config);
        }
        if self.has_control {
            self.expose(node, &text, kind);
        }
        self.touch(node);
        sequence
    }

    /// The application of a publisher wants to publish samples of these lengths.
    pub fn publish(
        &mut self,
        node: usize,
        publisher: u64,
        lengths: impl IntoIterator<Item = usize>,
    ) {
        let Some(running) = &mut self.slots[node].node else { return };
        if let Some(publisher) = running.publishers.get_mut(&publisher)
            && publisher.closing.is_none()
        {
            publisher.waiting.extend(lengths);
        }
        self.touch(node);
    }

    /// Closes a publisher, which waits for its subscribers until the deadline.
    pub fn close(&mut self, node: usize, publisher: u64, deadline: Duration) {
        let at = self.instant() + deadline;
        let now = self.instant();
        if let Some(running) = &mut self.slots[node].node {
            running.set_now(now);
            running.close(publisher, at);
        }
        self.touch(node);
    }

    /// Nothing of before is kept for late joiners.
    pub fn forget(&mut self, node: usize, publisher: u64) {
        let running = self.slots[node].node.as_mut();
        if let Some(publisher) = running.and_then(|it| it.publishers.get_mut(&publisher)) {
            publisher.sequence.forget();
        }
    }

    /// Subscribes. The subscription's number.
    pub fn subscribe(
        &mut self,
        node: usize,
        pattern: &str,
        options: InterestOptions,
        pace: Pace,
    ) -> u64 {
        self.ids += 1;
        let subscription = self.ids;
        let keys = expr(pattern);
        let wanted = Wanted { id: SubscriptionId(subscription), keys, options };
        let reader = self.reader(node, subscription);
        self.remark(|| format!("node {node} subscribes to {pattern}, {subscription}: {options:?}"));
        self.model.subscribe(reader, options);
        let now = self.instant();
        if let Some(running) = &mut self.slots[node].node {
            running.set_now(now);
            running.subscribe(wanted);
        }
        if self.has_control {
            let keys = expr(pattern);
            let subscription = SubscriptionId(subscription);
            self.command(node, |ticket| Command::Subscribe { ticket, subscription, keys, options });
        }
        self.slots[node].paces.insert(subscription, Pace::Stopped);
        self.set_pace(node, subscription, pace);
        self.wishes_changed(node);
        subscription
    }

    /// A subscription is no more.
    pub fn unsubscribe(&mut self, node: usize, subscription: u64) {
        let reader = self.reader(node, subscription);
        self.remark(|| format!("node {node} unsubscribes {subscription}"));
        self.model.unsubscribe(reader);
        let now = self.instant();
        if let Some(running) = &mut self.slots[node].node {
            running.set_now(now);
            running.unsubscribe(subscription);
        }
        self.withdraw(node, subscription);
        self.slots[node].paces.remove(&subscription);
        self.wishes_changed(node);
    }

    pub(super) fn wishes_changed(&mut self, node: usize) {
        if self.has_control {
            return self.touch(node);
        }
        for link in self.links_of(node) {
            let side = self.side_of(link, node);
            if self.links[link].up == [true; 2] {
                self.say_wishes(link, side, node);
            }
        }
        self.touch(node);
    }

    /// How fast a subscription's application takes what is there.
    pub fn set_pace(&mut self, node: usize, subscription: u64, pace: Pace) {
        let Some(known) = self.slots[node].paces.get_mut(&subscription) else { return };
        *known = pace;
        let life = self.life(node);
        self.plan(Duration::ZERO, Action::App { node, life, subscription });
    }

    pub(super) fn reader(&self, node: usize, subscription: u64) -> Reader {
        (node, self.slots[node].incarnation, subscription)
    }

    /// What a subscription was handed.
    pub fn taken(&self, node: usize, subscription: u64) -> &[Delivery] {
        self.slots[node].taken.get(&subscription).map_or(&[], Vec::as_slice)
    }

    /// What came of a publisher that was closed, by the last part of its key.
    pub fn report(&self, node: usize, leaf: &str) -> Option<&Report> {
        self.slots[node].reports.get(&format!("{}/{leaf}", self.slots[node].id))
    }

    /// What became of what was published so far.
    pub fn report_now(&mut self, node: usize, publisher: u64) -> Option<Report> {
        let running = self.slots[node].node.as_mut()?;
        let sequence = &mut running.publishers.get_mut(&publisher)?.sequence;
        let last = sequence.last_seq();
        Some(sequence.report(last))
    }

    /// How much waits for a subscription's application.
    pub fn waiting(&self, node: usize, subscription: u64) -> usize {
        let running = self.slots[node].node.as_ref();
        let found = running.and_then(|it| it.subscriptions.get(&subscription));
        found.map_or(0, |subscription| subscription.feed.waiting())
    }

    /// To how many nodes samples of a publisher go.
    pub fn subscribers(&self, node: usize, publisher: u64) -> usize {
        let running = self.slots[node].node.as_ref();
        let found = running.and_then(|it| it.publishers.get(&publisher));
        found.map_or(0, |publisher| publisher.sequence.subscribers())
    }

    /// How many sequences that come in a node knows, on all its links.
    pub fn incoming(&self, node: usize) -> usize {
        let running = self.slots[node].node.as_ref();
        running.map_or(0, |it| it.links.values().map(|link| link.sequences()).sum())
    }
}
