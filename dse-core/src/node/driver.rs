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

use super::call::{self, Call, Callee, Waiting};
use super::connect::Dialled;
use super::limits::{
    ACCEPTED_QUEUED, BATCH, LAST_WORDS_TIMEOUT, LINK_EVENTS_QUEUED, NOTICES_KEPT, OPENING_LINKS,
};
use super::link::{LinkEvent, LinkEventKind};
use super::links::Links;
use super::listen::{Accepted, listen};
use super::notices::Notice;
use super::plane::{LaneError, LinkFault, Plane, PlaneConfig, PlaneRequest};
use super::probe::ProbeConfig;
use super::stopped::Stopped;
use super::tasks::Tasks;
use super::transports::Transports;
use super::watch::Watchers;
use super::window::{Place, Window};
use super::{Node, Shared};
use crate::protocol::{
    Command, Config, ControlBus, DialId, Endpoint, Input, Instant, LinkId, Ticket,
};
use crate::transport::{Link, Listener, TransportError};

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
    let span = tracing::info_span!("node", %bus, id = %node);
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
    pub(super) last_ticket: u64,
    pub(super) transports: Transports,
    accepted: mpsc::Receiver<Accepted>,
    /// By where they listen.
    listeners: Tasks<Vec<Endpoint>, Option<TransportError>>,
    pub(super) dials: Tasks<DialId, Dialled>,
    pub(super) window: Window,
    /// What is to be dialled once there is a place.
    pub(super) dials_in_line: VecDeque<(DialId, Endpoint)>,
    pub(super) links: Links,
    link_events: mpsc::Receiver<LinkEvent>,
    pub(super) plane: Arc<Plane>,
    plane_faults: mpsc::Receiver<LinkFault>,
    plane_requests: mpsc::UnboundedReceiver<PlaneRequest>,
    /// Delivers what was published before the node leaves.
    pub(super) finishing: JoinSet<()>,
    pub(super) watchers: Watchers,
    pub(super) notices: broadcast::Sender<Notice>,
    /// How many peers were refused.
    pub(super) refused: u64,
    /// Set by the core's last event.
    pub(super) stopped: Option<Stopped>,
}

/// The data plane, and what comes from it.
struct Data {
    plane: Arc<Plane>,
    faults: mpsc::Receiver<LinkFault>,
    requests: mpsc::UnboundedReceiver<PlaneRequest>,
}

impl Driver {
    fn new(setup: Setup, callee: Callee, data: Data, notices: broadcast::Sender<Notice>) -> Self {
        let (accepted_sender, accepted) = mpsc::channel(ACCEPTED_QUEUED);
        let (events, link_events) = mpsc::channel(LINK_EVENTS_QUEUED);
        let mut listeners = Tasks::new();
        for (transport, listener) in setup.listeners {
            let accepted = accepted_sender.clone();
            listeners.spawn(listener.endpoints(), listen(transport, listener, accepted));
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
            dials: Tasks::new(),
            window: Window::default(),
            dials_in_line: VecDeque::new(),
            links: Links::new(setup.probe, events),
            link_events,
            plane: data.plane,
            plane_faults: data.faults,
            plane_requests: data.requests,
            finishing: JoinSet::new(),
            watchers: Watchers::default(),
            notices,
            refused: 0,
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
                // Up to a millisecond late, which is how long changes of one moment wait for
                // each other before they are announced together.
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
            Some(fault) = self.plane_faults.recv() => self.data_lane_failed(fault),
            Some(request) = self.plane_requests.recv() => self.plane_request(request),
            Some(_) = self.finishing.join_next() => {
                self.feed(Input::Command(Command::Leave));
            }
            Some((dial, dialled)) = self.dials.next() => self.dialled(dial, dialled),
            Some((endpoints, ended)) = self.listeners.next() => {
                self.listener_ended(endpoints, ended);
            }
            Some(accepted) = self.accepted.recv(), if self.links.accepting() < OPENING_LINKS => {
                self.accepted(accepted);
            }
            () = self.window.ages(), if !self.dials_in_line.is_empty() => {
                self.dial_in_line();
                self.settle();
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

    pub(super) fn link_up(
        &mut self,
        mut link: Link,
        transport: &'static str,
        dialled: Option<(DialId, Place)>,
    ) {
        let identity = link.identity.take();
        tracing::debug!(remote = link.remote, identity, "link up");
        let (dial, place) = dialled.unzip();
        let link = self.links.add(link, transport, place);
        self.feed(Input::LinkUp { link, dial, identity });
    }

    pub(super) fn link_event(&mut self, event: LinkEvent) {
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

    /// What a peer sent that cannot be true ends its link. That the lane ended by itself
    /// does not yet: the other lane ends, too, and what the peer said there last may be
    /// under way, be it that it leaves or why it refuses this node.
    fn data_lane_failed(&mut self, fault: LinkFault) {
        let error = fault.error.to_string();
        match fault.error {
            LaneError::Transport(TransportError::Closed(_) | TransportError::Lost(_)) => {
                self.links.data_lane_ended(fault.link, error);
            }
            _ => {
                self.fell(fault.link, error);
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
    pub(super) fn feed(&mut self, input: Input) {
        self.handle(input);
        self.settle();
    }

    /// Tells the core what the driver itself found out meanwhile.
    pub(super) fn settle(&mut self) {
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
        self.dial_in_line();
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
