//! One node of a small world, and what must hold at it after each of its steps.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use dse_core::protocol::{
    Command, Config, ControlBus, Declaration, Event, Incarnation, Input, Instant, Key, KeyExpr,
    LinkId, Match, Member, NodeId, Output, Role, StopReason, SubscriptionId,
};

use super::canon::{Canon, Known, Row};
use super::plot::Wish;
use crate::world::{Mirror, expr, kind_of};

pub(super) type Index = BTreeMap<Key, Declaration>;

/// A moment in the history of a place: which life, and which of its indexes.
pub(super) type Moment = (usize, usize);

/// A place and the process that runs there, if one does.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) core: Option<Box<ControlBus>>,
    /// How many of its lives have begun.
    pub(super) lives: usize,
    /// How many of its later wishes it has told.
    pub(super) said: usize,
    /// How the last life ended, if by itself.
    pub(super) stopped: Option<StopReason>,
    pub(super) leaving: bool,
    /// What its application knows from the events alone.
    pub(super) mirror: Mirror,
    /// What it declares itself.
    pub(super) own: Index,
    pub(super) subscriptions: BTreeMap<SubscriptionId, KeyExpr>,
    /// The indexes that each of its lives has had, in order.
    history: Vec<(Incarnation, Vec<Index>)>,
    /// The links that its core may name.
    links: BTreeSet<LinkId>,
    /// Whom a link lists that it has no link with: it may dial these (PROTOCOL.md §4.5).
    listed: BTreeSet<(LinkId, NodeId)>,
    commands: u64,
    written: Written,
}

/// What was written down of a node, at a time: many states share a node, and most of them
/// are looked at in one moment. A copy is made to be changed and starts without it.
#[derive(Default)]
struct Written(RefCell<Option<(u64, Rc<Rows>)>>);

/// A node as it is written down, and the links and dials that it knows.
type Rows = (Row, Known);

impl Clone for Written {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Node {
    /// A place where nothing runs yet.
    pub(super) fn new() -> Self {
        Self {
            core: None,
            lives: 0,
            said: 0,
            stopped: None,
            leaving: false,
            mirror: Mirror::default(),
            own: Index::new(),
            subscriptions: BTreeMap::new(),
            history: Vec::new(),
            links: BTreeSet::new(),
            listed: BTreeSet::new(),
            commands: 0,
            written: Written::default(),
        }
    }

    /// A process starts, with nothing but its configuration.
    pub(super) fn start(&mut self, config: Config, seed: u64, now: u64) {
        let history = std::mem::take(&mut self.history);
        *self = Self { lives: self.lives + 1, said: self.said, history, ..Self::new() };
        self.history.push((config.incarnation, vec![Index::new()]));
        let core = ControlBus::new(config, seed, Instant::from_nanos(now));
        self.core = Some(Box::new(core));
    }

    /// The process is no more, and all that it knew.
    pub(super) fn end(&mut self) {
        let Self { lives, said, stopped, history, .. } = std::mem::replace(self, Self::new());
        *self = Self { lives, said, stopped, history, ..Self::new() };
    }

    pub(super) fn runs(&self) -> bool {
        self.core.is_some()
    }

    /// Is it on the bus and means to stay?
    pub(super) fn stays(&self) -> bool {
        self.runs() && !self.leaving
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        Some(self.core.as_ref()?.poll_timeout()?.at.as_nanos())
    }

    /// The next command of its application.
    pub(super) fn command(&mut self, wish: Wish) -> Command {
        self.commands += 1;
        wish.command(self.commands)
    }

    /// How far its history is. Where nothing runs, the next life is still to come.
    pub(super) fn moment(&self) -> Moment {
        match self.history.last() {
            Some((_, indexes)) if self.runs() => (self.history.len() - 1, indexes.len() - 1),
            _ => (self.history.len(), 0),
        }
    }

    /// The indexes that it had from then on, in order.
    pub(super) fn indexes(
        &self,
        from: Moment,
    ) -> impl Iterator<Item = (Moment, Incarnation, &Index)> {
        let lives = self.history.iter().enumerate().skip(from.0);
        lives.flat_map(move |(life, (incarnation, indexes))| {
            let first = if life == from.0 { from.1 } else { 0 };
            let indexes = indexes.iter().enumerate().skip(first);
            indexes.map(move |(at, index)| ((life, at), *incarnation, index))
        })
    }

