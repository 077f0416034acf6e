//! The search: every state once, nearest first, so that a broken rule is told by one of
//! the shortest paths that lead to it.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::broken::Broken;
use super::canon::Print;
use super::graph::Graph;

/// A bounded model: all that can happen in it can be tried.
pub(super) trait Bounded {
    /// All that there is at one moment.
    type State: Clone;
    /// One thing that can happen next.
    type Choice: Copy;
    /// What stays the same on all paths, and the story of one.
    type Scene<'a>
    where
        Self: 'a;

    /// A scene, in which the story is told or not.
    fn scene(&self, is_told: bool) -> Self::Scene<'_>;
    /// The state in which the search begins.
    ///
    /// # Errors
    /// A rule that is broken already.
    fn begin(&self, scene: &mut Self::Scene<'_>) -> Result<Self::State, Broken>;
    /// What can happen next, in a fixed order.
    fn choices(&self, state: &Self::State) -> Vec<Self::Choice>;
    /// Lets it happen.
    ///
    /// # Errors
    /// The rule that this breaks.
    fn apply(
        &self,
        state: &mut Self::State,
        choice: Self::Choice,
        scene: &mut Self::Scene<'_>,
    ) -> Result<(), Broken>;
    /// Does it happen by itself, without a fault and without a word of an application?
    fn is_progress(choice: Self::Choice) -> bool;
    /// Tells this state from all that differ in what may come of them.
    fn print(&self, state: &Self::State) -> Print;
    /// Is all as it is to be once nothing more comes?
    ///
    /// # Errors
    /// What is not.
    fn settled(&self, state: &Self::State) -> Result<(), String>;
    /// May things go round for ever here?
    fn may_go_round(&self, state: &Self::State) -> bool;
    /// Parts the beginning of the story from what the search chose.
    fn search_begins(scene: &mut Self::Scene<'_>);
    /// The lines of the story.
    fn into_lines(scene: Self::Scene<'_>) -> Vec<String>;
}

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
pub(super) fn search<B: Bounded>(plot: &B, most_states: usize) -> Outcome {
    let mut search = Search::new(plot, most_states);
    let result = search.run().and_then(|()| search.check_ends());
    let broken = result.err().map(|(state, choice, broken)| {
        let story = search.story(state, choice);
        (broken, story)
    });
    Outcome {
        states: search.marks.len(),
        steps: search.steps,
        depth: search.depth,
        rests: search.rests,
        whole: search.graph.len() == search.marks.len(),
        broken,
    }
}

/// Where a rule is broken: in a state, or by a choice that was taken in it.
type Fault<C> = (u32, Option<C>, Broken);

/// How a state was met first.
struct Trace<C> {
    before: u32,
    choice: C,
}

/// What is kept of a state.
#[derive(Clone, Copy, Default)]
struct Marks {
    settled: bool,
    may_go_round: bool,
}

struct Search<'a, B: Bounded> {
    plot: &'a B,
    most_states: usize,
    met: HashMap<Print, u32, BuildHasherDefault<AsItIs>>,
    /// Of each state but the first.
    traces: Vec<Trace<B::Choice>>,
    marks: Vec<Marks>,
    graph: Graph,
    next: VecDeque<B::State>,
    steps: usize,
    depth: usize,
    rests: usize,
}

impl<'a, B: Bounded> Search<'a, B> {
    fn new(plot: &'a B, most_states: usize) -> Self {
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

    fn run(&mut self) -> Result<(), Fault<B::Choice>> {
        let plot = self.plot;
        let mut scene = plot.scene(false);
        let begin = plot.begin(&mut scene).map_err(|broken| (0, None, broken))?;
        self.meet(begin, None);
        let mut end_of_level = 1;
        let mut leads_to = Vec::new();
        while self.graph.len() < self.marks.len() && self.marks.len() < self.most_states {
            let Some(state) = self.next.pop_front() else { break };
            let number = self.graph.len() as u32;
            if number as usize == end_of_level {
                self.depth += 1;
                end_of_level = self.marks.len();
            }
            leads_to.clear();
            for choice in plot.choices(&state) {
                let mut after = state.clone();
                let result = plot.apply(&mut after, choice, &mut scene);
                result.map_err(|broken| (number, Some(choice), broken))?;
                self.steps += 1;
                let met = self.meet(after, Some(Trace { before: number, choice }));
                if B::is_progress(choice) {
                    leads_to.push(met);
                }
            }
            self.graph.push(&leads_to);
        }
        Ok(())
    }

    /// The number of a state; a new one is kept to go on from.
    fn meet(&mut self, state: B::State, trace: Option<Trace<B::Choice>>) -> u32 {
        let new = self.marks.len() as u32;
        let number = *self.met.entry(self.plot.print(&state)).or_insert(new);
        if number == new {
            self.traces.extend(trace);
            self.marks.push(Marks {
                settled: self.plot.settled(&state).is_ok(),
                may_go_round: self.plot.may_go_round(&state),
            });
            self.next.push_back(state);
        }
        number
    }

    /// Wherever things end by themselves, all must be settled. They end in a state from
    /// which nothing comes, or go round for ever among states that all lead to each other:
    /// that is allowed only to the attempts to reach who is down.
    fn check_ends(&mut self) -> Result<(), Fault<B::Choice>> {
        let expanded = self.graph.len() as u32;
        let mut first: Option<(u32, &str)> = None;
        let mut rests = 0;
        let marks = &self.marks;
        self.graph.components(self.marks.len(), |component| {
            if !component.is_last || component.states.iter().any(|state| *state >= expanded) {
                return;
            }
            rests += component.states.len();
            for state in &component.states {
                let Marks { settled, may_go_round } = marks[*state as usize];
                let why = match (settled, component.is_loop && !may_go_round) {
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
        let end = self.replay(state, &mut self.plot.scene(false));
        let wrong = end.and_then(|end| self.plot.settled(&end).err());
        let what = wrong.map_or_else(|| why.into(), |wrong| format!("{why}, but {wrong}"));
        Err((state, None, Broken { place: None, what }))
    }

    fn story(&self, state: u32, choice: Option<B::Choice>) -> Vec<String> {
        let mut scene = self.plot.scene(true);
        if let Some(mut end) = self.replay(state, &mut scene)
            && let Some(choice) = choice
        {
            // The rule is broken in this step.
            let _ = self.plot.apply(&mut end, choice, &mut scene);
        }
        B::into_lines(scene)
    }

    /// Goes the way to a state again.
    fn replay(&self, state: u32, scene: &mut B::Scene<'_>) -> Option<B::State> {
        let mut choices = Vec::new();
        let mut at = state;
        while at > 0 {
            let Trace { before, choice } = &self.traces[at as usize - 1];
            choices.push(*choice);
            at = *before;
        }
        let mut state = self.plot.begin(scene).ok()?;
        B::search_begins(scene);
        for choice in choices.into_iter().rev() {
            self.plot.apply(&mut state, choice, scene).ok()?;
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
