//! Random schedules: what happens in a world of data is decided by its seed.

use std::time::Duration;

use dse_core::data::limits::{LARGEST_WINDOW, LEAST_WINDOW, Window};
use dse_core::data::send::Policy;
use dse_core::protocol::{Class, InterestOptions};

use super::bus::{Bus, Pace, Path, PublisherSetup, STALL_TIMEOUT};
use super::counts::Counts;
use crate::world::Random;

/// One thing that befalls the world, or time that passes.
#[derive(Clone, Debug)]
pub enum Act {
    /// Time passes.
    Wait(Duration),
    /// A node starts, if it does not run, and is joined with all others.
    Start(usize),
    /// A node ends without a word; its peers notice after this time.
    Crash(usize, Duration),
    /// A node leaves in order within this time.
    Leave(usize, Duration),
    /// A node's process stands still.
    Pause(usize),
    /// It goes on.
    Resume(usize),
    /// A link falls, noticed by its ends after these times, and is back after the last.
    Cut(usize, usize, [Duration; 2], Duration),
    /// A link carries nothing.
    Freeze(usize, usize),
    /// All links carry again.
    Thaw,
    /// A node declares a key.
    Declare(usize, Box<PublisherSetup>),
    /// One of the publishers publishes so many samples of this length.
    Publish(usize, usize, usize),
    /// One of the publishers is closed, and waits this long at most.
    Close(usize, Duration),
    /// One of the publishers keeps nothing of before.
    Forget(usize),
    /// A node subscribes.
    Subscribe(usize, &'static str, InterestOptions, Pace),
    /// One of the subscriptions ends.
    Unsubscribe(usize),
    /// One of the subscriptions takes what is there at another pace.
    SetPace(usize, Pace),
}

/// A world of a seed on its way.
pub struct Play {
    bus: Bus,
    nodes: usize,
    windows: Vec<Window>,
    paths: Vec<Path>,
    /// Node, life and number.
    publishers: Vec<(usize, u64, u64)>,
    subscriptions: Vec<(usize, u64, u64)>,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const LEAVES: [&str; 3] = ["p", "q", "r"];
const PATTERNS: [&str; 6] = ["**", "a/*", "a/p", "*/p", "b/**", "*/q"];

/// The acts of a seed, as many as are wanted.
pub struct Acts {
    random: Random,
    nodes: usize,
    started: usize,
    /// Of a hundred samples so many are large.
    large: u64,
    /// Of ten acts so many are pauses.
    pauses: u64,
    policies: Vec<Policy>,
}

impl Acts {
    /// Those of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0xda7a);
        let nodes = nodes_of(seed);
        let all = [Policy::Block, Policy::Latest, Policy::DropOldest, Policy::DropNewest];
        let policies = match random.below(3) {
            0 => vec![*random.pick(&all)],
            _ => vec![all[0], all[0], all[1], all[2], all[3]],
        };
        let large = *random.pick(&[0, 5, 30]);
        let pauses = *random.pick(&[3, 5, 7]);
        Self { random, nodes, started: 0, large, pauses, policies }
    }

    fn node(&mut self) -> usize {
        self.random.below(self.nodes as u64) as usize
    }

    fn ms(&mut self, below: u64) -> Duration {
        Duration::from_micros(self.random.below(below * 1000))
    }

    fn pause(&mut self) -> Duration {
        match self.random.below(20) {
            0 => STALL_TIMEOUT + self.ms(2000),
            1..=3 => self.ms(3000),
            4..=9 => self.ms(200),
            _ => self.ms(10),
        }
    }

    fn setup(&mut self) -> PublisherSetup {
        let leaf = *self.random.pick(&LEAVES);
        let policy = *self.random.pick(&self.policies);
        let mut setup = PublisherSetup::new(leaf, policy);
        setup.class =
            *self.random.pick(&[Class::Normal, Class::Normal, Class::Bulk, Class::Realtime]);
        if policy != Policy::Latest {
            setup.history = *self.random.pick(&[0, 0, 1, 5]);
            let lifetime = self.ms(2000);
            setup.lifetime = self.random.percent(15).then_some(lifetime);
            setup.min_rate = *self.random.pick(&[0, 0, 0, 1000]);
        }
        setup
    }

    fn options(&mut self) -> InterestOptions {
        let mut options = InterestOptions::default();
        options.never_wait = self.random.percent(15);
        if self.random.percent(15) {
            options.min_interval = Duration::from_millis(1 + self.random.below(500));
        }
        options.class =
            *self.random.pick(&[None, None, None, Some(Class::Realtime), Some(Class::Bulk)]);
        options
    }

