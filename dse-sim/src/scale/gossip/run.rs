//! The nodes together: packets, probes, exchanges, and what the steps do to them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::agenda::{Due, Happening, Packet};
use super::node::{Belief, News, Node, Piece};
use super::{
    EXCHANGE_PERIOD_NS, GOSSIP_PERIOD_NS, GOSSIP_TO, INDIRECT_PROBES, PACKET_BYTES,
    PROBE_PERIOD_NS, PROBE_TIMEOUT_NS, exchange_period_ns, retransmissions, suspicion_ns,
};
use crate::scale::outcome::{Outcome, Step};
use crate::scale::shape::{self, LATENCY_NS, SECOND_NS};
use crate::world::Random;

/// The first nodes are known to all that start.
const SEEDS: usize = 3;

/// Counts every step for so many nodes.
pub fn measure(nodes: usize, keys: usize, changes: usize, seed: u64) -> Vec<(Step, Outcome)> {
    let mut gossip = Gossip::new(nodes + 1, keys, seed);
    Step::ALL.into_iter().map(|step| (step, gossip.step(step, nodes, changes))).collect()
}

struct Gossip {
    nodes: Vec<Node>,
    /// What is to be known of each node: nothing of one that is not there.
    truth: Vec<Option<News>>,
    /// How many others each node that is up knows wrongly, and since when it is none.
    wrong: Vec<usize>,
    right_since: Vec<u64>,
    wrong_in_all: usize,
    /// Nodes with news to pass on.
    gossiping: usize,
    now: u64,
    turn: u64,
    agenda: BinaryHeap<Reverse<Due>>,
    random: Random,
    bytes: Bytes,
}

/// What things take on the wire.
struct Bytes {
    /// Of each node, in the exchange of a whole state.
    alive: Vec<u64>,
    change: u64,
    verdict: u64,
    ping: u64,
    ping_request: u64,
    ack: u64,
}

impl Bytes {
    fn new(nodes: usize, keys: usize) -> Self {
        Self {
            alive: (0..nodes).map(|node| shape::alive_bytes(node, keys)).collect(),
            change: shape::change_bytes(0),
            verdict: shape::verdict_bytes(0),
            ping: shape::ping_bytes(0),
            ping_request: shape::ping_request_bytes(0),
            ack: shape::ack_bytes(),
        }
    }
}

impl Gossip {
    fn new(most: usize, keys: usize, seed: u64) -> Self {
        Self {
            nodes: (0..most).map(|_| Node::default()).collect(),
            truth: vec![None; most],
            wrong: vec![0; most],
            right_since: vec![0; most],
            wrong_in_all: 0,
            gossiping: 0,
            now: 0,
            turn: 0,
            agenda: BinaryHeap::new(),
            random: Random::new(seed),
            bytes: Bytes::new(most, keys),
        }
    }

    fn step(&mut self, step: Step, nodes: usize, changes: usize) -> Outcome {
        let mut sum = Outcome::default();
        let since = self.now;
        let before: Vec<(u64, u64)> = self.nodes.iter().map(|n| (n.messages, n.bytes)).collect();
        match step {
            Step::ColdStart => {
                let starts = shape::start_times(nodes, &mut self.random);
                for (at, node) in &starts {
                    self.plan(*at, *node, Happening::Start);
                }
                let last = starts.last().map_or(0, |(at, _)| *at);
                self.run_for(last);
                sum.waits = self.settle(last);
            }
            Step::IdleHour => self.run_for(3600 * SECOND_NS),
            Step::Join => {
                self.start(nodes);
                sum.waits = self.settle(since);
            }
            Step::Change => {
                for change in 0..changes {
                    let pause = self.random.below(SECOND_NS);
                    self.run_for(pause);
                    self.change(change % nodes);
                    sum.waits.extend(self.settle(self.now));
                }
            }
            Step::Crash => {
                self.stop(nodes);
                sum.waits = self.settle(since);
            }
            Step::RollingRestart => {
                for node in 0..nodes {
                    self.leave(node);
                    self.start(node);
                    sum.waits.extend(self.settle(self.now));
                }
            }
        }
        for (node, (messages, bytes)) in self.nodes.iter().zip(before) {
            sum.sent_by_node(node.messages - messages, node.bytes - bytes);
        }
        if step == Step::Change {
            sum.mean_of(changes as u64);
        }
        sum
    }

