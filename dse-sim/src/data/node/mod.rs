//! One node's data machines, put together as the runtime does it, without locks and tasks.

mod cells;
mod lanes;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use dse_core::data::Headers;
use dse_core::data::limits::{FRAGMENT_BYTES, Window};
use dse_core::data::link::LinkSchedule;
use dse_core::data::receive::{Delivery, Feed, Item, LinkReceiver, Wanted};
use dse_core::data::send::{LinkProgress, Report, Sequence, SequenceConfig};
use dse_core::protocol::{
    Incarnation, Instant, InterestOptions, Key, LinkId, NodeId, SubscriptionId,
};

use cells::{AccountRef, Cells, TapRef};
use turns::Turns;

/// A node's data machines.
#[derive(Clone, Hash)]
pub(crate) struct DataNode {
    pub(crate) incarnation: Incarnation,
    cells: Cells,
    /// What it grants each sequence.
    window: Window,
    stall_timeout: Duration,
    fragment_bytes: usize,
    /// Each frame that counts is taken for so long: then what is in flight does not depend on
    /// how samples share frames.
    frame_bytes: Option<u64>,
    /// It tells its peers what it has taken off a link.
    tells_received: bool,
    pub(crate) publishers: BTreeMap<u64, Publisher>,
    pub(crate) subscriptions: BTreeMap<u64, Subscription>,
    pub(crate) links: BTreeMap<u64, NodeLink>,
    pub(crate) counts: NodeCounts,
}

/// What a node counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NodeCounts {
    pub(crate) stalls: u64,
    pub(crate) left_out: u64,
    pub(crate) resumes: u64,
    pub(crate) refusals: u64,
    pub(crate) blocked: u64,
    pub(crate) inversions: u64,
    pub(crate) pulls: u64,
    pub(crate) late_confirmations: u64,
}

impl Hash for NodeCounts {
    /// What was counted decides nothing.
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A publisher: its sequence, and what its application wants.
#[derive(Clone, Hash)]
pub(crate) struct Publisher {
    pub(crate) sequence: Sequence<u64>,
    /// Payload lengths of samples that the application wants to publish next.
    pub(crate) waiting: VecDeque<usize>,
    /// Closed, and waits for its subscribers until then.
    pub(crate) closing: Option<Instant>,
    pub(crate) report: Option<Report>,
    /// No word of it is sent or taken any more.
    pub(crate) done: bool,
    /// Links whose peers want it, and how.
    pub(crate) routed: BTreeMap<u64, InterestOptions>,
    /// Links whose peers wanted it no more once: what they lack may be their wish.
    pub(crate) withdrawn: BTreeSet<u64>,
}

/// A subscription.
#[derive(Clone, Hash)]
pub(crate) struct Subscription {
    pub(crate) wanted: Wanted,
    pub(crate) feed: Feed<TapRef>,
}

/// A node's end of a link.
#[derive(Clone, Hash)]
pub(crate) struct NodeLink {
    pub(crate) peer: (NodeId, Incarnation),
    pub(crate) schedule: LinkSchedule<u64>,
    receiver: LinkReceiver<AccountRef>,
    /// The present epochs of the sequences that come in.
    epochs: BTreeMap<u64, u64>,
    /// What the peer wants, as it has said.
    pub(crate) wishes: Vec<Wanted>,
    review_at: Option<Instant>,
    pub(crate) turns: Turns,
    /// A frame waits for the lane: until it has gone nothing is written.
    pub(crate) is_full: bool,
}

impl DataNode {
    pub(crate) fn new(incarnation: Incarnation, window: Window, stall_timeout: Duration) -> Self {
        Self {
            incarnation,
            cells: Cells::default(),
            window,
            stall_timeout,
            fragment_bytes: FRAGMENT_BYTES,
            frame_bytes: None,
            tells_received: true,
            publishers: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            links: BTreeMap::new(),
            counts: NodeCounts::default(),
        }
    }

    /// Frames of any length are taken for one of this length, which is the longest.
    pub(crate) fn with_frames_of(self, bytes: u64) -> Self {
        Self { frame_bytes: Some(bytes), ..self }
    }

    /// What is taken off a link is not told, and frames have no length: for where no time passes
    /// of which it could decide anything.
    pub(crate) fn without_received(self) -> Self {
        Self { frame_bytes: Some(0), tells_received: false, ..self }
    }

    /// All calls that follow are of this time.
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.cells.now = now;
    }

    fn now(&self) -> Instant {
        self.cells.now
    }

    // ---- links and interest