    /// Hands the core an input and holds what comes out against what must hold.
    ///
    /// # Errors
    /// The rule that was broken.
    pub(super) fn feed(&mut self, now: u64, input: Input) -> Result<Vec<Output>, String> {
        let Some(core) = &mut self.core else { return Ok(Vec::new()) };
        match &input {
            Input::LinkUp { link, .. } => drop(self.links.insert(*link)),
            Input::LinkDown { link, .. } => drop(self.links.remove(link)),
            _ => {}
        }
        let wish = match &input {
            Input::Command(command) => Some(command.clone()),
            _ => None,
        };
        let step = || {
            core.handle_input(Instant::from_nanos(now), input);
            std::iter::from_fn(|| core.poll_output()).collect::<Vec<_>>()
        };
        let outputs =
            catch_unwind(AssertUnwindSafe(step)).map_err(|_| String::from("the core panics"))?;
        self.check_links(&outputs)?;
        self.settle(wish, &outputs);
        self.check_events(&outputs)?;
        self.check_state()?;
        self.keep_lists(&outputs);
        Ok(outputs)
    }

    /// A message on a link names members.
    pub(super) fn is_listed(&mut self, link: LinkId, members: &[Member]) {
        self.listed.extend(members.iter().map(|member| (link, member.node.clone())));
    }

    /// A link that opens counts as one that lists whom this node dials.
    fn keep_lists(&mut self, outputs: &[Output]) {
        for output in outputs {
            if let Output::Event(Event::LinkOpened { link, .. }) = output {
                let also: Vec<_> = self.listed.iter().map(|(_, of)| (*link, of.clone())).collect();
                self.listed.extend(also);
            }
        }
        let (links, linked) = (&self.links, self.mirror.linked());
        self.listed.retain(|(link, of)| links.contains(link) && !linked.contains_key(of));
    }

    /// May it try to reach a node that it knows nothing of but the name?
    pub(super) fn knows_by_name(&self, id: &NodeId) -> bool {
        self.listed.iter().any(|(_, of)| of == id)
    }

    /// The core names only links that it has.
    fn check_links(&mut self, outputs: &[Output]) -> Result<(), String> {
        for output in outputs {
            let known = match output {
                Output::Send { link, .. } | Output::Watch { link, .. } | Output::Probe { link } => {
                    self.links.contains(link)
                }
                Output::Disconnect { link } => self.links.remove(link),
                Output::Connect { .. } | Output::Event(_) => true,
            };
            if !known {
                return Err(format!("it names a link that it has not: {output:?}"));
            }
        }
        Ok(())
    }

    /// Takes note of what a command did, which the events of the same turn build on, and of
    /// a node that leaves: asked to, or for losing a clash.
    fn settle(&mut self, wish: Option<Command>, outputs: &[Output]) {
        self.leaving |= outputs.iter().any(|output| match output {
            Output::Send { bytes, .. } => kind_of(bytes) == "Leave",
            output => matches!(output, Output::Event(Event::Stopped { .. })),
        });
        let done =
            |output: &Output| matches!(output, Output::Event(Event::Done { result: Ok(()), .. }));
        let accepted = outputs.iter().any(done);
        match wish {
            Some(Command::Declare { declaration, .. } | Command::Redeclare { declaration, .. })
                if accepted =>
            {
                self.own.insert(declaration.key.clone(), declaration);
            }
            Some(Command::Undeclare { key, .. }) if accepted => {
                self.own.remove(&key);
                self.mirror.undeclared(&key);
            }
            Some(Command::Subscribe { subscription, keys, .. }) if accepted => {
                self.subscriptions.insert(subscription, keys);
            }
            Some(Command::Unsubscribe { subscription }) => {
                self.subscriptions.remove(&subscription);
            }
            _ => return,
        }
        if let Some((_, indexes)) = self.history.last_mut()
            && indexes.last() != Some(&self.own)
        {
            indexes.push(self.own.clone());
        }
    }

