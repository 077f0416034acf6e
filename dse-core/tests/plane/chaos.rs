//! Random schedules of the data plane against a model of law L8: per publisher and key
//! samples come in order and once, a gap of a stream is reported exactly, and the latest
//! of all arrives once the faults are over. One thread and paused time, so a seed that
//! fails fails again.

mod model;
mod settling;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dse_core::node::{Delivery, Overflow, Publisher, Subscriber};
use dse_core::protocol::{InterestOptions, Kind, LinkId};
use tokio::time::{Instant, sleep, timeout};

use super::world::{self, Link, Node, payload};
use model::{KEYS, NODES, Random, Told, place, stamp, wants};

const PATTERNS: [&str; 4] = ["**", "block", "state", "history"];
const PUBLISHING: usize = 2;
const STEPS: usize = 250;

#[test]
fn what_subscribers_are_told_is_true_whatever_happens() {
    for seed in 0..100 {
        run(seed, true);
    }
}

#[test]
fn without_faults_nothing_is_lost_of_what_waits() {
    for seed in 0..100 {
        run(seed, false);
    }
}

fn run(seed: u64, faults: bool) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    println!("seed {seed}, faults: {faults}");
    runtime.block_on(async {
        let mut bus = Bus::new(seed, faults);
        for _ in 0..STEPS {
            bus.step().await;
            bus.nobody_broke_the_protocol();
        }
        bus.settle().await;
    });
}

struct Bus {
    random: Random,
    faults: bool,
    nodes: Vec<Participant>,
    links: Vec<Wired>,
    last_link: u64,
    last_subscription: u64,
    /// Routes as the nodes know them: publishing node, key, link.
    routes: BTreeSet<(usize, usize, u64)>,
}

struct Participant {
    node: Node,
    publishers: BTreeMap<usize, Publisher>,
    /// Numbers given so far, by key.
    published: [u64; KEYS.len()],
    /// Was anything published since it was declared?
    present: [bool; KEYS.len()],
    subscriptions: Vec<Subscription>,
}

/// A link, and which two nodes it joins.
struct Wired {
    ends: (usize, usize),
    link: Option<Link>,
}

struct Subscription {
    keys: &'static str,
    subscriber: Subscriber,
    told: BTreeMap<(usize, usize), Told>,
}

impl Bus {
    fn new(seed: u64, faults: bool) -> Self {
        let nodes = NODES.iter().map(|name| Participant {
            node: if faults { Node::new(name) } else { Node::patient(name) },
            publishers: BTreeMap::new(),
            published: [0; KEYS.len()],
            present: [false; KEYS.len()],
            subscriptions: Vec::new(),
        });
        let nodes = nodes.collect();
        let pairs = (0..NODES.len()).flat_map(|b| (0..b.min(PUBLISHING)).map(move |a| (a, b)));
        let links = pairs.map(|ends| Wired { ends, link: None }).collect();
        let random = Random(seed);
        let (last_link, last_subscription) = (0, 0);
        let mut bus = Self {
            random,
            faults,
            nodes,
            links,
            last_link,
            last_subscription,
            routes: BTreeSet::new(),
        };
        for node in 0..PUBLISHING {
            (0..KEYS.len()).for_each(|key| bus.declare(node, key));
        }
        (0..bus.links.len()).for_each(|link| bus.connect(link));
        (1..NODES.len()).for_each(|node| bus.subscribe(node, 0));
        if !faults {
            bus.control_catches_up(1);
        }
        bus
    }

