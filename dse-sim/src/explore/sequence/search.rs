//! The sequence of a plot as a model that is searched.

use super::choice::Choice;
use super::plot::SequencePlot;
use super::state::State;
use super::story::Story;
use crate::explore::broken::Broken;
use crate::explore::canon::Print;
use crate::explore::search::Bounded;

impl Bounded for SequencePlot {
    type State = State;
    type Choice = Choice;
    type Scene<'a> = Story;

    fn scene(&self, is_told: bool) -> Story {
        Story::new(is_told)
    }

    fn begin(&self, story: &mut Story) -> Result<State, Broken> {
        let mut state = State::new(self);
        if self.is_settled {
            let result = state.settle(self, story);
            result.map_err(|what| Broken { place: None, what })?;
        }
        Ok(state)
    }

    fn choices(&self, state: &State) -> Vec<Choice> {
        state.choices(self)
    }

    fn apply(&self, state: &mut State, choice: Choice, story: &mut Story) -> Result<(), Broken> {
        state.apply(self, choice, story).map_err(|what| Broken { place: None, what })
    }

    fn is_progress(choice: Choice) -> bool {
        choice.is_progress()
    }

    fn print(&self, state: &State) -> Print {
        state.print()
    }

    fn settled(&self, state: &State) -> Result<(), String> {
        state.settled(self)
    }

    fn may_go_round(&self, _: &State) -> bool {
        false
    }

    fn search_begins(story: &mut Story) {
        story.search_begins();
    }

    fn into_lines(story: Story) -> Vec<String> {
        story.into_lines()
    }
}
