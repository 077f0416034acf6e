//! What can happen next in a state.

use dse_core::protocol::LinkId;

use super::clock::TICK;
use super::link::{Frame, Link, Stage};
use super::plot::{Enters, Plot};
use super::state::{Dial, State, end_of};

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

impl State {
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
                    let message = matches!(end.lane.front(), Some(Frame::Message(_)));
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
            || self.links.iter().any(|link| link.travels())
            || self.probes.iter().any(|probe| self.verdict(*probe) != Some(false))
    }

    /// Is anything under way, the news included that a link fell?
    pub(super) fn is_busy(&self) -> bool {
        self.travels() || !self.probes.is_empty() || self.links.iter().any(|link| link.broken)
    }

    /// Is somebody there whom this attempt may reach?
    pub(super) fn leads_to(&self, dial: &Dial) -> Option<usize> {
        dial.to.filter(|to| self.nodes[*to].runs())
    }

    /// How a probe would end now: does the other end answer? None while what came before
    /// is still to be read, or the other end has not heard of the link yet.
    pub(super) fn verdict(&self, (_, id): (usize, LinkId)) -> Option<bool> {
        let (at, side) = end_of(&self.links, id)?;
        let link = &self.links[at];
        let other = &link.ends[1 - side];
        match other.stage {
            Stage::Up if !link.broken => Some(true),
            Stage::Dialling(_) if !link.broken => None,
            _ => link.ends[side].lane.is_empty().then_some(false),
        }
    }
}