    async fn step(&mut self) {
        let faults = if self.faults { 100 } else { 60 };
        match self.random.below(faults) {
            0..20 => self.publish().await,
            20..40 => self.take(),
            40..50 => sleep(Duration::from_millis(self.random.below(30))).await,
            50..60 => self.yield_a_little().await,
            60..70 => self.control_catches_up(3),
            70..75 => {
                let wires = self.random.below(4);
                let link = self.random.pick(self.links.len());
                if let Some(link) = &self.links[link].link {
                    let wire = if wires.is_multiple_of(2) { &link.there } else { &link.back };
                    if wires < 2 { wire.shut() } else { wire.open() }
                }
            }
            75..79 => {
                let link = self.random.pick(self.links.len());
                self.fall(link, false);
            }
            79..84 => {
                let link = self.random.pick(self.links.len());
                self.connect(link);
            }
            84..88 => {
                let (node, keys) =
                    (self.random.pick(NODES.len()), self.random.pick(PATTERNS.len()));
                self.subscribe(node, keys);
            }
            88..91 => {
                let node = self.random.pick(NODES.len());
                let subscriptions = &mut self.nodes[node].subscriptions;
                if !subscriptions.is_empty() {
                    subscriptions.swap_remove(self.random.pick(subscriptions.len()));
                }
            }
            91..96 => {
                let (node, key) = (self.random.pick(PUBLISHING), self.random.pick(KEYS.len()));
                if self.nodes[node].publishers.contains_key(&key) {
                    self.undeclare(node, key).await;
                } else {
                    self.declare(node, key);
                }
            }
            96..98 => {
                let node = self.random.pick(PUBLISHING);
                self.restart(node, false).await;
            }
            _ => {
                let node = self.random.pick(PUBLISHING);
                self.restart(node, true).await;
            }
        }
    }

    /// Several samples, some of which may be given up.
    async fn publish(&mut self) {
        let (node, key) = (self.random.pick(PUBLISHING), self.random.pick(KEYS.len()));
        let most = if self.random.below(8) == 0 { 3000 } else { 100 };
        let (count, patience) = (self.random.below(most), self.random.below(40));
        let Participant { publishers, published, present, node, .. } = &mut self.nodes[node];
        let Some(publisher) = publishers.get(&key) else { return };
        for _ in 0..count {
            let next = payload(stamp(node.info.incarnation.0, key, published[key] + 1));
            let done = if patience < 20 {
                publisher.try_publish(next).is_ok()
            } else {
                let publishing = publisher.publish(next);
                timeout(Duration::from_millis(patience), publishing).await.is_ok()
            };
            if !done {
                return;
            }
            published[key] += 1;
            present[key] = true;
        }
    }

    /// A subscriber takes some of what is there.
    fn take(&mut self) {
        let (node, most) = (self.random.pick(NODES.len()), self.random.below(200));
        let subscriptions = self.nodes[node].subscriptions.len();
        if subscriptions > 0 {
            let subscription = self.random.pick(subscriptions);
            self.take_from(node, subscription, most);
        }
    }

    /// Returns how many deliveries there were.
    fn take_from(&mut self, node: usize, subscription: usize, most: u64) -> u64 {
        let mut taken = 0;
        while taken < most
            && let Some(delivery) =
                self.nodes[node].subscriptions[subscription].subscriber.try_recv()
        {
            let (from, key) = place(&delivery);
            let (incarnation, published) =
                (self.nodes[from].node.info.incarnation.0, self.nodes[from].published[key]);
            let told = &mut self.nodes[node].subscriptions[subscription].told;
            let told = told.entry((from, key)).or_default();
            told.note(&delivery, key);
            assert!(told.incarnation <= incarnation, "{delivery:?}");
            if told.incarnation == incarnation {
                assert!(told.last_seq <= Some(published), "{delivery:?}");
            }
            let waits = KEYS[key].1 == Kind::Stream && KEYS[key].2 == Overflow::Block;
            let lost = matches!(delivery, Delivery::Gap { .. } | Delivery::Restarted { .. });
            assert!(self.faults || !(waits && lost), "{delivery:?}");
            taken += 1;
        }
        taken
    }

    async fn yield_a_little(&mut self) {
        for _ in 0..self.random.below(20) {
            tokio::task::yield_now().await;
        }
    }

