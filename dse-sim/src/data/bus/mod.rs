//! Nodes that carry data, on links with bandwidth, a bounded queue and delay, in virtual
//! time. The control bus of each node decides what is routed, or what it would say of interest is
//! scripted: either travels on the same links, beside the data.

mod apps;
mod arrivals;
mod control;
mod laws;
mod links;
mod nodes;
mod parts;
mod setup;
mod time;
mod turn;

use std::collections::BTreeMap;
use std::time::Duration;

use dse_core::protocol::Instant;

use crate::data::counts::Counts;
use crate::data::model::Model;
use crate::data::node::DataNode;
use parts::{Action, Link, Slot};
pub use setup::{Pace, Path, PublisherSetup, STALL_TIMEOUT};

/// The nodes, their links and the model of what should be.
pub struct Bus {
    now: u64,
    turn: u64,
    agenda: BTreeMap<(u64, u64), Action>,
    slots: Vec<Slot>,
    links: Vec<Link>,
    pub(in crate::data) model: Model,
    pub(in crate::data) counts: Counts,
    ids: u64,
    steps: u64,
    transcript: Option<Vec<String>>,
    course: u64,
    /// Nodes run the control bus; else what it would say of interest is scripted.
    has_control: bool,
}

impl Default for Bus {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Bus {
    /// No nodes yet. May keep all that happens in words.
    pub fn new(transcript: bool) -> Self {
        Self {
            now: 0,
            turn: 0,
            agenda: BTreeMap::new(),
            slots: Vec::new(),
            links: Vec::new(),
            model: Model::default(),
            counts: Counts::default(),
            ids: 0,
            steps: 0,
            transcript: transcript.then(Vec::new),
            has_control: false,
            course: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// As [`new`](Self::new), with a control bus in each node: what it says of links, routes and
    /// keys opens and closes what the data machines have.
    pub fn with_control(transcript: bool) -> Self {
        Self { has_control: true, ..Self::new(transcript) }
    }

    /// How many things happened.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// All that happened as one number.
    pub fn course(&self) -> u64 {
        self.course
    }

    /// All that happened, in words.
    pub fn transcript(&self) -> &[String] {
        self.transcript.as_deref().unwrap_or_default()
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        let mut counts = self.counts.clone();
        self.slots.iter().filter_map(|slot| slot.node.as_ref()).for_each(|it| add(&mut counts, it));
        counts
    }

    /// What was counted under this name.
    pub fn count(&self, name: &str) -> u64 {
        let rows = self.counts().rows();
        rows.into_iter().find(|(it, _)| *it == name).map_or(0, |(_, count)| count)
    }

    pub(in crate::data) fn remark(&mut self, what: impl FnOnce() -> String) {
        if let Some(transcript) = &mut self.transcript {
            transcript.push(format!("{:>12.6} {}", self.now as f64 / 1e9, what()));
        }
    }

    pub(super) fn note(&mut self, words: &[u64]) {
        for word in words {
            self.course = (self.course.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    /// The time.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    pub(super) fn instant(&self) -> Instant {
        Instant::from_nanos(self.now)
    }
}

fn add(counts: &mut Counts, node: &DataNode) {
    counts.stalls += node.counts.stalls;
    counts.left_out += node.counts.left_out;
    counts.resumes += node.counts.resumes;
    counts.blocked += node.counts.blocked;
    counts.inversions += node.counts.inversions;
    counts.late_confirmations += node.counts.late_confirmations;
}
