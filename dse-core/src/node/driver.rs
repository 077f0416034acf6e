//! The driver: the one task that owns a node's control bus, its links and its timer.
//!
//! Everything that concerns the bus comes here as an input, one at a time: calls of
//! the application, messages of links, links that come and fall, the timer. After
//! each, the core is drained (see [`outputs`](super::outputs)). No source of inputs
//! can starve another: each turn takes a bounded batch of one that is ready, chosen at
//! random.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::call::{self, Call, Callee, Reply, StatsOutcome};
use super::link::{LinkEvent, LinkEventKind};
use super::links::Links;
use super::listen::{ACCEPTED_QUEUED, Accepted, listen};
use super::notices::{NOTICES_KEPT, Notice};
use super::plane::{LinkFault, Plane, PlaneConfig, PlaneRequest};
use super::probe::ProbeConfig;
use super::stats::Stats;
use super::status::NodeStatus;
use super::stopped::Stopped;
use super::transports::Transports;
use super::watch::{Watchers, Watching};
use super::{Node, Shared};
use crate::protocol::{
    Command, CommandError, Config, ControlBus, DialId, Endpoint, Input, Instant, KeyExpr, LinkId,
    PeerInfo, Report, Role, Ticket,
};
use crate::transport::{Link, Listener, TransportError};

/// Inputs of one source that are taken in one turn.
const BATCH: usize = 64;
/// Events of links that wait before their supervisors wait, too.
const LINK_EVENTS_QUEUED: usize = 256;
/// Links that may stand without being open before no more are accepted. Each opens or
/// falls within [`HANDSHAKE_TIMEOUT`](crate::protocol::limits::HANDSHAKE_TIMEOUT).
const OPENING_LINKS: usize = 256;
/// How long a dial may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node that leaves waits for its subscribers to take what was published.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a node that stops waits for the last words on its links.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// What a node is started with.
pub(super) struct Setup {
    pub(super) config: Config,
    pub(super) seed: u64,
    pub(super) transports: Transports,
    pub(super) listeners: Vec<(&'static str, Box<dyn Listener>)>,
    pub(super) join: Vec<Endpoint>,
    pub(super) hints: Vec<Endpoint>,
    pub(super) probe: ProbeConfig,
    pub(super) stall_timeout: Duration,
}

/// Starts the driver's task, and makes the first handle to the node.
pub(super) fn start(setup: Setup) -> Node {
    let (caller, callee) = call::channel();
    let (notices, first_notices) = broadcast::channel(NOTICES_KEPT);
    let Config { bus, node, incarnation, role, endpoints, .. } = setup.config.clone();
    let transports = setup.transports.clone();
    let weak_notices = notices.downgrade();
    let span = tracing::info_span!("node", %bus, %node, %incarnation);
    let (faults_sender, faults) = mpsc::channel(BATCH);
    let (requests_sender, requests) = mpsc::unbounded_channel();
    let plane_config =
        PlaneConfig { node: node.clone(), incarnation, stall_timeout: setup.stall_timeout };
    let plane = Plane::new(plane_config, faults_sender, requests_sender);
    let data = Data { plane: plane.clone(), faults, requests };
    let driver = Driver::new(setup, callee, data, notices);
    let task = tokio::spawn(driver.run().instrument(span)).abort_handle();
    let shared = Shared {
        bus,
        node,
        incarnation,
        role,
        endpoints,
        transports,
        caller,
        plane,
        last_subscription: AtomicU64::new(0),
        notices: weak_notices,
        first_notices: Mutex::new(Some(first_notices)),
        task,
    };
    Node { shared: Arc::new(shared) }
}

/// See the module's description.
pub(super) struct Driver {
    pub(super) core: ControlBus,
    /// The core's origin of time.
    origin: tokio::time::Instant,
    /// What the driver itself has to tell the core next.
    pub(super) follow_ups: VecDeque<Input>,
    callee: Callee,
    pub(super) replies: BTreeMap<Ticket, Waiting>,
    last_ticket: u64,
    transports: Transports,
    accepted: mpsc::Receiver<Accepted>,
    /// The listeners' tasks; dropping them stops them.
    listeners: JoinSet<()>,
    dials: JoinSet<Dialled>,
    pub(super) links: Links,
    link_events: mpsc::Receiver<LinkEvent>,
    pub(super) plane: Arc<Plane>,
    plane_faults: mpsc::Receiver<LinkFault>,
    plane_requests: mpsc::UnboundedReceiver<PlaneRequest>,
    /// Delivers what was published before the node leaves.
    finishing: JoinSet<()>,
    pub(super) watchers: Watchers,
    pub(super) notices: broadcast::Sender<Notice>,
    /// Set by the core's last event.
    pub(super) stopped: Option<Stopped>,
}

/// The data plane, and what comes from it.
struct Data {
    plane: Arc<Plane>,
    faults: mpsc::Receiver<LinkFault>,
    requests: mpsc::UnboundedReceiver<PlaneRequest>,
}

/// Who waits for the outcome of a command.
pub(super) enum Waiting {
    Done(Reply<Result<(), CommandError>>),
    Answered(Reply<Report>),
    Stats(Reply<StatsOutcome>),
}

/// How a dial went.
struct Dialled {
    dial: DialId,
    transport: &'static str,
    outcome: Result<Link, TransportError>,
}

impl Driver {
    fn new(setup: Setup, callee: Callee, data: Data, notices: broadcast::Sender<Notice>) -> Self {
        let (accepted_sender, accepted) = mpsc::channel(ACCEPTED_QUEUED);
        let (events, link_events) = mpsc::channel(LINK_EVENTS_QUEUED);
        let mut listeners = JoinSet::new();
        for (transport, listener) in setup.listeners {
            listeners.spawn(listen(transport, listener, accepted_sender.clone()));
        }
        let seeds = setup.join.into_iter().map(|endpoint| Command::AddSeed { endpoint });
        let hints = setup.hints.into_iter().map(|endpoint| Command::AddHint { endpoint });
        Self {
            core: ControlBus::new(setup.config, setup.seed, Instant::ZERO),
            origin: tokio::time::Instant::now(),
            follow_ups: seeds.chain(hints).map(Input::Command).collect(),
            callee,
            replies: BTreeMap::new(),
            last_ticket: 0,
            transports: setup.transports,
            accepted,
            listeners,
            dials: JoinSet::new(),
            links: Links::new(setup.probe, events),
            link_events,
            plane: data.plane,
            plane_faults: data.faults,
            plane_requests: data.requests,
            finishing: JoinSet::new(),
            watchers: Watchers::default(),
            notices,
            stopped: None,
        }
    }

