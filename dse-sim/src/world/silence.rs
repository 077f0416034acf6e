//! How an end of a link comes to know that nobody is at the other (PROTOCOL.md §10).

use std::time::Duration;

use dse_core::protocol::{Input, LinkId, Watch};

use super::network::State;
use super::{Action, World, nanos, number, place_of};

impl World {
    /// An end of a link watches in this way from now on, and its window begins anew.
    pub(super) fn watch(&mut self, link: LinkId, watch: Watch) {
        let (link, side) = place_of(link);
        let end = &mut self.links[link].ends[side];
        if end.watch == watch {
            return;
        }
        end.watch = watch;
        if end.silent {
            end.silent = false;
            end.suspicion += 1;
        }
        self.listen_for(link, side);
        self.listen_for(link, 1 - side);
    }

    /// Looks whether an end hears of the other, and plans its fall if it has just ceased
    /// to.
    pub(super) fn listen_for(&mut self, link: usize, side: usize) {
        let silent = !self.hears(link, side);
        let end = &self.links[link].ends[side];
        if end.state == State::Gone || end.blind || end.silent == silent {
            return;
        }
        let window = self.window(end.watch);
        // The last sign of life came up to one probe earlier.
        let window = window - self.random.below(window * 2 / 3);
        let end = &mut self.links[link].ends[side];
        end.silent = silent;
        end.suspicion += 1;
        if silent {
            let suspicion = end.suspicion;
            self.plan(self.now + window, Action::Fall { link, side, suspicion });
        }
    }

    /// Does an end hear of the other often enough?
    fn hears(&self, link: usize, side: usize) -> bool {
        let ends = &self.links[link].ends;
        let (end, other) = (&ends[side], &ends[1 - side]);
        // A node that stands still itself blames nobody.
        if self.nodes[end.node].frozen {
            return true;
        }
        if other.state == State::Gone
            || self.nodes[other.node].frozen
            || self.blocked.contains(&(other.node, end.node))
        {
            return false;
        }
        // Where pings do not get through there are no pongs: what is heard is the other's
        // own pings, and who watches lazily seldom sends one.
        let pings_arrive = !self.blocked.contains(&(end.node, other.node));
        pings_arrive || end.watch == Watch::Lazy || other.watch == Watch::Close
    }

    fn window(&self, watch: Watch) -> u64 {
        nanos(match watch {
            Watch::Close => self.options.detect,
            Watch::Lazy => LAZY,
        })
    }

    pub(super) fn probe(&mut self, link: LinkId) {
        let (link, side) = place_of(link);
        let [near, far] = [side, 1 - side].map(|side| self.links[link].ends[side].node);
        let answer = self.travel(near, far) + self.travel(far, near);
        let after = if self.answers(link, side) { answer.min(nanos(PROBE)) } else { nanos(PROBE) };
        self.links[link].ends[side].probes.push_back(self.now + nanos(PROBE));
        self.plan(self.now + after, Action::ProbeEnds { link, side });
    }

    /// A node that stood still answers the probes that wait for it.
    pub(super) fn answer_probes(&mut self, index: usize) {
        for (link, side) in self.nodes[index].ends.clone() {
            for _ in 0..self.links[link].ends[1 - side].probes.len() {
                let at = self.now + self.travel(index, self.links[link].ends[1 - side].node);
                self.plan(at, Action::ProbeEnds { link, side: 1 - side });
            }
        }
    }

    pub(super) fn end_probe(&mut self, link: usize, side: usize) {
        if self.links[link].ends[side].state != State::Up {
            return;
        }
        let answered = self.answers(link, side);
        let end = &mut self.links[link].ends[side];
        let (node, until) = (end.node, end.probes.front().copied());
        if until.is_some() && answered {
            end.probes.pop_front();
            self.give(node, Input::Probed { link: number(link, side) });
        } else if let Some(until) = until {
            if until <= self.now {
                self.fall(link, side, "no answer to a probe");
            } else {
                self.plan(until, Action::ProbeEnds { link, side });
            }
        }
    }

    /// Would the other end of the link answer a probe now?
    fn answers(&self, link: usize, side: usize) -> bool {
        let other = &self.links[link].ends[1 - side];
        let node = &self.nodes[other.node];
        other.state == State::Up
            && node.paused.is_none()
            && !self.is_cut(other.node, self.links[link].ends[side].node)
            && !self.is_too_slow(other.node, self.links[link].ends[side].node)
    }

    /// Would the answer to a probe come too late?
    fn is_too_slow(&self, a: usize, b: usize) -> bool {
        let extra = |pair| self.slow.get(&pair).copied().unwrap_or(0);
        extra((a, b)) + extra((b, a)) > nanos(PROBE)
    }
}

/// How long a silent peer stays unnoticed on a lazily watched link.
const LAZY: Duration = Duration::from_secs(120);
/// How long a probe waits for its echo.
const PROBE: Duration = Duration::from_millis(400);
