//! The bus of a plot as a model that is searched.

use super::broken::Broken;
use super::canon::Print;
use super::choice::Choice;
use super::plot::Plot;
use super::search::Bounded;
use super::settled::{settled, somebody_is_sought};
use super::state::State;
use super::story::Story;
use super::turn::Scene;

impl Bounded for Plot {
    type State = State;
    type Choice = Choice;
    type Scene<'a> = Scene<'a>;

    fn scene(&self, is_told: bool) -> Scene<'_> {
        Scene::new(self, if is_told { Story::told() } else { Story::default() })
    }

    fn begin(&self, scene: &mut Scene<'_>) -> Result<State, Broken> {
        State::begin(scene)
    }

    fn choices(&self, state: &State) -> Vec<Choice> {
        state.choices(self)
    }

    fn apply(
        &self,
        state: &mut State,
        choice: Choice,
        scene: &mut Scene<'_>,
    ) -> Result<(), Broken> {
        state.apply(choice, scene)
    }

    fn is_progress(choice: Choice) -> bool {
        choice.is_progress()
    }

    fn print(&self, state: &State) -> Print {
        state.print(self)
    }

    fn settled(&self, state: &State) -> Result<(), String> {
        settled(self, state)
    }

    fn may_go_round(&self, state: &State) -> bool {
        somebody_is_sought(self, state)
    }

    fn search_begins(scene: &mut Scene<'_>) {
        scene.story.search_begins();
    }

    fn into_lines(scene: Scene<'_>) -> Vec<String> {
        scene.story.into_lines()
    }
}
