//! Links come, fall, freeze and thaw.

use std::time::Duration;

use dse_core::protocol::{Incarnation, Input, LinkId};

use super::Bus;
use super::parts::{Action, Lane, Link, Said, nanos};
use super::setup::Path;
use crate::data::words::ends_amid;

impl Bus {
    /// Joins two nodes with a link, if they have none. `path` is for both directions.
    pub fn connect(&mut self, a: usize, b: usize, path: Path) {
        let joins = |link: &Link| {
            link.ends.contains(&a) && link.ends.contains(&b) && link.up.contains(&true)
        };
        let both = self.slots[a].node.is_some() && self.slots[b].node.is_some();
        let paused = self.slots[a].paused || self.slots[b].paused;
        let leaving = self.slots[a].leaving || self.slots[b].leaving;
        if a == b || !both || paused || leaving || self.links.iter().any(joins) {
            return;
        }
        let number = self.links.len();
        self.links.push(Link {
            ends: [a, b],
            up: [true; 2],
            path,
            lanes: [Lane::default(), Lane::default()],
            frozen: false,
        });
        self.remark(|| format!("link {number} of {a} and {b}: {path:?}"));
        for (side, own) in [a, b].into_iter().enumerate() {
            let other = [b, a][side];
            let peer = (self.slots[other].id.clone(), Incarnation(self.slots[other].incarnation));
            let now = self.instant();
            if let Some(node) = self.slots[own].node.as_mut().filter(|_| !self.has_control) {
                node.set_now(now);
                node.open_link(number as u64, peer);
            }
        }
        for (side, own) in [a, b].into_iter().enumerate() {
            if self.has_control {
                let link = LinkId(number as u64);
                self.feed(own, Input::LinkUp { link, dial: None, identity: None });
            } else {
                self.say_wishes(number, side, own);
            }
            self.touch(own);
        }
    }

    pub(super) fn say_wishes(&mut self, link: usize, side: usize, node: usize) {
        let Some(running) = &self.slots[node].node else { return };
        let wishes = running.subscriptions.values().map(|it| it.wanted.clone()).collect();
        let at = self.now + nanos(self.links[link].path.delay);
        self.links[link].lanes[1 - side].control.push_back((at, Said::Wishes(wishes)));
        self.plan_at(at, Action::Control { link, side: 1 - side });
    }

    /// The links of two nodes fall. What is under way is lost; each end notices in its time.
    pub fn cut(&mut self, a: usize, b: usize, notice: [Duration; 2]) {
        for link in self.links_of(a) {
            if !self.links[link].ends.contains(&b) {
                continue;
            }
            for (side, notice) in notice.into_iter().enumerate() {
                self.lose_lane(link, side);
                self.plan(notice, Action::Fall { link, side });
            }
            self.links[link].frozen = true;
        }
    }

    /// The links of two nodes carry nothing until they thaw.
    pub fn freeze(&mut self, a: usize, b: usize) {
        for link in self.links_of(a) {
            self.links[link].frozen |= self.links[link].ends.contains(&b);
        }
    }

    /// All links go on that are not cut.
    pub fn thaw(&mut self) {
        for link in 0..self.links.len() {
            if self.links[link].up.contains(&true) && self.links[link].frozen && !self.is_cut(link)
            {
                self.links[link].frozen = false;
                for side in 0..2 {
                    self.plan(Duration::ZERO, Action::Control { link, side });
                    self.plan(Duration::ZERO, Action::Arrive { link, side });
                }
            }
        }
    }

    pub(super) fn is_cut(&self, link: usize) -> bool {
        self.agenda
            .values()
            .any(|action| matches!(action, Action::Fall { link: of, .. } if *of == link))
    }

    /// Connects them after a while, again with this path.
    pub fn reconnect(&mut self, a: usize, b: usize, after: Duration) {
        self.plan(after, Action::Reconnect { a, b });
    }

    pub(super) fn lose_lane(&mut self, link: usize, side: usize) {
        let cut = self.links[link].lanes[side].queue.iter().any(|(_, frame)| ends_amid(frame));
        self.counts.cut_fragments += u64::from(cut);
        let lane = &mut self.links[link].lanes[side];
        lane.queue.clear();
        lane.control.clear();
        (lane.bytes, lane.pending) = (0, None);
    }

    /// Are these two joined by a link that both know?
    pub fn joined(&self, a: usize, b: usize) -> bool {
        self.links.iter().any(|it| {
            it.ends.contains(&a) && it.ends.contains(&b) && it.up == [true; 2] && !it.frozen
        })
    }

    pub(super) fn links_of(&self, node: usize) -> Vec<usize> {
        let ends = |link: &Link| {
            (0..2).any(|side| link.ends[side] == node && (link.up[side] || link.up[1 - side]))
        };
        (0..self.links.len()).filter(|link| ends(&self.links[*link])).collect()
    }

    pub(super) fn side_of(&self, link: usize, node: usize) -> usize {
        usize::from(self.links[link].ends[1] == node)
    }

    pub(super) fn fall(&mut self, link: usize, side: usize, how: &str) {
        let node = self.links[link].ends[side];
        if self.slots[node].paused {
            return self.plan(Duration::from_millis(50), Action::Fall { link, side });
        }
        if self.has_control && self.links[link].up[side] {
            let error = how.to_owned();
            self.feed(node, Input::LinkDown { link: LinkId(link as u64), error });
            self.touch(node);
            let running = self.slots[node].node.as_ref();
            let is_open = running.is_some_and(|it| it.links.contains_key(&(link as u64)));
            if is_open && self.links[link].lanes[side].left {
                // What its peer sent before it left is read, unless nothing comes through any more.
                if self.links[link].frozen {
                    self.close_end(link, side, true, how);
                }
                return;
            }
        }
        self.close_end(link, side, false, how);
    }

    pub(super) fn close_end(&mut self, link: usize, side: usize, left: bool, how: &str) {
        if !std::mem::replace(&mut self.links[link].up[side], false) {
            return;
        }
        let node = self.links[link].ends[side];
        self.remark(|| format!("link {link} {how}, says node {node}"));
        if self.has_control && self.links[link].up[1 - side] {
            // The word of it may be lost on the way: the other end notices at the latest then.
            let after = Duration::from_secs(1) + self.links[link].path.delay;
            self.plan(after, Action::Fall { link, side: 1 - side });
        }
        let now = self.instant();
        if let Some(running) = &mut self.slots[node].node {
            running.set_now(now);
            running.close_link(link as u64, left);
        }
        self.touch(node);
    }
}
