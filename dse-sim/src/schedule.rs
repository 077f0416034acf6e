//! A schedule: all that befalls a world, decided by a seed alone.
//!
//! Nothing here looks at a world, so the n-th act of a seed is the same whatever was
//! left out before it. That is what lets a failing schedule be shrunk.

use std::fmt;
use std::time::Duration;

use crate::world::{Notice, Random};

/// A name in a schedule: a member, the twin of a member (another node with its id), or
/// a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The n-th member.
    Member(usize),
    /// A second node with the id of the n-th member.
    Twin(usize),
    /// The n-th guest.
    Guest(usize),
}

impl Who {
    /// The member whose id it has; a guest has one of its own.
    pub fn member(self) -> Option<usize> {
        match self {
            Self::Member(number) | Self::Twin(number) => Some(number),
            Self::Guest(_) => None,
        }
    }

    /// Its place among 64, in bit masks and where each has something of its own. In a world
    /// of at most 20 members no two share one.
    pub fn place(self) -> usize {
        let place = match self {
            Self::Member(number) => number,
            Self::Twin(number) => number + 20,
            Self::Guest(number) => number + 40,
        };
        place % 64
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(number) => f.write_str(&letters(*number)),
            Self::Twin(number) => write!(f, "{}2", letters(*number)),
            Self::Guest(number) => write!(f, "guest{number}"),
        }
    }
}

/// The id of the n-th member: `a` to `z`, then `ba` and so on.
fn letters(number: usize) -> String {
    let last = char::from(b'a' + (number % 26) as u8);
    if number < 26 { last.to_string() } else { letters(number / 26) + &last.to_string() }
}

/// One thing that befalls a world. One that makes no sense where it comes (to resume a
/// node that moves) does nothing.
#[derive(Clone, Debug)]
pub enum Act {
    /// Time passes.
    Wait(Duration),
    /// A node starts, with these of its keys declared.
    Start(Who, Vec<usize>),
    /// A node ends without a word.
    Crash(Who, Notice),
    /// A node leaves.
    Leave(Who),
    /// A node's control bus stands still; its links live.
    Pause(Who),
    /// A node's process stands still.
    Freeze(Who),
    /// A node that stood still goes on.
    Resume(Who),
    /// Nothing passes from one node to another.
    Block(Who, Who),
    /// Nothing passes between those in the bit mask ([`Who::place`]) and the others.
    Partition(u64),
    /// All blocks and partitions end.
    Heal,
    /// The links between two nodes fall.
    Break(Who, Who),
    /// One node loses its links with another, which has to notice.
    HalfOpen(Who, Who),
    /// One node loses its links with another, which does not notice unless it probes them.
    Lose(Who, Who),
    /// Everything from one node to another takes so much longer.
    Slow(Who, Who, Duration),
    /// A node declares a key, or changes what it declares under it.
    Declare(Who, usize, u64),
    /// A node declares many and large things, or takes them back.
    Bulk(Who, bool),
    /// A node declares a key no more.
    Undeclare(Who, usize),
    /// A node subscribes to a pattern.
    Subscribe(Who, usize),
    /// A node ends its n-th subscription, counted round.
    Unsubscribe(Who, usize),
    /// A node asks the bus.
    Request(Who, usize, Duration),
    /// A node asks another for its counters.
    Stats(Who, Who),
    /// A node is told of an endpoint at which another may be.
    Hint(Who, Who),
}

/// The kinds of acts, each of which a seed makes frequent, rare or absent.
const KINDS: usize = 18;

/// Draws the acts of a seed, one after the other, for ever.
pub struct Acts {
    random: Random,
    nodes: usize,
    weights: [u64; KINDS],
    /// Of ten pauses, how many are none at all.
    haste: u64,
    /// Members that a start is due for first.
    unstarted: usize,
}

impl Acts {
    /// The acts of a seed in a world of so many members.
    pub fn of(seed: u64, nodes: usize) -> Self {
        let mut random = Random::new(!seed);
        // Each seed does without some kinds of acts, so that others come close together.
        let mut weights = [0; KINDS];
        for weight in &mut weights {
            *weight = if random.percent(40) { 0 } else { 1 + random.below(8) };
        }
        weights[START] += 4;
        weights[RESUME] += 2;
        weights[HEAL] += 2;
        weights[DECLARE] += 3;
        weights[BULK] = weights[BULK].min(1);
        let haste = random.below(9);
        Self { random, nodes, weights, haste, unstarted: nodes }
    }

    fn member(&mut self) -> Who {
        Who::Member(self.random.below(self.nodes as u64) as usize)
    }

