//! A whole bus in virtual time: real control buses, the real codec, and a network
//! that does what a test says.
//!
//! After each step the world checks what must always hold (see [`check`]), so every
//! scenario is also a test of safety. Two worlds of one seed that are told the same
//! do the same, byte for byte.

mod check;
mod mirror;
mod network;
mod node;
mod random;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dse_core::protocol::wire::{self, Decoded};
use dse_core::protocol::{
    Command, Config, DialId, Endpoint, Event, Input, Instant, LinkId, NodeId, Output, Ticket,
};

pub(crate) use network::{Latency, Notice};
pub(crate) use node::{Engine, Node};
pub(crate) use random::Random;
pub(crate) use wishes::{declaration, endpoint, expr, id, key, member, stranger_hello};

use check::History;
use network::{Lane, Link};

/// How long a silent peer stays unnoticed on a closely watched link.
pub(crate) const DETECT: Duration = Duration::from_millis(1500);
/// How long a probe waits for its echo.
const PROBE: Duration = Duration::from_millis(400);
/// How long a dial into nowhere takes to fail.
const CONNECT: Duration = Duration::from_secs(1);
/// How many lines of the transcript a failing test prints.
const LINES_SHOWN: usize = 120;

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
    /// An end notices that nobody is there, unless it was told to think better of it.
    Fall { link: usize, side: usize, suspicion: u32 },
    /// A probe comes back or does not.
    ProbeEnds { link: usize, side: usize },
}

/// A bus and its network.
pub(crate) struct World {
    now: u64,
    turn: u64,
    agenda: BTreeMap<(u64, u64), Action>,
    nodes: Vec<Node>,
    links: Vec<Link>,
    latency: Latency,
    random: Random,
    /// Directions, by node, in which nothing arrives: dials fail and links fall.
    blocked: BTreeSet<(usize, usize)>,
    /// Directions in which messages wait for the test's word; links stay up.
    held: BTreeSet<(usize, usize)>,
    history: History,
    /// Link ends on which a stranger has said something.
    spoken: BTreeSet<LinkId>,
    transcript: Vec<String>,
    next_ticket: u64,
    starts: u64,
}