    /// Runs until the core stops. Dropping the last handle to the node drops this future
    /// instead, wherever it is, and with it all that belongs to the node.
    async fn run(mut self) {
        tracing::info!("started");
        self.settle();
        let stopped = loop {
            if let Some(stopped) = self.stopped.take() {
                break stopped;
            }
            self.turn().await;
        };
        self.wind_down(stopped).await;
    }

    /// Waits for inputs and handles a batch of them.
    async fn turn(&mut self) {
        let deadline = self.core.poll_timeout();
        let timer = async {
            match deadline {
                Some(deadline) => {
                    let after = Duration::from_nanos(deadline.at.as_nanos());
                    tokio::time::sleep_until(self.origin + after).await;
                }
                None => std::future::pending().await,
            }
        };
        let (mut calls, mut events) = (Vec::new(), Vec::new());
        tokio::select! {
            1.. = self.callee.calls.recv_many(&mut calls, BATCH) => self.called(calls),
            1.. = self.link_events.recv_many(&mut events, BATCH) => {
                for event in events {
                    self.link_event(event);
                }
            }
            Some(fault) = self.plane_faults.recv() => {
                self.fell(fault.link, fault.error.to_string());
                self.settle();
            }
            Some(request) = self.plane_requests.recv() => self.plane_request(request),
            Some(_) = self.finishing.join_next() => {
                self.feed(Input::Command(Command::Leave));
            }
            Some(Ok(dialled)) = self.dials.join_next() => self.dialled(dialled),
            Some(accepted) = self.accepted.recv(), if self.links.opening() < OPENING_LINKS => {
                self.accepted(accepted);
            }
            () = timer => self.timeout(),
        }
    }

    /// The timer is due. Calls that wait already come first: what they change goes out
    /// together, on the same timer.
    fn timeout(&mut self) {
        let mut calls = Vec::new();
        while calls.len() < self.callee.calls.max_capacity()
            && let Ok(call) = self.callee.calls.try_recv()
        {
            calls.push(call);
        }
        self.called(calls);
        self.feed(Input::Timeout);
    }