    fn pace(&mut self) -> Pace {
        match self.random.below(10) {
            0 | 1 => Pace::Stopped,
            2..=4 => Pace::Every(Duration::from_micros(100 + self.random.below(50_000))),
            _ => Pace::Eager,
        }
    }

    fn draw(&mut self) -> Act {
        let deadline = *self.random.pick(&[0, 1000, 7000, 30_000]);
        let deadline = Duration::from_millis(deadline);
        match self.random.below(100) {
            0..=35 => {
                let len = match self.random.below(100) {
                    it if it < self.large => 1 + self.random.below(400_000) as usize,
                    it if it < 60 => 1 + self.random.below(100) as usize,
                    it if it < 62 => 0,
                    _ => 1 + self.random.below(20_000) as usize,
                };
                let most = if len > 20_000 { 30 } else { *self.random.pick(&[1, 5, 50, 300]) };
                Act::Publish(self.random.draw() as usize, 1 + self.random.below(most) as usize, len)
            }
            36..=43 => Act::Declare(self.node(), Box::new(self.setup())),
            44..=47 => Act::Close(self.random.draw() as usize, deadline),
            48 => Act::Forget(self.random.draw() as usize),
            49..=58 => {
                let pattern = *self.random.pick(&PATTERNS);
                Act::Subscribe(self.node(), pattern, self.options(), self.pace())
            }
            59..=63 => Act::Unsubscribe(self.random.draw() as usize),
            64..=73 => Act::SetPace(self.random.draw() as usize, self.pace()),
            74..=81 => {
                let notice = [self.ms(300), self.ms(300)];
                let back = match self.random.below(4) {
                    0 => STALL_TIMEOUT + self.ms(3000),
                    _ => self.ms(1000),
                };
                Act::Cut(self.node(), self.node(), notice, back)
            }
            82..=84 => Act::Freeze(self.node(), self.node()),
            85..=88 => Act::Thaw,
            89 | 90 => Act::Pause(self.node()),
            91..=93 => Act::Resume(self.node()),
            94 => Act::Crash(self.node(), self.ms(2000)),
            95 => Act::Leave(self.node(), deadline),
            _ => Act::Start(self.node()),
        }
    }
}

impl Iterator for Acts {
    type Item = Act;

    fn next(&mut self) -> Option<Act> {
        if self.started < self.nodes {
            self.started += 1;
            return Some(Act::Start(self.started - 1));
        }
        let pauses = self.random.below(10) < self.pauses;
        Some(if pauses { Act::Wait(self.pause()) } else { self.draw() })
    }
}

fn nodes_of(seed: u64) -> usize {
    2 + (seed % 7 / 3) as usize
}

impl Play {
    /// The world of a seed, in which nothing happened yet.
    pub fn new(seed: u64, transcript: bool) -> Self {
        let mut random = Random::new(seed ^ 0x3a7e);
        let nodes = nodes_of(seed);
        let windows = [LEAST_WINDOW, LARGEST_WINDOW, Window { samples: 256, bytes: 128 * 1024 }];
        let path = |random: &mut Random| Path {
            delay: Duration::from_micros(*random.pick(&[100, 1000, 20_000, 80_000])),
            bandwidth: *random.pick(&[50_000, 1_000_000, 10_000_000, 100_000_000]),
            queue: *random.pick(&[4 * 1024, 64 * 1024, 1024 * 1024]),
        };
        Self {
            bus: if seed % 2 == 1 { Bus::with_control(transcript) } else { Bus::new(transcript) },
            nodes,
            windows: (0..nodes).map(|_| *random.pick(&windows)).collect(),
            paths: (0..nodes * nodes).map(|_| path(&mut random)).collect(),
            publishers: Vec::new(),
            subscriptions: Vec::new(),
        }
    }

    /// The world as it is.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    fn path(&self, a: usize, b: usize) -> Path {
        self.paths[a.min(b) * self.nodes + a.max(b)]
    }

    fn join_all(&mut self, node: usize) {
        for other in 0..self.nodes {
            if other != node && self.started(other) && self.started(node) {
                let path = self.path(node, other);
                self.bus.connect(node, other, path);
            }
        }
    }

    fn started(&self, node: usize) -> bool {
        self.bus.has(node) && self.bus.runs(node)
    }

    /// One of the publishers that still are.
    fn publisher(&self, nth: usize) -> Option<(usize, u64)> {
        let live = |it: &&(usize, u64, u64)| self.bus.is_open(it.0, it.1, it.2);
        let all: Vec<_> = self.publishers.iter().filter(live).collect();
        all.get(nth % all.len().max(1)).map(|(node, _, number)| (*node, *number))
    }

