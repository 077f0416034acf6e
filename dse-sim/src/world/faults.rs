//! What befalls nodes and links.

use std::collections::BTreeMap;
use std::time::Duration;

use super::network::Lane;
use super::{Clock, Notice, World, nanos, number};

impl World {
    /// A node ends without a word: its memory is lost.
    pub fn crash(&mut self, name: &str, notice: Notice) {
        let index = self.index(name);
        assert!(self.nodes[index].is_running(), "{name} does not run");
        self.log(index, &format!("crashes, noticed {notice:?}"));
        self.end_life(index, notice);
    }

    pub(super) fn end_life(&mut self, index: usize, notice: Notice) {
        if let Some(life) = self.nodes[index].record {
            self.history.life_mut(life).end(self.now);
        }
        self.nodes[index].end();
        self.rearm(index);
        for endpoint in core::mem::take(&mut self.nodes[index].listens) {
            if let Some(nodes) = self.listeners.get_mut(&endpoint) {
                nodes.remove(&index);
            }
        }
        for (link, side) in self.nodes[index].ends.clone() {
            match notice {
                Notice::AtOnce => self.disconnect(number(link, side)),
                Notice::Detected => {
                    self.close_end(link, side);
                    self.listen_for(link, 1 - side);
                }
                Notice::Never => {
                    self.close_end(link, side);
                    self.links[link].ends[1 - side].blind = true;
                }
            }
        }
    }

    /// Tells a node that all its links to another have fallen. The other notices
    /// nothing: its ends stay up and lead nowhere, until it probes them.
    pub fn lose_links(&mut self, loser: &str, other: &str) {
        for (link, side) in self.ends_between(self.index(loser), self.index(other)) {
            self.links[link].ends[1 - side].blind = true;
            self.fall(link, side, "the connection was reset");
        }
    }

    /// As [`lose_links`](Self::lose_links), but the other notices the silence as it
    /// watches its end: the links stay half open so long.
    pub fn half_open_links(&mut self, loser: &str, other: &str) {
        for (link, side) in self.ends_between(self.index(loser), self.index(other)) {
            self.fall(link, side, "the connection was reset");
        }
    }

    /// Both ends of the links between two nodes fall, one message time apart.
    pub fn break_links(&mut self, a: &str, b: &str) {
        for (link, side) in self.ends_between(self.index(a), self.index(b)) {
            self.send(number(link, side), Lane::Close);
            self.fall(link, side, "the connection was reset");
        }
    }

    /// Nothing passes between the two groups until [`heal`](Self::heal).
    pub fn partition(&mut self, left: &[&str], right: &[&str]) {
        for a in left {
            for b in right {
                self.block(a, b);
                self.block(b, a);
            }
        }
    }

    /// Nothing passes from one node to another until [`heal`](Self::heal). Links need
    /// both directions: those between the two fall as their ends notice.
    pub fn block(&mut self, from: &str, to: &str) {
        let (from, to) = (self.index(from), self.index(to));
        if !self.blocked.insert((from, to)) {
            return;
        }
        for (link, side) in self.nodes[from].ends.clone() {
            if self.links[link].ends[1 - side].node == to {
                self.listen_for(link, 0);
                self.listen_for(link, 1);
            }
        }
    }

    /// Ends all partitions. Links of which no end has fallen yet go on where they were.
    pub fn heal(&mut self) {
        self.blocked.clear();
        self.resume_lanes();
    }

    /// Messages between two nodes, in both directions, wait for the test's word.
    pub fn hold(&mut self, a: &str, b: &str) {
        let (a, b) = (self.index(a), self.index(b));
        self.held.extend([(a, b), (b, a)]);
    }

    /// Lets messages flow again.
    pub fn release(&mut self, a: &str, b: &str) {
        let (a, b) = (self.index(a), self.index(b));
        self.held.remove(&(a, b));
        self.held.remove(&(b, a));
        self.resume_lanes();
    }

