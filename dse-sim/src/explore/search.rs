//! The search: every state once, nearest first, so that a broken rule is told by one of
//! the shortest paths that lead to it.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::canon::Print;
use super::choice::Choice;
use super::graph::Graph;
use super::plot::Plot;
use super::settled::{settled, somebody_is_sought};
use super::state::{Broken, State};
use super::story::Story;
use super::turn::Scene;

/// What came of a search.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many different states were met.
    pub states: usize,
    /// How many steps were taken between them.
    pub steps: usize,
    /// The length of the longest of the shortest paths.
    pub depth: usize,
    /// How many states there are in which nothing more comes by itself, or only attempts
    /// to reach who is down.
    pub rests: usize,
    /// Was every state met that there is within the plot's bounds?
    pub whole: bool,
    /// A rule that does not hold, and the story of how it is broken.
    pub broken: Option<(Broken, Vec<String>)>,
}

/// Tries all that can happen in a plot, but stops at so many states.
pub fn search(plot: &Plot, most_states: usize) -> Outcome {
    let mut search = Search::new(plot, most_states);
    let result = search.run().and_then(|()| search.check_ends());
    let broken = result.err().map(|(state, choice, broken)| {
        let story = search.story(state, choice);
        (broken, story)
    });
    Outcome {
        states: search.traces.len(),
        steps: search.steps,
        depth: search.depth,
        rests: search.rests,
        whole: search.graph.len() == search.traces.len(),
        broken,
    }
}

/// Where a rule is broken: in a state, or by a choice that was taken in it.
type Fault = (u32, Option<Choice>, Broken);

/// How a state was met first.
#[derive(Clone, Copy)]
struct Trace {
    before: u32,
    choice: Choice,
}

/// What is kept of a state.
#[derive(Clone, Copy, Default)]
struct Marks {
    settled: bool,
    somebody_is_sought: bool,
}

struct Search<'a> {
    plot: &'a Plot,
    most_states: usize,
    met: HashMap<Print, u32, BuildHasherDefault<AsItIs>>,
    traces: Vec<Trace>,
    marks: Vec<Marks>,
    graph: Graph,
    next: VecDeque<State>,
    steps: usize,
    depth: usize,
    rests: usize,
}

impl<'a> Search<'a> {
    fn new(plot: &'a Plot, most_states: usize) -> Self {
        Self {
            plot,
            most_states,
            met: HashMap::default(),
            traces: Vec::new(),
            marks: Vec::new(),
            graph: Graph::default(),
            next: VecDeque::new(),
            steps: 0,
            depth: 0,
            rests: 0,
        }
    }

    fn run(&mut self) -> Result<(), Fault> {
        let mut scene = Scene::new(self.plot, Story::default());
        let begin = State::begin(&mut scene).map_err(|broken| (0, None, broken))?;
        self.meet(begin, Trace { before: 0, choice: Choice::Start(0) });
        let mut end_of_level = 1;
        let mut leads_to = Vec::new();
        while self.graph.len() < self.traces.len() && self.traces.len() < self.most_states {
            let Some(state) = self.next.pop_front() else { break };
            let number = self.graph.len() as u32;
            if number as usize == end_of_level {
                self.depth += 1;
                end_of_level = self.traces.len();
            }
            leads_to.clear();
            for choice in state.choices(self.plot) {
                let mut after = state.clone();
                let result = after.apply(choice, &mut scene);
                result.map_err(|broken| (number, Some(choice), broken))?;
                self.steps += 1;
                let met = self.meet(after, Trace { before: number, choice });
                if choice.is_progress() {
                    leads_to.push(met);
                }
            }
            self.graph.push(&leads_to);
        }
        Ok(())
    }

    /// The number of a state; a new one is kept to go on from.
    fn meet(&mut self, state: State, trace: Trace) -> u32 {
        let new = self.traces.len() as u32;
        let number = *self.met.entry(state.print(self.plot)).or_insert(new);
        if number == new {
            self.traces.push(trace);
            self.marks.push(Marks {
                settled: settled(self.plot, &state).is_ok(),
                somebody_is_sought: somebody_is_sought(self.plot, &state),
            });
            self.next.push_back(state);
        }
        number
    }

    /// Wherever things end by themselves, all must be settled. They end in a state from
    /// which nothing comes, or go round for ever among states that all lead to each other:
    /// that is allowed only to the attempts to reach who is down.
    fn check_ends(&mut self) -> Result<(), Fault> {
        let expanded = self.graph.len() as u32;
        let mut first: Option<(u32, &str)> = None;
        let mut rests = 0;
        let marks = &self.marks;
        self.graph.components(self.traces.len(), |component| {
            if !component.is_last || component.states.iter().any(|state| *state >= expanded) {
                return;
            }
            rests += component.states.len();
            for state in &component.states {
                let Marks { settled, somebody_is_sought } = marks[*state as usize];
                let why = match (settled, component.is_loop && !somebody_is_sought) {
                    (false, _) => "all comes to its end here",
                    (true, true) => "the bus never comes to rest",
                    (true, false) => continue,
                };
                if first.is_none_or(|(before, _)| *state < before) {
                    first = Some((*state, why));
                }
            }
        });
        self.rests = rests;
        let Some((state, why)) = first else { return Ok(()) };
        let end = self.replay(state, &mut Scene::new(self.plot, Story::default()));
        let wrong = end.and_then(|end| settled(self.plot, &end).err());
        let what = wrong.map_or_else(|| why.into(), |wrong| format!("{why}, but {wrong}"));
        Err((state, None, Broken { place: None, what }))
    }

    fn story(&self, state: u32, choice: Option<Choice>) -> Vec<String> {
        let mut scene = Scene::new(self.plot, Story::told());
        if let Some(mut end) = self.replay(state, &mut scene)
            && let Some(choice) = choice
        {
            // The rule is broken in this step.
            let _ = end.apply(choice, &mut scene);
        }
        scene.story.into_lines()
    }

    /// Goes the way to a state again.
    fn replay(&self, state: u32, scene: &mut Scene<'_>) -> Option<State> {
        let mut choices = Vec::new();
        let mut at = state;
        while at > 0 {
            let Trace { before, choice } = self.traces[at as usize];
            choices.push(choice);
            at = before;
        }
        let mut state = State::begin(scene).ok()?;
        scene.story.search_begins();
        for choice in choices.into_iter().rev() {
            state.apply(choice, scene).ok()?;
        }
        Some(state)
    }
}

/// A print is as good a hash as any.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, print: u128) {
        self.0 = print as u64;
    }
}
