//! How one choice leads from a state to the next.

use std::rc::Rc;

use dse_core::protocol::{DialId, Endpoint, LinkId};

use super::broken::Broken;
use super::choice::Choice;
use super::link::{End, Frame, Link, Stage};
use super::plot::{Enters, Plot};
use super::state::{Dial, State, end_of};
use super::turn::{Effect, Given, LINK_FELL, Scene};
use crate::world::endpoint;

impl State {
    /// Takes a choice.
    ///
    /// # Errors
    /// The rule that was broken.
    pub(super) fn apply(&mut self, choice: Choice, scene: &mut Scene<'_>) -> Result<(), Broken> {
        scene.story.choice(scene.plot, self, choice);
        match choice {
            Choice::Start(place) => self.start(place.into(), scene)?,
            Choice::Say(place) => {
                let place = usize::from(place);
                let wish = scene.plot.places[place].then[self.nodes[place].said];
                self.give(place, Given::Wish(wish, true), scene)?;
            }
            Choice::Crash(place) => {
                self.left.crashes -= 1;
                self.end(place.into());
            }
            Choice::Cut(link) => {
                self.left.losses -= 1;
                self.link(link.into()).broken = true;
            }
            Choice::Refuse(dial) => {
                self.left.losses -= 1;
                let Dial { place, dial, .. } = self.dials.remove(dial.into());
                self.give(place, Given::ConnectFailed(dial, "connection refused"), scene)?;
            }
            Choice::Drop(link, side) => {
                self.left.drops -= 1;
                let _ = self.link(link.into()).ends[usize::from(side)].lane.pop_front();
            }
            Choice::Arrive(dial) => self.arrive(dial.into(), scene)?,
            Choice::Establish(link) => self.establish(link.into(), scene)?,
            Choice::Deliver(link, side) => self.deliver(link.into(), side.into(), scene)?,
            Choice::Notice(link, side) => self.fall(link.into(), side.into(), scene)?,
            Choice::Verdict(probe) => {
                let probe = self.probes.remove(probe.into());
                self.end_probe(probe, scene)?;
            }
            Choice::Timeout(place) => self.call(place.into(), scene)?,
            Choice::Delay(place) => {
                self.left.delays -= 1;
                self.call(place.into(), scene)?;
            }
        }
        self.drop_what_is_gone();
        Ok(())
    }

    fn drop_what_is_gone(&mut self) {
        self.links.retain(|link| !link.is_gone());
        let (links, nodes) = (&self.links, &self.nodes);
        self.probes.retain(|(_, id)| {
            end_of(links, *id).is_some_and(|(at, side)| {
                links[at].ends[side].stage == Stage::Up && nodes[links[at].ends[side].place].runs()
            })
        });
    }

    pub(super) fn start_all(&mut self, who: Enters, scene: &mut Scene<'_>) -> Result<(), Broken> {
        for (place, of) in scene.plot.places.iter().enumerate() {
            if of.enters == who {
                self.start(place, scene)?;
            }
        }
        Ok(())
    }

    fn start(&mut self, place: usize, scene: &mut Scene<'_>) -> Result<(), Broken> {
        let life = self.nodes[place].lives;
        let seed = (place * 100 + life + 1) as u64;
        let node = Rc::make_mut(&mut self.nodes[place]);
        node.start(scene.plot.config(place, life), seed, self.now);
        for wish in scene.plot.places[place].at_start() {
            self.give(place, Given::Wish(wish, false), scene)?;
        }
        Ok(())
    }

    /// A node's deadline comes, and with it its time.
    fn call(&mut self, place: usize, scene: &mut Scene<'_>) -> Result<(), Broken> {
        self.now = self.now.max(self.nodes[place].deadline().unwrap_or(0));
        self.give(place, Given::Timeout, scene)
    }

    /// A process is no more: its ends are gone, and the others will notice.
    fn end(&mut self, place: usize) {
        Rc::make_mut(&mut self.nodes[place]).end();
        self.forget(place);
        self.dials.retain(|dial| dial.place != place);
        for at in 0..self.links.len() {
            for side in 0..2 {
                let end = &self.links[at].ends[side];
                if end.place == place && end.stage != Stage::Gone {
                    self.link(at).end_gone(side);
                    self.link(at).broken = true;
                }
            }
        }
    }

