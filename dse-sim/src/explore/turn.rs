//! One turn of one node: an input is taken in, and what comes out of it.
//!
//! A node's turn depends on nothing but the node, the time and the input. Many states
//! differ only in what other nodes are about, and share this one: so what a turn leads to
//! is kept and used again, and the core runs once for all of them. That is no reduction:
//! each state and each step between states is met as without it.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use dse_core::protocol::{
    Command, DialId, Endpoint, Event, Incarnation, Input, KeyExpr, LinkId, Message, NodeId, Output,
    Report, Ticket,
};

use super::link::Said;
use super::node::{Index, Node};
use super::plot::{Plot, Wish};
use super::story::Story;

/// What stays the same on all paths of a search, and what is told of one.
pub(super) struct Scene<'a> {
    pub(super) plot: &'a Plot,
    pub(super) story: Story,
    turns: Turns,
}

/// What a node is given.
#[derive(Clone)]
pub(super) enum Given {
    Message(LinkId, Rc<Said>),
    LinkUp(LinkId, Option<DialId>),
    LinkDown(LinkId),
    ConnectFailed(DialId, &'static str),
    Probed(LinkId),
    Timeout,
    /// A wish of its application, and whether it is one of those that come later.
    Wish(Wish, bool),
}

/// What comes of a turn outside the node.
pub(super) enum Effect {
    Connect(DialId, Endpoint),
    Send(LinkId, Rc<Said>),
    Disconnect(LinkId),
    Probe(LinkId),
    Asked(Ticket, KeyExpr),
    Answered(Ticket, Report),
    Stopped,
}

/// What comes of a turn.
#[derive(Clone)]
pub(super) struct Turn {
    pub(super) after: Rc<Node>,
    pub(super) effects: Rc<[Effect]>,
    /// What it came to believe of others.
    pub(super) beliefs: Rc<[(NodeId, Incarnation, Index)]>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(plot: &'a Plot, story: Story) -> Self {
        Self { plot, story, turns: Turns::default() }
    }

    /// Gives a node something.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn turn(&mut self, node: &Rc<Node>, now: u64, given: Given) -> Result<Turn, String> {
        // What is told is told in full.
        if self.story.is_told() {
            return take(node, now, &given, &mut self.story);
        }
        let key = (Rc::as_ptr(node) as usize, now, given.key());
        if let Some(kept) = self.turns.find(&key) {
            return Ok(kept);
        }
        let turn = take(node, now, &given, &mut self.story)?;
        self.turns.keep(key, Kept { _node: node.clone(), _given: given, turn: turn.clone() });
        Ok(turn)
    }
}

fn take(node: &Rc<Node>, now: u64, given: &Given, story: &mut Story) -> Result<Turn, String> {
    let mut node = Node::clone(node);
    if let Given::Wish(wish, _) = given {
        story.wish(*wish);
    }
    let input = given.input(&mut node);
    let mut effects = Vec::new();
    if let Input::Command(Command::Request { ticket, keys, .. }) = &input {
        effects.push(Effect::Asked(*ticket, keys.clone()));
    }
    let owed = given.owes(&node);
    if let Given::Message(link, said) = given
        && let Message::Members(list) = &said.says
    {
        node.is_listed(*link, &list.members);
    }
    let outputs = node.feed(now, input)?;
    let mut came_up = BTreeSet::new();
    for output in outputs {
        story.output(&output);
        if let Output::Event(Event::NodeUp { peer }) = &output {
            came_up.insert(peer.node.clone());
        }
        effects.push(match output {
            Output::Connect { dial, endpoint } => Effect::Connect(dial, endpoint),
            Output::Send { link, bytes } => Effect::Send(link, Said::read(bytes)?),
            Output::Disconnect { link } => Effect::Disconnect(link),
            Output::Probe { link } => Effect::Probe(link),
            Output::Event(Event::Answered { ticket, report }) => Effect::Answered(ticket, report),
            Output::Event(Event::Stopped { .. }) => Effect::Stopped,
            Output::Watch { .. } | Output::Event(_) => continue,
        });
    }
    if !effects.iter().filter_map(Effect::answers).eq(owed) {
        return Err(format!("it answers not once what it is asked: it owes an answer {owed:?}"));
    }
    let touched = std::mem::take(&mut node.mirror.touched);
    // Of who has just come up, nothing is known yet.
    let unknown = |of: &NodeId, index: &Index| index.is_empty() && came_up.contains(of);
    let beliefs = node.mirror.present().filter(|(of, ..)| touched.contains(of));
    let beliefs = beliefs.filter(|(of, _, index)| !unknown(of, index));
    let beliefs = beliefs.map(|(of, incarnation, index)| (of.clone(), incarnation, index.clone()));
    let beliefs = beliefs.collect();
    Ok(Turn { beliefs, after: Rc::new(node), effects: effects.into() })
}

