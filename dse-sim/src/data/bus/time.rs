//! The agenda: what happens when.

use std::time::Duration;

use dse_core::protocol::{ControlBus, Input, Instant};

use super::Bus;
use super::parts::{Action, nanos};
use super::setup::Pace;

impl Bus {
    /// Lets this much time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + nanos(time);
        while let Some((&(at, _), _)) = self.agenda.first_key_value()
            && at <= end
        {
            self.step();
        }
        self.now = end;
    }

    /// Runs until nothing is to be done any more (law L1).
    ///
    /// # Panics
    /// It does not come to rest in time.
    pub fn run_until_idle(&mut self, limit: Duration) {
        let end = self.now + nanos(limit);
        while let Some((&(at, _), action)) = self.agenda.first_key_value() {
            assert!(at <= end, "L1: the bus does not come to rest: {action:?}");
            self.step();
        }
    }

    pub(super) fn step(&mut self) {
        let Some(((at, _), action)) = self.agenda.pop_first() else { return };
        self.now = self.now.max(at);
        self.steps += 1;
        assert!(self.steps < STEPS, "L1: the world does not come to rest in {STEPS} steps");
        match action {
            Action::Arrive { link, side } => self.arrive(link, side),
            Action::Control { link, side } => self.control(link, side),
            Action::Fall { link, side } => self.fall(link, side, "is lost"),
            Action::Reconnect { a, b } => {
                let before =
                    self.links.iter().rev().find(|it| it.ends.contains(&a) && it.ends.contains(&b));
                let path = before.map(|link| link.path).unwrap_or_default();
                self.connect(a, b, path);
            }
            Action::Probed { link, side } => self.probed(link, side),
            Action::Timer { node } => {
                if self.slots[node].timer.is_some_and(|at| at <= self.now) {
                    self.slots[node].timer = None;
                    self.time_out(node);
                }
            }
            Action::App { node, life, subscription } => self.app(node, life, subscription),
        }
    }

    pub(super) fn time_out(&mut self, node: usize) {
        if self.slots[node].paused {
            return;
        }
        let now = self.instant();
        if let Some(running) = &mut self.slots[node].node {
            running.set_now(now);
            running.handle_timeout();
        }
        if self.slots[node].core.as_ref().is_some_and(|it| is_due(it, now)) {
            self.feed(node, Input::Timeout);
        }
        self.touch(node);
    }

    pub(super) fn app(&mut self, node: usize, life: u64, subscription: u64) {
        if self.life(node) != life || self.slots[node].paused {
            return;
        }
        if let Some(Pace::Every(time)) = self.slots[node].paces.get(&subscription).copied() {
            self.take(node, subscription, 1);
            self.plan(time, Action::App { node, life, subscription });
        }
        self.touch(node);
    }

    pub(super) fn rearm(&mut self, node: usize) {
        let slot = &mut self.slots[node];
        let eager = |id: &u64| slot.paces.get(id) == Some(&Pace::Eager);
        let Some(running) = &slot.node else { return };
        let feeds = running.subscriptions.iter().filter(|(id, _)| eager(id));
        let feeds = feeds.filter_map(|(_, it)| it.feed.poll_timeout());
        let core = slot.core.as_ref().and_then(|it| it.poll_timeout()).map(|it| it.at);
        let due = running.poll_timeout().into_iter().chain(feeds).chain(core).min();
        let Some(due) = due.map(|at| at.as_nanos().max(self.now + 1)) else { return };
        if slot.timer.is_none_or(|at| at > due || at <= self.now) {
            slot.timer = Some(due);
            self.plan_at(due, Action::Timer { node });
        }
    }

    pub(super) fn plan(&mut self, after: Duration, action: Action) {
        self.plan_at(self.now + nanos(after), action);
    }

    pub(super) fn plan_at(&mut self, at: u64, action: Action) {
        self.turn += 1;
        self.agenda.insert((at, self.turn), action);
    }
}

/// A world that takes so many is one that never rests.
const STEPS: u64 = 2_000_000;

fn is_due(core: &ControlBus, now: Instant) -> bool {
    core.poll_timeout().is_some_and(|deadline| deadline.at <= now)
}
