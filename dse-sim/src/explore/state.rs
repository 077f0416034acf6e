//! A state of a small world, and how one choice leads to the next.

use std::fmt;
use std::rc::Rc;

use dse_core::protocol::{DialId, Endpoint, Event, Input, LinkId, Output, Report};

use super::canon::{Canon, Print};
use super::clock::{NEVER, START, TICK};
use super::link::{self, End, Frame, Link, Stage};
use super::node::Node;
use super::plot::{Enters, Faults, Plot, Wish};
use super::story::Story;
use crate::world::endpoint;

/// All that there is at one moment.
#[derive(Clone)]
pub(super) struct State {
    pub(super) nodes: Vec<Rc<Node>>,
    /// Those of which one end at least is there.
    pub(super) links: Vec<Link>,
    pub(super) dials: Vec<Dial>,
    /// Probes that wait for their verdict, by place and link.
    pub(super) probes: Vec<(usize, LinkId)>,
    pub(super) now: u64,
    /// What may still go wrong.
    pub(super) left: Faults,
    next_link: u64,
}

/// An attempt to connect that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Dial {
    place: usize,
    dial: DialId,
    /// The place that has the endpoint.
    to: Option<usize>,
}

/// One thing that can happen next. Numbers are places in the state's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// A process starts at a place.
    Start(u8),
    /// An application tells its node the next thing.
    Say(u8),
    /// A process ends without a word.
    Crash(u8),
    /// A link or an attempt to connect is lost.
    Cut(u8),
    Refuse(u8),
    /// The head of a lane is lost in silence.
    Drop(u8, u8),
    /// A node's deadline comes although something is under way.
    Delay(u8),
    /// An attempt to connect arrives, or nobody is there.
    Arrive(u8),
    /// The dialler hears that the link stands.
    Establish(u8),
    /// The head of a lane arrives.
    Deliver(u8, u8),
    /// An end notices that its link is broken.
    Notice(u8, u8),
    /// A probe ends.
    Verdict(u8),
    /// A node's deadline comes.
    Timeout(u8),
}

impl Choice {
    /// Does it happen by itself, without a fault and without a word of an application?
    pub(super) fn is_progress(self) -> bool {
        match self {
            Self::Start(_) | Self::Say(_) | Self::Crash(_) => false,
            Self::Cut(_) | Self::Refuse(_) | Self::Drop(..) | Self::Delay(_) => false,
            Self::Arrive(_) | Self::Establish(_) | Self::Deliver(..) => true,
            Self::Notice(..) | Self::Verdict(_) | Self::Timeout(_) => true,
        }
    }
}

/// A rule that was broken, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// At which place, if at one.
    pub place: Option<&'static str>,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(place) => write!(f, "{place}: {}", self.what),
            None => self.what.fmt(f),
        }
    }
}

impl State {
    /// The state in which the search begins.
    ///
    /// # Errors
    /// A rule that is broken already.
    pub(super) fn begin(plot: &Plot, story: &mut Story) -> Result<Self, Broken> {
        let mut state = Self {
            nodes: plot.places.iter().map(|_| Rc::new(Node::new())).collect(),
            links: Vec::new(),
            dials: Vec::new(),
            probes: Vec::new(),
            now: START,
            left: plot.faults,
            next_link: 0,
        };
        state.start_all(plot, Enters::Settled, story)?;
        for _ in 0..MOST_STEPS_TO_BEGIN {
            let next = state.choices(plot).into_iter().find(|choice| choice.is_progress());
            let Some(choice) = next else {
                state.start_all(plot, Enters::AtOnce, story)?;
                return Ok(state);
            };
            state.apply(plot, choice, story)?;
        }
        Err(Broken { place: None, what: "the settled places never rest".into() })
    }

    fn start_all(&mut self, plot: &Plot, who: Enters, story: &mut Story) -> Result<(), Broken> {
        for (place, of) in plot.places.iter().enumerate() {
            if of.enters == who {
                self.start(plot, place, story)?;
            }
        }
        Ok(())
    }