impl Effect {
    /// The request that is answered to its end, and on which link.
    fn answers(&self) -> Option<(LinkId, u64)> {
        match self {
            Self::Send(link, said) => match &said.says {
                Message::Answer(answer) if answer.last => Some((*link, answer.request)),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Given {
    /// The request that is to be answered in this turn (law L4), and on which link.
    fn owes(&self, node: &Node) -> Option<(LinkId, u64)> {
        match self {
            Self::Message(link, said) => match &said.says {
                Message::Request(asked) if node.mirror.linked().values().any(|of| of == link) => {
                    Some((*link, asked.request))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn input(&self, node: &mut Node) -> Input {
        match self {
            Self::Message(link, said) => Input::Message { link: *link, bytes: said.bytes.clone() },
            Self::LinkUp(link, dial) => Input::LinkUp { link: *link, dial: *dial, identity: None },
            Self::LinkDown(link) => Input::LinkDown { link: *link, error: LINK_FELL.to_owned() },
            Self::ConnectFailed(dial, error) => {
                Input::ConnectFailed { dial: *dial, error: (*error).to_owned() }
            }
            Self::Probed(link) => Input::Probed { link: *link },
            Self::Timeout => Input::Timeout,
            Self::Wish(wish, later) => {
                node.said += usize::from(*later);
                Input::Command(node.command(*wish))
            }
        }
    }

    /// Two inputs of one key are the same, as long as both are kept.
    fn key(&self) -> GivenKey {
        match self {
            Self::Message(link, said) => (0, link.0, Rc::as_ptr(said) as usize as u64, "", None),
            Self::LinkUp(link, dial) => (1, link.0, dial.map_or(u64::MAX, |dial| dial.0), "", None),
            Self::LinkDown(link) => (2, link.0, 0, "", None),
            Self::ConnectFailed(dial, error) => (3, dial.0, 0, error, None),
            Self::Probed(link) => (4, link.0, 0, "", None),
            Self::Timeout => (5, 0, 0, "", None),
            Self::Wish(wish, later) => (6, u64::from(*later), 0, "", Some(*wish)),
        }
    }
}

/// Why an end of a link falls in these worlds.
pub(super) const LINK_FELL: &str = "the link fell";

type GivenKey = (u8, u64, u64, &'static str, Option<Wish>);
type Key = (usize, u64, GivenKey);

/// A turn with what it came of: as long as that is kept, nothing else is at its address.
struct Kept {
    _node: Rc<Node>,
    _given: Given,
    turn: Turn,
}

/// The latest turns: those before them are of states that the search has left behind.
#[derive(Default)]
struct Turns {
    young: HashMap<Key, Kept>,
    old: HashMap<Key, Kept>,
}

impl Turns {
    fn find(&mut self, key: &Key) -> Option<Turn> {
        if let Some(kept) = self.young.get(key) {
            return Some(kept.turn.clone());
        }
        let kept = self.old.remove(key)?;
        let turn = kept.turn.clone();
        self.keep(*key, kept);
        Some(turn)
    }

    fn keep(&mut self, key: Key, kept: Kept) {
        if self.young.len() >= MOST_TURNS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, kept);
    }
}

const MOST_TURNS: usize = 40_000;