    fn called(&mut self, calls: Vec<Call>) {
        for call in calls {
            // A key that was dropped before the call is free again.
            while let Ok(request) = self.plane_requests.try_recv() {
                self.plane_request(request);
            }
            self.call(call);
        }
    }

    fn call(&mut self, call: Call) {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        match call {
            // Whoever gave up on one of these dropped the handle that it was for, and the
            // word of that may be here before the call itself.
            Call::Declare { reply, .. } | Call::Subscribe { reply, .. } if reply.is_closed() => {}
            Call::Declare { declaration, reply } => {
                self.command(
                    ticket,
                    Waiting::Done(reply),
                    Command::Declare { ticket, declaration },
                );
            }
            Call::Subscribe { subscription, keys, reply } => {
                let command = Command::Subscribe { ticket, subscription, keys };
                self.command(ticket, Waiting::Done(reply), command);
            }
            Call::Request { keys, timeout, reply } => {
                let command = Command::Request { ticket, keys, timeout };
                self.command(ticket, Waiting::Answered(reply), command);
            }
            Call::StatsOf { node, timeout, reply } => {
                let command = Command::RequestStats { ticket, node, timeout };
                self.command(ticket, Waiting::Stats(reply), command);
            }
            // Whoever asked may have gone; then nobody needs the reply.
            Call::Lookup { keys, reply } => drop(reply.send(self.core.lookup(&keys))),
            Call::Watch { keys, reply } => drop(reply.send(self.watch(keys))),
            Call::Stats { reply } => drop(reply.send(self.stats())),
            Call::Nodes { reply } => drop(reply.send(self.nodes())),
            Call::Join { endpoint } => self.feed(Input::Command(Command::AddSeed { endpoint })),
            Call::Hint { endpoint } => self.feed(Input::Command(Command::AddHint { endpoint })),
            Call::Reannounce => self.feed(Input::Command(Command::Reannounce)),
            Call::Leave => self.leave(),
        }
    }

    fn command(&mut self, ticket: Ticket, waiting: Waiting, command: Command) {
        self.replies.insert(ticket, waiting);
        self.feed(Input::Command(command));
    }

    /// A handle of the application has ended.
    fn plane_request(&mut self, request: PlaneRequest) {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.feed(Input::Command(match request {
            PlaneRequest::Undeclare(key) => Command::Undeclare { ticket, key },
            PlaneRequest::Unsubscribe(subscription) => Command::Unsubscribe { subscription },
        }));
    }

    /// Delivers what was published, then leaves.
    fn leave(&mut self) {
        if self.finishing.is_empty() {
            let plane = self.plane.clone();
            let deadline = tokio::time::Instant::now() + FINISH_TIMEOUT;
            self.finishing.spawn(async move { plane.finish(deadline).await });
        }
    }

    fn watch(&mut self, keys: KeyExpr) -> Watching {
        let me = &self.core.config().node;
        let matches = self.core.lookup(&keys).into_iter().filter(|it| it.node != *me).collect();
        let up = self.core.peers().into_iter().filter(|peer| peer.link.is_some());
        let members: Vec<PeerInfo> =
            up.map(|peer| peer.info).filter(|info| info.role == Role::Member).collect();
        self.watchers.watch(keys, members, matches)
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        let peers = self.core.peers().into_iter().map(|peer| NodeStatus {
            link: peer.link.and_then(|link| self.links.status(link)),
            node: peer.info.node,
            incarnation: peer.info.incarnation,
            role: peer.info.role,
            endpoints: peer.info.endpoints,
        });
        peers.collect()
    }

    pub(super) fn stats(&self) -> Stats {
        let core = self.core.counters();
        let peers = self.core.peers();
        let up = |role| {
            peers.iter().filter(|it| it.link.is_some() && it.info.role == role).count() as u64
        };
        let plane = self.plane.counters();
        Stats {
            samples_sent: plane.samples_sent,
            samples_received: plane.samples_received,
            data_bytes_sent: plane.data_bytes_sent,
            data_bytes_received: plane.data_bytes_received,
            gaps: plane.gaps,
            drops: plane.drops,
            stalls: plane.stalls,
            control_messages_sent: core.control_messages_sent,
            control_messages_received: core.control_messages_received,
            control_bytes_sent: core.control_bytes_sent,
            control_bytes_received: core.control_bytes_received,
            control_timers: self.core.poll_timeout().is_some().into(),
            unknown_messages: core.unknown_messages,
            faults: core.faults,
            links: self.links.len() as u64,
            peers: up(Role::Member),
            guests: up(Role::Guest),
        }
    }

