//! The old way: each node tells its whole index to every other one each second,
//! whether it changed or not.
//!
//! Nothing is left to a model here but the sums: node `i` speaks at its start and then
//! each second, what it says reaches all that listen, and a node that was not heard for
//! three seconds counts as gone. Each broadcast has the bytes of the Snapshot that the
//! control bus would send; the sender's name, which it would need as well, is left out in
//! its favour. A step's messages are those sent until the last node knew.

use std::time::Duration;

use super::outcome::{Outcome, Step};
use super::shape::{LATENCY_NS, SECOND_NS, snapshot_bytes, start_times};
use crate::world::Random;

/// How often each node speaks.
const PERIOD_NS: u64 = SECOND_NS;
/// A node that was not heard for so many periods is gone.
const MISSED: u64 = 3;

/// Nodes that broadcast: each one's first broadcast, in nanoseconds.
struct Nodes {
    first: Vec<u64>,
    keys: usize,
    now: u64,
    random: Random,
}

/// Counts every step for so many nodes.
pub fn measure(nodes: usize, keys: usize, changes: usize, seed: u64) -> Vec<(Step, Outcome)> {
    let mut random = Random::new(seed);
    let mut first = vec![0; nodes];
    for (at, node) in start_times(nodes, &mut random) {
        first[node] = at;
    }
    let mut nodes = Nodes { first, keys, now: 0, random };
    Step::ALL.into_iter().map(|step| (step, nodes.step(step, changes))).collect()
}

impl Nodes {
    fn step(&mut self, step: Step, changes: usize) -> Outcome {
        // Where in their periods the others are is chance.
        self.now += self.random.below(PERIOD_NS);
        match step {
            Step::ColdStart => self.cold_start(),
            Step::IdleHour => self.idle(3600 * SECOND_NS),
            Step::Join => {
                self.first.push(self.now);
                self.started(self.first.len() - 1)
            }
            Step::Change => {
                let mut sum = Outcome::default();
                for change in 0..changes {
                    self.now += self.random.below(PERIOD_NS);
                    let outcome = self.changed(change % self.first.len());
                    add(&mut sum, outcome);
                }
                sum.mean_of(changes as u64);
                sum
            }
            Step::Crash => self.crash(),
            Step::RollingRestart => {
                let mut sum = Outcome::default();
                for node in 0..self.first.len() {
                    self.now += self.random.below(PERIOD_NS);
                    self.first[node] = self.now;
                    let outcome = self.started(node);
                    add(&mut sum, outcome);
                }
                sum
            }
        }
    }

    /// Everyone has heard everyone who spoke since it listens. The waits begin when the
    /// last node starts, the counts when the first does.
    fn cold_start(&mut self) -> Outcome {
        let last = self.first.iter().max().copied().unwrap_or(0);
        let nodes = 0..self.first.len();
        let waits: Vec<u64> = nodes.map(|node| self.heard_all(node, 0).max(last)).collect();
        self.now = 0;
        let mut outcome = self.counted(waits);
        outcome.waits.iter_mut().for_each(|wait| *wait -= Duration::from_nanos(last));
        outcome
    }

    /// A node that is new: the others hear it at once, it hears them one by one.
    fn started(&mut self, node: usize) -> Outcome {
        let mut waits: Vec<u64> = (1..self.first.len()).map(|_| self.latency()).collect();
        waits.push(self.heard_all(node, self.now));
        self.counted(waits)
    }

    /// How long after `from` a node that listens since its first broadcast has heard
    /// all others.
    fn heard_all(&mut self, node: usize, from: u64) -> u64 {
        let listens = self.first[node];
        let others = (0..self.first.len()).filter(|other| *other != node);
        let spoken = others.map(|other| self.next_broadcast(other, listens)).max();
        spoken.map_or(0, |at| at + self.latency() - from)
    }

    fn changed(&mut self, node: usize) -> Outcome {
        let spoken = self.next_broadcast(node, self.now) - self.now;
        let waits = (1..self.first.len()).map(|_| spoken + self.latency()).collect();
        self.counted(waits)
    }

    /// The last node is gone: the others miss its broadcasts.
    fn crash(&mut self) -> Outcome {
        let gone = self.first.len() - 1;
        let last = self.next_broadcast(gone, self.now) - PERIOD_NS;
        self.first.truncate(gone);
        let missed = last + MISSED * PERIOD_NS - self.now;
        let waits = (0..gone).map(|_| missed + self.latency()).collect();
        self.counted(waits)
    }

    fn idle(&mut self, time: u64) -> Outcome {
        let waits = vec![time];
        Outcome { waits: Vec::new(), ..self.counted(waits) }
    }

    /// Lets the time of the longest wait pass, and counts what is sent meanwhile.
    fn counted(&mut self, waits: Vec<u64>) -> Outcome {
        let end = self.now + waits.iter().max().copied().unwrap_or(0);
        let mut outcome = Outcome {
            waits: waits.into_iter().map(Duration::from_nanos).collect(),
            ..Outcome::default()
        };
        let others = self.first.len() as u64 - 1;
        for (node, first) in self.first.iter().enumerate() {
            let until = |at: u64| (at + PERIOD_NS).saturating_sub(*first) / PERIOD_NS;
            let messages = (until(end) - until(self.now.max(1) - 1)) * others;
            outcome.sent_by_node(messages, messages * snapshot_bytes(node, self.keys));
        }
        self.now = end;
        outcome
    }

    /// The first moment at or after `at` at which a node speaks.
    fn next_broadcast(&self, node: usize, at: u64) -> u64 {
        let first = self.first[node];
        first + at.saturating_sub(first).div_ceil(PERIOD_NS) * PERIOD_NS
    }

    fn latency(&mut self) -> u64 {
        LATENCY_NS.0 + self.random.below(LATENCY_NS.1 - LATENCY_NS.0)
    }
}

/// Adds one of several steps of a kind.
fn add(sum: &mut Outcome, one: Outcome) {
    sum.messages += one.messages;
    sum.bytes += one.bytes;
    sum.most_messages = sum.most_messages.max(one.most_messages);
    sum.most_bytes = sum.most_bytes.max(one.most_bytes);
    sum.waits.extend(one.waits);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_costs_each_pair_3600_broadcasts() {
        let outcomes = measure(10, 5, 3, 1);
        let (step, idle) = &outcomes[1];
        assert_eq!(*step, Step::IdleHour);
        assert_eq!(idle.messages, 10 * 9 * 3600);
        assert_eq!(idle.bytes, idle.messages * snapshot_bytes(0, 5));
    }

    #[test]
    fn news_waits_for_the_next_broadcast_and_death_for_three() {
        for seed in 0..20 {
            for (step, outcome) in measure(10, 5, 3, seed) {
                let longest = outcome.percentile(100).unwrap_or_default();
                let seconds = longest.as_secs_f64();
                match step {
                    Step::ColdStart => assert!((0.5..1.1).contains(&seconds), "{seconds}"),
                    Step::IdleHour => assert_eq!(longest, Duration::ZERO),
                    Step::Crash => assert!((2.0..3.1).contains(&seconds), "{seconds}"),
                    _ => assert!(seconds < 1.1, "{step:?} {seconds}"),
                }
            }
        }
    }
}
