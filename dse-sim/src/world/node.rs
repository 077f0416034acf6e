//! One node of the world: its control bus, and the record of what came out of it.

mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dse_core::protocol::wire::{self, Decoded};
use dse_core::protocol::{
    Command, Config, ControlBus, Declaration, Endpoint, Event, Input, Instant, Key, LinkId, Output,
    Pattern, Report, Role, StopReason, SubscriptionId, Ticket, limits,
};

use super::laws::answers::Asked;
use super::laws::history::{Life, LifeId, Print};
use super::laws::mirror::Mirror;
use super::{Clock, Options};

/// How often a timer may fire in one instant before the world calls it a loop.
const TIMEOUTS_AT_ONCE: u32 = 20_000;

/// What runs on a node.
pub enum Engine {
    /// Its process does not run.
    Nothing,
    /// A control bus.
    Core(Box<ControlBus>),
    /// The test speaks for it, and reads what came in.
    Stranger(Vec<(LinkId, Decoded)>),
}

/// A node, in all its lives.
pub struct Node {
    /// What the world calls it; in a clash, two names have one id.
    pub name: String,
    /// What runs on it.
    pub engine: Engine,
    pub(super) config: Option<Config>,
    pub(super) clock: Clock,
    /// How long a silent peer goes unnoticed that it watches closely.
    pub(super) detect: Duration,
    /// When it begins to tell its watchers that it lives, one after the other.
    pub(super) phase: u64,
    /// Where it can be dialled.
    pub(super) listens: Vec<Endpoint>,
    /// The ends of links that it has.
    pub(super) ends: BTreeSet<(usize, usize)>,
    /// The timer that the world keeps for it.
    pub(super) due: Option<u64>,
    /// The name that its transport proves to others.
    pub certificate: Option<Box<str>>,
    /// Counts starts and ends: what was meant for an earlier life is lost.
    pub(super) life: u32,
    /// Inputs that wait, while it stands still.
    pub(super) paused: Option<Vec<Input>>,
    /// Its whole process stands still.
    pub(super) frozen: bool,
    /// How the last life ended, if by itself.
    pub stopped: Option<StopReason>,
    /// All events of this life, if the world keeps them.
    pub events: Vec<(Duration, Event)>,
    /// When it last told its application something new of others.
    news_at: Option<Duration>,
    /// What its application knows from the events alone.
    pub(super) mirror: Mirror,
    /// What it declares itself.
    pub(super) own: BTreeMap<Key, Declaration>,
    print: Print,
    /// Which of all lives this is, where laws are checked.
    pub(super) record: Option<LifeId>,
    /// How far in the life of another it has come with that one's indexes.
    pub(super) cursors: BTreeMap<LifeId, usize>,
    /// Its requests that are out, where laws are checked.
    pub(super) asked: BTreeMap<Ticket, Asked>,
    /// Its questions for counters that are out, where laws are checked.
    pub(super) stats_asked: BTreeSet<Ticket>,
    /// What came of its requests.
    reports: BTreeMap<Ticket, Report>,
    /// What it wants.
    pub(super) subscriptions: BTreeMap<SubscriptionId, Pattern>,
    pending: BTreeMap<Ticket, Change>,
    /// The link numbers that it may use.
    numbers: BTreeSet<LinkId>,
    /// Messages sent, by kind, since the last reset.
    sent: BTreeMap<&'static str, u64>,
    sent_bytes: u64,
    /// It has said Leave, and tells its application no more of others.
    pub(super) leaving: bool,
    just_stopped: bool,
    timeouts: (Instant, u32),
}

/// What a successful command does to the own index and wishes.
enum Change {
    Want(SubscriptionId, Pattern),
    Set(Declaration),
    Unset(Key),
}

impl Node {
    pub(super) fn new(name: &str, detect: Duration) -> Self {
        Self {
            name: name.to_owned(),
            engine: Engine::Nothing,
            config: None,
            clock: Clock::default(),
            detect,
            phase: 0,
            listens: Vec::new(),
            ends: BTreeSet::new(),
            due: None,
            certificate: None,
            life: 0,
            paused: None,
            frozen: false,
            stopped: None,
            events: Vec::new(),
            news_at: None,
            mirror: Mirror::default(),
            own: BTreeMap::new(),
            print: Print::default(),
            record: None,
            cursors: BTreeMap::new(),
            asked: BTreeMap::new(),
            stats_asked: BTreeSet::new(),
            reports: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            pending: BTreeMap::new(),
            numbers: BTreeSet::new(),
            sent: BTreeMap::new(),
            sent_bytes: 0,
            leaving: false,
            just_stopped: false,
            timeouts: (Instant::ZERO, 0),
        }
    }