    /// Runs until everyone knows what is to be known and nobody passes anything on. How
    /// long each node took that had something to learn.
    fn settle(&mut self, since: u64) -> Vec<Duration> {
        while (self.wrong_in_all > 0 || self.gossiping > 0) && self.happen_before(u64::MAX) {}
        let learned = self.right_since.iter().filter(|at| **at > since);
        learned.map(|at| Duration::from_nanos(at - since)).collect()
    }

    fn run_for(&mut self, time: u64) {
        let end = self.now + time;
        while self.happen_before(end) {}
        self.now = end;
    }

    fn happen_before(&mut self, end: u64) -> bool {
        if self.agenda.peek().is_none_or(|Reverse(due)| due.at > end) {
            return false;
        }
        let Some(Reverse(due)) = self.agenda.pop() else { return false };
        self.now = due.at;
        let node = due.node;
        let lives = self.nodes[node].up && self.nodes[node].life == due.life;
        match due.what {
            Happening::Start => self.start(node),
            _ if !lives => {}
            Happening::Join => self.join(node),
            Happening::Gossip => self.gossip(node),
            Happening::Probe => self.probe(node),
            Happening::ProbeLate { target, answers } => self.probe_late(node, target, answers),
            Happening::ProbeOver { target, answers } => self.probe_over(node, target, answers),
            Happening::SuspicionOver { target, incarnation } => {
                self.suspicion_over(node, target, incarnation);
            }
            Happening::Exchange => self.exchange(node),
            Happening::Packet { from, packet, news } => self.arrive(node, from, packet, news),
        }
        true
    }

    fn plan(&mut self, after: u64, node: usize, what: Happening) {
        self.turn += 1;
        let (at, life) = (self.now + after, self.nodes[node].life);
        self.agenda.push(Reverse(Due { at, turn: self.turn, node, life, what }));
    }

    fn start(&mut self, node: usize) {
        let nodes = self.nodes.len();
        self.nodes[node].start(nodes);
        let incarnation = self.nodes[node].life;
        let own = News { incarnation, belief: Belief::Alive, version: 1 };
        self.nodes[node].knows[node] = Some(own);
        self.judge_row(node);
        self.make_true(node, Some(own));
        self.join(node);
        let phase = self.random.below(PROBE_PERIOD_NS);
        self.plan(phase, node, Happening::Probe);
        let phase = self.random.below(EXCHANGE_PERIOD_NS);
        self.plan(phase, node, Happening::Exchange);
    }

    /// Exchanges states with all seeds that are there; tries again if none is.
    fn join(&mut self, node: usize) {
        let there = |seed: &usize| *seed != node && self.nodes[*seed].up;
        let seeds: Vec<usize> = (0..SEEDS).filter(there).collect();
        for seed in &seeds {
            self.send_state(node, *seed, false);
        }
        if seeds.is_empty() {
            self.plan(SECOND_NS, node, Happening::Join);
        }
    }

    /// The machine of a node is gone.
    fn stop(&mut self, node: usize) {
        if core::mem::take(&mut self.nodes[node].gossiping) {
            self.gossiping -= 1;
        }
        self.nodes[node].up = false;
        self.judge_row(node);
        self.make_true(node, None);
    }

    /// A node says that it goes, and goes once it has said it often enough.
    fn leave(&mut self, node: usize) {
        let Some(own) = self.truth[node] else { return };
        let news = News { belief: Belief::Dead, ..own };
        self.nodes[node].pass_on(Piece { about: node, news, bytes: self.bytes.verdict });
        self.arm_gossip(node);
        while self.nodes[node].has_news() && self.happen_before(u64::MAX) {}
        self.stop(node);
    }

    fn change(&mut self, node: usize) {
        let Some(own) = self.truth[node] else { return };
        let news = News { version: own.version + 1, ..own };
        self.nodes[node].knows[node] = Some(news);
        self.make_true(node, Some(news));
        self.nodes[node].pass_on(Piece { about: node, news, bytes: self.bytes.change });
        self.arm_gossip(node);
    }

    fn arm_gossip(&mut self, node: usize) {
        if !self.nodes[node].gossiping && self.nodes[node].has_news() {
            self.nodes[node].gossiping = true;
            self.gossiping += 1;
            let phase = self.random.below(GOSSIP_PERIOD_NS);
            self.plan(phase, node, Happening::Gossip);
        }
    }

