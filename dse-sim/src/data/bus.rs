//! Nodes that only carry data, on links with bandwidth, a bounded queue and delay, in virtual
//! time. What the control bus would say of interest is scripted: it travels on the same links,
//! beside the data.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use dse_core::data::limits::{FRAME_BYTES, IN_FLIGHT_BYTES, LOG_BYTES, PAYLOAD_BYTES, Window};
use dse_core::data::receive::{Delivery, Wanted};
use dse_core::data::send::{Policy, Report, SequenceConfig, UnconfirmedCause};
use dse_core::data::{DataFrame, Headers, Origin};
use dse_core::protocol::{
    Class, Incarnation, Instant, InterestOptions, Kind, NodeId, SubscriptionId,
};

use super::counts::Counts;
use super::model::{self, Model, Reader, Source, payload};
use super::node::DataNode;
use super::words::{ends_amid, of_frame};
use crate::world::{expr, id, key};

/// What a lane is like.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// How long everything takes beside its own length.
    pub delay: Duration,
    /// Bytes a second.
    pub bandwidth: u64,
    /// What the lane holds before it refuses a frame, in bytes.
    pub queue: usize,
}

impl Default for Path {
    /// A millisecond, 10 MB/s, 256 KiB.
    fn default() -> Self {
        Self { delay: Duration::from_millis(1), bandwidth: 10_000_000, queue: 256 * 1024 }
    }
}

/// How fast an application takes what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All at once.
    Eager,
    /// One delivery in each such time.
    Every(Duration),
    /// Nothing.
    Stopped,
}

/// What a publisher is like.
#[derive(Clone, Debug)]
pub struct PublisherSetup {
    /// Below the node's own name.
    pub leaf: String,
    /// What happens to a slow subscriber; `Latest` is a state.
    pub policy: Policy,
    /// How urgent it is.
    pub class: Class,
    /// How many samples late joiners get.
    pub history: usize,
    /// For how long a sample is sent.
    pub lifetime: Option<Duration>,
    /// The floor, in bytes a second.
    pub min_rate: u64,
}

impl PublisherSetup {
    /// One of normal class without more.
    pub fn new(leaf: &str, policy: Policy) -> Self {
        let leaf = leaf.to_owned();
        let class = Class::Normal;
        Self { leaf, policy, class, history: 0, lifetime: None, min_rate: 0 }
    }
}

/// For how long publishers wait for subscribers that make no progress.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The nodes, their links and the model of what should be.
pub struct Bus {
    now: u64,
    turn: u64,
    agenda: BTreeMap<(u64, u64), Action>,
    slots: Vec<Slot>,
    links: Vec<Link>,
    pub(super) model: Model,
    pub(super) counts: Counts,
    ids: u64,
    steps: u64,
    transcript: Option<Vec<String>>,
    course: u64,
}

struct Slot {
    id: NodeId,
    incarnation: u64,
    node: Option<DataNode>,
    paused: bool,
    window: Window,
    paces: BTreeMap<u64, Pace>,
    timer: Option<u64>,
    /// Leaves as soon as its publishers are done.
    leaving: bool,
    /// What came of its publishers, by key.
    reports: BTreeMap<String, Report>,
    /// Deliveries, if they are kept.
    taken: BTreeMap<u64, Vec<Delivery>>,
}

struct Link {
    ends: [usize; 2],
    /// Does the end know the link?
    up: [bool; 2],
    path: Path,
    lanes: [Lane; 2],
    frozen: bool,
}

/// What goes to one end.
#[derive(Default)]
struct Lane {
    queue: VecDeque<(u64, DataFrame)>,
    bytes: usize,
    busy_until: u64,
    /// A frame that the lane refused.
    pending: Option<DataFrame>,
    control: VecDeque<(u64, Vec<Wanted>)>,
    /// The sender left in order after what is queued.
    left: bool,
}

#[derive(Debug)]
enum Action {
    Arrive { link: usize, side: usize },
    Control { link: usize, side: usize },
    Fall { link: usize, side: usize },
    Reconnect { a: usize, b: usize },
    Timer { node: usize },
    App { node: usize, life: u64, subscription: u64 },
}

