//! Links of a small world: two ends, and to each end a lane that keeps its order.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use dse_core::protocol::wire::{self, Decoded};
use dse_core::protocol::{DialId, LinkId, Message};

use super::canon::{Canon, Known, Row, Sum};

/// What travels on a lane.
#[derive(Clone)]
pub(super) enum Frame {
    Message(Rc<Said>),
    Close,
}

/// A message: the bytes as the core wrote them, and what they say.
pub(super) struct Said {
    pub(super) bytes: Bytes,
    pub(super) says: Message,
    row: Row,
}

impl Said {
    /// # Errors
    /// The bytes cannot be read.
    pub(super) fn read(bytes: Bytes) -> Result<Rc<Self>, String> {
        match wire::decode(&bytes) {
            Ok(Decoded::Known(says)) => {
                // Messages hold no times.
                let mut canon = Canon::new(0, 0);
                canon.write(&says);
                Ok(Rc::new(Self { bytes, says, row: canon.row() }))
            }
            other => Err(format!("it sends what cannot be read: {other:?}")),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The dialler, until it hears that the link stands.
    Dialling(DialId),
    Up,
    Gone,
}

/// One end of a link, with the lane that leads to it.
#[derive(Clone)]
pub(super) struct End {
    pub(super) place: usize,
    pub(super) stage: Stage,
    pub(super) lane: VecDeque<Frame>,
}

/// A pairing of two processes: `ends[0]` dialled.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) number: u64,
    pub(super) ends: [End; 2],
    /// Nothing more gets through, but for what is on the lanes already; ends that are not
    /// gone notice in their own time.
    pub(super) broken: bool,
}

impl Link {
    /// The number of an end for its core.
    pub(super) fn id(&self, side: usize) -> LinkId {
        LinkId(self.number * 2 + side as u64)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.ends.iter().all(|end| end.stage == Stage::Gone)
    }

    /// Is anything on its way, or one side yet to hear that the link stands?
    pub(super) fn travels(&self) -> bool {
        let moves = |end: &End| match end.stage {
            Stage::Dialling(_) => true,
            Stage::Up => !end.lane.is_empty(),
            Stage::Gone => false,
        };
        self.ends.iter().any(moves)
    }

    /// Puts something on the lane away from an end.
    pub(super) fn send(&mut self, from: usize, frame: Frame) {
        let end = &mut self.ends[1 - from];
        if !self.broken && end.stage != Stage::Gone {
            end.lane.push_back(frame);
        }
    }

    /// An end is no more; what was on the way to it is lost.
    pub(super) fn end_gone(&mut self, side: usize) {
        self.ends[side].stage = Stage::Gone;
        self.ends[side].lane.clear();
    }

    /// What tells this link from others: for each end its node, how far it is, and the
    /// rank of the link at its node. Which end dialled plays no part once both know of
    /// the link.
    fn name(&self, known: &[&Known]) -> ([(u64, u64, u64); 2], [usize; 2]) {
        let name = |side: usize| {
            let End { place, stage, .. } = &self.ends[side];
            let (stage, rank) = match stage {
                Stage::Dialling(dial) => (0, known[*place].dial(dial.0)),
                Stage::Up => (1, known[*place].link(self.id(side).0)),
                Stage::Gone => (2, 0),
            };
            (*place as u64, stage, rank)
        };
        let (one, other) = (name(0), name(1));
        if one <= other { ([one, other], [0, 1]) } else { ([other, one], [1, 0]) }
    }
}

/// Writes links down, in an order that does not depend on when they came about.
pub(super) fn write(links: &[Rc<Link>], known: &[&Known], sum: &mut Sum) {
    let mut named: Vec<_> = links.iter().map(|link| (link.name(known), link)).collect();
    named.sort_by_key(|(name, _)| *name);
    sum.number(named.len() as u64);
    for ((name, sides), link) in named {
        sum.number(u64::from(link.broken));
        for ((place, stage, rank), side) in name.into_iter().zip(sides) {
            let lane = &link.ends[side].lane;
            for number in [place, stage, rank, lane.len() as u64] {
                sum.number(number);
            }
            for frame in lane {
                match frame {
                    Frame::Message(said) => sum.row(&said.row),
                    Frame::Close => sum.number(u64::MAX),
                }
            }
        }
    }
}