    pub(crate) fn open_link(&mut self, link: u64, peer: (NodeId, Incarnation)) {
        self.cells.keep_instance(&peer.0, peer.1);
        let mut receiver = LinkReceiver::new(peer.0.clone(), peer.1, link);
        receiver.set_subscriptions(&self.wanted());
        let link_state = NodeLink {
            peer,
            schedule: LinkSchedule::new(self.fragment_bytes),
            receiver,
            epochs: BTreeMap::new(),
            wishes: Vec::new(),
            review_at: None,
            turns: Turns::default(),
            is_full: false,
        };
        self.links.insert(link, link_state);
    }

    /// The link fell, or the peer left in order.
    pub(crate) fn close_link(&mut self, link: u64, left: bool) {
        let now = self.now();
        for publisher in self.publishers.values_mut() {
            publisher.routed.remove(&link);
            if left {
                publisher.sequence.peer_left(LinkId(link));
            } else {
                publisher.sequence.link_lost(now, LinkId(link));
            }
        }
        if let Some(mut state) = self.links.remove(&link) {
            state.receiver.gone(left);
            self.deliver(&mut state);
        }
    }

    /// The peer of a link says what it wants.
    pub(crate) fn set_wishes(&mut self, link: u64, wishes: Vec<Wanted>) {
        if let Some(state) = self.links.get_mut(&link) {
            state.wishes = wishes;
            self.reroute(link);
        }
    }

    fn reroute(&mut self, link: u64) {
        let keys = self.publishers.values().map(|it| it.sequence.config().origin.key.clone());
        for key in keys.collect::<Vec<_>>() {
            self.reroute_key(link, &key);
        }
    }

    /// What the peer of a link wants of a key, of its wishes.
    fn reroute_key(&mut self, link: u64, key: &Key) {
        let Some(state) = self.links.get(&link) else { return };
        let options = state.wishes.iter().filter(|wish| wish.keys.matches(key));
        let options = options.map(|wish| wish.options).reduce(InterestOptions::merge);
        self.set_route(link, key, options);
    }

    /// The peer of a link wants a key like this, or wants it no more.
    pub(crate) fn set_route(&mut self, link: u64, key: &Key, options: Option<InterestOptions>) {
        let now = self.now();
        let Some(state) = self.links.get(&link) else { return };
        let id = LinkId(link);
        let of_key = |it: &&mut Publisher| !it.done && it.sequence.config().origin.key == *key;
        for publisher in self.publishers.values_mut().filter(of_key) {
            let before = publisher.routed.get(&link).copied();
            match (before, options) {
                (None, Some(options)) => {
                    publisher.sequence.attach(now, id, link, state.peer.clone(), options);
                }
                (Some(_), None) => {
                    publisher.withdrawn.insert(link);
                    publisher.sequence.withdraw(id, now);
                }
                (Some(old), Some(new)) if old != new => publisher.sequence.set_options(id, new),
                _ => {}
            }
            match options {
                Some(options) => {
                    publisher.routed.insert(link, options);
                }
                None => {
                    publisher.routed.remove(&link);
                }
            }
        }
    }

    /// A peer exposes a key no more.
    pub(crate) fn undeclared(&mut self, node: &NodeId, key: &Key) {
        for subscription in self.subscriptions.values_mut() {
            if subscription.wanted.keys.matches(key) {
                let item = Item::Undeclared { node: node.clone(), key: key.clone() };
                subscription.feed.push(item);
            }
        }
    }

    // ---- subscriptions

    pub(crate) fn wanted(&self) -> Vec<Wanted> {
        self.subscriptions.values().map(|subscription| subscription.wanted.clone()).collect()
    }

    pub(crate) fn subscribe(&mut self, wanted: Wanted) -> Vec<Wanted> {
        let feed = Feed::new(wanted.options);
        self.subscriptions.insert(wanted.id.0, Subscription { wanted, feed });
        self.subscriptions_changed()
    }

    pub(crate) fn unsubscribe(&mut self, id: u64) -> Vec<Wanted> {
        self.subscriptions.remove(&id);
        let wanted = self.subscriptions_changed();
        self.cells.unsubscribe(SubscriptionId(id));
        wanted
    }