    fn resume_lanes(&mut self) {
        for index in 0..self.nodes.len() {
            for (link, side) in self.nodes[index].ends.clone() {
                self.listen_for(link, side);
                self.resume_lane(link, side);
            }
        }
    }

    /// Everything from one node to another takes so much longer, from now on.
    pub fn slow(&mut self, from: &str, to: &str, extra: Duration) {
        let pair = (self.index(from), self.index(to));
        if extra.is_zero() {
            self.slow.remove(&pair);
        } else {
            self.slow.insert(pair, nanos(extra));
        }
    }

    /// Everything takes its usual time again.
    pub fn end_slowness(&mut self) {
        self.slow.clear();
    }

    /// Ends that would notice silence by a probe only notice it as they watch again.
    pub fn end_blindness(&mut self) {
        for index in 0..self.nodes.len() {
            for (link, side) in self.nodes[index].ends.clone() {
                self.links[link].ends[side].blind = false;
                self.listen_for(link, side);
            }
        }
    }

    /// Does some node hold on to a link whose other end is gone?
    pub fn any_half_open(&self) -> bool {
        let mut ends = BTreeMap::new();
        for (link, _) in self.nodes.iter().flat_map(|node| &node.ends) {
            *ends.entry(link).or_insert(0) += 1;
        }
        ends.values().any(|ends| *ends == 1)
    }

    /// Delivers the next message from one node to another, in whichever of their links
    /// one waits. Time does not pass. False if none waits.
    pub fn deliver_next(&mut self, from: &str, to: &str) -> bool {
        let ends = self.ends_between(self.index(to), self.index(from));
        ends.into_iter().any(|(link, side)| {
            let now = self.now;
            if let Some((due, _)) = self.links[link].ends[side].lane.front_mut() {
                *due = now.min(*due);
            }
            self.deliver_one(link, side)
        })
    }

    /// A node's control bus stands still, while its links live: it answers no probe and
    /// no message, and nobody takes it for dead who does not ask.
    pub fn pause(&mut self, name: &str) {
        let index = self.index(name);
        self.log(index, "stands still");
        self.stand_still(index, false);
    }

    /// A node's whole process stands still: its peers notice, as they watch it. It blames
    /// nobody when it goes on.
    pub fn freeze(&mut self, name: &str) {
        let index = self.index(name);
        self.log(index, "is frozen");
        self.stand_still(index, true);
    }

    fn stand_still(&mut self, index: usize, frozen: bool) {
        let node = &mut self.nodes[index];
        node.paused.get_or_insert_with(Vec::new);
        node.frozen |= frozen;
        self.rearm(index);
        self.listen_anew(index);
    }

    /// A node that stood still goes on and takes in what has come meanwhile.
    pub fn resume(&mut self, name: &str) {
        let index = self.index(name);
        self.log(index, "goes on");
        let waiting = self.nodes[index].paused.take().unwrap_or_default();
        self.nodes[index].frozen = false;
        self.nodes[index].mirror.goes_on();
        self.listen_anew(index);
        self.answer_probes(index);
        for input in waiting {
            if self.nodes[index].is_running() {
                self.give(index, input);
            }
        }
        self.rearm(index);
    }

    /// What is heard of a node, and what it hears, may have changed.
    fn listen_anew(&mut self, index: usize) {
        for (link, _) in self.nodes[index].ends.clone() {
            self.listen_for(link, 0);
            self.listen_for(link, 1);
        }
    }

    /// Sets the clock of a node that does not run, for all its later lives.
    ///
    /// # Panics
    /// The node runs: a clock that jumps under it is no clock.
    pub fn set_clock(&mut self, name: &str, clock: Clock) {
        let index = self.place(name);
        self.nodes[index].clock = clock;
    }

    /// Sets how long a silent peer that it watches closely goes unnoticed by a node that does
    /// not run, for all its later lives.
    ///
    /// # Panics
    /// The node runs: what it has promised its peers would not hold.
    pub fn set_detect(&mut self, name: &str, detect: Duration) {
        let index = self.place(name);
        self.nodes[index].detect = detect;
    }
}
