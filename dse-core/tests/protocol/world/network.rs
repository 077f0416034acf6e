//! Dials, links and lanes, and the faults that befall them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use dse_core::protocol::{DialId, Endpoint, Input, LinkId};

use super::{Action, CONNECT, DETECT, PROBE, Random, World, nanos, number, place_of};

/// How long messages take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    min: u64,
    max: u64,
}

impl Latency {
    pub(crate) fn fixed(time: Duration) -> Self {
        Self { min: nanos(time), max: nanos(time) }
    }

    /// Each message takes its own time; those of one lane keep their order.
    pub(crate) fn between(min: Duration, max: Duration) -> Self {
        Self { min: nanos(min), max: nanos(max) }
    }

    pub(super) fn draw(self, random: &mut Random) -> u64 {
        self.min + if self.max > self.min { random.below(self.max - self.min) } else { 0 }
    }
}

/// When the peers of a node that ends without a word come to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The sockets were closed by the system: at once.
    AtOnce,
    /// The machine went away: after the detection time.
    Detected,
    /// Not by itself: only a probe or the test tells.
    Never,
}

/// What travels on a lane.
#[derive(Debug)]
pub(super) enum Lane {
    Message(Bytes),
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The dialler, until it hears that the link stands.
    Dialling(DialId),
    Up,
    Gone,
}

/// One end of a link, with the lane that leads to it.
#[derive(Debug)]
pub(super) struct End {
    pub(super) node: usize,
    pub(super) life: u32,
    pub(super) state: State,
    /// What is under way to this end, and when it is due.
    pub(super) lane: VecDeque<(u64, Lane)>,
    last_due: u64,
    /// Counts changes of mind about whether the other end lives.
    pub(super) suspicion: u32,
}

/// A pairing of two nodes: `ends[0]` dialled.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) ends: [End; 2],
}

impl World {
    pub(super) fn arrive(&mut self, from: usize, life: u32, dial: DialId, endpoint: &Endpoint) {
        if self.nodes[from].life != life {
            return;
        }
        let at = self.nodes.iter().rposition(|node| node.listens_at(endpoint));
        let Some(to) = at else {
            let at = self.now + self.latency.draw(&mut self.random);
            let error = format!("nobody listens at {endpoint}");
            return self.plan(at, Action::DialFails { from, life, dial, error });
        };
        if self.is_cut(from, to) {
            let error = format!("no answer from {endpoint}");
            let at = self.now + nanos(CONNECT);
            return self.plan(at, Action::DialFails { from, life, dial, error });
        }
        let link = self.links.len();
        let up_at = self.now + self.latency.draw(&mut self.random);
        let end = |node: usize, life, state, last_due| {
            let lane = VecDeque::new();
            End { node, life, state, lane, last_due, suspicion: 0 }
        };
        let dialler = end(from, life, State::Dialling(dial), up_at);
        let listener = end(to, self.nodes[to].life, State::Up, self.now);
        self.links.push(Link { ends: [dialler, listener] });
        self.plan(up_at, Action::Establish { link });
        let identity = self.nodes[from].certificate.clone();
        self.give(to, Input::LinkUp { link: number(link, 1), dial: None, identity });
    }

    pub(super) fn establish(&mut self, link: usize) {
        let [dialler, listener] = &self.links[link].ends;
        let State::Dialling(dial) = dialler.state else { return };
        let (from, to) = (dialler.node, listener.node);
        if listener.state == State::Gone && dialler.lane.is_empty() {
            return self.fall(link, 0, "the connection was reset");
        }
        self.links[link].ends[0].state = State::Up;
        let identity = self.nodes[to].certificate.clone();
        self.give(from, Input::LinkUp { link: number(link, 0), dial: Some(dial), identity });
    }

    /// Puts something on the lane to the other end of a link.
    pub(super) fn send(&mut self, from: LinkId, what: Lane) {
        let (link, side) = place_of(from);
        let sender = self.links[link].ends[side].node;
        if let Lane::Message(bytes) = &what {
            self.nodes[sender].count_sent(bytes);
        }
        let arrives = self.now + self.latency.draw(&mut self.random);
        let end = &mut self.links[link].ends[1 - side];
        if end.state == State::Gone {
            return;
        }
        let due = arrives.max(end.last_due);
        end.last_due = due;
        end.lane.push_back((due, what));
        self.plan(due, Action::Deliver { link, side: 1 - side });
    }

