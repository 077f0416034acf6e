//! Dials, links and lanes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use dse_core::protocol::{DialId, Endpoint, Input, LinkId, Listen, Watch};

use super::laws::history::LifeId;
use super::{Action, Node, Random, World, nanos, number, place_of};

/// How long messages take.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    min: u64,
    max: u64,
}

impl Latency {
    /// Each message takes this long.
    pub fn fixed(time: Duration) -> Self {
        Self { min: nanos(time), max: nanos(time) }
    }

    /// Each message takes its own time; those of one lane keep their order.
    pub fn between(min: Duration, max: Duration) -> Self {
        Self { min: nanos(min), max: nanos(max) }
    }

    pub(super) fn draw(self, random: &mut Random) -> u64 {
        self.min + if self.max > self.min { random.below(self.max - self.min) } else { 0 }
    }
}

/// When the peers of a node that ends without a word come to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
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
    /// The same life, where laws are checked.
    pub(super) record: Option<LifeId>,
    pub(super) state: State,
    /// What is under way to this end, and when it is due.
    pub(super) lane: VecDeque<(u64, Lane)>,
    last_due: u64,
    /// How this end watches the other, and tells it that it lives.
    pub(super) watch: Watch,
    /// Since when it listens in this way.
    pub(super) listens_since: u64,
    /// When a message or an answer to a probe came last.
    pub(super) heard_at: u64,
    /// Nothing is heard of the other end.
    pub(super) silent: bool,
    /// Counts changes of mind about when silence is noticed.
    pub(super) suspicion: u32,
    /// Until when each of its probes is to be answered.
    pub(super) probes: VecDeque<u64>,
    /// Silence is noticed by a probe only.
    pub(super) blind: bool,
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
        let at = self.listeners.get(endpoint).and_then(|nodes| nodes.last().copied());
        let Some(to) = at else {
            let at = self.now + self.travel(from, from);
            let error = format!("nobody listens at {endpoint}");
            return self.plan(at, Action::DialFails { from, life, dial, error });
        };
        if self.is_cut(from, to) || self.nodes[to].frozen {
            let error = format!("no answer from {endpoint}");
            let at = self.now + nanos(CONNECT);
            return self.plan(at, Action::DialFails { from, life, dial, error });
        }
        let link = self.links.len();
        let up_at = self.now + self.travel(to, from);
        let dialler = End::new(from, &self.nodes[from], State::Dialling(dial), up_at);
        let listener = End::new(to, &self.nodes[to], State::Up, self.now);
        self.links.push(Link { ends: [dialler, listener] });
        self.nodes[from].ends.insert((link, 0));
        self.nodes[to].ends.insert((link, 1));
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

    /// How long something takes from one node to another.
    pub(super) fn travel(&mut self, from: usize, to: usize) -> u64 {
        let extra = if self.slow.is_empty() { None } else { self.slow.get(&(from, to)).copied() };
        self.options.latency.draw(&mut self.random) + extra.unwrap_or(0)
    }

    /// Puts something on the lane to the other end of a link.
    pub(super) fn send(&mut self, from: LinkId, what: Lane) {
        let (link, side) = place_of(from);
        let [sender, receiver] = [side, 1 - side].map(|side| self.links[link].ends[side].node);
        if let Lane::Message(bytes) = &what {
            self.nodes[sender].count_sent(bytes);
        }
        let arrives = self.now + self.travel(sender, receiver);
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

    pub(super) fn deliver_one(&mut self, link: usize, side: usize) -> bool {
        let now = self.now;
        let end = &mut self.links[link].ends[side];
        let due = end.lane.front().is_some_and(|(due, _)| *due <= now);
        if end.state != State::Up || !due {
            return false;
        }
        let to = end.node;
        end.heard_at = now;
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
        self.close_end(link, side);
    }

    /// An end is no more. What the other end sends is lost.
    pub(super) fn close_end(&mut self, link: usize, side: usize) -> State {
        let end = &mut self.links[link].ends[side];
        let before = core::mem::replace(&mut end.state, State::Gone);
        end.lane = VecDeque::new();
        self.nodes[end.node].ends.remove(&(link, side));
        before
    }

    /// An end falls, and its node is told. The other end finds out in its own time.
    pub(super) fn fall(&mut self, link: usize, side: usize, why: &str) {
        let state = self.close_end(link, side);
        let end = &self.links[link].ends[side];
        let (to, life) = (end.node, end.life);
        if state == State::Gone || self.nodes[to].life != life {
            return;
        }
        self.listen_for(link, 1 - side);
        let error = why.to_owned();
        match state {
            State::Dialling(dial) => self.give(to, Input::ConnectFailed { dial, error }),
            _ => self.give(to, Input::LinkDown { link: number(link, side), error }),
        }
    }

    pub(super) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.blocked.contains(&(a, b)) || self.blocked.contains(&(b, a))
    }

    /// The ends at `of` of links that lead to `to`, `of`'s end being up.
    pub(super) fn ends_between(&self, of: usize, to: usize) -> Vec<(usize, usize)> {
        let leads = |&&(link, side): &&(usize, usize)| {
            let ends = &self.links[link].ends;
            ends[1 - side].node == to && ends[side].state == State::Up
        };
        self.nodes[of].ends.iter().filter(leads).copied().collect()
    }

    pub(super) fn resume_lane(&mut self, link: usize, side: usize) {
        for waiting in 0..self.links[link].ends[side].lane.len() {
            let due = self.links[link].ends[side].lane[waiting].0.max(self.now);
            self.plan(due, Action::Deliver { link, side });
        }
    }

    /// The other end of an open link: its node and its number there.
    pub(super) fn other_end(&self, link: LinkId) -> (usize, LinkId) {
        let (link, side) = place_of(link);
        (self.links[link].ends[1 - side].node, number(link, 1 - side))
    }
}

impl End {
    fn new(place: usize, node: &Node, state: State, last_due: u64) -> Self {
        Self {
            node: place,
            life: node.life,
            record: node.record,
            state,
            lane: VecDeque::new(),
            last_due,
            watch: Watch { listen: Listen::Close, beats: None },
            listens_since: last_due,
            heard_at: last_due,
            silent: false,
            suspicion: 0,
            probes: VecDeque::new(),
            blind: false,
        }
    }
}

/// How long a dial into nowhere takes to fail.
const CONNECT: Duration = Duration::from_secs(1);
