//! What happens on a path, in words.

use dse_core::protocol::Output;
use dse_core::protocol::wire::{self, Decoded};

use super::choice::Choice;
use super::link::{Frame, Link};
use super::plot::{Plot, Wish};
use super::state::{State, end_of};

/// The lines of a story, or nothing while nobody reads it.
#[derive(Debug, Default)]
pub(super) struct Story {
    lines: Option<Vec<String>>,
    steps: usize,
}

impl Story {
    /// A story that is told.
    pub(super) fn told() -> Self {
        Self { lines: Some(Vec::new()), steps: 0 }
    }

    pub(super) fn is_told(&self) -> bool {
        self.lines.is_some()
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }

    /// Parts the beginning from what the search chose.
    pub(super) fn search_begins(&mut self) {
        self.steps = 0;
        self.line(|| "-- here the search begins".into());
    }

    pub(super) fn choice(&mut self, plot: &Plot, state: &State, choice: Choice) {
        self.steps += 1;
        let step = self.steps;
        self.line(|| format!("{step:3}. {}", describe(plot, state, choice)));
    }

    /// An application speaks to its node.
    pub(super) fn wish(&mut self, wish: Wish) {
        self.line(|| format!("       it is told: {wish:?}"));
    }

    pub(super) fn output(&mut self, output: &Output) {
        self.line(|| format!("       {}", in_words(output)));
    }

    fn line(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(line());
        }
    }
}

fn describe(plot: &Plot, state: &State, choice: Choice) -> String {
    let name = |place: usize| plot.places[place].name;
    let ms = (state.now.saturating_sub(super::clock::START)) / 1_000_000;
    let link = |at: u8| &*state.links[usize::from(at)];
    let between = |link: &Link| {
        format!(
            "link {} of {} and {}",
            link.number,
            name(link.ends[0].place),
            name(link.ends[1].place)
        )
    };
    let head = |at: u8, side: u8| {
        let link = link(at);
        let (to, from) = (usize::from(side), 1 - usize::from(side));
        let frame = link.ends[to].lane.front().map(|frame| match frame {
            Frame::Message(said) => format!("{:?}", said.says),
            Frame::Close => "Close".into(),
        });
        let (from, to) = (name(link.ends[from].place), name(link.ends[to].place));
        format!("{from} -> {to} on link {}: {}", link.number, frame.unwrap_or_default())
    };
    match choice {
        Choice::Start(place) => format!("{} starts", name(place.into())),
        Choice::Say(place) => format!("the application of {} speaks", name(place.into())),
        Choice::Crash(place) => format!("{} CRASHES", name(place.into())),
        Choice::Cut(at) => format!("{} is LOST", between(link(at))),
        Choice::Refuse(at) => format!("attempt {:?} is LOST", state.dials[usize::from(at)]),
        Choice::Drop(at, side) => format!("DROPPED in silence: {}", head(at, side)),
        Choice::Delay(place) => {
            format!("A LONG TIME PASSES until the deadline of {} ({ms} ms)", name(place.into()))
        }
        Choice::Arrive(at) => format!("attempt {:?} arrives", state.dials[usize::from(at)]),
        Choice::Establish(at) => format!("the dialler knows of {}", between(link(at))),
        Choice::Deliver(at, side) => head(at, side),
        Choice::Notice(at, side) => {
            let place = link(at).ends[usize::from(side)].place;
            format!("{} notices the end of {}", name(place), between(link(at)))
        }
        Choice::Verdict(at) => {
            let (place, id) = state.probes[usize::from(at)];
            let of = end_of(&state.links, id).map(|(at, _)| between(&state.links[at]));
            format!("{} hears how its probe of {} ends", name(place), of.unwrap_or_default())
        }
        Choice::Timeout(place) => {
            let node = &state.nodes[usize::from(place)];
            let why = node.core.as_ref().and_then(|core| core.poll_timeout());
            format!("{} is called at its deadline: {:?}", name(place.into()), why.map(|d| d.reason))
        }
    }
}

fn in_words(output: &Output) -> String {
    match output {
        Output::Send { link, bytes } => match wire::decode(bytes) {
            Ok(Decoded::Known(message)) => format!("sends on link {}: {message:?}", link.0 / 2),
            other => format!("sends on link {}: {other:?}", link.0 / 2),
        },
        Output::Event(event) => format!("event {event:?}"),
        other => format!("{other:?}"),
    }
}