    /// Delivers the head of a lane if it is due and nothing holds it back.
    pub(super) fn deliver(&mut self, link: usize, side: usize) {
        let from = self.links[link].ends[1 - side].node;
        let to = self.links[link].ends[side].node;
        if self.held.contains(&(from, to)) || self.blocked.contains(&(from, to)) {
            return;
        }
        self.deliver_one(link, side);
    }

    fn deliver_one(&mut self, link: usize, side: usize) -> bool {
        let now = self.now;
        let end = &mut self.links[link].ends[side];
        let due = end.lane.front().is_some_and(|(due, _)| *due <= now);
        if end.state != State::Up || !due {
            return false;
        }
        let to = end.node;
        match end.lane.pop_front() {
            Some((_, Lane::Message(bytes))) => {
                self.give(to, Input::Message { link: number(link, side), bytes });
            }
            Some((_, Lane::Close)) => self.fall(link, side, "the peer closed the link"),
            None => return false,
        }
        true
    }

    /// A node closes its end: what it sent before still arrives, then the other end
    /// falls. Its own end hears no more.
    pub(super) fn disconnect(&mut self, link: LinkId) {
        self.send(link, Lane::Close);
        let (link, side) = place_of(link);
        let end = &mut self.links[link].ends[side];
        end.state = State::Gone;
        end.lane.clear();
    }

    /// An end falls, and its node is told. The other end finds out in its own time.
    pub(super) fn fall(&mut self, link: usize, side: usize, why: &str) {
        let end = &mut self.links[link].ends[side];
        let state = core::mem::replace(&mut end.state, State::Gone);
        end.lane.clear();
        let (to, life) = (end.node, end.life);
        if state == State::Gone || self.nodes[to].life != life {
            return;
        }
        self.suspect(link, 1 - side);
        let error = why.to_owned();
        match state {
            State::Dialling(dial) => self.give(to, Input::ConnectFailed { dial, error }),
            _ => self.give(to, Input::LinkDown { link: number(link, side), error }),
        }
    }

    /// This end is to fall within the detection time, at a moment of its own.
    fn suspect(&mut self, link: usize, side: usize) {
        let detect = nanos(DETECT) - self.random.below(nanos(DETECT) / 3);
        let end = &mut self.links[link].ends[side];
        if end.state == State::Gone {
            return;
        }
        end.suspicion += 1;
        let suspicion = end.suspicion;
        self.plan(self.now + detect, Action::Fall { link, side, suspicion });
    }

    pub(super) fn probe(&mut self, link: LinkId) {
        let (link, side) = place_of(link);
        let after = if self.answers(link, side) {
            2 * self.latency.draw(&mut self.random)
        } else {
            nanos(PROBE)
        };
        self.plan(self.now + after, Action::ProbeEnds { link, side });
    }

    pub(super) fn end_probe(&mut self, link: usize, side: usize) {
        if self.links[link].ends[side].state != State::Up {
            return;
        }
        let node = self.links[link].ends[side].node;
        if self.answers(link, side) {
            self.give(node, Input::Probed { link: number(link, side) });
        } else {
            self.fall(link, side, "no answer to a probe");
        }
    }

    /// Would the other end of the link answer a probe now?
    fn answers(&self, link: usize, side: usize) -> bool {
        let other = &self.links[link].ends[1 - side];
        let node = &self.nodes[other.node];
        other.state == State::Up
            && node.paused.is_none()
            && !self.is_cut(other.node, self.links[link].ends[side].node)
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.blocked.contains(&(a, b)) || self.blocked.contains(&(b, a))
    }

    /// A node ends without a word: its memory is lost.
    pub(crate) fn crash(&mut self, name: &str, notice: Notice) {
        let index = self.index(name);
        assert!(self.nodes[index].is_running(), "{name} does not run");
        self.log(index, &format!("crashes, noticed {notice:?}"));
        self.end_life(index, notice);
    }

    pub(super) fn end_life(&mut self, index: usize, notice: Notice) {
        self.nodes[index].end();
        for link in 0..self.links.len() {
            for side in 0..2 {
                let end = &mut self.links[link].ends[side];
                if end.node != index || end.state == State::Gone {
                    continue;
                }
                match notice {
                    Notice::AtOnce => self.disconnect(number(link, side)),
                    Notice::Detected => {
                        end.state = State::Gone;
                        end.lane.clear();
                        self.suspect(link, 1 - side);
                    }
                    Notice::Never => {
                        end.state = State::Gone;
                        end.lane.clear();
                    }
                }
            }
        }
    }

