//! What a world is like before anything happens in it.

use std::time::Duration;

use crate::schedule::Who;
use crate::world::{Clock, Options, Random, member};

/// A world's nature.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many members it has.
    pub nodes: usize,
    /// The least and the most that a message takes.
    pub latency: (Duration, Duration),
    /// What nodes are configured to: dealt out by [`Who::place`], over and over. If there is
    /// one, nodes are alike.
    pub tunables: Vec<Tunables>,
    /// Which seeds members are given.
    pub seeding: Seeding,
    /// Members also tell endpoints that lead nowhere or that nobody can dial.
    pub dead_endpoints: bool,
    /// A restarted node may have the incarnation that it had, or a smaller one.
    pub clocks_go_back: bool,
    /// The clocks of members.
    pub clocks: Vec<Clock>,
}

/// What a node may choose for itself and need not tell the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunables {
    /// How long a silent peer stays unnoticed on a closely watched link.
    pub detect: Duration,
    /// The core's `forget_after`.
    pub forget_after: Duration,
    /// The core's `redial_min` and `redial_max`.
    pub redial: (Duration, Duration),
    /// The core's `guests_max`.
    pub guests_max: usize,
    /// Is `peers_max` just as many as there are, or the default?
    pub tight: bool,
}

/// Which seeds members are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeding {
    /// Each the one before it.
    Ring,
    /// All the first.
    Star,
    /// All the same list of everybody, themselves included.
    All,
}

impl Setup {
    /// The world of a seed. Without a number of nodes the seed decides that as well.
    pub fn of(seed: u64, nodes: Option<usize>) -> Self {
        let mut random = Random::new(seed ^ 0x5e70);
        let nodes = nodes.unwrap_or(2 + random.below(7) as usize);
        let us = Duration::from_micros;
        let latencies = [(1000, 1000), (10, 10), (200, 40_000), (50, 2000), (5000, 150_000)];
        let (least, most) = *random.pick(&latencies);
        let clock = |random: &mut Random| Clock {
            offset_ns: random.below(1 << 40),
            drift_ppm: random.below(60_001) as i32 - 30_000,
        };
        let skewed = random.percent(50);
        let kinds = *random.pick(&[1, 1, 2, 64]);
        Self {
            nodes,
            latency: (us(least), us(most)),
            tunables: (0..kinds).map(|_| Tunables::draw(&mut random)).collect(),
            seeding: *random.pick(&[Seeding::Ring, Seeding::Star, Seeding::All]),
            dead_endpoints: random.percent(25),
            clocks_go_back: random.percent(30),
            clocks: (0..nodes)
                .map(|_| if skewed { clock(&mut random) } else { Clock::default() })
                .collect(),
        }
    }

    /// As many members with clocks that agree and only go on, even latencies and the default
    /// configuration.
    pub fn plain(&self) -> Self {
        let ms = Duration::from_millis;
        Self {
            nodes: self.nodes,
            latency: (ms(1), ms(1)),
            tunables: vec![Tunables::default()],
            seeding: Seeding::Ring,
            dead_endpoints: false,
            clocks_go_back: false,
            clocks: vec![Clock::default(); self.nodes],
        }
    }

    /// What a node is configured to.
    pub fn tunables(&self, who: Who) -> Tunables {
        self.tunables[who.place() % self.tunables.len()]
    }

    /// The longest time that any node takes to notice a silent peer that it watches closely.
    pub fn longest_detect(&self) -> Duration {
        self.tunables.iter().map(|tunables| tunables.detect).max().unwrap_or_default()
    }

    /// The longest pause that any node makes before it dials again.
    pub fn longest_pause(&self) -> Duration {
        self.tunables.iter().map(|tunables| tunables.redial.1).max().unwrap_or_default()
    }

    /// As many guests as any node takes.
    pub fn fewest_guests(&self) -> usize {
        self.tunables.iter().map(|tunables| tunables.guests_max).min().unwrap_or_default()
    }

    /// The shortest time after which any node forgets another.
    pub fn soonest_forgotten(&self) -> Duration {
        self.tunables.iter().map(|tunables| tunables.forget_after).min().unwrap_or_default()
    }
}

impl Tunables {
    fn draw(random: &mut Random) -> Self {
        let ms = Duration::from_millis;
        Self {
            detect: ms(*random.pick(&[1500, 1500, 600, 10_000])),
            forget_after: Duration::from_secs(*random.pick(&[3, 30, 600, 600])),
            redial: (ms(*random.pick(&[100, 10, 500])), ms(*random.pick(&[10_000, 1000, 3000]))),
            guests_max: *random.pick(&[64, 1, 0]),
            tight: random.percent(30),
        }
    }
}

impl Default for Tunables {
    /// Those of the core, and of the world's detection time.
    fn default() -> Self {
        let config = member("a", 1);
        Self {
            detect: Options::default().detect,
            forget_after: config.forget_after,
            redial: (config.redial_min, config.redial_max),
            guests_max: config.guests_max,
            tight: false,
        }
    }
}