    /// Tells this state from all that differ in what may come of them.
    pub(super) fn print(&self, plot: &Plot) -> Print {
        let forget = u64::try_from(plot.forget_after.as_nanos()).unwrap_or(u64::MAX);
        let mut canon = Canon::new(self.now, if forget < NEVER { forget } else { 0 });
        let known: Vec<_> = self.nodes.iter().map(|node| node.write(&mut canon)).collect();
        link::write(&self.links, &known, &mut canon);
        canon.number(self.dials.len() as u64);
        for Dial { place, dial, to } in &self.dials {
            canon.number(*place as u64);
            canon.number(known[*place].dial(dial.0));
            canon.number(to.map_or(u64::MAX, |to| to as u64));
        }
        for (place, link) in &self.probes {
            canon.number(*place as u64);
            canon.number(known[*place].link(link.0));
        }
        let Faults { losses, crashes, delays, drops } = self.left;
        canon.number(u64::from_le_bytes([losses, crashes, delays, drops, 0, 0, 0, 0]));
        canon.print()
    }

    /// All that can happen next, in a fixed order.
    pub(super) fn choices(&self, plot: &Plot) -> Vec<Choice> {
        let mut choices = Vec::with_capacity(16);
        for (at, dial) in self.dials.iter().enumerate() {
            choices.push(Choice::Arrive(at as u8));
            if self.left.losses > 0 && self.leads_to(dial).is_some() {
                choices.push(Choice::Refuse(at as u8));
            }
        }
        for (at, link) in self.links.iter().enumerate() {
            self.link_choices(at as u8, link, &mut choices);
        }
        for (at, probe) in self.probes.iter().enumerate() {
            if self.verdict(*probe).is_some() {
                choices.push(Choice::Verdict(at as u8));
            }
        }
        self.time_choices(&mut choices);
        for (place, node) in self.nodes.iter().enumerate() {
            let of = &plot.places[place];
            let begins = node.lives > 0 || of.enters == Enters::AnyTime;
            if !node.runs() && node.stopped.is_none() && node.lives < of.lives.len() && begins {
                choices.push(Choice::Start(place as u8));
            }
            if node.stays() && node.said < of.then.len() {
                choices.push(Choice::Say(place as u8));
            }
            if node.runs() && self.left.crashes > 0 {
                choices.push(Choice::Crash(place as u8));
            }
        }
        choices
    }

    fn link_choices(&self, at: u8, link: &Link, choices: &mut Vec<Choice>) {
        for (side, end) in link.ends.iter().enumerate() {
            match end.stage {
                Stage::Gone => continue,
                Stage::Dialling(_) => choices.push(Choice::Establish(at)),
                Stage::Up if !end.lane.is_empty() => {
                    choices.push(Choice::Deliver(at, side as u8));
                    let message =
                        matches!(end.lane.front().map(|f| &**f), Some(Frame::Message { .. }));
                    if self.left.drops > 0 && message {
                        choices.push(Choice::Drop(at, side as u8));
                    }
                }
                Stage::Up => {}
            }
            if link.broken {
                choices.push(Choice::Notice(at, side as u8));
            }
        }
        let whole = link.ends.iter().all(|end| end.stage != Stage::Gone);
        if self.left.losses > 0 && !link.broken && whole {
            choices.push(Choice::Cut(at));
        }
    }

    /// A deadline that is there already is served at any moment. Time passes up to a redial
    /// while nothing travels, and for longer while nothing at all is under way; else it is
    /// a delay.
    fn time_choices(&self, choices: &mut Vec<Choice>) {
        let deadlines = self.nodes.iter().map(|node| node.deadline());
        let Some(first) = deadlines.clone().flatten().min() else { return };
        let short = first <= self.now + TICK;
        let free = !self.travels() && (short || !self.is_busy());
        let until = first.max(self.now) + TICK;
        for (place, deadline) in deadlines.enumerate() {
            let Some(deadline) = deadline.filter(|at| *at <= until) else { continue };
            let place = place as u8;
            if free || deadline <= self.now {
                choices.push(Choice::Timeout(place));
            } else if self.left.delays > 0 {
                choices.push(Choice::Delay(place));
            }
        }
    }

