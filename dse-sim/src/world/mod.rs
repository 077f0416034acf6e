//! A whole bus in virtual time: real control buses, the real codec, and a network
//! that does what it is told.
//!
//! After each step the world checks what must always hold (see [`Options::checks`]),
//! so every scenario is also a test of safety. A rule that is broken is a panic, and a
//! world that is dropped in a panic prints the end of its transcript.

mod clock;
mod course;
mod faults;
mod laws;
mod network;
mod node;
mod random;
mod show;
mod silence;
mod stranger;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dse_core::protocol::{
    Command, Config, DialId, Endpoint, Event, Input, LinkId, NodeId, Output, Ticket,
};

pub use clock::Clock;
pub(crate) use laws::mirror::Mirror;
pub use network::{Latency, Notice};
pub(crate) use node::kind_of;
pub use node::{Engine, Node};
pub use random::Random;
pub use stranger::stranger_hello;
pub use wishes::{declaration, endpoint, expr, id, key, member};

use course::Course;
use laws::history::History;
use network::{Lane, Link};

/// What a world is like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long messages take.
    pub latency: Latency,
    /// How long a silent peer stays unnoticed on a closely watched link, by nodes of which
    /// the test says nothing else.
    pub detect: Duration,
    /// Keep all that went into and came out of every node, in words. Takes most of the
    /// time of a world that keeps it.
    pub transcript: bool,
    /// Keep the events of every node, for [`Node::events`] and all that is asked of them.
    pub events: bool,
    /// After every step, hold the node that took it against its events and against
    /// what others really declared.
    pub checks: bool,
}

impl Default for Options {
    /// Messages take one millisecond; all is kept and checked.
    fn default() -> Self {
        Self {
            latency: Latency::fixed(Duration::from_millis(1)),
            detect: Duration::from_millis(1500),
            transcript: true,
            events: true,
            checks: true,
        }
    }
}

impl Options {
    /// Nothing is kept or checked: for worlds of a thousand nodes, which are to be
    /// measured.
    pub fn bare() -> Self {
        Self { transcript: false, events: false, checks: false, ..Self::default() }
    }
}

/// What will happen by itself.
#[derive(Debug)]
enum Action {
    /// A dial arrives where it is meant to.
    Arrive { from: usize, life: u32, dial: DialId, endpoint: Endpoint },
    /// A dial led nowhere, and the dialler hears of it.
    DialFails { from: usize, life: u32, dial: DialId, error: String },
    /// The dialler hears that its link stands.
    Establish { link: usize },
    /// The head of a lane may be due.
    Deliver { link: usize, side: usize },
    /// An end notices that nobody is there, unless it heard of the peer since.
    Fall { link: usize, side: usize, suspicion: u32 },
    /// A probe comes back or does not.
    ProbeEnds { link: usize, side: usize },
}

/// A bus and its network.
pub struct World {
    options: Options,
    now: u64,
    turn: u64,
    agenda: BTreeMap<(u64, u64), Action>,
    /// When which node wants to be called.
    timers: BTreeSet<(u64, usize)>,
    nodes: Vec<Node>,
    by_name: BTreeMap<String, usize>,
    /// Which nodes listen where.
    listeners: BTreeMap<Endpoint, BTreeSet<usize>>,
    links: Vec<Link>,
    random: Random,
    /// Directions, by node, in which nothing arrives: dials fail and links fall.
    blocked: BTreeSet<(usize, usize)>,
    /// Directions in which messages wait for the test's word; links stay up.
    held: BTreeSet<(usize, usize)>,
    /// Directions in which everything takes so much longer.
    slow: BTreeMap<(usize, usize), u64>,
    history: History,
    /// Somebody is here that need not keep the protocol.
    strangers: bool,
    /// Link ends on which a stranger has said something.
    spoken: BTreeSet<LinkId>,
    transcript: Vec<String>,
    course: Course,
    next_ticket: u64,
    starts: u64,
    steps: u64,
}

impl World {
    /// A world whose messages all take one millisecond.
    pub fn new(seed: u64) -> Self {
        Self::with_options(seed, Options::default())
    }

    /// A world with latencies of the test's choice.
    pub fn with_latency(seed: u64, latency: Latency) -> Self {
        Self::with_options(seed, Options { latency, ..Options::default() })
    }

    /// A world of the test's choice.
    pub fn with_options(seed: u64, options: Options) -> Self {
        Self {
            options,
            now: 0,
            turn: 0,
            agenda: BTreeMap::new(),
            timers: BTreeSet::new(),
            nodes: Vec::new(),
            by_name: BTreeMap::new(),
            listeners: BTreeMap::new(),
            links: Vec::new(),
            random: Random::new(seed),
            blocked: BTreeSet::new(),
            held: BTreeSet::new(),
            slow: BTreeMap::new(),
            history: History::default(),
            strangers: false,
            spoken: BTreeSet::new(),
            transcript: Vec::new(),
            course: Course::new(),
            next_ticket: 0,
            starts: 0,
            steps: 0,
        }
    }