impl World {
    /// A world whose messages all take one millisecond.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_latency(seed, Latency::fixed(Duration::from_millis(1)))
    }

    /// A world with latencies of the test's choice.
    pub(crate) fn with_latency(seed: u64, latency: Latency) -> Self {
        Self {
            now: 0,
            turn: 0,
            agenda: BTreeMap::new(),
            nodes: Vec::new(),
            links: Vec::new(),
            latency,
            random: Random::new(seed),
            blocked: BTreeSet::new(),
            held: BTreeSet::new(),
            history: History::default(),
            spoken: BTreeSet::new(),
            transcript: Vec::new(),
            next_ticket: 0,
            starts: 0,
        }
    }

    /// The time, since the world began.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// All that went into and came out of every node, a line each.
    pub(crate) fn transcript(&self) -> &[String] {
        &self.transcript
    }

    /// Starts a member that listens at `mem://{name}`, for the first time or again.
    /// Each start has a larger incarnation than those before it.
    pub(crate) fn start(&mut self, name: &str) {
        self.start_with(name, |_| {});
    }

    /// As [`start`](Self::start), with another configuration. A second name with the
    /// same `config.node` is a clash.
    pub(crate) fn start_with(&mut self, name: &str, change: impl FnOnce(&mut Config)) {
        self.starts += 1;
        let mut config = member(name, self.starts);
        change(&mut config);
        self.history.begin(&config);
        let seed = self.random.next();
        let now = self.instant();
        let index = self.place(name);
        self.log(index, &format!("starts as {} {}", config.node, config.incarnation));
        self.nodes[index].start(config, seed, now);
    }

    /// A node without a control bus: the test reads and writes its messages.
    pub(crate) fn start_stranger(&mut self, name: &str) {
        let index = self.place(name);
        self.nodes[index].start_stranger(member(name, 1));
    }

    /// The place of a node of this name, which must not be running.
    fn place(&mut self, name: &str) -> usize {
        if let Some(index) = self.nodes.iter().position(|node| node.name == name) {
            assert!(!self.nodes[index].is_running(), "{name} runs already");
            return index;
        }
        self.nodes.push(Node::new(name));
        self.nodes.len() - 1
    }

    /// The node of this name, running or not.
    pub(crate) fn node(&self, name: &str) -> &Node {
        &self.nodes[self.index(name)]
    }

    /// The names of the members that run and move, in the order of their first start.
    pub(crate) fn names_of_members(&self) -> Vec<String> {
        self.nodes.iter().filter(|node| node.is_member()).map(|node| node.name.clone()).collect()
    }

    fn index(&self, name: &str) -> usize {
        let found = self.nodes.iter().position(|node| node.name == name);
        found.unwrap_or_else(|| panic!("there never was a node {name}"))
    }

    /// Gives a node a command at this very moment.
    pub(crate) fn command(&mut self, name: &str, command: Command) {
        let index = self.index(name);
        self.give(index, Input::Command(command));
    }

    pub(crate) fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// Does what comes next. False if nothing ever will.
    pub(crate) fn step(&mut self) -> bool {
        let action = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let timer = self.next_timer();
        match (action, timer) {
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
        let timer = self.next_timer().map(|(at, _)| at);
        action.into_iter().chain(timer).min()
    }

    fn next_timer(&self) -> Option<(u64, usize)> {
        let due = |(index, node): (usize, &Node)| Some((node.deadline()?, index));
        self.nodes.iter().enumerate().filter_map(due).min()
    }

    /// Lets this much time pass.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + nanos(time);
        while self.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Runs until the test has what it waits for.
    #[track_caller]
    pub(crate) fn run_until(&mut self, what: &str, mut reached: impl FnMut(&Self) -> bool) {
        let end = self.now + nanos(Duration::from_secs(60));
        while !reached(self) {
            assert!(self.next_at().is_some_and(|at| at <= end), "not within a minute: {what}");
            self.step();
        }
    }

    /// Runs until no node waits for anything and nothing is under way (law L1). Gives
    /// up after two hours of virtual time.
    #[track_caller]
    pub(crate) fn run_until_quiet(&mut self) {
        let end = self.now + nanos(Duration::from_secs(7200));
        while self.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        assert!(self.next_at().is_none(), "the bus does not come to rest");
        self.check_all();
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

    /// Hands an input to a node, or queues it if the node is paused.
    fn give(&mut self, index: usize, input: Input) {
        if let Some(waiting) = &mut self.nodes[index].paused {
            if !matches!(input, Input::Timeout) {
                waiting.push(input);
            }
            return;
        }
        self.log_input(index, &input);
        let now = self.instant();
        let outputs = self.nodes[index].feed(now, input);
        self.nodes[index].settle(&outputs, &mut self.history);
        for output in outputs {
            self.log_output(index, &output);
            self.carry_out(index, output);
        }
        if self.nodes[index].take_stop() {
            self.end_life(index, Notice::AtOnce);
        }
        self.check(index);
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        match output {
            Output::Connect { dial, endpoint } => {
                let at = self.now + self.latency.draw(&mut self.random);
                let life = self.nodes[index].life;
                self.plan(at, Action::Arrive { from: index, life, dial, endpoint });
            }
            Output::Disconnect { link } => self.disconnect(link),
            Output::Send { link, bytes } => self.send(link, Lane::Message(bytes)),
            Output::Watch { link, watch } => {
                self.nodes[index].watches.insert(link, watch);
            }
            Output::Probe { link } => self.probe(link),
            Output::Event(event) => self.happen(index, event),
        }
    }

    fn happen(&mut self, index: usize, event: Event) {
        if let Event::StatsRequested { link, request } = event {
            let counters = self.nodes[index].counters();
            let named = vec![("control_messages_sent".into(), counters.control_messages_sent)];
            let reply = Command::SendStats { link, request, counters: named };
            let now = self.instant();
            for output in self.nodes[index].feed(now, Input::Command(reply)) {
                self.log_output(index, &output);
                self.carry_out(index, output);
            }
        }
        let at = self.now();
        if let Err(wrong) = self.nodes[index].record(at, event) {
            panic!("{}: {wrong}", self.nodes[index].name);
        }
    }

    fn instant(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    fn log_input(&mut self, index: usize, input: &Input) {
        let text = match input {
            Input::Message { link, bytes } => format!("<- {} {}", link.0, show(bytes)),
            other => format!("<- {other:?}"),
        };
        self.log(index, &text);
    }

    fn log_output(&mut self, index: usize, output: &Output) {
        let text = match output {
            Output::Send { link, bytes } => format!("-> {} {}", link.0, show(bytes)),
            other => format!("-> {other:?}"),
        };
        self.log(index, &text);
    }

    fn log(&mut self, index: usize, text: &str) {
        let seconds = self.now as f64 / 1e9;
        let line = format!("{seconds:>11.6} {:<4} {text}", self.nodes[index].name);
        self.transcript.push(line);
    }
}

impl Drop for World {
    /// A failing test shows how it came to that.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let skipped = self.transcript.len().saturating_sub(LINES_SHOWN);
            eprintln!("... {skipped} lines before; the last of the transcript:");
            for line in &self.transcript[skipped..] {
                eprintln!("{line}");
            }
        }
    }
}

/// A message as a line of the transcript shows it.
fn show(bytes: &[u8]) -> String {
    match wire::decode(bytes) {
        Ok(Decoded::Known(message)) => format!("{message:?}"),
        other => format!("{other:?} ({} bytes)", bytes.len()),
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
pub(crate) fn is(node: &NodeId, name: &str) -> bool {
    node.as_str() == name
}
