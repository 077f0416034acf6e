//! The control bus: the one door in and the one door out.
//!
//! [`ControlBus`] owns the components: `links`, `peers`, `dials`, `contests`, `directory`
//! and `index`, `interest`, `requests`, `stats_requests`, `watchers`, `timers` and `outbox`,
//! each a file beside this one. A component keeps its state to itself, knows neither the
//! bus nor another component, and gives what is to be done as values. What needs several
//! of them is a step of the bus: the files in `bus/`, one for each responsibility. Nobody
//! but these steps reaches a component.

mod asking;
mod clash;
mod dialling;
mod handshake;
mod indexes;
mod leaving;
mod link_end;
mod membership;
mod routing;
mod watching;

use serde::Serialize;

use super::config::Config;
use super::contests::Contests;
use super::dials::Dials;
use super::directory::Directory;
use super::errors::{CommandError, StatsError, StopReason};
use super::ids::{LinkId, Ticket};
use super::index::LocalIndex;
use super::interest::Interests;
use super::io::{Command, Counters, Event, Input, Output, Report};
use super::links::{LinkStage, Links};
use super::message::{Claim, Message, Pattern, Role};
use super::names::NodeId;
use super::outbox::Outbox;
use super::peers::Peers;
use super::random::Random;
use super::requests::Requests;
use super::stats_requests::StatsRequests;
use super::target::Target;
use super::time::Instant;
use super::timers::{Deadline, Timer, Timers};
use super::watchers::Watchers;
use super::wire::{self, Decoded};

/// The state machine of one node on the control bus.
///
/// Give it inputs with [`handle_input`](Self::handle_input), drain
/// [`poll_output`](Self::poll_output) after each, and come back when
/// [`poll_timeout`](Self::poll_timeout) says. It has no clock, no randomness but its
/// seed, and does no I/O: the same inputs give the same outputs (law L7).
///
/// It can be cloned and serialized, so that a model checker can copy states and tell
/// them apart. What is serialized is the whole state but for outputs and counters, in a
/// form that is promised to nobody.
#[derive(Clone, Debug, Serialize)]
pub struct ControlBus {
    config: Config,
    now: Instant,
    phase: Phase,
    claim: Claim,
    random: Random,
    timers: Timers,
    /// Drained after each input: no part of the state that the next one meets.
    #[serde(skip)]
    outbox: Outbox,
    links: Links,
    peers: Peers,
    /// Follows from who is open.
    #[serde(skip)]
    watchers: Watchers,
    dials: Dials,
    contests: Contests,
    index: LocalIndex,
    directory: Directory,
    interest: Interests,
    requests: Requests,
    stats_requests: StatsRequests,
}

/// The life of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
enum Phase {
    Running,
    /// Leave is said; the acknowledgements are awaited.
    Leaving(StopReason),
    Stopped,
}

impl ControlBus {
    /// A node that has just started. `seed` feeds all that is random in it: nonces and
    /// the jitter of pauses.
    pub fn new(config: Config, seed: u64, now: Instant) -> Self {
        let mut random = Random::new(seed);
        let claim =
            Claim { returned: false, incarnation: config.incarnation, nonce: random.next() };
        let mut watchers = Watchers::default();
        if config.role == Role::Member {
            watchers.join(&config.node, &config.node);
        }
        Self {
            config,
            now,
            phase: Phase::Running,
            claim,
            random,
            timers: Timers::default(),
            outbox: Outbox::default(),
            links: Links::default(),
            peers: Peers::default(),
            watchers,
            dials: Dials::default(),
            contests: Contests::default(),
            index: LocalIndex::default(),
            directory: Directory::default(),
            interest: Interests::default(),
            requests: Requests::default(),
            stats_requests: StatsRequests::default(),
        }
    }

