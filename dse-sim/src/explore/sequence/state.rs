//! A state of a model of one sequence.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use dse_core::data::DataFrame;
use dse_core::data::receive::Wanted;
use dse_core::data::send::{Report, SequenceConfig};
use dse_core::data::{Origin, limits};
use dse_core::protocol::{Incarnation, Instant, Kind};

use super::plot::SequencePlot;
use super::print::Fingerprint;
use crate::data::bus::STALL_TIMEOUT;
use crate::data::model::{Model, Source};
use crate::data::node::DataNode;
use crate::explore::canon::Print;
use crate::explore::clock::START;
use crate::explore::plot::Faults;
use crate::world::{id, key};

/// All that there is at one moment.
#[derive(Clone, Hash)]
pub(in crate::explore) struct State {
    /// The publisher's node and the subscriber's, until they leave.
    pub(super) nodes: [Option<Rc<DataNode>>; 2],
    /// Links of which one end at least is there.
    pub(super) links: Vec<Rc<Link>>,
    pub(super) last_link: u64,
    pub(super) model: Rc<Model>,
    pub(super) now: u64,
    /// What may still go wrong.
    pub(super) left: Faults,
    /// How much the applications have said.
    pub(super) said: [usize; 2],
    /// The present subscription.
    pub(super) subscription: Option<u64>,
    pub(super) subscriptions: u64,
    /// What was published when the publisher's node heard of the present subscription.
    pub(super) wanted_after: Option<u64>,
    /// Which one it heard of, and on which link.
    pub(super) wanted_by: Option<u64>,
    pub(super) wanted_on: u64,
    /// A subscription was withdrawn.
    pub(super) withdrew: bool,
    /// What the publisher reported.
    pub(super) report: Option<Rc<Report>>,
}

/// A link: two ends, and lanes to each.
#[derive(Clone, Hash)]
pub(super) struct Link {
    pub(super) number: u64,
    /// Does the end know the link?
    pub(super) up: [bool; 2],
    /// Nothing more gets through but what is on the lanes; ends notice in their own time.
    pub(super) broken: bool,
    pub(super) lanes: [Lane; 2],
}

/// What is under way to one end.
#[derive(Clone, Default, Hash)]
pub(super) struct Lane {
    pub(super) frames: VecDeque<Rc<DataFrame>>,
    pub(super) control: VecDeque<Said>,
    /// The sender left after what is under way.
    pub(super) left: bool,
}

/// What the control buses say to each other.
#[derive(Clone)]
pub(super) enum Said {
    /// All that the sender wants.
    Wants(Rc<Vec<Wanted>>),
    /// The key is exposed no more.
    Undeclared,
}

impl Hash for Said {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Wants(wanted) => wanted.hash(state),
            Self::Undeclared => u64::MAX.hash(state),
        }
    }
}

/// Who wants the samples after this number comes after the close: nothing is for it.
pub(super) const NOTHING: u64 = u64::MAX;
/// The number of the sequence, which is the publisher's, too.
pub(super) const SEQUENCE: u64 = 1;
pub(super) const KEY: &str = "a/x";
pub(super) const NAMES: [&str; 2] = ["a", "b"];

/// Whose samples these are.
pub(super) fn source() -> Source {
    (NAMES[0].to_owned(), 1, KEY.to_owned())
}

impl State {
    /// Two nodes that know nothing of each other.
    pub(super) fn new(plot: &SequencePlot) -> Self {
        let mut nodes = [0, 1].map(|_| {
            let node = DataNode::new(Incarnation(1), plot.window, STALL_TIMEOUT);
            let mut node = match plot.faults.delays {
                0 => node.without_received(),
                _ => node.with_frames_of(MOST_FRAME as u64),
            };
            node.set_now(Instant::from_nanos(START));
            node
        });
        let is_state = plot.policy == dse_core::data::send::Policy::Latest;
        let kind = if is_state { Kind::State } else { Kind::Stream };
        let origin = Origin::new(id(NAMES[0]), key(KEY), Incarnation(1), kind, "x");
        let mut config = SequenceConfig::new(SEQUENCE, origin.into());
        config.policy = plot.policy;
        config.history = plot.history;
        config.log_samples = plot.log_samples;
        config.lifetime = plot.lifetime;
        config.stall_timeout = STALL_TIMEOUT;
        nodes[0].declare(config);
        let mut model = Model::default();
        model.declare(source(), kind, plot.policy, plot.lifetime.is_some());
        Self {
            nodes: nodes.map(|node| Some(Rc::new(node))),
            links: Vec::new(),
            last_link: 0,
            model: Rc::new(model),
            now: START,
            left: plot.faults,
            said: [0; 2],
            subscription: None,
            subscriptions: 0,
            wanted_after: None,
            wanted_by: None,
            wanted_on: 0,
            withdrew: false,
            report: None,
        }
    }

    /// Tells this state from all that differ in what may come of them: nothing is left out but
    /// what was only counted.
    pub(super) fn print(&self) -> Print {
        let mut fingerprint = Fingerprint::default();
        self.hash(&mut fingerprint);
        fingerprint.print()
    }

    /// The number of the last sample that was published.
    pub(super) fn last_seq(&self) -> u64 {
        self.model.published(&source()).map_or(0, |it| it.samples.len() as u64)
    }

    /// Is there a link of which both ends know, and which carries?
    pub(super) fn is_linked(&self) -> bool {
        self.links.iter().any(|link| link.up == [true; 2] && !link.broken)
    }
}

/// A frame may hold no more than this.
pub(super) const MOST_FRAME: usize = limits::FRAME_BYTES + 64 * 1024;
