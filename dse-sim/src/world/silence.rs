//! How an end of a link comes to know that nobody is at the other (PROTOCOL.md §10).

use std::time::Duration;

use dse_core::protocol::{BeatTurn, Input, LinkId, Listen, Watch};

use super::network::State;
use super::{Action, World, nanos, number, place_of};

impl World {
    /// A link is watched in this way from now on. Where its end listens in another way, its
    /// window begins anew.
    pub(super) fn watch(&mut self, link: LinkId, watch: Watch) {
        let (link, side) = place_of(link);
        let now = self.now;
        let end = &mut self.links[link].ends[side];
        let before = std::mem::replace(&mut end.watch, watch);
        if before.listen != watch.listen {
            end.listens_since = now;
            if end.silent {
                end.silent = false;
                end.suspicion += 1;
            }
        }
        if before != watch {
            self.listen_for(link, side);
            self.listen_for(link, 1 - side);
        }
    }

    /// Looks whether an end hears of the other, and plans its fall if it has just ceased
    /// to.
    pub(super) fn listen_for(&mut self, link: usize, side: usize) {
        let silent = !self.hears(link, side);
        let end = &self.links[link].ends[side];
        if end.state == State::Gone || end.blind || end.silent == silent {
            return;
        }
        let falls_at = self.bears_silence_until(link, side);
        let end = &mut self.links[link].ends[side];
        end.silent = silent;
        end.suspicion += 1;
        if silent {
            let suspicion = end.suspicion;
            self.plan(falls_at, Action::Fall { link, side, suspicion });
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
        // Where pings do not get through there are no pongs: what is heard are the other's
        // beats, if these come often enough for it, or its own pings until it falls; and who
        // watches lazily seldom asks.
        let pings_arrive = !self.blocked.contains(&(end.node, other.node));
        let often = |turn| {
            let round = self.round(other.node, turn);
            round < self.vouches_for(end.node, round)
        };
        pings_arrive
            || end.watch.listen != Listen::Close
            || other.watch.listen == Listen::Close
            || other.watch.beats.is_some_and(often)
    }

    /// When an end that hears nothing from now on takes the other for dead.
    fn bears_silence_until(&mut self, link: usize, side: usize) -> u64 {
        let ends = &self.links[link].ends;
        let (end, other) = (&ends[side], &ends[1 - side]);
        let detect = nanos(self.nodes[end.node].detect);
        let (since, every, patience) = match end.watch.listen {
            Listen::Close => {
                let since = end.heard_at.max(end.listens_since);
                let answer = nanos(PROBE).min(detect / 3);
                if let Some(turn) = other.watch.beats {
                    // The first beat comes as the listening begins.
                    let next = self.next_beat(other.node, turn);
                    let beat = next.saturating_sub(self.round(other.node, turn));
                    let beat = beat.max(end.listens_since);
                    let mut until = beat + self.vouches_for(end.node, next - beat);
                    // Whom it is not told of often enough it asked, and was answered.
                    while until - answer < self.now {
                        until += detect - answer;
                    }
                    return until.max(since + detect);
                }
                (since, detect - answer, answer)
            }
            Listen::Lazy => {
                let links = self.nodes[end.node].ends.len() as u64;
                let every = nanos(ALONE).max(nanos(LAZY_A_LINK) * links);
                (end.listens_since, every, nanos(PATIENCE))
            }
            Listen::Alone => (end.listens_since, nanos(ALONE), nanos(PATIENCE)),
        };
        // Without beats an end asks now and then; the last answer may be as old as that.
        let answered_at = self.now.saturating_sub(self.random.below(every)).max(since);
        answered_at + every + patience
    }

    /// For how long a dead peer stays unnoticed at the most.
    pub(super) fn longest_silence(&self) -> Duration {
        let links = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        ALONE.max(LAZY_A_LINK * links) + PATIENCE
    }

    /// For how long after a beat, and nothing else, a watcher takes who told for alive. The
    /// beat named the pause before the next, and is believed as far as the watcher's own
    /// window.
    fn vouches_for(&self, watcher: usize, pause: u64) -> u64 {
        let detect = nanos(self.nodes[watcher].detect);
        detect.max(pause.min(detect) + detect * 2 / 3)
    }

    /// How long it takes a node to tell all its watchers once.
    fn round(&self, node: usize, turn: BeatTurn) -> u64 {
        nanos(self.nodes[node].detect) / 3 * u64::from(turn.of)
    }

    /// When a node tells the one who has this turn next that it lives.
    fn next_beat(&self, node: usize, turn: BeatTurn) -> u64 {
        let slot = nanos(self.nodes[node].detect) / 3;
        let round = self.round(node, turn);
        let begins = (self.nodes[node].phase % round + slot * u64::from(turn.number)) % round;
        let since_last = (self.now + round - begins) % round;
        self.now + round - since_last
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
            end.heard_at = self.now;
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

/// After how much silence a peer is pinged to whom nobody else listens, and others that are
/// not closely watched at the least.
const ALONE: Duration = Duration::from_secs(90);
/// After how much silence a lazily watched peer is pinged, for each link of the node.
const LAZY_A_LINK: Duration = Duration::from_secs(15);
/// How long such a ping waits for its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a probe waits for its echo.
const PROBE: Duration = Duration::from_millis(400);
