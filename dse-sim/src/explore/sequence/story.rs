//! What happens on a path, in words.

use dse_core::data::DataFrame;

use super::choice::Choice;
use super::plot::SequencePlot;
use super::state::{NAMES, Said, State};
use crate::data::words::of_frame;

/// The lines of a story, or nothing while nobody reads it.
#[derive(Debug, Default)]
pub(in crate::explore) struct Story {
    lines: Option<Vec<String>>,
    steps: usize,
}

impl Story {
    pub(super) fn new(is_told: bool) -> Self {
        Self { lines: is_told.then(Vec::new), steps: 0 }
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }

    /// Parts the beginning from what the search chose.
    pub(super) fn search_begins(&mut self) {
        self.steps = 0;
        self.line(|| "-- here the search begins".into());
    }

    pub(super) fn choice(&mut self, plot: &SequencePlot, state: &State, choice: Choice) {
        self.steps += 1;
        let step = self.steps;
        self.line(|| format!("{step:3}. {}", describe(plot, state, choice)));
    }

    /// What follows from it.
    pub(super) fn follows(&mut self, what: impl FnOnce() -> String) {
        self.line(|| format!("       {}", what()));
    }

    /// A frame was written.
    pub(super) fn frame(&mut self, frame: &DataFrame) {
        self.follows(|| of_frame(frame));
    }

    fn line(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(line());
        }
    }
}

fn describe(plot: &SequencePlot, state: &State, choice: Choice) -> String {
    let number = |at: u8| state.links[usize::from(at)].number;
    let name = |side: u8| NAMES[usize::from(side)];
    let head = |at: u8, side: u8| {
        let link = &state.links[usize::from(at)];
        let frame = link.lanes[usize::from(side)].frames.front();
        frame.map(|frame| of_frame(frame)).unwrap_or_default()
    };
    match choice {
        Choice::Say(side) => {
            let at = usize::from(side);
            let word = plot.words[at].get(state.said[at]);
            format!("the application of {} says {word:?}", name(side))
        }
        Choice::Stop => "the application of a publishes no more".to_owned(),
        Choice::Connect => format!("a and b are linked by link {}", state.last_link + 1),
        Choice::Write(at, side) => format!("{} writes on link {}", name(side), number(at)),
        Choice::Read(at, side) => {
            format!("{} reads on link {}: {}", name(side), number(at), head(at, side))
        }
        Choice::Hear(at, side) => {
            let link = &state.links[usize::from(at)];
            let said = link.lanes[usize::from(side)].control.front();
            let what = match said {
                Some(Said::Wants(wanted)) if wanted.is_empty() => "the other wants nothing",
                Some(Said::Wants(_)) => "the other wants the key",
                _ => "the key is exposed no more",
            };
            format!("{} hears on link {}: {what}", name(side), number(at))
        }
        Choice::Take => "the application of b takes what is next".to_owned(),
        Choice::Cut(at) => format!("link {} is LOST", number(at)),
        Choice::Drop(at, side) => {
            format!("DROPPED in silence on link {}: {}", number(at), head(at, side))
        }
        Choice::Notice(at, side) => {
            format!("{} notices the end of link {}", name(side), number(at))
        }
        Choice::Delay => "the stall timeout PASSES though something is under way".to_owned(),
        Choice::Timeout => "the stall timeout passes".to_owned(),
    }
}
