//! What a state is, apart from the names that its things happen to have.
//!
//! Two states that differ only in how links and dials are numbered, in which random
//! nonces were drawn, or in what the clock shows, have the same future. So a state is
//! read through serde, which tells the type and the field of each value, and written
//! down as rows of numbers in which
//!
//! * a time is its distance from now, in steps of [`TICK`], and "never" beyond an hour;
//! * a link or a dial is its rank among those that its node knows: their order, which
//!   decides what the core looks at first, stays;
//! * a nonce of a link is the place of its first appearance: nonces are only compared;
//! * what decides nothing is left out: [`Meaning::of`] says what, and why.
//!
//! A field of the core that nobody has thought of here is written as it stands: at worst
//! states that are the same count as two.

use serde::ser::Serialize;

use super::clock::{NEVER, TICK};

/// 128 bits that stand for a state. Two of n states collide with a probability of about
/// n² / 2^129: for a hundred million states, less than one in 10^22.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Print(pub(super) u128);

/// Writes down what belongs together: a node with all that it knows, or a message.
pub(super) struct Canon {
    now: u64,
    /// From which age on the past is all one.
    past: u64,
    pub(super) numbers: Vec<u64>,
    pub(super) meaning: Meaning,
    nonces: Vec<u64>,
    /// Where links and dials of the node in hand stand among the numbers.
    pub(super) links: Vec<usize>,
    pub(super) dials: Vec<usize>,
}

/// What was written down, as a hash, in which nonces are told apart by where they appear
/// first. They follow, in this order, to be known again in what else a state holds.
#[derive(Clone, Debug)]
pub(super) struct Row {
    print: Print,
    nonces: Vec<u64>,
}

/// Adds rows and numbers up to the print of a state.
pub(super) struct Sum {
    high: u64,
    low: u64,
    nonces: Vec<u64>,
}

/// The links and dials that one node knows, in order.
pub(super) struct Known {
    links: Vec<u64>,
    dials: Vec<u64>,
}

impl Known {
    pub(super) fn link(&self, link: u64) -> u64 {
        rank(&self.links, link)
    }

    pub(super) fn dial(&self, dial: u64) -> u64 {
        rank(&self.dials, dial)
    }
}

fn rank(known: &[u64], number: u64) -> u64 {
    known.binary_search(&number).map_or(u64::MAX, |rank| rank as u64)
}

/// How a value is to be written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Plain,
    Nonce,
    Left,
    Presence,
    AtMost(u64),
}

impl Meaning {
    /// What the fields of the core mean. In these worlds all pauses between dials are
    /// alike, so that nothing depends on how many failed, but for the three tries of a
    /// hint, nor on how long a link was open before it fell.
    pub(super) fn of(record: &str, field: &str) -> Self {
        match (record, field) {
            ("Link", "nonce")
            | ("Hello", "link_nonce")
            | ("Open", "echo" | "held")
            | ("Reject", "echo")
            | ("OpenLink", "peer_nonce") => Self::Nonce,
            // Constant for a start of a node; each input brings the time; what is drawn
            // next is new either way; the same as what is beside it; a counter whose next
            // number is new.
            ("ControlBus", "config" | "now" | "random")
            | ("Timers", "queue")
            | ("Dials", "last")
            | ("Peer", "brief" | "opened_at") => Self::Left,
            // What only the laws of random schedules ask for.
            ("Seen", "print" | "fresh") => Self::Left,
            ("Course", "failures") => Self::AtMost(3),
            ("Course", "last_error") => Self::Presence,
            _ => Self::Plain,
        }
    }
}

impl Canon {
    /// At this time; the past is all one from the age of `past` on.
    pub(super) fn new(now: u64, past: u64) -> Self {
        let meaning = Meaning::Plain;
        let (links, dials, nonces) = (Vec::new(), Vec::new(), Vec::new());
        Self { now, past, numbers: Vec::with_capacity(512), meaning, nonces, links, dials }
    }

    pub(super) fn number(&mut self, number: u64) {
        self.numbers.push(number);
    }

    pub(super) fn write(&mut self, value: &impl Serialize) {
        let Ok(()) = value.serialize(&mut *self);
    }

    /// Ends what belongs to one node: its links and dials get their ranks.
    pub(super) fn end_node(&mut self) -> Known {
        let links = self.ranked(|canon| &mut canon.links);
        let dials = self.ranked(|canon| &mut canon.dials);
        Known { links, dials }
    }

    fn ranked(&mut self, which: impl Fn(&mut Self) -> &mut Vec<usize>) -> Vec<u64> {
        let places = std::mem::take(which(self));
        let mut known: Vec<u64> = places.iter().map(|at| self.numbers[*at]).collect();
        known.sort_unstable();
        known.dedup();
        for at in places {
            self.numbers[at] = rank(&known, self.numbers[at]);
        }
        known
    }

    /// All that was written.
    pub(super) fn row(self) -> Row {
        let mut sum = Sum::new();
        self.numbers.iter().for_each(|number| sum.number(*number));
        Row { print: sum.print(), nonces: self.nonces }
    }

    pub(super) fn instant(&mut self, at: u64) {
        let number = if at >= self.now {
            let after = at - self.now;
            if after >= NEVER { u64::MAX } else { (after + TICK / 2) / TICK }
        } else {
            let ago = (self.now - at).min(self.past);
            u64::MAX - 1 - (ago + TICK / 2) / TICK
        };
        self.number(number);
    }

    pub(super) fn value(&mut self, value: u64) {
        let number = match self.meaning {
            Meaning::Nonce => place_in(&mut self.nonces, value),
            Meaning::AtMost(most) => value.min(most),
            Meaning::Plain | Meaning::Left | Meaning::Presence => value,
        };
        self.number(number);
    }

    pub(super) fn text(&mut self, text: &[u8]) {
        let start = 0xcbf2_9ce4_8422_2325 ^ text.len() as u64;
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        self.number(mix(text.iter().fold(start, fold)));
    }
}

impl Sum {
    pub(super) fn new() -> Self {
        Self { high: 0x243f_6a88_85a3_08d3, low: 0x1319_8a2e_0370_7344, nonces: Vec::new() }
    }

    pub(super) fn number(&mut self, number: u64) {
        self.high = mix(self.high ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.low = mix(self.low.rotate_left(23) ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
    }

    pub(super) fn row(&mut self, row: &Row) {
        self.number((row.print.0 >> 64) as u64);
        self.number(row.print.0 as u64);
        for nonce in &row.nonces {
            let place = place_in(&mut self.nonces, *nonce);
            self.number(place);
        }
    }

    pub(super) fn print(&self) -> Print {
        Print(u128::from(self.high) << 64 | u128::from(self.low))
    }
}

/// The place of a nonce among those that appeared so far.
fn place_in(nonces: &mut Vec<u64>, nonce: u64) -> u64 {
    let found = nonces.iter().position(|known| *known == nonce);
    found.unwrap_or_else(|| {
        nonces.push(nonce);
        nonces.len() - 1
    }) as u64
}

/// SplitMix64's finisher: one to one, so no number is lost on the way.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
