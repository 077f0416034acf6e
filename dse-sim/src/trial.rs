//! Trials: a schedule of a seed, played to its end in a fresh world, and what came of it.

pub use crate::caught::Failure;
use crate::caught::caught;
use crate::data::{self, Counts};
use crate::play::Play;
use crate::schedule::{Act, Acts};
use crate::setup::Setup;
use crate::world::World;

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Decides everything that the rest does not.
    pub seed: u64,
    /// How many members there are; without, the seed decides.
    pub nodes: Option<usize>,
    /// For how many steps the world is troubled, before all faults end. A step is one
    /// input handed to one node's control bus.
    pub steps: u64,
    /// Which acts of the seed happen, by number in rising order; without, all, as many as
    /// the steps take.
    pub only: Option<Vec<usize>>,
    /// Members that take no part.
    pub without: Vec<usize>,
    /// Clocks agree, latencies are even, the configuration is the default.
    pub plain: bool,
    /// The world carries data, with interest that is scripted, instead of the control bus.
    pub data: bool,
}

/// What came of a trial.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// All steps, those to the bus's rest included.
    pub steps: u64,
    /// All that the nodes were told and sent, and when, as one number.
    pub course: u64,
    /// How many acts of the seed there were.
    pub acts: usize,
    /// What broke, if anything did.
    pub failure: Option<Failure>,
    /// All that happened, in words, if it was wanted.
    pub transcript: Vec<String>,
    /// What the data machines did, in a world that carries data.
    pub counts: Counts,
}

impl Trial {
    /// All of a seed.
    pub fn new(seed: u64, nodes: Option<usize>, steps: u64) -> Self {
        Self { seed, nodes, steps, only: None, without: Vec::new(), plain: false, data: false }
    }

    /// The world that it plays in.
    pub fn setup(&self) -> Setup {
        let setup = Setup::of(self.seed, self.nodes);
        if self.plain { setup.plain() } else { setup }
    }

    /// The acts that happen, each with its number.
    pub fn acts(&self) -> Vec<(usize, Act)> {
        let acts = Acts::of(self.seed, self.setup().nodes).enumerate();
        match &self.only {
            Some(only) => {
                let end = only.last().map_or(0, |last| last + 1);
                acts.take(end).filter(|(number, _)| only.binary_search(number).is_ok()).collect()
            }
            None => Vec::new(),
        }
    }

    /// Plays it. Nothing that goes wrong in it is lost or printed.
    pub fn run(&self, transcript: bool) -> Outcome {
        if self.data { self.run_data(transcript) } else { self.run_with(transcript, |_| {}) }
    }

    fn run_data(&self, transcript: bool) -> Outcome {
        let mut play = data::play::Play::new(self.seed, transcript);
        let mut acts = 0;
        let failure = caught(|| {
            let chosen = data::play::Acts::of(self.seed).enumerate();
            let end = self.only.as_ref().map(|only| only.last().map_or(0, |last| last + 1));
            for (number, act) in chosen.take(end.unwrap_or(usize::MAX)) {
                if self.only.is_none() && (play.bus().steps() >= self.steps || acts >= ACTS) {
                    break;
                }
                let is_chosen =
                    self.only.as_ref().is_none_or(|only| only.binary_search(&number).is_ok());
                if is_chosen {
                    acts += 1;
                    play.act(&act);
                }
            }
            play.calm();
        });
        Outcome {
            steps: play.bus().steps(),
            course: play.bus().course(),
            acts,
            failure,
            transcript: play.bus().transcript().to_vec(),
            counts: play.counts(),
        }
    }

    /// As [`run`](Self::run), with one law more, which is held against the world after each
    /// act and panics if it is broken.
    pub fn run_with(&self, transcript: bool, law: impl Fn(&World)) -> Outcome {
        let setup = self.setup();
        let nodes = setup.nodes;
        let cast = (0..nodes).filter(|member| !self.without.contains(member)).collect();
        let mut play = Play::new(self.seed, setup, cast, transcript);
        let mut acts = 0;
        let failure = caught(|| {
            if self.only.is_some() {
                for (_, act) in self.acts() {
                    acts += 1;
                    play.act(&act);
                    law(play.world());
                }
            } else {
                for act in Acts::of(self.seed, nodes) {
                    if play.world().steps() >= self.steps || acts as u64 >= self.steps {
                        break;
                    }
                    acts += 1;
                    play.act(&act);
                    law(play.world());
                }
            }
            play.calm();
        });
        let world = play.world();
        let transcript = world.transcript().to_vec();
        let (steps, course) = (world.steps(), world.course());
        Outcome { steps, course, acts, failure, transcript, counts: Counts::default() }
    }
}

/// So many acts befall a world of data at most, before all faults end.
const ACTS: usize = 300;