impl Default for Bus {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Bus {
    /// No nodes yet. May keep all that happens in words.
    pub fn new(transcript: bool) -> Self {
        Self {
            now: 0,
            turn: 0,
            agenda: BTreeMap::new(),
            slots: Vec::new(),
            links: Vec::new(),
            model: Model::default(),
            counts: Counts::default(),
            ids: 0,
            steps: 0,
            transcript: transcript.then(Vec::new),
            course: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// How many things happened.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// All that happened as one number.
    pub fn course(&self) -> u64 {
        self.course
    }

    /// All that happened, in words.
    pub fn transcript(&self) -> &[String] {
        self.transcript.as_deref().unwrap_or_default()
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        let mut counts = self.counts.clone();
        self.slots.iter().filter_map(|slot| slot.node.as_ref()).for_each(|it| add(&mut counts, it));
        counts
    }

    /// What was counted under this name.
    pub fn count(&self, name: &str) -> u64 {
        let rows = self.counts().rows();
        rows.into_iter().find(|(it, _)| *it == name).map_or(0, |(_, count)| count)
    }

    pub(super) fn remark(&mut self, what: impl FnOnce() -> String) {
        if let Some(transcript) = &mut self.transcript {
            transcript.push(format!("{:>12.6} {}", self.now as f64 / 1e9, what()));
        }
    }

    fn note(&mut self, words: &[u64]) {
        for word in words {
            self.course = (self.course.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    // ---- nodes

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
                leaving: false,
                reports: BTreeMap::new(),
                taken: BTreeMap::new(),
            });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[index];
        assert!(slot.node.is_none(), "{name} runs");
        slot.incarnation += 1;
        let incarnation = Incarnation(slot.incarnation);
        slot.node = Some(DataNode::new(incarnation, slot.window, STALL_TIMEOUT));
        (slot.paused, slot.leaving, slot.timer) = (false, false, None);
        self.remark(|| format!("{name} starts"));
        index
    }

    /// Was there ever such a node?
    pub(super) fn has(&self, node: usize) -> bool {
        node < self.slots.len()
    }

    /// Is a publisher of this life there and not closed?
    pub(super) fn is_open(&self, node: usize, life: u64, publisher: u64) -> bool {
        let running = self.slots[node].node.as_ref().filter(|_| self.life(node) == life);
        let publisher = running.and_then(|it| it.publishers.get(&publisher));
        publisher.is_some_and(|publisher| publisher.closing.is_none())
    }

    /// Is such a key declared and not yet ended, or as another kind?
    pub(super) fn declares(&self, node: usize, setup: &PublisherSetup) -> bool {
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

    pub(super) fn is_leaving(&self, node: usize) -> bool {
        self.slots[node].leaving
    }

    pub(super) fn life(&self, node: usize) -> u64 {
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

    fn end_life(&mut self, node: usize) {
        self.remark(|| format!("node {node} ends"));
        let life = self.slots[node].incarnation;
        let slot = &mut self.slots[node];
        if let Some(ended) = slot.node.take() {
            add(&mut self.counts, &ended);
            for subscription in ended.subscriptions.keys() {
                self.model.unsubscribe((node, life, *subscription));
            }
        }
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

    fn finish_leave(&mut self, node: usize) {
        self.remark(|| format!("node {node} has left"));
        self.end_life(node);
        for link in self.links_of(node) {
            let side = self.side_of(link, node);
            self.links[link].up[side] = false;
            let to = 1 - side;
            let at = self.now + nanos(self.links[link].path.delay);
            let lane = &mut self.links[link].lanes[to];
            lane.left = true;
            // What was written goes, the queue full or not.
            if let Some(frame) = lane.pending.take() {
                lane.bytes += frame.wire_len();
                lane.queue.push_back((at.max(lane.busy_until), frame));
            }
            self.lose_lane(link, side);
            self.plan(Duration::ZERO, Action::Arrive { link, side: to });
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

    // ---- links

    /// Joins two nodes with a link, if they have none. `path` is for both directions.
    pub fn connect(&mut self, a: usize, b: usize, path: Path) {
        let joins = |link: &Link| {
            link.ends.contains(&a) && link.ends.contains(&b) && link.up.contains(&true)
        };
        let both = self.slots[a].node.is_some() && self.slots[b].node.is_some();
        let paused = self.slots[a].paused || self.slots[b].paused;
        let leaving = self.slots[a].leaving || self.slots[b].leaving;
        if a == b || !both || paused || leaving || self.links.iter().any(joins) {
            return;
        }
        let number = self.links.len();
        self.links.push(Link {
            ends: [a, b],
            up: [true; 2],
            path,
            lanes: [Lane::default(), Lane::default()],
            frozen: false,
        });
        self.remark(|| format!("link {number} of {a} and {b}: {path:?}"));
        for (side, own) in [a, b].into_iter().enumerate() {
            let other = [b, a][side];
            let peer = (self.slots[other].id.clone(), Incarnation(self.slots[other].incarnation));
            let now = self.instant();
            if let Some(node) = &mut self.slots[own].node {
                node.set_now(now);
                node.open_link(number as u64, peer);
            }
        }
        for (side, own) in [a, b].into_iter().enumerate() {
            self.say_wishes(number, side, own);
            self.touch(own);
        }
    }

    fn say_wishes(&mut self, link: usize, side: usize, node: usize) {
        let Some(running) = &self.slots[node].node else { return };
        let wishes = running.subscriptions.values().map(|it| it.wanted.clone()).collect();
        let at = self.now + nanos(self.links[link].path.delay);
        self.links[link].lanes[1 - side].control.push_back((at, wishes));
        self.plan_at(at, Action::Control { link, side: 1 - side });
    }

    /// The links of two nodes fall. What is under way is lost; each end notices in its time.
    pub fn cut(&mut self, a: usize, b: usize, notice: [Duration; 2]) {
        for link in self.links_of(a) {
            if !self.links[link].ends.contains(&b) {
                continue;
            }
            for (side, notice) in notice.into_iter().enumerate() {
                self.lose_lane(link, side);
                self.plan(notice, Action::Fall { link, side });
            }
            self.links[link].frozen = true;
        }
    }

    /// The links of two nodes carry nothing until they thaw.
    pub fn freeze(&mut self, a: usize, b: usize) {
        for link in self.links_of(a) {
            self.links[link].frozen |= self.links[link].ends.contains(&b);
        }
    }

    /// All links go on that are not cut.
    pub fn thaw(&mut self) {
        for link in 0..self.links.len() {
            if self.links[link].up.contains(&true) && self.links[link].frozen && !self.is_cut(link)
            {
                self.links[link].frozen = false;
                for side in 0..2 {
                    self.plan(Duration::ZERO, Action::Control { link, side });
                    self.plan(Duration::ZERO, Action::Arrive { link, side });
                }
            }
        }
    }

    fn is_cut(&self, link: usize) -> bool {
        self.agenda
            .values()
            .any(|action| matches!(action, Action::Fall { link: of, .. } if *of == link))
    }

    /// Connects them after a while, again with this path.
    pub fn reconnect(&mut self, a: usize, b: usize, after: Duration) {
        self.plan(after, Action::Reconnect { a, b });
    }

    fn lose_lane(&mut self, link: usize, side: usize) {
        let cut = self.links[link].lanes[side].queue.iter().any(|(_, frame)| ends_amid(frame));
        self.counts.cut_fragments += u64::from(cut);
        let lane = &mut self.links[link].lanes[side];
        lane.queue.clear();
        lane.control.clear();
        (lane.bytes, lane.pending) = (0, None);
    }

    /// Are these two joined by a link that both know?
    pub fn joined(&self, a: usize, b: usize) -> bool {
        self.links.iter().any(|it| {
            it.ends.contains(&a) && it.ends.contains(&b) && it.up == [true; 2] && !it.frozen
        })
    }

    fn links_of(&self, node: usize) -> Vec<usize> {
        let ends = |link: &Link| {
            (0..2).any(|side| link.ends[side] == node && (link.up[side] || link.up[1 - side]))
        };
        (0..self.links.len()).filter(|link| ends(&self.links[*link])).collect()
    }

    fn side_of(&self, link: usize, node: usize) -> usize {
        usize::from(self.links[link].ends[1] == node)
    }

    // ---- publishers and subscribers

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
        self.slots[node].paces.remove(&subscription);
        self.wishes_changed(node);
    }

    fn wishes_changed(&mut self, node: usize) {
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

    fn reader(&self, node: usize, subscription: u64) -> Reader {
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

    // ---- time

    /// Lets this much time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + nanos(time);
        while let Some((&(at, _), _)) = self.agenda.first_key_value()
            && at <= end
        {
            self.step();
        }
        self.now = end;
    }

    /// Runs until nothing is to be done any more (law L1).
    ///
    /// # Panics
    /// It does not come to rest in time.
    pub fn run_until_idle(&mut self, limit: Duration) {
        let end = self.now + nanos(limit);
        while let Some((&(at, _), action)) = self.agenda.first_key_value() {
            assert!(at <= end, "L1: the bus does not come to rest: {action:?}");
            self.step();
        }
    }

    /// Of a bus at rest: nobody holds anything up.
    pub(super) fn assert_settled(&self) {
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
    pub(super) fn publish_once_more(&mut self) {
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
    pub(super) fn assert_up_to_date(&self) {
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
    pub(super) fn assert_reports_at_rest(&mut self) {
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

    fn step(&mut self) {
        let Some(((at, _), action)) = self.agenda.pop_first() else { return };
        self.now = self.now.max(at);
        self.steps += 1;
        assert!(self.steps < STEPS, "L1: the world does not come to rest in {STEPS} steps");
        match action {
            Action::Arrive { link, side } => self.arrive(link, side),
            Action::Control { link, side } => self.control(link, side),
            Action::Fall { link, side } => self.fall(link, side, "is lost"),
            Action::Reconnect { a, b } => {
                let before =
                    self.links.iter().rev().find(|it| it.ends.contains(&a) && it.ends.contains(&b));
                let path = before.map(|link| link.path).unwrap_or_default();
                self.connect(a, b, path);
            }
            Action::Timer { node } => {
                if self.slots[node].timer.is_some_and(|at| at <= self.now) {
                    self.slots[node].timer = None;
                    self.time_out(node);
                }
            }
            Action::App { node, life, subscription } => self.app(node, life, subscription),
        }
    }

    fn time_out(&mut self, node: usize) {
        if self.slots[node].paused {
            return;
        }
        let now = self.instant();
        if let Some(running) = &mut self.slots[node].node {
            running.set_now(now);
            running.handle_timeout();
        }
        self.touch(node);
    }

    fn app(&mut self, node: usize, life: u64, subscription: u64) {
        if self.life(node) != life || self.slots[node].paused {
            return;
        }
        if let Some(Pace::Every(time)) = self.slots[node].paces.get(&subscription).copied() {
            self.take(node, subscription, 1);
            self.plan(time, Action::App { node, life, subscription });
        }
        self.touch(node);
    }

    /// The application of a subscription takes as much as is there, or this many deliveries.
    fn take(&mut self, node: usize, subscription: u64, most: usize) -> bool {
        let reader = self.reader(node, subscription);
        let mut any = false;
        for _ in 0..most {
            let now = self.instant();
            let Some(running) = &mut self.slots[node].node else { return any };
            running.set_now(now);
            let Some(delivery) = running.next_delivery(subscription) else { return any };
            any = true;
            self.note(&[self.now, reader.2]);
            self.remark(|| format!("  {reader:?} takes {}", model::words(&delivery)));
            self.model.deliver(reader, &delivery, &mut self.counts);
            if self.transcript.is_some() {
                self.slots[node].taken.entry(subscription).or_default().push(delivery);
            }
        }
        any
    }

    fn arrive(&mut self, link: usize, side: usize) {
        let node = self.links[link].ends[side];
        loop {
            let state = &mut self.links[link];
            if state.frozen || !state.up[side] || self.slots[node].paused {
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

    fn read(&mut self, link: usize, side: usize, frame: DataFrame) {
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

    fn control(&mut self, link: usize, side: usize) {
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
            let Some((_, wishes)) = state.lanes[side].control.pop_front() else { return };
            if let Some(running) = &mut self.slots[node].node {
                running.set_now(now);
                running.set_wishes(link as u64, wishes);
            }
            self.touch(node);
        }
    }

    fn fall(&mut self, link: usize, side: usize, how: &str) {
        let node = self.links[link].ends[side];
        if self.slots[node].paused {
            return self.plan(Duration::from_millis(50), Action::Fall { link, side });
        }
        self.close_end(link, side, false, how);
    }

    fn close_end(&mut self, link: usize, side: usize, left: bool, how: &str) {
        if !std::mem::replace(&mut self.links[link].up[side], false) {
            return;
        }
        let node = self.links[link].ends[side];
        self.remark(|| format!("link {link} {how}, says node {node}"));
        let now = self.instant();
        if let Some(running) = &mut self.slots[node].node {
            running.set_now(now);
            running.close_link(link as u64, left);
        }
        self.touch(node);
    }

    /// A node does what follows from what it was told, until nothing more follows.
    fn touch(&mut self, node: usize) {
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

    fn eager_apps_take(&mut self, node: usize) -> bool {
        let eager = self.slots[node].paces.iter().filter(|(_, pace)| **pace == Pace::Eager);
        let eager: Vec<u64> = eager.map(|(id, _)| *id).collect();
        eager.into_iter().filter(|id| self.take(node, *id, usize::MAX)).count() > 0
    }

    fn publish_what_waits(&mut self, node: usize) {
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

    fn settle(&mut self, node: usize) -> bool {
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
            self.slots[node].reports.insert(key, report);
            return true;
        }
        false
    }

    fn has_settled(&self, node: usize) -> bool {
        let running = self.slots[node].node.as_ref();
        running.is_none_or(|it| it.publishers.values().all(|publisher| publisher.done))
    }

    fn write_links(&mut self, node: usize) -> bool {
        let mut any = false;
        for link in self.links_of(node) {
            let side = self.side_of(link, node);
            while self.links[link].up[side] && self.write(link, side, node) {
                any = true;
            }
        }
        any
    }

    fn write(&mut self, link: usize, side: usize, node: usize) -> bool {
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

    fn rearm(&mut self, node: usize) {
        let slot = &mut self.slots[node];
        let eager = |id: &u64| slot.paces.get(id) == Some(&Pace::Eager);
        let Some(running) = &slot.node else { return };
        let feeds = running.subscriptions.iter().filter(|(id, _)| eager(id));
        let feeds = feeds.filter_map(|(_, it)| it.feed.poll_timeout());
        let due = running.poll_timeout().into_iter().chain(feeds).min();
        let Some(due) = due.map(|at| at.as_nanos().max(self.now + 1)) else { return };
        if slot.timer.is_none_or(|at| at > due || at <= self.now) {
            slot.timer = Some(due);
            self.plan_at(due, Action::Timer { node });
        }
    }

    // ---- what must always hold

    /// L6: what a node holds is bounded.
    fn check(&self, node: usize) {
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
    }

    /// L10: a report names who wanted the samples and has not confirmed them. Who is not named
    /// was handed all of them, or told that they are lost.
    fn check_report(&mut self, node: usize, publisher: u64, key: &str, last: u64, report: &Report) {
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
                let said = state.wishes.iter().any(|wish| wish.id == wanted.id);
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

    fn instant(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    /// The time.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    fn plan(&mut self, after: Duration, action: Action) {
        self.plan_at(self.now + nanos(after), action);
    }

    fn plan_at(&mut self, at: u64, action: Action) {
        self.turn += 1;
        self.agenda.insert((at, self.turn), action);
    }
}

fn add(counts: &mut Counts, node: &DataNode) {
    counts.stalls += node.counts.stalls;
    counts.left_out += node.counts.left_out;
    counts.resumes += node.counts.resumes;
    counts.blocked += node.counts.blocked;
    counts.inversions += node.counts.inversions;
    counts.late_confirmations += node.counts.late_confirmations;
}

/// A world that takes so many is one that never rests.
const STEPS: u64 = 2_000_000;
/// A node that does so much at one moment never waits.
const ROUNDS: usize = 100_000;

/// Small frames take the way over their wire form.
fn recoded(frame: DataFrame) -> DataFrame {
    if frame.wire_len() > 32 * 1024 {
        return frame;
    }
    let wire = frame.into_wire(1024).concat();
    DataFrame::from_wire(Bytes::from(wire)).expect("a frame as it was written")
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