    /// Is anything on its way that arrives soon? An attempt to reach nobody may take long,
    /// and so may a probe that nobody answers.
    fn travels(&self) -> bool {
        self.dials.iter().any(|dial| self.leads_to(dial).is_some())
            || self.links.iter().any(Link::travels)
            || self.probes.iter().any(|probe| self.verdict(*probe) != Some(false))
    }

    /// Is anything under way, the news included that a link fell?
    pub(super) fn is_busy(&self) -> bool {
        self.travels() || !self.probes.is_empty() || self.links.iter().any(|link| link.broken)
    }

    /// Is somebody there whom this attempt may reach?
    fn leads_to(&self, dial: &Dial) -> Option<usize> {
        dial.to.filter(|to| self.nodes[*to].runs())
    }

    /// Takes a choice.
    ///
    /// # Errors
    /// The rule that was broken.
    pub(super) fn apply(
        &mut self,
        plot: &Plot,
        choice: Choice,
        story: &mut Story,
    ) -> Result<(), Broken> {
        story.choice(plot, self, choice);
        match choice {
            Choice::Start(place) => self.start(plot, place.into(), story)?,
            Choice::Say(place) => {
                let place = usize::from(place);
                let wish = plot.places[place].then[self.nodes[place].said];
                Rc::make_mut(&mut self.nodes[place]).said += 1;
                self.say(plot, place, wish, story)?;
            }
            Choice::Crash(place) => {
                self.left.crashes -= 1;
                self.end(place.into());
            }
            Choice::Cut(link) => {
                self.left.losses -= 1;
                self.links[usize::from(link)].broken = true;
            }
            Choice::Refuse(dial) => {
                self.left.losses -= 1;
                let Dial { place, dial, .. } = self.dials.remove(dial.into());
                let error = "connection refused".into();
                self.give(plot, place, Input::ConnectFailed { dial, error }, story)?;
            }
            Choice::Drop(link, side) => {
                self.left.drops -= 1;
                let _ = self.links[usize::from(link)].ends[usize::from(side)].lane.pop_front();
            }
            Choice::Arrive(dial) => self.arrive(plot, dial.into(), story)?,
            Choice::Establish(link) => self.establish(plot, link.into(), story)?,
            Choice::Deliver(link, side) => self.deliver(plot, link.into(), side.into(), story)?,
            Choice::Notice(link, side) => self.fall(plot, link.into(), side.into(), story)?,
            Choice::Verdict(probe) => {
                let probe = self.probes.remove(probe.into());
                self.end_probe(plot, probe, story)?;
            }
            Choice::Timeout(place) | Choice::Delay(place) => {
                if let Choice::Delay(_) = choice {
                    self.left.delays -= 1;
                }
                let place = usize::from(place);
                self.now = self.now.max(self.nodes[place].deadline().unwrap_or(0));
                self.give(plot, place, Input::Timeout, story)?;
            }
        }
        self.links.retain(|link| !link.is_gone());
        let (links, nodes) = (&self.links, &self.nodes);
        self.probes.retain(|(_, id)| {
            end_of(links, *id).is_some_and(|(at, side)| {
                links[at].ends[side].stage == Stage::Up && nodes[links[at].ends[side].place].runs()
            })
        });
        Ok(())
    }

    fn start(&mut self, plot: &Plot, place: usize, story: &mut Story) -> Result<(), Broken> {
        let life = self.nodes[place].lives;
        let seed = (place * 100 + life + 1) as u64;
        let node = Rc::make_mut(&mut self.nodes[place]);
        node.start(plot.config(place, life), seed, self.now);
        let of = &plot.places[place];
        for wish in &of.first {
            self.say(plot, place, *wish, story)?;
        }
        for seed in &of.joins {
            self.say(plot, place, Wish::Join(seed), story)?;
        }
        Ok(())
    }

    fn say(
        &mut self,
        plot: &Plot,
        place: usize,
        wish: Wish,
        story: &mut Story,
    ) -> Result<(), Broken> {
        story.wish(plot, place, wish);
        let command = Rc::make_mut(&mut self.nodes[place]).command(wish);
        self.give(plot, place, Input::Command(command), story)
    }