    /// Anybody: mostly members.
    fn anybody(&mut self) -> Who {
        let number = self.random.below(self.nodes as u64) as usize;
        match self.random.below(20) {
            0 if self.weights[TWIN] > 0 => Who::Twin(number),
            1 if self.weights[GUEST] > 0 => Who::Guest(number % GUESTS),
            _ => Who::Member(number),
        }
    }

    fn millis(&mut self, below: u64) -> Duration {
        Duration::from_millis(self.random.below(below))
    }

    fn pause(&mut self) -> Act {
        let below = [20, 300, 1500, 8000, 60_000][match self.random.below(100) {
            0..50 => 0,
            50..75 => 1,
            75..90 => 2,
            90..99 => 3,
            _ => 4,
        }];
        Act::Wait(self.millis(below))
    }

    fn start(&mut self, who: Who) -> Act {
        let keys = (0..LEAVES.len()).filter(|_| self.random.percent(40)).collect();
        Act::Start(who, keys)
    }

    fn crash(&mut self, who: Who) -> Act {
        Act::Crash(who, *self.random.pick(&NOTICES))
    }

    fn kind(&mut self) -> usize {
        let mut left = self.random.below(self.weights.iter().sum());
        for (kind, weight) in self.weights.iter().enumerate() {
            if left < *weight {
                return kind;
            }
            left -= weight;
        }
        START
    }

    fn draw(&mut self) -> Act {
        let (who, other) = (self.anybody(), self.member());
        let number = self.random.below(1 << 20);
        let small = number as usize;
        match self.kind() {
            START => self.start(who),
            CRASH => self.crash(who),
            LEAVE => Act::Leave(who),
            PAUSE => Act::Pause(who),
            FREEZE => Act::Freeze(who),
            RESUME => Act::Resume(who),
            BLOCK => Act::Block(who, other),
            PARTITION => Act::Partition(self.random.draw()),
            HEAL => Act::Heal,
            BREAK if number.is_multiple_of(2) => Act::Break(who, other),
            BREAK if number.is_multiple_of(3) => Act::Lose(who, other),
            BREAK => Act::HalfOpen(who, other),
            SLOW => Act::Slow(who, other, self.millis(4000)),
            DECLARE if number.is_multiple_of(3) => Act::Undeclare(who, small % LEAVES.len()),
            DECLARE => Act::Declare(who, small % LEAVES.len(), number % 5),
            BULK => Act::Bulk(who, number.is_multiple_of(2)),
            INTEREST if number.is_multiple_of(3) => Act::Unsubscribe(who, small % 7),
            INTEREST => Act::Subscribe(who, small % PATTERNS.len()),
            REQUEST => {
                let timeout = self.millis(12_000);
                Act::Request(who, small % PATTERNS.len(), timeout)
            }
            STATS => Act::Stats(who, other),
            TWIN => self.start(Who::Twin(small % self.nodes)),
            GUEST => Act::Start(Who::Guest(small % GUESTS), Vec::new()),
            _ => Act::Hint(who, other),
        }
    }
}

impl Iterator for Acts {
    type Item = Act;

    fn next(&mut self) -> Option<Act> {
        if self.unstarted > 0 {
            self.unstarted -= 1;
            return Some(self.start(Who::Member(self.unstarted)));
        }
        // Half of all acts are pauses, unless the seed is in haste.
        Some(if self.random.below(10) >= self.haste.max(4) { self.pause() } else { self.draw() })
    }
}

/// How many guests there may be.
pub const GUESTS: usize = 3;
/// What members declare, each below its own name.
pub const LEAVES: [&str; 4] = ["one", "two", "x/deep", "y/deep"];
/// What is subscribed to and asked for.
pub const PATTERNS: [&str; 7] = ["**", "*/one", "a/**", "*/*/deep", "b/two", "bulk/**", "nothing"];
/// Of crashes few are such that nobody notices without a probe, or little else would happen.
pub const NOTICES: [Notice; 5] =
    [Notice::AtOnce, Notice::AtOnce, Notice::Detected, Notice::Detected, Notice::Never];

const START: usize = 0;
const CRASH: usize = 1;
const LEAVE: usize = 2;
const PAUSE: usize = 3;
const FREEZE: usize = 4;
const RESUME: usize = 5;
const BLOCK: usize = 6;
const PARTITION: usize = 7;
const HEAL: usize = 8;
const BREAK: usize = 9;
const SLOW: usize = 10;
const DECLARE: usize = 11;
const BULK: usize = 12;
const INTEREST: usize = 13;
const REQUEST: usize = 14;
const STATS: usize = 15;
const TWIN: usize = 16;
const GUEST: usize = 17;