    /// Starts its control bus at a moment of the world.
    pub(super) fn start(&mut self, config: Config, seed: u64, world: u64) {
        self.begin(&config);
        let now = self.clock.shows(world);
        self.phase = seed;
        self.engine = Engine::Core(Box::new(ControlBus::new(config, seed, now)));
    }

    pub(super) fn start_stranger(&mut self, config: Config) {
        self.begin(&config);
        self.engine = Engine::Stranger(Vec::new());
    }

    fn begin(&mut self, config: &Config) {
        let name = core::mem::take(&mut self.name);
        let (life, certificate, clock) = (self.life + 1, self.certificate.take(), self.clock);
        *self = Self { life, certificate, clock, ..Self::new(&name, self.detect) };
        self.config = Some(config.clone());
    }

    /// The process ends. What it recorded stays to be read.
    pub(super) fn end(&mut self) {
        self.engine = Engine::Nothing;
        self.paused = None;
        self.frozen = false;
        self.life += 1;
    }

    /// Does its process run, moving or not?
    pub fn is_running(&self) -> bool {
        !matches!(self.engine, Engine::Nothing)
    }

    /// Is it a member of the bus that runs and moves?
    pub fn is_member(&self) -> bool {
        self.is_core() && self.paused.is_none() && self.role() == Some(Role::Member)
    }

    /// Is it a guest that runs?
    pub fn is_guest(&self) -> bool {
        self.is_core() && self.role() == Some(Role::Guest)
    }

    /// Does the test speak for it?
    pub fn is_stranger(&self) -> bool {
        matches!(self.engine, Engine::Stranger(_))
    }

    /// Does a control bus run on it?
    pub(super) fn is_core(&self) -> bool {
        matches!(self.engine, Engine::Core(_))
    }

    fn role(&self) -> Option<Role> {
        self.config.as_ref().map(|config| config.role)
    }

    /// What its present or last life was started with.
    pub fn config(&self) -> &Config {
        self.config.as_ref().expect("a node that was started")
    }

    /// Its control bus, which runs.
    pub fn bus(&self) -> &ControlBus {
        match &self.engine {
            Engine::Core(bus) => bus,
            _ => panic!("{} runs no control bus", self.name),
        }
    }

    /// When it wants to be called, by the world's time.
    pub(super) fn deadline(&self) -> Option<u64> {
        match &self.engine {
            Engine::Core(bus) if self.paused.is_none() => {
                bus.poll_timeout().map(|deadline| self.clock.reaches(deadline.at))
            }
            _ => None,
        }
    }

    /// Hands it an input and takes all that it wants done.
    pub(super) fn feed(&mut self, world: u64, input: Input) -> Vec<Output> {
        let now = self.clock.shows(world);
        self.expect_input(now, &input);
        match &mut self.engine {
            Engine::Nothing => Vec::new(),
            Engine::Stranger(inbox) => {
                if let Input::Message { link, bytes } = &input {
                    let decoded = wire::decode(bytes).expect("a core sends what can be read");
                    inbox.push((*link, decoded));
                }
                Vec::new()
            }
            Engine::Core(bus) => {
                bus.handle_input(now, input);
                let outputs: Vec<_> = core::iter::from_fn(|| bus.poll_output()).collect();
                self.expect_outputs(&outputs);
                outputs
            }
        }
    }

    /// Keeps the books that an input changes.
    fn expect_input(&mut self, now: Instant, input: &Input) {
        match input {
            Input::LinkUp { link, .. } => {
                self.numbers.insert(*link);
            }
            Input::LinkDown { link, .. } => {
                self.numbers.remove(link);
            }
            Input::Command(Command::Declare { ticket, declaration })
            | Input::Command(Command::Redeclare { ticket, declaration }) => {
                self.pending.insert(*ticket, Change::Set(declaration.clone()));
            }
            Input::Command(Command::Undeclare { ticket, key }) => {
                self.pending.insert(*ticket, Change::Unset(key.clone()));
            }
            Input::Command(Command::Subscribe { ticket, subscription, keys, options }) => {
                let pattern = Pattern { keys: keys.clone(), options: *options };
                self.pending.insert(*ticket, Change::Want(*subscription, pattern));
            }
            Input::Command(Command::Unsubscribe { subscription }) => {
                self.subscriptions.remove(subscription);
            }
            Input::Timeout => {
                let again = if self.timeouts.0 == now { self.timeouts.1 + 1 } else { 0 };
                self.timeouts = (now, again);
                assert!(again < TIMEOUTS_AT_ONCE, "{}: a timer that never moves on", self.name);
            }
            _ => {}
        }
    }