    fn gossip(&mut self, node: usize) {
        for to in self.nodes[node].some_others(GOSSIP_TO, &mut self.random) {
            if self.nodes[node].has_news() {
                self.send(node, to, Packet::Gossip);
            }
        }
        if self.nodes[node].has_news() {
            self.plan(GOSSIP_PERIOD_NS, node, Happening::Gossip);
        } else {
            self.nodes[node].gossiping = false;
            self.gossiping -= 1;
        }
    }

    fn probe(&mut self, node: usize) {
        self.plan(PROBE_PERIOD_NS, node, Happening::Probe);
        let Some(target) = self.nodes[node].next_probed(&mut self.random) else { return };
        let answers = self.nodes[node].answers;
        self.send(node, target, Packet::Ping { asker: node });
        self.plan(PROBE_TIMEOUT_NS, node, Happening::ProbeLate { target, answers });
    }

    fn probe_late(&mut self, node: usize, target: usize, answers: u64) {
        if self.nodes[node].answers > answers {
            return;
        }
        for over in self.nodes[node].some_others(INDIRECT_PROBES, &mut self.random) {
            if over != target {
                self.send(node, over, Packet::PingRequest { target });
            }
        }
        let left = PROBE_PERIOD_NS - PROBE_TIMEOUT_NS;
        // Just before the next probe.
        self.plan(left - 1, node, Happening::ProbeOver { target, answers });
    }

    fn probe_over(&mut self, node: usize, target: usize, answers: u64) {
        if self.nodes[node].answers > answers {
            return;
        }
        if let Some(news) = self.nodes[node].knows[target] {
            let news = News { belief: Belief::Suspect, ..news };
            self.hear(node, Piece { about: target, news, bytes: self.bytes.verdict }, true);
        }
    }

    fn suspicion_over(&mut self, node: usize, target: usize, incarnation: u32) {
        let suspected =
            |news: &News| news.incarnation == incarnation && news.belief == Belief::Suspect;
        if let Some(news) = self.nodes[node].knows[target].filter(suspected) {
            let news = News { belief: Belief::Dead, ..news };
            self.hear(node, Piece { about: target, news, bytes: self.bytes.verdict }, true);
        }
    }

    fn exchange(&mut self, node: usize) {
        let known = self.nodes[node].knows.iter().flatten().count();
        self.plan(exchange_period_ns(known), node, Happening::Exchange);
        if let [with] = self.nodes[node].some_others(1, &mut self.random)[..] {
            self.send_state(node, with, false);
        }
    }

    fn arrive(&mut self, node: usize, from: usize, packet: Packet, news: Vec<Piece>) {
        for piece in news {
            self.hear(node, piece, true);
        }
        match packet {
            Packet::Ping { asker } => self.send(node, from, Packet::Ack { asker }),
            Packet::PingRequest { target } => {
                self.send(node, target, Packet::Ping { asker: from });
            }
            Packet::Ack { asker } if asker == node => self.nodes[node].answers += 1,
            Packet::Ack { asker } => self.send(node, asker, Packet::Ack { asker }),
            Packet::Gossip => {}
            Packet::State { state, reply } => {
                for (about, news) in state.into_iter().enumerate() {
                    let Some(news) = news else { continue };
                    let piece = Piece { about, news, bytes: self.bytes.alive[about] };
                    self.hear(node, piece, about == from);
                }
                if !reply {
                    self.send_state(node, from, true);
                }
            }
        }
    }

    /// A node hears news. What it hears for the first time as `gossip` it passes on.
    fn hear(&mut self, node: usize, piece: Piece, gossip: bool) {
        // Of itself a node knows best; nothing is lost here, so nobody is suspected wrongly.
        if piece.about == node {
            return;
        }
        let was_right = self.is_right(node, piece.about);
        if let Some(now) = self.nodes[node].learn(piece, &mut self.random) {
            self.judged(node, was_right, self.is_right(node, piece.about));
            if now.belief == Belief::Suspect {
                let target = piece.about;
                let what = Happening::SuspicionOver { target, incarnation: now.incarnation };
                self.plan(suspicion_ns(self.nodes.len()), node, what);
            }
        }
        if gossip && self.nodes[node].is_rumour(piece) {
            self.nodes[node].pass_on(piece);
            self.arm_gossip(node);
        }
    }