    /// A process is no more: its ends are gone, and the others will notice.
    fn end(&mut self, place: usize) {
        Rc::make_mut(&mut self.nodes[place]).end();
        self.dials.retain(|dial| dial.place != place);
        for link in &mut self.links {
            for side in 0..2 {
                if link.ends[side].place == place && link.ends[side].stage != Stage::Gone {
                    link.end_gone(side);
                    link.broken = true;
                }
            }
        }
    }

    fn arrive(&mut self, plot: &Plot, at: usize, story: &mut Story) -> Result<(), Broken> {
        let found = self.leads_to(&self.dials[at]);
        let Dial { place, dial, .. } = self.dials.remove(at);
        let Some(to) = found else {
            let error = "nobody is there".into();
            return self.give(plot, place, Input::ConnectFailed { dial, error }, story);
        };
        let end = |place, stage| End { place, stage, lane: Default::default() };
        let ends = [end(place, Stage::Dialling(dial)), end(to, Stage::Up)];
        self.links.push(Link { number: self.next_link, ends, broken: false });
        self.next_link += 1;
        let link = self.links[self.links.len() - 1].id(1);
        self.give(plot, to, Input::LinkUp { link, dial: None, identity: None }, story)
    }

    fn establish(&mut self, plot: &Plot, at: usize, story: &mut Story) -> Result<(), Broken> {
        let link = &mut self.links[at];
        let Stage::Dialling(dial) = link.ends[0].stage else { return Ok(()) };
        link.ends[0].stage = Stage::Up;
        let (place, link) = (link.ends[0].place, link.id(0));
        self.give(plot, place, Input::LinkUp { link, dial: Some(dial), identity: None }, story)
    }

    fn deliver(
        &mut self,
        plot: &Plot,
        at: usize,
        side: usize,
        story: &mut Story,
    ) -> Result<(), Broken> {
        let link = &mut self.links[at];
        let (place, id) = (link.ends[side].place, link.id(side));
        let frame = link.ends[side].lane.pop_front();
        match frame.as_deref() {
            Some(Frame::Message { bytes, .. }) => {
                let bytes = bytes.clone();
                self.give(plot, place, Input::Message { link: id, bytes }, story)
            }
            Some(Frame::Close) => self.fall(plot, at, side, story),
            None => Ok(()),
        }
    }

    /// An end falls, and its node is told. The other end will notice.
    fn fall(
        &mut self,
        plot: &Plot,
        at: usize,
        side: usize,
        story: &mut Story,
    ) -> Result<(), Broken> {
        let link = &mut self.links[at];
        let (stage, place, id) = (link.ends[side].stage, link.ends[side].place, link.id(side));
        link.end_gone(side);
        link.broken = true;
        let error = "the link fell".into();
        let input = match stage {
            Stage::Dialling(dial) => Input::ConnectFailed { dial, error },
            Stage::Up => Input::LinkDown { link: id, error },
            Stage::Gone => return Ok(()),
        };
        self.give(plot, place, input, story)
    }

    /// How a probe would end now: does the other end answer? None while what came before
    /// is still to be read, or the other end has not heard of the link yet.
    fn verdict(&self, (_, id): (usize, LinkId)) -> Option<bool> {
        let (at, side) = end_of(&self.links, id)?;
        let link = &self.links[at];
        let other = &link.ends[1 - side];
        match other.stage {
            Stage::Up if !link.broken => Some(true),
            Stage::Dialling(_) if !link.broken => None,
            _ => link.ends[side].lane.is_empty().then_some(false),
        }
    }

    fn end_probe(
        &mut self,
        plot: &Plot,
        probe: (usize, LinkId),
        story: &mut Story,
    ) -> Result<(), Broken> {
        let (place, link) = probe;
        match (self.verdict(probe), end_of(&self.links, link)) {
            (Some(true), _) => self.give(plot, place, Input::Probed { link }, story),
            (Some(false), Some((at, side))) => self.fall(plot, at, side, story),
            _ => Ok(()),
        }
    }