    fn arrive(&mut self, at: usize, scene: &mut Scene<'_>) -> Result<(), Broken> {
        let found = self.leads_to(&self.dials[at]);
        let Dial { place, dial, .. } = self.dials.remove(at);
        let Some(to) = found else {
            return self.give(place, Given::ConnectFailed(dial, "nobody is there"), scene);
        };
        let end = |place, stage| End { place, stage, lane: Default::default() };
        let ends = [end(place, Stage::Dialling(dial)), end(to, Stage::Up)];
        self.links.push(Rc::new(Link { number: self.next_link, ends, broken: false }));
        self.next_link += 1;
        let link = self.links[self.links.len() - 1].id(1);
        self.give(to, Given::LinkUp(link, None), scene)
    }

    fn establish(&mut self, at: usize, scene: &mut Scene<'_>) -> Result<(), Broken> {
        let link = self.link(at);
        let Stage::Dialling(dial) = link.ends[0].stage else { return Ok(()) };
        link.ends[0].stage = Stage::Up;
        let (place, link) = (link.ends[0].place, link.id(0));
        self.give(place, Given::LinkUp(link, Some(dial)), scene)
    }

    fn deliver(&mut self, at: usize, side: usize, scene: &mut Scene<'_>) -> Result<(), Broken> {
        let link = self.link(at);
        let (place, id) = (link.ends[side].place, link.id(side));
        match link.ends[side].lane.pop_front() {
            Some(Frame::Message(message)) => self.give(place, Given::Message(id, message), scene),
            Some(Frame::Close) => self.fall(at, side, scene),
            None => Ok(()),
        }
    }

    /// An end falls, and its node is told. The other end will notice.
    fn fall(&mut self, at: usize, side: usize, scene: &mut Scene<'_>) -> Result<(), Broken> {
        let link = self.link(at);
        let (stage, place, id) = (link.ends[side].stage, link.ends[side].place, link.id(side));
        link.end_gone(side);
        link.broken = true;
        match stage {
            Stage::Dialling(dial) => self.give(place, Given::ConnectFailed(dial, LINK_FELL), scene),
            Stage::Up => self.give(place, Given::LinkDown(id), scene),
            Stage::Gone => Ok(()),
        }
    }

    fn end_probe(&mut self, probe: (usize, LinkId), scene: &mut Scene<'_>) -> Result<(), Broken> {
        let (place, link) = probe;
        match (self.verdict(probe), end_of(&self.links, link)) {
            (Some(true), _) => self.give(place, Given::Probed(link), scene),
            (Some(false), Some((at, side))) => self.fall(at, side, scene),
            _ => Ok(()),
        }
    }

    /// Gives a node something and does what it wants done.
    fn give(&mut self, place: usize, given: Given, scene: &mut Scene<'_>) -> Result<(), Broken> {
        let broken = |what| Broken { place: Some(scene.plot.places[place].name), what };
        if !self.nodes[place].runs() {
            return Ok(());
        }
        let turn = scene.turn(&self.nodes[place], self.now, given).map_err(broken)?;
        let mut ended = false;
        self.nodes[place] = turn.after;
        for effect in &*turn.effects {
            match effect {
                Effect::Connect(dial, to) => self.connect(scene.plot, place, *dial, to),
                Effect::Send(link, message) => self.send(*link, Frame::Message(message.clone())),
                Effect::Disconnect(link) => self.disconnect(*link),
                Effect::Probe(link) => self.probe(place, *link),
                Effect::Asked(ticket, keys) => self.asks(scene.plot, place, *ticket, keys),
                Effect::Answered(ticket, report) => {
                    self.answered(scene.plot, place, *ticket, report).map_err(broken)?;
                }
                Effect::Stopped => ended = true,
            }
        }
        for (of, incarnation, index) in &*turn.beliefs {
            self.hears(scene.plot, place, of, *incarnation, index).map_err(broken)?;
        }
        if ended {
            self.all_is_answered(place).map_err(broken)?;
            self.end(place);
        }
        Ok(())
    }

    /// A link, to be changed.
    fn link(&mut self, at: usize) -> &mut Link {
        Rc::make_mut(&mut self.links[at])
    }

    fn connect(&mut self, plot: &Plot, place: usize, dial: DialId, to: &Endpoint) {
        let to = plot.places.iter().position(|of| endpoint(of.name) == *to);
        self.dials.push(Dial { place, dial, to });
        self.dials.sort_unstable();
    }

    fn send(&mut self, from: LinkId, frame: Frame) {
        if let Some((at, side)) = end_of(&self.links, from) {
            self.link(at).send(side, frame);
        }
    }

    fn disconnect(&mut self, link: LinkId) {
        self.send(link, Frame::Close);
        if let Some((at, side)) = end_of(&self.links, link) {
            self.link(at).end_gone(side);
        }
    }

    fn probe(&mut self, place: usize, link: LinkId) {
        if !self.probes.contains(&(place, link)) {
            self.probes.push((place, link));
            self.probes.sort_unstable();
        }
    }
}