    /// Sends a packet with as much news as fits.
    fn send(&mut self, from: usize, to: usize, packet: Packet) {
        let bytes = match packet {
            Packet::Ping { .. } => self.bytes.ping,
            Packet::PingRequest { .. } => self.bytes.ping_request,
            Packet::Ack { .. } => self.bytes.ack,
            Packet::Gossip | Packet::State { .. } => 0,
        };
        let limit = retransmissions(self.nodes.len() - 1);
        let news = self.nodes[from].take_news(PACKET_BYTES - bytes, limit);
        let carried: u64 = news.iter().map(|piece| piece.bytes).sum();
        self.nodes[from].count(bytes + carried);
        self.deliver(from, to, packet, news);
    }

    /// Sends all that a node knows.
    fn send_state(&mut self, from: usize, to: usize, reply: bool) {
        let state = self.nodes[from].knows.clone();
        let there = |news: &Option<News>| news.is_some_and(|n| n.belief != Belief::Dead);
        let told = state.iter().zip(&self.bytes.alive).filter(|(news, _)| there(news));
        let bytes = told.map(|(_, bytes)| bytes).sum();
        self.nodes[from].count(bytes);
        self.deliver(from, to, Packet::State { state, reply }, Vec::new());
    }

    fn deliver(&mut self, from: usize, to: usize, packet: Packet, news: Vec<Piece>) {
        let latency = LATENCY_NS.0 + self.random.below(LATENCY_NS.1 - LATENCY_NS.0);
        self.plan(latency, to, Happening::Packet { from, packet, news });
    }

    /// Does a node know of another what is to be known?
    fn is_right(&self, node: usize, about: usize) -> bool {
        match (self.truth[about], self.nodes[node].knows.get(about).copied().flatten()) {
            (None, known) => known.is_none_or(|news| news.belief == Belief::Dead),
            (Some(truth), Some(known)) => {
                (truth.incarnation, truth.version) == (known.incarnation, known.version)
                    && known.belief != Belief::Dead
            }
            (Some(_), None) => false,
        }
    }

    fn judged(&mut self, node: usize, was_right: bool, is_right: bool) {
        let change = usize::from(was_right != is_right);
        if is_right {
            self.wrong[node] -= change;
            self.wrong_in_all -= change;
        } else {
            self.wrong[node] += change;
            self.wrong_in_all += change;
        }
        if change > 0 && self.wrong[node] == 0 {
            self.right_since[node] = self.now;
        }
    }

    /// What a node knows is to be judged anew: it started or is gone.
    fn judge_row(&mut self, node: usize) {
        self.wrong_in_all -= self.wrong[node];
        let others = (0..self.nodes.len()).filter(|about| *about != node);
        let wrong = others.filter(|about| !self.is_right(node, *about)).count();
        self.wrong[node] = if self.nodes[node].up { wrong } else { 0 };
        self.wrong_in_all += self.wrong[node];
    }

    /// From now on this is to be known of a node.
    fn make_true(&mut self, about: usize, news: Option<News>) {
        let up = |node: &usize| *node != about && self.nodes[*node].up;
        let others = (0..self.nodes.len()).filter(up);
        let before: Vec<_> = others.map(|node| (node, self.is_right(node, about))).collect();
        self.truth[about] = news;
        for (node, was_right) in before {
            self.judged(node, was_right, self.is_right(node, about));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_learns_everything_in_time() {
        for seed in 0..3 {
            let outcomes = measure(10, 5, 3, seed);
            let learners: Vec<usize> = outcomes.iter().map(|(_, o)| o.waits.len()).collect();
            assert_eq!(learners, [10, 0, 11, 3 * 10, 10, 10 * 10]);
            // The dead are found after a probe and the time in which they might object.
            let (_, crash) = &outcomes[4];
            let (first, last) = (crash.waits.iter().min(), crash.percentile(100));
            assert!(first.is_some_and(|wait| *wait > Duration::from_secs(4)), "{first:?}");
            assert!(last.is_some_and(|wait| wait < Duration::from_secs(12)), "{last:?}");
        }
    }

    #[test]
    fn an_idle_hour_costs_a_probe_and_its_answer_a_second_and_the_exchanges() {
        let (_, idle) = &measure(10, 5, 3, 1)[1];
        let probes = 10 * 3600 * 2;
        let exchanges = 10 * 3600 / 30 * 2;
        let off = idle.messages.abs_diff(probes + exchanges);
        assert!(off < 100, "{} messages", idle.messages);
    }

    #[test]
    fn one_seed_gives_one_course() {
        assert_eq!(measure(12, 5, 3, 7), measure(12, 5, 3, 7));
        assert_ne!(measure(12, 5, 3, 7), measure(12, 5, 3, 8));
    }
}