    /// The core names only links that it has.
    fn expect_outputs(&mut self, outputs: &[Output]) {
        for output in outputs {
            let (link, closes) = match output {
                Output::Send { link, .. } | Output::Watch { link, .. } | Output::Probe { link } => {
                    (link, false)
                }
                Output::Disconnect { link } => (link, true),
                Output::Connect { .. } | Output::Event(_) => continue,
            };
            let known =
                if closes { self.numbers.remove(link) } else { self.numbers.contains(link) };
            assert!(known, "{} has no link {}: {output:?}", self.name, link.0);
        }
    }

    /// Takes note of what commands did, which the events of the same turn build on.
    pub(super) fn settle(&mut self, outputs: &[Output], mut life: Option<&mut Life>) {
        self.leaving |= outputs.iter().any(|output| match output {
            Output::Send { bytes, .. } => kind_of(bytes) == "Leave",
            output => matches!(output, Output::Event(Event::Stopped { .. })),
        });
        for output in outputs {
            let Output::Event(Event::Done { ticket, result }) = output else { continue };
            let change = self.pending.remove(ticket);
            let before = match change.filter(|_| result.is_ok()) {
                None => continue,
                Some(Change::Want(subscription, pattern)) => {
                    self.subscriptions.insert(subscription, pattern);
                    continue;
                }
                Some(Change::Set(declaration)) => {
                    self.print.add(&declaration);
                    life.iter_mut().for_each(|life| life.declares(&declaration));
                    self.own.insert(declaration.key.clone(), declaration)
                }
                Some(Change::Unset(key)) => {
                    self.mirror.undeclared(&key);
                    self.own.remove(&key)
                }
            };
            before.iter().for_each(|before| self.print.remove(before));
            life.iter_mut().for_each(|life| life.changed(self.print));
        }
    }

    /// Records an event and holds it against those before it.
    pub(super) fn record(
        &mut self,
        at: Duration,
        event: Event,
        options: &Options,
    ) -> Result<(), String> {
        match &event {
            Event::Stopped { reason } => {
                self.stopped = Some(reason.clone());
                self.just_stopped = true;
            }
            Event::NodeUp { .. }
            | Event::NodeDown { .. }
            | Event::NodeLeft { .. }
            | Event::Declared { .. }
            | Event::Changed { .. }
            | Event::Undeclared { .. } => self.news_at = Some(at),
            _ => {}
        }
        if let Event::Answered { ticket, report } = &event {
            let twice = self.reports.insert(*ticket, report.clone()).is_some();
            assert!(!twice, "L4: {}: a request is answered once", self.name);
        }
        let config = self.config.as_ref().expect("a node that was started");
        let fits =
            if options.checks { self.mirror.apply(&event, config, &self.own) } else { Ok(()) };
        if options.events {
            self.events.push((at, event));
        }
        fits
    }

    /// Has it stopped by itself since this was asked last?
    pub(super) fn take_stop(&mut self) -> bool {
        core::mem::take(&mut self.just_stopped)
    }

    pub(super) fn count_sent(&mut self, bytes: &[u8]) {
        let longest = if self.is_stranger() { usize::MAX } else { limits::CONTROL_MESSAGE_BYTES };
        assert!(bytes.len() <= longest, "{} sends {} bytes at once", self.name, bytes.len());
        let kind = kind_of(bytes);
        *self.sent.entry(kind).or_default() += 1;
        self.sent_bytes += bytes.len() as u64;
    }

    pub(super) fn reset_counts(&mut self) {
        self.sent.clear();
        self.sent_bytes = 0;
    }
}

/// The kind of a message: the second byte of its envelope (PROTOCOL.md §2.1).
pub(crate) fn kind_of(bytes: &[u8]) -> &'static str {
    let kind = bytes.get(1).and_then(|kind| KINDS.get(usize::from(*kind)));
    kind.copied().unwrap_or("other")
}

/// The kinds of messages, in the order of their numbers (PROTOCOL.md §3).
const KINDS: [&str; 19] = [
    "other",
    "Hello",
    "Open",
    "Reject",
    "Members",
    "MembersRequest",
    "Snapshot",
    "Delta",
    "Request",
    "Answer",
    "Interest",
    "InterestRefused",
    "Leave",
    "LeaveAck",
    "StatsRequest",
    "Stats",
    "Suspect",
    "Rival",
    "Stand",
];
