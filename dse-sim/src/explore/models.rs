//! All bounded models.

use super::plot::{Faults, Plot};
use super::search::{self, Outcome};
use super::sequence::{self, SequencePlot};
use super::worlds::worlds;

/// A bounded model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Model {
    /// A small bus.
    Bus(Plot),
    /// One sequence of samples between two nodes.
    Sequence(SequencePlot),
}

impl Model {
    /// All models, with the bounds that are searched by default.
    pub fn all() -> Vec<Self> {
        let buses = worlds().into_iter().map(Self::Bus);
        buses.chain(sequence::plots().into_iter().map(Self::Sequence)).collect()
    }

    /// The model of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|model| model.name() == name)
    }

    /// As it is asked for.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bus(plot) => plot.name,
            Self::Sequence(plot) => plot.name,
        }
    }

    /// What is tried in it, in one sentence.
    pub fn about(&self) -> &'static str {
        match self {
            Self::Bus(plot) => plot.about,
            Self::Sequence(plot) => plot.about,
        }
    }

    /// How often each thing may go wrong.
    pub fn faults(&self) -> Faults {
        match self {
            Self::Bus(plot) => plot.faults,
            Self::Sequence(plot) => plot.faults,
        }
    }

    /// As [`faults`](Self::faults), to be changed.
    pub fn faults_mut(&mut self) -> &mut Faults {
        match self {
            Self::Bus(plot) => &mut plot.faults,
            Self::Sequence(plot) => &mut plot.faults,
        }
    }

    /// Tries all that can happen in it, but stops at so many states.
    pub fn search(&self, most_states: usize) -> Outcome {
        match self {
            Self::Bus(plot) => search::search(plot, most_states),
            Self::Sequence(plot) => search::search(plot, most_states),
        }
    }
}