    /// Each event fits those before it.
    fn check_events(&mut self, outputs: &[Output]) -> Result<(), String> {
        let Some(core) = &self.core else { return Ok(()) };
        for output in outputs {
            let Output::Event(event) = output else { continue };
            if let Event::Stopped { reason } = event {
                self.stopped = Some(reason.clone());
            }
            // A node that leaves tells no more of others.
            if !self.leaving {
                self.mirror.apply(event, core.config(), &self.own)?;
            }
        }
        Ok(())
    }

    fn check_state(&self) -> Result<(), String> {
        let Some(core) = &self.core else { return Ok(()) };
        let counters = core.counters();
        if counters.faults > 0 || counters.unknown_messages + counters.skipped.total() > 0 {
            return Err("it accuses an honest peer of breaking the protocol".into());
        }
        if self.leaving {
            return Ok(());
        }
        self.check_open_links(core)?;
        self.check_directory(core)
    }

    /// No peer has two links in use, and members are up exactly while they have one.
    fn check_open_links(&self, core: &ControlBus) -> Result<(), String> {
        let mut linked = BTreeMap::new();
        // Nobody is told that a guest leaves.
        let in_use = self.mirror.in_use().filter(|(_, peer)| peer.role == Role::Member);
        for (link, peer) in in_use {
            if linked.insert(&peer.node, (link, peer.incarnation)).is_some() {
                return Err(format!("it has two open links to {}", peer.node));
            }
        }
        let peers = core.peers();
        let open = peers
            .iter()
            .filter(|peer| peer.info.role == Role::Member)
            .filter_map(|peer| Some((&peer.info.node, (peer.link?, peer.info.incarnation))));
        if !open.eq(linked.iter().map(|(node, link)| (*node, *link))) {
            return Err(format!("its events tell of links {linked:?}, its peers are {peers:?}"));
        }
        let members = peers.iter().filter(|peer| peer.info.role == Role::Member);
        let members = members.filter(|peer| peer.link.is_some());
        let up = self.mirror.present().map(|(node, incarnation, _)| (node, incarnation));
        let guest = core.config().role == Role::Guest;
        if !guest && !up.eq(members.map(|peer| (&peer.info.node, peer.info.incarnation))) {
            return Err(format!("members are up without a link, or the reverse: {peers:?}"));
        }
        Ok(())
    }

    /// The directory is what the events add up to.
    fn check_directory(&self, core: &ControlBus) -> Result<(), String> {
        let own = (&core.config().node, core.config().incarnation, &self.own);
        let mut told: Vec<_> = self.mirror.present().chain([own]).collect();
        told.sort_by_key(|(node, ..)| *node);
        let told = told.into_iter().flat_map(|(node, incarnation, index)| {
            index.values().map(move |declaration| (node, incarnation, declaration))
        });
        let found = self.lookup();
        let same = told.eq(found.iter().map(|m| (&m.node, m.incarnation, &m.declaration)));
        if same { Ok(()) } else { Err(format!("its events do not add up to {found:?}")) }
    }

    pub(super) fn lookup(&self) -> Vec<Match> {
        self.core.as_ref().map_or_else(Vec::new, |core| core.lookup(&expr("**")))
    }

    /// What it is at this time, written down.
    pub(super) fn written(&self, now: u64, past: u64) -> Rc<Rows> {
        let mut written = self.written.0.borrow_mut();
        match &*written {
            Some((at, there)) if *at == now => there.clone(),
            _ => {
                let new = Rc::new(self.write(Canon::new(now, past)));
                *written = Some((now, new.clone()));
                new
            }
        }
    }

    /// Writes down all that its future depends on.
    fn write(&self, mut canon: Canon) -> Rows {
        canon.number(self.lives as u64);
        canon.number(self.said as u64);
        canon.number(u64::from(self.leaving));
        canon.number(self.stopped.as_ref().map_or(0, |reason| match reason {
            StopReason::Left => 1,
            StopReason::Clash { .. } => 2,
        }));
        for (_, indexes) in &self.history {
            canon.number(indexes.len() as u64);
        }
        if let Some(core) = &self.core {
            canon.write(&self.own);
            canon.write(&self.subscriptions);
            canon.write(&self.mirror);
            canon.write(&self.listed);
            canon.write(&**core);
        }
        let known = canon.end_node();
        (canon.row(), known)
    }
}