    /// Connects in a task of its own; the outcome comes back as an input.
    pub(super) fn dial(&mut self, dial: DialId, endpoint: Endpoint) {
        let transport = match self.transports.of(&endpoint) {
            Ok(transport) => transport.clone(),
            Err(error) => {
                let error = error.to_string();
                return self.follow_ups.push_back(Input::ConnectFailed { dial, error });
            }
        };
        self.dials.spawn(async move {
            let outcome = tokio::time::timeout(DIAL_TIMEOUT, transport.connect(&endpoint)).await;
            let outcome = outcome.unwrap_or_else(|_| {
                let why = "no answer within 5 s".into();
                Err(TransportError::Connect { endpoint, why })
            });
            Dialled { dial, transport: transport.capabilities().scheme, outcome }
        });
    }

    fn dialled(&mut self, dialled: Dialled) {
        let Dialled { dial, transport, outcome } = dialled;
        match outcome {
            Ok(link) => self.link_up(link, transport, Some(dial)),
            Err(error) => self.feed(Input::ConnectFailed { dial, error: error.to_string() }),
        }
    }

    fn accepted(&mut self, accepted: Accepted) {
        match accepted {
            Accepted::Link { link, transport } => self.link_up(link, transport, None),
            Accepted::Refused(error) => {
                let (remote, why) = match error {
                    TransportError::Refused { peer, why } => (peer, why),
                    other => ("a peer".into(), other.to_string()),
                };
                tracing::debug!(%remote, %why, "refused");
                self.notice(Notice::PeerRefused { remote, node: None, why });
            }
            Accepted::Ended { endpoints, error } => {
                tracing::warn!(?endpoints, %error, "a listener ended");
                self.notice(Notice::ListenerEnded { endpoints, why: error.to_string() });
            }
        }
    }

    fn link_up(&mut self, mut link: Link, transport: &'static str, dial: Option<DialId>) {
        let identity = link.identity.take();
        tracing::debug!(remote = link.remote, identity, "link up");
        let link = self.links.add(link, transport);
        self.feed(Input::LinkUp { link, dial, identity });
    }

    fn link_event(&mut self, event: LinkEvent) {
        let LinkEvent { link, kind } = event;
        if !self.links.stands(link) {
            return;
        }
        match kind {
            LinkEventKind::Message(bytes) => self.feed(Input::Message { link, bytes }),
            LinkEventKind::Probed => self.feed(Input::Probed { link }),
            LinkEventKind::Down(error) => {
                self.fell(link, error);
                self.settle();
            }
        }
    }

    /// A link fell, or has to be given up.
    pub(super) fn fell(&mut self, link: LinkId, error: String) {
        if self.links.fell(link) {
            tracing::debug!(remote = self.links.remote(link), error, "link down");
            self.follow_ups.push_back(Input::LinkDown { link, error });
        }
    }

    /// One input, and all that follows from it.
    fn feed(&mut self, input: Input) {
        self.handle(input);
        self.settle();
    }

    /// Tells the core what the driver itself found out meanwhile.
    fn settle(&mut self) {
        while let Some(input) = self.follow_ups.pop_front() {
            self.handle(input);
        }
    }

    fn handle(&mut self, input: Input) {
        let fallen = match &input {
            Input::LinkDown { link, .. } => Some(*link),
            _ => None,
        };
        self.core.handle_input(Instant::ZERO + self.origin.elapsed(), input);
        while let Some(output) = self.core.poll_output() {
            self.carry_out(output);
        }
        if let Some(link) = fallen {
            self.links.remove(link);
        }
    }

    pub(super) fn notice(&self, notice: Notice) {
        // Without a reader nobody needs to know.
        let _ = self.notices.send(notice);
    }

    /// The core has stopped: no dial and no listener lives on, and whoever waits for the
    /// end is told once the last words are out.
    async fn wind_down(mut self, stopped: Stopped) {
        self.listeners.abort_all();
        self.dials.abort_all();
        self.plane.stop();
        // Supervisors that deliver last words hold a sender each.
        drop(self.links);
        let quiet = async { while self.link_events.recv().await.is_some() {} };
        // In time or not, this is the end.
        let _ = tokio::time::timeout(LAST_WORDS_TIMEOUT, quiet).await;
        let _ = self.notices.send(Notice::Stopped(stopped.clone()));
        self.callee.stopped.send_replace(Some(stopped));
    }
}