    /// Tells a node that all its links to another have fallen. The other notices
    /// nothing: its ends stay up and lead nowhere.
    pub(crate) fn lose_links(&mut self, loser: &str, other: &str) {
        for (link, side) in self.ends_between(loser, other) {
            self.fall(link, side, "the connection was reset");
            self.links[link].ends[1 - side].suspicion += 1;
        }
    }

    /// Both ends of the links between two nodes fall, one message time apart.
    pub(crate) fn break_links(&mut self, a: &str, b: &str) {
        for (link, side) in self.ends_between(a, b) {
            self.send(number(link, side), Lane::Close);
            self.fall(link, side, "the connection was reset");
        }
    }

    /// The ends at `of` of links that lead to `to`, `of`'s end being up.
    fn ends_between(&self, of: &str, to: &str) -> Vec<(usize, usize)> {
        let (of, to) = (self.index(of), self.index(to));
        let all = (0..self.links.len()).flat_map(|link| [(link, 0), (link, 1)]);
        all.filter(|&(link, side)| {
            let ends = &self.links[link].ends;
            ends[side].node == of && ends[1 - side].node == to && ends[side].state == State::Up
        })
        .collect()
    }

    /// Nothing passes between the two groups until [`heal`](Self::heal).
    pub(crate) fn partition(&mut self, left: &[&str], right: &[&str]) {
        for a in left {
            for b in right {
                self.block(a, b);
                self.block(b, a);
            }
        }
    }

    /// Nothing passes from one node to another until [`heal`](Self::heal). As links need
    /// both directions, those between the two fall at both ends.
    pub(crate) fn block(&mut self, from: &str, to: &str) {
        let pair = (self.index(from), self.index(to));
        if !self.blocked.insert(pair) {
            return;
        }
        for link in 0..self.links.len() {
            let [one, other] = &self.links[link].ends;
            if (one.node, other.node) == pair || (other.node, one.node) == pair {
                self.suspect(link, 0);
                self.suspect(link, 1);
            }
        }
    }

    /// Ends all partitions. Links of which no end has fallen yet go on where they were.
    pub(crate) fn heal(&mut self) {
        self.blocked.clear();
        for link in 0..self.links.len() {
            let whole = self.links[link].ends.iter().all(|end| end.state != State::Gone);
            for side in 0..2 {
                if whole {
                    self.links[link].ends[side].suspicion += 1;
                }
                self.resume_lane(link, side);
            }
        }
    }

    /// Messages between two nodes, in both directions, wait for the test's word.
    pub(crate) fn hold(&mut self, a: &str, b: &str) {
        let (a, b) = (self.index(a), self.index(b));
        self.held.extend([(a, b), (b, a)]);
    }

    /// Lets messages flow again.
    pub(crate) fn release(&mut self, a: &str, b: &str) {
        let (a, b) = (self.index(a), self.index(b));
        self.held.remove(&(a, b));
        self.held.remove(&(b, a));
        for link in 0..self.links.len() {
            self.resume_lane(link, 0);
            self.resume_lane(link, 1);
        }
    }

    /// Delivers the next message from one node to another, in whichever of their links
    /// one waits. Time does not pass. False if none waits.
    pub(crate) fn deliver_next(&mut self, from: &str, to: &str) -> bool {
        let ends = self.ends_between(to, from);
        ends.into_iter().any(|(link, side)| {
            let now = self.now;
            if let Some((due, _)) = self.links[link].ends[side].lane.front_mut() {
                *due = now.min(*due);
            }
            self.deliver_one(link, side)
        })
    }

    fn resume_lane(&mut self, link: usize, side: usize) {
        for waiting in 0..self.links[link].ends[side].lane.len() {
            let due = self.links[link].ends[side].lane[waiting].0.max(self.now);
            self.plan(due, Action::Deliver { link, side });
        }
    }

    /// A node stands still: it keeps its links and answers nothing.
    pub(crate) fn pause(&mut self, name: &str) {
        let index = self.index(name);
        self.log(index, "stands still");
        self.nodes[index].paused = Some(Vec::new());
    }

    /// A paused node goes on and takes in what has come meanwhile.
    pub(crate) fn resume(&mut self, name: &str) {
        let index = self.index(name);
        self.log(index, "goes on");
        for input in self.nodes[index].paused.take().unwrap_or_default() {
            if self.nodes[index].is_running() {
                self.give(index, input);
            }
        }
    }

    /// The other end of an open link: its node and its number there.
    pub(super) fn other_end(&self, link: LinkId) -> (usize, LinkId) {
        let (link, side) = place_of(link);
        (self.links[link].ends[1 - side].node, number(link, 1 - side))
    }
}