    /// The time, since the world began.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// How many inputs were handed to the nodes, all together.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// All that went into and came out of every node, a line each.
    pub fn transcript(&self) -> &[String] {
        &self.transcript
    }

    /// Starts a member that listens at `mem://{name}`, for the first time or again.
    /// Each start has a larger incarnation than those before it.
    pub fn start(&mut self, name: &str) {
        self.start_with(name, |_| {});
    }

    /// As [`start`](Self::start), with another configuration. A second name with the
    /// same `config.node` is a clash.
    pub fn start_with(&mut self, name: &str, change: impl FnOnce(&mut Config)) {
        self.starts += 1;
        let mut config = member(name, self.starts);
        change(&mut config);
        let record = self.options.checks.then(|| self.history.begin(&config, self.now));
        let seed = self.random.draw();
        let index = self.place(name);
        if self.options.transcript {
            self.log(index, &format!("starts as {} {}", config.node, config.incarnation));
        }
        self.nodes[index].start(config, seed, self.now);
        self.nodes[index].record = record;
        self.listen(index);
        self.rearm(index);
    }

    /// A node without a control bus: the test reads and writes its messages.
    pub fn start_stranger(&mut self, name: &str) {
        let index = self.place(name);
        self.nodes[index].start_stranger(member(name, 1));
        self.strangers = true;
        self.listen(index);
    }

