//! The control bus itself, measured: the real core and codec on every node, in virtual
//! time. A step's messages are those sent until nobody waits for anything.

use std::time::Duration;

use dse_core::protocol::Command;

use super::outcome::{Outcome, Step};
use super::shape::{self, LATENCY_NS};
use crate::world::{Latency, Notice, Options, Random, World};

/// The first nodes are the seeds of all.
const SEEDS: usize = 3;
/// In a cold start no node sends more messages than this for each node on the bus
/// (law L5): a Hello, an Open, a Snapshot and now and then a list of Members on its link
/// to each, and as much again for the links that were dialled from both ends or refused.
pub const COLD_START_MESSAGES_PER_NODE: u64 = 8;

/// What was measured, and which laws did not hold.
pub struct Measured {
    /// Each step with what it cost.
    pub outcomes: Vec<(Step, Outcome)>,
    /// Which laws were broken, in words.
    pub broken: Vec<String>,
}

/// Takes every step with so many nodes.
pub fn measure(nodes: usize, keys: usize, changes: usize, seed: u64) -> Measured {
    let latency =
        Latency::between(Duration::from_nanos(LATENCY_NS.0), Duration::from_nanos(LATENCY_NS.1));
    let options = Options { latency, ..Options::bare() };
    let world = World::with_options(seed, options);
    let mut bus = Bus { world, nodes, keys, random: Random::new(!seed), broken: Vec::new() };
    let outcomes = Step::ALL.into_iter().map(|step| (step, bus.step(step, changes))).collect();
    Measured { outcomes, broken: bus.broken }
}

struct Bus {
    world: World,
    nodes: usize,
    keys: usize,
    random: Random,
    broken: Vec<String>,
}

impl Bus {
    fn step(&mut self, step: Step, changes: usize) -> Outcome {
        self.world.reset_counts();
        match step {
            Step::ColdStart => self.cold_start(),
            Step::IdleHour => self.idle_hour(),
            Step::Join => {
                let since = self.world.now();
                self.start(self.nodes);
                self.settled(since)
            }
            Step::Change => self.changes(changes),
            Step::Crash => {
                let since = self.world.now();
                self.world.crash(&shape::node_name(self.nodes), Notice::Detected);
                self.settled(since)
            }
            Step::RollingRestart => self.rolling_restart(),
        }
    }

    fn cold_start(&mut self) -> Outcome {
        for (at, node) in shape::start_times(self.nodes, &mut self.random) {
            self.world.run_for(Duration::from_nanos(at) - self.world.now());
            self.start(node);
        }
        let outcome = self.settled(self.world.now());
        let most = outcome.most_messages;
        let bound = COLD_START_MESSAGES_PER_NODE * self.nodes as u64;
        if most > bound {
            self.broken.push(format!(
                "L5: in a cold start of {} nodes one sent {most} messages, more than {bound}",
                self.nodes
            ));
        }
        self.expect_all_known();
        outcome
    }

    fn idle_hour(&mut self) -> Outcome {
        self.world.run_for(Duration::from_secs(3600));
        let outcome = self.sent();
        if outcome.messages > 0 {
            self.broken.push(format!(
                "L1: {} nodes sent {} messages in an idle hour",
                self.nodes, outcome.messages
            ));
        }
        outcome
    }

    fn changes(&mut self, changes: usize) -> Outcome {
        let mut sum = Outcome::default();
        for change in 0..changes {
            let since = self.world.now();
            let declaration = shape::declaration(change % self.nodes, 0, change + 1);
            let ticket = self.world.ticket();
            let command = Command::Redeclare { ticket, declaration };
            self.world.command(&shape::node_name(change % self.nodes), command);
            sum.waits.extend(self.settled(since).waits);
        }
        let sent = self.sent();
        let waits = sum.waits;
        sum = Outcome { waits, ..sent };
        sum.mean_of(changes as u64);
        sum
    }

    fn rolling_restart(&mut self) -> Outcome {
        let mut sum = Outcome::default();
        let mut sent = vec![(0, 0); self.nodes];
        for (node, before) in sent.iter_mut().enumerate() {
            let name = shape::node_name(node);
            self.world.leave(&name);
            self.world.run_until("the node has left", |world| !world.runs(&name));
            // Its counts begin anew with its next life.
            *before = sent_by(&self.world, &name);
            let since = self.world.now();
            self.start(node);
            sum.waits.extend(self.settled(since).waits);
        }
        self.expect_all_known();
        for (node, (messages, bytes)) in sent.into_iter().enumerate() {
            let (again, bytes_again) = sent_by(&self.world, &shape::node_name(node));
            sum.sent_by_node(messages + again, bytes + bytes_again);
        }
        sum
    }

    /// Starts a node with its declarations and seeds.
    fn start(&mut self, node: usize) {
        let name = shape::node_name(node);
        self.world.start_with(&name, |config| {
            config.endpoints = vec![shape::endpoint(node)];
            config.schemes = vec![shape::endpoint(node).scheme().into()];
        });
        for declaration in shape::declarations(node, self.keys) {
            let ticket = self.world.ticket();
            self.world.command(&name, Command::Declare { ticket, declaration });
        }
        for seed in (0..SEEDS).filter(|seed| *seed != node) {
            let endpoint = shape::endpoint(seed);
            self.world.command(&name, Command::AddSeed { endpoint });
        }
    }

    /// Runs until the bus is quiet. How long each node took that learned something, and
    /// what was sent since the counts began.
    fn settled(&mut self, since: Duration) -> Outcome {
        self.world.run_until_quiet();
        let learned = self.world.nodes().iter().filter(|node| node.is_running());
        let learned = learned.filter_map(|node| node.news_at());
        let waits = learned.filter(|at| *at > since).map(|at| at - since).collect();
        Outcome { waits, ..self.sent() }
    }

    fn sent(&self) -> Outcome {
        let mut outcome = Outcome::default();
        for node in self.world.nodes() {
            outcome.sent_by_node(node.sent_in_all(), node.sent_bytes());
        }
        outcome
    }

    /// Everyone knows everything (law L2).
    fn expect_all_known(&mut self) {
        for node in 0..self.nodes {
            let found = self.world.node(&shape::node_name(node)).lookup("**").len();
            if found != self.nodes * self.keys {
                let all = self.nodes * self.keys;
                self.broken.push(format!("L2: node {node} knows {found} of {all} declarations"));
            }
        }
    }
}

/// Messages and bytes that a node sent in its present life.
fn sent_by(world: &World, name: &str) -> (u64, u64) {
    let node = world.node(name);
    (node.sent_in_all(), node.sent_bytes())
}
