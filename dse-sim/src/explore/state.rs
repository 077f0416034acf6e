//! A state of a small world.

use std::rc::Rc;

use dse_core::protocol::{DialId, LinkId};

use super::asked::Ask;
use super::broken::Broken;
use super::canon::{Print, Sum};
use super::clock::{NEVER, START};
use super::heard::Heard;
use super::link::{self, Link};
use super::node::Node;
use super::plot::{Enters, Faults, Plot};
use super::turn::Scene;

/// All that there is at one moment.
#[derive(Clone)]
pub(super) struct State {
    pub(super) nodes: Vec<Rc<Node>>,
    /// Those of which one end at least is there.
    pub(super) links: Vec<Rc<Link>>,
    pub(super) dials: Vec<Dial>,
    /// Probes that wait for their verdict, by place and link.
    pub(super) probes: Vec<(usize, LinkId)>,
    pub(super) now: u64,
    /// What may still go wrong.
    pub(super) left: Faults,
    /// How far each place has come in the history of each other.
    pub(super) heard: Rc<Heard>,
    /// The requests that are out.
    pub(super) asks: Vec<Rc<Ask>>,
    pub(super) next_link: u64,
}

/// An attempt to connect that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Dial {
    pub(super) place: usize,
    pub(super) dial: DialId,
    /// The place that has the endpoint.
    pub(super) to: Option<usize>,
}

impl State {
    /// The state in which the search begins.
    ///
    /// # Errors
    /// A rule that is broken already.
    pub(super) fn begin(scene: &mut Scene<'_>) -> Result<Self, Broken> {
        let plot = scene.plot;
        let mut state = Self {
            nodes: plot.places.iter().map(|_| Rc::new(Node::new())).collect(),
            links: Vec::new(),
            dials: Vec::new(),
            probes: Vec::new(),
            now: START,
            left: plot.faults,
            heard: Rc::default(),
            asks: Vec::new(),
            next_link: 0,
        };
        state.start_all(Enters::Settled, scene)?;
        for _ in 0..MOST_STEPS_TO_BEGIN {
            let next = state.choices(plot).into_iter().find(|choice| choice.is_progress());
            let Some(choice) = next else {
                state.start_all(Enters::AtOnce, scene)?;
                return Ok(state);
            };
            state.apply(choice, scene)?;
        }
        Err(Broken { place: None, what: "the settled places never rest".into() })
    }

    /// Tells this state from all that differ in what may come of them.
    pub(super) fn print(&self, plot: &Plot) -> Print {
        let forget = u64::try_from(plot.forget_after.as_nanos()).unwrap_or(u64::MAX);
        let past = if forget < NEVER { forget } else { 0 };
        let written: Vec<_> = self.nodes.iter().map(|node| node.written(self.now, past)).collect();
        let known: Vec<_> = written.iter().map(|written| &written.1).collect();
        let mut sum = Sum::new();
        written.iter().for_each(|written| sum.row(&written.0));
        link::write(&self.links, &known, &mut sum);
        sum.number(self.dials.len() as u64);
        for Dial { place, dial, to } in &self.dials {
            sum.number(*place as u64);
            sum.number(known[*place].dial(dial.0));
            sum.number(to.map_or(u64::MAX, |to| to as u64));
        }
        for (place, link) in &self.probes {
            sum.number(*place as u64);
            sum.number(known[*place].link(link.0));
        }
        for ((place, of), (life, at)) in &*self.heard {
            [place, of, life, at].into_iter().for_each(|number| sum.number(*number as u64));
        }
        sum.number(self.asks.len() as u64);
        self.asks.iter().for_each(|ask| self.write_ask(plot, ask, &mut sum));
        let Faults { losses, crashes, delays, drops } = self.left;
        sum.number(u64::from_le_bytes([losses, crashes, delays, drops, 0, 0, 0, 0]));
        sum.print()
    }
}

/// Where an end stands among the links.
pub(super) fn end_of(links: &[Rc<Link>], id: LinkId) -> Option<(usize, usize)> {
    let at = links.iter().position(|link| link.number == id.0 / 2)?;
    Some((at, (id.0 % 2) as usize))
}

const MOST_STEPS_TO_BEGIN: usize = 10_000;