    /// Hands a node an input and does what it wants done.
    fn give(
        &mut self,
        plot: &Plot,
        place: usize,
        input: Input,
        story: &mut Story,
    ) -> Result<(), Broken> {
        let broken = |what| Broken { place: Some(plot.places[place].name), what };
        let outputs = Rc::make_mut(&mut self.nodes[place]).feed(self.now, input);
        let outputs = outputs.map_err(broken)?;
        let mut ended = false;
        for output in outputs {
            story.output(&output);
            match output {
                Output::Connect { dial, endpoint } => self.connect(plot, place, dial, &endpoint),
                Output::Send { link, bytes } => {
                    let frame = Frame::message(bytes).map_err(broken)?;
                    self.send(link, frame);
                }
                Output::Disconnect { link } => self.disconnect(link),
                Output::Probe { link } => self.probe(place, link),
                Output::Watch { .. } => {}
                Output::Event(Event::Answered { report, .. }) => {
                    self.check_report(plot, place, &report).map_err(broken)?;
                }
                Output::Event(Event::Stopped { .. }) => ended = true,
                Output::Event(_) => {}
            }
        }
        self.check_beliefs(plot, place).map_err(broken)?;
        if ended {
            self.end(place);
        }
        Ok(())
    }

    fn connect(&mut self, plot: &Plot, place: usize, dial: DialId, to: &Endpoint) {
        let to = plot.places.iter().position(|of| endpoint(of.name) == *to);
        self.dials.push(Dial { place, dial, to });
        self.dials.sort_unstable();
    }

    fn send(&mut self, from: LinkId, frame: Rc<Frame>) {
        if let Some((at, side)) = end_of(&self.links, from) {
            self.links[at].send(side, frame);
        }
    }

    fn disconnect(&mut self, link: LinkId) {
        self.send(link, Rc::new(Frame::Close));
        if let Some((at, side)) = end_of(&self.links, link) {
            self.links[at].end_gone(side);
        }
    }

    fn probe(&mut self, place: usize, link: LinkId) {
        if !self.probes.contains(&(place, link)) {
            self.probes.push((place, link));
            self.probes.sort_unstable();
        }
    }

    /// What a node believes of others is what they truly had (law L3).
    fn check_beliefs(&mut self, plot: &Plot, place: usize) -> Result<(), String> {
        if self.nodes[place].mirror.touched.is_empty() {
            return Ok(());
        }
        let node = Rc::make_mut(&mut self.nodes[place]);
        let touched = std::mem::take(&mut node.mirror.touched);
        let node = &self.nodes[place];
        for (of, incarnation, index) in node.mirror.present() {
            let owners = self.nodes.iter().zip(&plot.places);
            let owners = owners.filter(|(_, place)| *place.id == *of.as_str());
            let lives = owners.flat_map(|(owner, _)| &owner.history);
            let mut lives = lives.filter(|(life, _)| *life == incarnation);
            if touched.contains(of) && !lives.any(|(_, indexes)| indexes.contains(index)) {
                return Err(format!("it believes of {of} what never was: {index:?}"));
            }
        }
        Ok(())
    }

    /// As long as nothing went wrong, a complete report misses nobody who was there from
    /// the start and serves what was asked for.
    fn check_report(&self, plot: &Plot, place: usize, report: &Report) -> Result<(), String> {
        if report.complete && report.answered < report.expected {
            return Err(format!("it calls complete what misses some: {report:?}"));
        }
        if !report.complete || self.left != plot.faults {
            return Ok(());
        }
        for (other, of) in plot.places.iter().enumerate() {
            let node = &self.nodes[other];
            let constant = of.then.is_empty() && of.enters == Enters::Settled;
            if other == place || !constant || !node.stays() {
                continue;
            }
            let found = report.matches.iter().filter(|found| *found.node.as_str() == *of.id);
            if !found.map(|found| &found.declaration).eq(node.own.values()) {
                return Err(format!("a complete report is wrong about {}: {report:?}", of.name));
            }
        }
        Ok(())
    }
}

/// Where an end stands among the links.
pub(super) fn end_of(links: &[Link], id: LinkId) -> Option<(usize, usize)> {
    let at = links.iter().position(|link| link.number == id.0 / 2)?;
    Some((at, (id.0 % 2) as usize))
}

const MOST_STEPS_TO_BEGIN: usize = 10_000;