    fn declare(&mut self, node: usize, key: usize) {
        let (name, kind, overflow, history) = KEYS[key];
        let participant = &mut self.nodes[node];
        let publisher = participant.node.publisher(name, kind, overflow, history);
        participant.publishers.insert(key, publisher);
        participant.present[key] = false;
    }

    async fn undeclare(&mut self, node: usize, key: usize) {
        self.routes.retain(|(of, its, _)| (*of, *its) != (node, key));
        let Some(publisher) = self.nodes[node].publishers.remove(&key) else { return };
        match self.random.below(3) {
            0 => drop(publisher.close().await),
            // Given up half-way.
            1 => drop(timeout(Duration::from_millis(1), publisher.close()).await),
            _ => drop(publisher),
        }
    }

    fn subscribe(&mut self, node: usize, keys: usize) {
        self.last_subscription += 1;
        let keys = PATTERNS[keys];
        let subscriber = self.nodes[node].node.subscribe(self.last_subscription, keys);
        let told = BTreeMap::new();
        self.nodes[node].subscriptions.push(Subscription { keys, subscriber, told });
    }

    fn connect(&mut self, link: usize) {
        let (a, b) = self.links[link].ends;
        if self.links[link].link.is_none() {
            self.last_link += 1;
            let wires = world::link(&self.nodes[a].node, &self.nodes[b].node, self.last_link);
            self.links[link].link = Some(wires);
        }
    }

    fn fall(&mut self, link: usize, graceful: bool) {
        let (a, b) = self.links[link].ends;
        let Some(link) = self.links[link].link.take() else { return };
        self.routes.retain(|(_, _, its)| *its != link.id);
        if graceful {
            // What was sent before is still read.
            link.there.open();
            link.back.open();
            for end in [a, b] {
                self.nodes[end].node.plane.link_closed(LinkId(link.id), true);
            }
        } else {
            link.fall(&self.nodes[a].node, &self.nodes[b].node);
        }
    }

    /// A node crashes or leaves, and comes back.
    async fn restart(&mut self, node: usize, graceful: bool) {
        if graceful {
            let deadline = Instant::now() + Duration::from_secs(1);
            self.nodes[node].node.plane.finish(deadline).await;
        }
        for link in 0..self.links.len() {
            let (a, b) = self.links[link].ends;
            if a == node || b == node {
                self.fall(link, graceful);
            }
        }
        let participant = &mut self.nodes[node];
        participant.node.plane.stop();
        participant.publishers.clear();
        participant.subscriptions.clear();
        participant.published = [0; KEYS.len()];
        let incarnation = participant.node.info.incarnation.0 + 1;
        participant.node = Node::restarted(NODES[node], incarnation);
        (0..KEYS.len()).for_each(|key| self.declare(node, key));
    }

    /// The routes become what the subscriptions want, each with the chance of one in `odds`.
    fn control_catches_up(&mut self, odds: u64) {
        let mut wanted = BTreeSet::new();
        for Wired { ends: (a, b), link } in &self.links {
            let Some(link) = link else { continue };
            for (from, to) in [(*a, *b), (*b, *a)] {
                let keys = self.nodes[from].publishers.keys();
                let keys = keys.filter(|key| self.nodes[to].wants(**key));
                wanted.extend(keys.map(|key| (from, *key, link.id)));
            }
        }
        let changes: Vec<_> = wanted.symmetric_difference(&self.routes).copied().collect();
        for route @ (node, key, link) in changes {
            if self.random.below(odds) > 0 {
                continue;
            }
            let (plane, name) = (&self.nodes[node].node.plane, world::key(KEYS[key].0));
            if wanted.contains(&route) {
                self.routes.insert(route);
                plane.route_added(&name, LinkId(link), InterestOptions::default());
            } else {
                self.routes.remove(&route);
                plane.route_removed(&name, LinkId(link));
            }
        }
    }
}

impl Participant {
    fn wants(&self, key: usize) -> bool {
        self.subscriptions.iter().any(|subscription| wants(subscription.keys, key))
    }
}