    fn subscription(&self, nth: usize) -> Option<(usize, u64)> {
        let live = |it: &&(usize, u64, u64)| self.started(it.0) && self.bus.life(it.0) == it.1;
        let all: Vec<_> = self.subscriptions.iter().filter(live).collect();
        all.get(nth % all.len().max(1)).map(|(node, _, number)| (*node, *number))
    }

    /// Does one act, if it makes sense now.
    pub fn act(&mut self, act: &Act) {
        if let Act::Wait(time) = act {
            return self.bus.run_for(*time);
        }
        self.bus.remark(|| format!("{act:?}"));
        match act {
            Act::Wait(_) => {}
            Act::Start(node) => self.start(*node),
            Act::Crash(node, notice) if self.started(*node) => self.bus.crash(*node, *notice),
            Act::Leave(node, deadline) if self.started(*node) => self.bus.leave(*node, *deadline),
            Act::Pause(node) if self.started(*node) => self.bus.pause(*node),
            Act::Resume(node) if self.started(*node) => self.bus.resume(*node),
            Act::Crash(..) | Act::Leave(..) | Act::Pause(_) | Act::Resume(_) => {}
            Act::Cut(a, b, notice, back) => {
                if a != b && self.bus.has(*a) && self.bus.has(*b) {
                    self.bus.cut(*a, *b, *notice);
                    self.bus.reconnect(*a, *b, notice[0].max(notice[1]) + *back);
                }
            }
            Act::Freeze(a, b) if a != b && self.bus.has(*a) => self.bus.freeze(*a, *b),
            Act::Freeze(..) => {}
            Act::Thaw => self.bus.thaw(),
            Act::Declare(node, setup) => self.declare(*node, setup),
            Act::Publish(nth, count, len) => {
                if let Some((node, number)) = self.publisher(*nth) {
                    self.bus.publish(node, number, vec![*len; *count]);
                }
            }
            Act::Close(nth, deadline) => {
                if let Some((node, number)) = self.publisher(*nth) {
                    self.bus.close(node, number, *deadline);
                }
            }
            Act::Forget(nth) => {
                if let Some((node, number)) = self.publisher(*nth) {
                    self.bus.forget(node, number);
                }
            }
            Act::Subscribe(node, pattern, options, pace) if self.started(*node) => {
                let number = self.bus.subscribe(*node, pattern, *options, *pace);
                self.subscriptions.push((*node, self.bus.life(*node), number));
            }
            Act::Subscribe(..) => {}
            Act::Unsubscribe(nth) => {
                if let Some((node, number)) = self.subscription(*nth) {
                    self.bus.unsubscribe(node, number);
                    self.subscriptions.retain(|it| it.2 != number);
                }
            }
            Act::SetPace(nth, pace) => {
                if let Some((node, number)) = self.subscription(*nth) {
                    self.bus.set_pace(node, number, *pace);
                }
            }
        }
    }

    fn start(&mut self, node: usize) {
        if self.bus.has(node) && self.bus.runs(node) {
            return;
        }
        // Nodes are numbered by their first start.
        for (earlier, name) in NAMES.iter().enumerate().take(node + 1) {
            if !self.bus.has(earlier) || earlier == node {
                self.bus.start(name, self.windows[earlier]);
            }
        }
        for earlier in 0..=node {
            self.join_all(earlier);
        }
    }

    fn declare(&mut self, node: usize, setup: &PublisherSetup) {
        if !self.started(node) || self.bus.is_leaving(node) || self.bus.declares(node, setup) {
            return;
        }
        let number = self.bus.declare(node, setup);
        self.publishers.push((node, self.bus.life(node), number));
    }

    /// Ends all faults, and holds what comes of it against the laws.
    pub fn calm(&mut self) {
        self.bus.remark(|| "all faults end".to_owned());
        for node in 0..self.nodes {
            if self.started(node) {
                self.bus.resume(node);
            }
        }
        self.bus.thaw();
        self.take_all();
        // Who leaves has left, and links that fell are noticed and back.
        self.bus.run_for(Duration::from_secs(60));
        for node in 0..self.nodes {
            self.start(node);
        }
        for node in 0..self.nodes {
            self.join_all(node);
        }
        self.bus.run_until_idle(Duration::from_secs(4000));
        self.bus.assert_settled();
        self.bus.publish_once_more();
        self.bus.run_until_idle(Duration::from_secs(4000));
        self.bus.assert_up_to_date();
        self.bus.assert_reports_at_rest();
    }

    fn take_all(&mut self) {
        for (node, life, number) in self.subscriptions.clone() {
            if self.started(node) && self.bus.life(node) == life {
                self.bus.set_pace(node, number, Pace::Eager);
            }
        }
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.bus.counts()
    }
}