    /// The place of a node of this name, which must not be running.
    fn place(&mut self, name: &str) -> usize {
        if let Some(index) = self.by_name.get(name).copied() {
            assert!(!self.nodes[index].is_running(), "{name} runs already");
            return index;
        }
        self.nodes.push(Node::new(name, self.options.detect));
        self.by_name.insert(name.to_owned(), self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    fn listen(&mut self, index: usize) {
        for endpoint in self.nodes[index].config().endpoints.clone() {
            self.listen_at(index, endpoint);
        }
    }

    fn listen_at(&mut self, index: usize, endpoint: Endpoint) {
        self.listeners.entry(endpoint.clone()).or_default().insert(index);
        self.nodes[index].listens.push(endpoint);
    }

    /// A running node can be dialled here, too, though it does not say so.
    pub fn listen_also(&mut self, name: &str, endpoint: Endpoint) {
        let index = self.index(name);
        self.listen_at(index, endpoint);
    }

    /// The node of this name, running or not.
    pub fn node(&self, name: &str) -> &Node {
        &self.nodes[self.index(name)]
    }

    /// All nodes that ever were, in the order of their first start.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The names of the members that run and move, in the order of their first start.
    pub fn names_of_members(&self) -> Vec<String> {
        self.nodes.iter().filter(|node| node.is_member()).map(|node| node.name.clone()).collect()
    }

    fn index(&self, name: &str) -> usize {
        let found = self.by_name.get(name).copied();
        found.unwrap_or_else(|| panic!("there never was a node {name}"))
    }

    /// Gives a node a command at this very moment.
    pub fn command(&mut self, name: &str, command: Command) {
        let index = self.index(name);
        self.give(index, Input::Command(command));
    }

    /// A ticket that no command had before.
    pub fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// Does what comes next. False if nothing ever will.
    pub fn step(&mut self) -> bool {
        let action = self.agenda.first_key_value().map(|((at, _), _)| *at);
        match (action, self.timers.first().copied()) {
            (None, None) => return false,
            (Some(at), timer) if timer.is_none_or(|(due, _)| at <= due) => {
                self.now = at.max(self.now);
                if let Some((_, action)) = self.agenda.pop_first() {
                    self.act(action);
                }
            }
            (_, Some((due, index))) => {
                self.now = due.max(self.now);
                self.give(index, Input::Timeout);
            }
            (Some(_), None) => unreachable!("covered by the guard above"),
        }
        true
    }

    /// When the next thing happens, if anything ever does.
    fn next_at(&self) -> Option<u64> {
        let action = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let timer = self.timers.first().map(|(at, _)| *at);
        action.into_iter().chain(timer).min()
    }

    /// Lets this much time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + nanos(time);
        while self.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Runs until the test has what it waits for.
    #[track_caller]
    pub fn run_until(&mut self, what: &str, mut reached: impl FnMut(&Self) -> bool) {
        let end = self.now + nanos(Duration::from_secs(60));
        while !reached(self) {
            assert!(self.next_at().is_some_and(|at| at <= end), "not within a minute: {what}");
            self.step();
        }
    }

    /// Runs until no node waits for anything and nothing is under way (law L1). Gives
    /// up after two hours of virtual time.
    #[track_caller]
    pub fn run_until_quiet(&mut self) {
        let end = self.now + nanos(Duration::from_secs(7200) + self.longest_silence());
        while self.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        assert!(self.next_at().is_none(), "the bus does not come to rest");
        if self.options.checks {
            self.check_all();
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Arrive { from, life, dial, endpoint } => {
                self.arrive(from, life, dial, &endpoint)
            }
            Action::DialFails { from, life, dial, error } => {
                if self.nodes[from].life == life {
                    self.give(from, Input::ConnectFailed { dial, error });
                }
            }
            Action::Establish { link } => self.establish(link),
            Action::Deliver { link, side } => self.deliver(link, side),
            Action::Fall { link, side, suspicion } => {
                if self.links[link].ends[side].suspicion == suspicion {
                    self.fall(link, side, "no word from the peer");
                }
            }
            Action::ProbeEnds { link, side } => self.end_probe(link, side),
        }
    }

    fn plan(&mut self, at: u64, action: Action) {
        self.turn += 1;
        self.agenda.insert((at, self.turn), action);
    }

    /// Hands an input to a node, or queues it if the node stands still.
    fn give(&mut self, index: usize, input: Input) {
        if let Some(waiting) = &mut self.nodes[index].paused {
            if !matches!(input, Input::Timeout) {
                waiting.push(input);
            }
            return;
        }
        if self.options.transcript {
            self.log_input(index, &input);
        }
        self.note_input(index, &input);
        self.steps += 1;
        let fallen = laws::peer_cut_off(&self.nodes[index], &input);
        let outputs = self.feed(index, input);
        for output in outputs {
            self.carry_out(index, output, fallen.as_ref());
        }
        if self.nodes[index].take_stop() {
            self.end_life(index, Notice::AtOnce);
        }
        self.rearm(index);
        if self.options.checks {
            self.check(index);
        }
    }

    /// Hands an input to a node and takes all that it wants done.
    fn feed(&mut self, index: usize, input: Input) -> Vec<Output> {
        if !self.options.checks {
            let outputs = self.nodes[index].feed(self.now, input);
            self.nodes[index].settle(&outputs, None);
            return outputs;
        }
        self.note_request(index, &input);
        let given = input.clone();
        let outputs = self.nodes[index].feed(self.now, input);
        self.check_answers(index, &given, &outputs);
        let node = &mut self.nodes[index];
        let mut life = node.record.map(|life| self.history.life_mut(life));
        node.settle(&outputs, life.as_deref_mut());
        if let Some(life) = life {
            life.said_leave |= node.leaving;
        }
        outputs
    }

    /// Keeps the timers in step with what a node waits for.
    fn rearm(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let due = node.deadline();
        if due == node.due {
            return;
        }
        if let Some(before) = core::mem::replace(&mut node.due, due) {
            self.timers.remove(&(before, index));
        }
        self.timers.extend(due.map(|at| (at, index)));
    }

    /// `fallen`: the peer whose link ended by what the node was told.
    fn carry_out(&mut self, index: usize, output: Output, fallen: Option<&NodeId>) {
        if self.options.transcript {
            self.log_output(index, &output);
        }
        match output {
            Output::Connect { dial, endpoint } => {
                let at = self.now + self.options.latency.draw(&mut self.random);
                let life = self.nodes[index].life;
                self.plan(at, Action::Arrive { from: index, life, dial, endpoint });
            }
            Output::Disconnect { link } => self.disconnect(link),
            Output::Send { link, bytes } => {
                self.note_sent(index, link, &bytes);
                self.send(link, Lane::Message(bytes));
            }
            Output::Watch { link, watch } => self.watch(link, watch),
            Output::Probe { link } => self.probe(link),
            Output::Event(event) => self.happen(index, event, fallen),
        }
    }

    fn happen(&mut self, index: usize, event: Event, fallen: Option<&NodeId>) {
        if let Event::StatsRequested { link, request } = event {
            let counters = self.nodes[index].counters();
            let named = vec![("control_messages_sent".into(), counters.control_messages_sent)];
            let reply = Command::SendStats { link, request, counters: named };
            let reply = Input::Command(reply);
            self.note_input(index, &reply);
            for output in self.nodes[index].feed(self.now, reply) {
                self.carry_out(index, output, fallen);
            }
        }
        if self.options.checks {
            self.check_event(index, &event, fallen);
        }
        let at = self.now();
        if let Err(wrong) = self.nodes[index].record(at, event, &self.options) {
            panic!("{}: {wrong}", self.nodes[index].name);
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a virtual time below 584 years")
}

/// The two numbers of a link, one for each end.
fn number(link: usize, side: usize) -> LinkId {
    LinkId(2 * link as u64 + side as u64)
}

/// Which link and which of its ends a number means.
fn place_of(link: LinkId) -> (usize, usize) {
    (usize::try_from(link.0 / 2).expect("a small number"), usize::from(link.0 % 2 == 1))
}

/// Whether a node's id is this name.
pub fn is(node: &NodeId, name: &str) -> bool {
    node.as_str() == name
}
