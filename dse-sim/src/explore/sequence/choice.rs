//! What can happen next in a state.

use dse_core::protocol::Instant;

use super::plot::{SequencePlot, Word};
use super::state::{SEQUENCE, State};
use crate::explore::clock::NEVER;

/// One thing that can happen next. A link is named by its place in the state's list, an end by
/// its side: 0 is the publisher's, 1 the subscriber's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::explore) enum Choice {
    /// An application says the next word.
    Say(u8),
    /// The publisher's application stops publishing, and says what comes after that.
    Stop,
    /// The two nodes are linked.
    Connect,
    /// A node writes a frame.
    Write(u8, u8),
    /// A frame arrives at an end.
    Read(u8, u8),
    /// A word of the other control bus arrives at an end.
    Hear(u8, u8),
    /// The subscriber's application takes one delivery.
    Take,
    /// A link is lost.
    Cut(u8),
    /// A frame is lost in silence.
    Drop(u8, u8),
    /// An end notices that its link is broken, or that the other node left.
    Notice(u8, u8),
    /// The stall timeout passes although something is under way.
    Delay,
    /// The stall timeout passes.
    Timeout,
}

impl Choice {
    pub(super) fn is_progress(self) -> bool {
        match self {
            Self::Say(_) | Self::Stop | Self::Cut(_) | Self::Drop(..) | Self::Delay => false,
            Self::Connect | Self::Write(..) | Self::Read(..) | Self::Hear(..) => true,
            Self::Take | Self::Notice(..) | Self::Timeout => true,
        }
    }
}

impl State {
    pub(super) fn choices(&self, plot: &SequencePlot) -> Vec<Choice> {
        let mut choices = Vec::with_capacity(16);
        for (at, link) in self.links.iter().enumerate() {
            let at = at as u8;
            for side in [0, 1] {
                let (lane, number) = (&link.lanes[usize::from(side)], link.number);
                if link.up[usize::from(side)] {
                    if !lane.frames.is_empty() {
                        choices.push(Choice::Read(at, side));
                        if self.left.drops > 0 {
                            choices.push(Choice::Drop(at, side));
                        }
                    }
                    if !lane.control.is_empty() {
                        choices.push(Choice::Hear(at, side));
                    }
                    let is_read = lane.frames.is_empty() && lane.control.is_empty();
                    if link.broken || lane.left && is_read {
                        choices.push(Choice::Notice(at, side));
                    }
                }
                let node = self.nodes[usize::from(side)].as_ref();
                let end = node.and_then(|node| node.links.get(&number));
                let has_room = link.lanes[1 - usize::from(side)].frames.len() < plot.lane;
                if !link.broken && has_room && end.is_some_and(|end| end.writes()) {
                    choices.push(Choice::Write(at, side));
                }
            }
            if self.left.losses > 0 && !link.broken && link.up == [true; 2] {
                choices.push(Choice::Cut(at));
            }
        }
        if self.has_items() {
            choices.push(Choice::Take);
        }
        let both = self.nodes.iter().all(Option::is_some);
        if both && !self.links.iter().any(|link| link.up.contains(&true)) {
            choices.push(Choice::Connect);
        }
        let is_free = !choices.iter().any(|choice| choice.is_progress());
        if is_free && self.stall().is_some() {
            choices.push(Choice::Timeout);
        } else if self.left.delays > 0 && self.deadline(plot).is_some() {
            choices.push(Choice::Delay);
        }
        for side in [0, 1] {
            let at = usize::from(side);
            if let Some(word) = plot.words[at].get(self.said[at])
                && self.nodes[at].is_some()
                && !(*word == Word::Publish && self.is_blocked())
            {
                choices.push(Choice::Say(side));
                if side == 0 && plot.may_stop && *word == Word::Publish && self.said[0] > 0 {
                    choices.push(Choice::Stop);
                }
            }
        }
        choices
    }

    /// Is there something to take for the subscriber's application?
    fn has_items(&self) -> bool {
        let node = self.nodes[1].as_ref();
        let feed = node.and_then(|node| node.subscriptions.get(&self.subscription?));
        feed.is_some_and(|it| it.feed.has_items())
    }

    /// Does the publisher's application wait for its subscribers?
    fn is_blocked(&self) -> bool {
        let publisher = self.nodes[0].as_ref().and_then(|node| node.publishers.get(&SEQUENCE));
        publisher.is_some_and(|publisher| !publisher.waiting.is_empty())
    }

    /// When somebody counts as stalled.
    fn stall(&self) -> Option<Instant> {
        let stalls = self.nodes.iter().flatten().filter_map(|node| node.poll_stall());
        stalls.min().filter(|at| at.as_nanos() < self.now + NEVER)
    }

    /// Up to when time may pass: where samples have a lifetime, that is some time, too.
    pub(super) fn deadline(&self, plot: &SequencePlot) -> Option<Instant> {
        let lifetime = plot.lifetime.filter(|_| self.left.delays > 0);
        let lifetime = lifetime.map(|time| Instant::from_nanos(self.now) + time);
        self.stall().or(lifetime)
    }
}