    fn subscriptions_changed(&mut self) -> Vec<Wanted> {
        let wanted = self.wanted();
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            let Some(mut state) = self.links.remove(&link) else { continue };
            self.cells.during(|| state.receiver.set_subscriptions(&wanted));
            self.deliver(&mut state);
            self.links.insert(link, state);
        }
        wanted
    }

    pub(crate) fn next_delivery(&mut self, subscription: u64) -> Option<Delivery> {
        let now = self.now();
        let feed = &mut self.subscriptions.get_mut(&subscription)?.feed;
        self.cells.during(|| feed.next(now))
    }

    // ---- publishers

    pub(crate) fn declare(&mut self, config: SequenceConfig) {
        let id = config.id;
        let publisher = Publisher {
            sequence: Sequence::new(config),
            waiting: VecDeque::new(),
            closing: None,
            report: None,
            done: false,
            routed: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
        };
        let key = publisher.sequence.config().origin.key.clone();
        self.publishers.insert(id, publisher);
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.reroute_key(link, &key);
        }
    }

    /// Publishes what the application of a publisher wants, as far as nobody is waited for.
    /// Calls back with the number and length of each sample, which gives the payload.
    pub(crate) fn publish(
        &mut self,
        id: u64,
        time_ns: u64,
        mut payload: impl FnMut(u64, usize) -> (Headers, Bytes),
    ) {
        let now = self.now();
        let links = &self.links;
        let Some(publisher) = self.publishers.get_mut(&id) else { return };
        let sequence = &mut publisher.sequence;
        let mut waited = false;
        while let Some(len) = publisher.waiting.front().copied() {
            if sequence.blocked(len, now, |link| progress(links, *link)).is_some() {
                self.counts.blocked += 1;
                return;
            }
            publisher.waiting.pop_front();
            let (headers, payload) = payload(sequence.last_seq() + 1, len);
            sequence.append(now, time_ns, headers, payload);
            waited = true;
        }
        if waited && publisher.closing.is_none() {
            sequence.stop_waiting(now);
        }
    }

    pub(crate) fn close(&mut self, id: u64, deadline: Instant) {
        let now = self.now();
        if let Some(publisher) = self.publishers.get_mut(&id)
            && publisher.closing.is_none()
        {
            publisher.waiting.clear();
            publisher.sequence.close(now);
            publisher.closing = Some(deadline);
        }
    }

    /// Looks whether a closed publisher has everything confirmed, or its deadline came.
    pub(crate) fn settle(&mut self, id: u64) -> bool {
        let now = self.now();
        let links = &self.links;
        let Some(publisher) = self.publishers.get_mut(&id) else { return false };
        let Some(deadline) = publisher.closing.filter(|_| publisher.report.is_none()) else {
            return false;
        };
        let last = publisher.sequence.last_seq();
        let awaited =
            publisher.sequence.await_confirmed(last, now, |link| progress(links, *link)).is_some();
        if awaited && now < deadline {
            return false;
        }
        publisher.report = Some(publisher.sequence.report(last));
        true
    }

    // ---- time

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let publishers = self.publishers.values();
        let closing = publishers
            .clone()
            .filter(|publisher| publisher.report.is_none())
            .filter_map(|publisher| publisher.closing);
        let links = self.links.values();
        publishers
            .filter_map(|publisher| publisher.sequence.poll_timeout())
            .chain(closing)
            .chain(
                links.clone().filter(|it| !it.is_full).filter_map(|it| it.schedule.poll_timeout()),
            )
            .chain(links.filter_map(|link| link.review_at))
            .min()
    }

    /// When somebody who is waited for, or is lost, is given up, if nothing else happens.
    pub(crate) fn poll_stall(&self) -> Option<Instant> {
        let publishers = self.publishers.values();
        publishers.filter_map(|publisher| publisher.sequence.poll_timeout()).min()
    }

    pub(crate) fn handle_timeout(&mut self) {
        let now = self.now();
        let links = &self.links;
        for publisher in self.publishers.values_mut() {
            if publisher.sequence.poll_timeout().is_some_and(|at| at <= now) {
                self.counts.stalls +=
                    publisher.sequence.handle_timeout(now, |link| progress(links, *link));
            }
        }
        for (link, state) in &mut self.links {
            if state.review_at.is_some_and(|at| at <= now) {
                state.review_at = None;
                self.cells.mark_all(*link);
            }
        }
    }
}

impl NodeLink {
    /// Is there something that it writes, now or after a while of waiting for company?
    pub(crate) fn writes(&self) -> bool {
        self.schedule.has_turn() || self.has_reverse()
    }

    fn has_reverse(&self) -> bool {
        self.schedule.is_due(Instant::from_nanos(u64::MAX))
    }

    /// What goes back to the peer waits no more for company.
    pub(crate) fn hurry(&mut self) {
        if !self.schedule.has_turn() {
            self.schedule.hurry();
        }
    }

    /// How many sequences it knows that come in.
    pub(crate) fn sequences(&self) -> usize {
        self.receiver.sequences()
    }
}

fn progress(links: &BTreeMap<u64, NodeLink>, link: u64) -> LinkProgress {
    links.get(&link).map_or_else(LinkProgress::default, |state| state.schedule.progress())
}