    /// Takes one input. Infallible: a bad peer makes an event and a disconnect.
    ///
    /// A `now` before that of an earlier call counts as that of the earlier call.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Timeout => self.timeout(),
            Input::LinkUp { link, .. } if self.phase == Phase::Stopped => {
                self.outbox.push(Output::Disconnect { link });
            }
            Input::LinkUp { link, dial, identity } => self.link_up(link, dial, identity),
            Input::ConnectFailed { dial, error } => {
                self.dial(|dials, here| dials.not_connected(dial, error, here));
            }
            Input::LinkDown { link, error } => self.link_down(link, &error),
            Input::Message { link, bytes } => self.bytes_received(link, &bytes),
            Input::Probed { link } => self.probed(link),
            Input::Command(command) if self.phase == Phase::Running => self.command(command),
            Input::Command(command) => self.command_after_end(command),
        }
        self.settle_requests();
        debug_assert!(self.all_know_the_same_peers(), "a component keeps what another dropped");
    }

    /// The next thing to be done, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }

    /// When to call [`handle_input`](Self::handle_input) with [`Input::Timeout`]; `None`
    /// means not until something happens.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.next()
    }

    /// What the node was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        self.outbox.counters
    }

    fn timeout(&mut self) {
        while let Some(timer) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Announce => self.announce(),
                Timer::Handshake(link) => self.handshake_timeout(link),
                Timer::Redial(dial) => self.dial(|dials, here| dials.pause_over(dial, here)),
                Timer::Forget(node) => self.forget(&node),
                Timer::Request(ticket) => self.request_timeout(ticket),
                Timer::Interest(node) => self.routes_changed(&node),
                Timer::Linger(key) => self.linger_over(key),
                Timer::Leave => self.stop(),
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Declare { ticket, declaration } => {
                let result = self.member().and_then(|()| self.declare(declaration));
                self.done(ticket, result);
            }
            Command::Redeclare { ticket, declaration } => {
                let result = self.member().and_then(|()| self.redeclare(declaration));
                self.done(ticket, result);
            }
            Command::Undeclare { ticket, key } => {
                let result = self.undeclare(&key);
                self.done(ticket, result);
            }
            Command::Subscribe { ticket, subscription, keys, options } => {
                let pattern = Pattern { keys, options };
                let result = self.member().and_then(|()| self.subscribe(subscription, pattern));
                self.done(ticket, result);
            }
            Command::Unsubscribe { subscription } => self.unsubscribe(subscription),
            Command::Request { ticket, keys, timeout } => self.request(ticket, keys, timeout),
            Command::RequestStats { ticket, node, timeout } => {
                self.request_stats(ticket, node, timeout);
            }
            Command::SendStats { link, request, counters } => {
                self.send_stats(link, request, counters);
            }
            Command::AddSeed { endpoint } => {
                self.dial(|dials, here| dials.add_seed(endpoint, here));
            }
            Command::AddHint { endpoint } => {
                self.dial(|dials, here| dials.add_hint(endpoint, here));
            }
            Command::DropHint { endpoint } => {
                self.dial(|dials, _| dials.drop_target(&Target::Hint(endpoint)));
            }
            Command::Leave => self.leave_for(StopReason::Left),
            Command::Reannounce => self.reannounce(),
        }
    }

    /// Commands to a node that leaves or has left.
    fn command_after_end(&mut self, command: Command) {
        match command {
            Command::Declare { ticket, .. }
            | Command::Redeclare { ticket, .. }
            | Command::Undeclare { ticket, .. }
            | Command::Subscribe { ticket, .. } => self.done(ticket, Err(CommandError::Stopped)),
            Command::Request { ticket, .. } => {
                self.outbox.event(Event::Answered { ticket, report: Report::default() });
            }
            Command::RequestStats { ticket, .. } => {
                let result = Err(StatsError::Stopped);
                self.outbox.event(Event::StatsReceived { ticket, result });
            }
            Command::Unsubscribe { .. }
            | Command::SendStats { .. }
            | Command::AddSeed { .. }
            | Command::AddHint { .. }
            | Command::DropHint { .. }
            | Command::Leave
            | Command::Reannounce => {}
        }
    }

    fn member(&self) -> Result<(), CommandError> {
        match self.config.role {
            Role::Member => Ok(()),
            Role::Guest => Err(CommandError::Guest),
        }
    }

    fn done(&mut self, ticket: Ticket, result: Result<(), CommandError>) {
        self.outbox.event(Event::Done { ticket, result });
    }

    fn bytes_received(&mut self, link: LinkId, bytes: &[u8]) {
        // What was under way when this side closed the link.
        let Some(stage) = self.links.get(link).map(|link| &link.stage) else { return };
        self.outbox.counters.control_messages_received += 1;
        self.outbox.counters.control_bytes_received += bytes.len() as u64;
        let node = match stage {
            LinkStage::Left { .. } => return,
            LinkStage::Open { node } => Some(node.clone()),
            LinkStage::Greeting | LinkStage::Greeted { .. } => None,
        };
        let decoded = match wire::decode_counting(bytes) {
            Ok((decoded, skipped)) => {
                self.outbox.counters.skipped += skipped;
                decoded
            }
            Err(error) => return self.fault(link, &alloc::string::ToString::to_string(&error)),
        };
        let result = match (decoded, node) {
            (Decoded::Known(message), Some(node)) => self.message(link, &node, message),
            (Decoded::Known(message), None) => self.greeting(link, message),
            (Decoded::Unknown { must_understand, .. }, _) => {
                let counters = &mut self.outbox.counters;
                counters.unknown_messages += 1;
                counters.unknown_required_messages += u64::from(must_understand);
                Ok(())
            }
        };
        if let Err(fault) = result {
            self.fault(link, fault);
        }
    }

    /// A message on a link that is not open.
    fn greeting(&mut self, link: LinkId, message: Message) -> Result<(), &'static str> {
        let greeted = self.links.hello(link).is_some();
        match message {
            Message::Hello(hello) if !greeted => self.hello_received(link, hello),
            Message::Open(open) if greeted => self.open_received(link, open),
            Message::Reject(reject) => self.reject_received(link, reject),
            Message::Rival(rival) if greeted => self.rival_met(link, rival),
            Message::Stand(_) if greeted => {
                self.stand_received(link);
                Ok(())
            }
            _ => Err("a message came before the link was open"),
        }
    }

    /// A message on an open link.
    fn message(
        &mut self,
        link: LinkId,
        node: &NodeId,
        message: Message,
    ) -> Result<(), &'static str> {
        match message {
            Message::Hello(_) => return Err("a second Hello came"),
            Message::Open(_) => return Err("a second Open came"),
            Message::Reject(reject) => return self.reject_received(link, reject),
            Message::Members(members) => return self.members_received(link, node, members),
            Message::MembersRequest(asked) => self.members_requested(link, node, asked),
            Message::Snapshot(snapshot) => return self.snapshot_received(node, snapshot),
            Message::Delta(delta) => return self.delta_received(node, delta),
            Message::Request(request) => self.request_received(link, &request),
            Message::Answer(answer) => return self.answer_received(link, node, answer),
            Message::Interest(interest) => return self.interest_received(link, node, interest),
            Message::InterestRefused(refused) => self.interest_refused(node, refused),
            Message::Leave(leave) => self.leave_received(link, node, &leave),
            Message::LeaveAck(_) => return self.leave_acknowledged(link),
            Message::StatsRequest(asked) => {
                let request = asked.request;
                self.outbox.event(Event::StatsRequested { link, request });
            }
            Message::Stats(stats) => return self.stats_received(node, stats),
            Message::Suspect(suspect) => self.suspected(&suspect),
            Message::Rival(rival) => return self.rival_met(link, rival),
            Message::Stand(_) => self.stand_received(link),
        }
        Ok(())
    }
}
