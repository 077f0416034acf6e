//! How a node is set up and started.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Node;
use super::driver::{self, Setup};
use super::limits::STALL_TIMEOUT;
use super::probe::ProbeConfig;
use super::transports::{Transports, UnknownScheme};
use crate::protocol::limits::{ENDPOINTS_PER_NODE, PEERS_PER_BUS};
use crate::protocol::{BusId, Config, Endpoint, Incarnation, NodeId, Role};
use crate::transport::{Listener, Transport, TransportError};

/// Sets a node up. See [`Node::builder`].
pub struct NodeBuilder {
    config: Config,
    transports: Vec<Arc<dyn Transport>>,
    listen: Vec<Endpoint>,
    advertise: Vec<Endpoint>,
    join: Vec<Endpoint>,
    hints: Vec<Endpoint>,
    detect_ms: u64,
    stall_timeout: Duration,
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Tasks need a runtime.
    #[error("there is no tokio runtime here; start the node inside one")]
    NoRuntime,
    /// Nothing can carry a link.
    #[error("the node has no transport; add one with NodeBuilder::transport")]
    NoTransport,
    /// Two transports have one scheme.
    #[error("two transports have the scheme {scheme}://; add each once")]
    DuplicateTransport {
        /// The scheme.
        scheme: &'static str,
    },
    /// An endpoint belongs to no transport of this node.
    #[error("cannot {wish} there: {error}")]
    UnknownScheme {
        /// "listen", "join" or what else was wished.
        wish: &'static str,
        /// The endpoint, and the schemes there are.
        error: UnknownScheme,
    },
    /// An endpoint to join or to advertise can never be dialled.
    #[error("cannot {wish} there: {error}")]
    Undiallable {
        /// "join" or "advertise".
        wish: &'static str,
        /// Why.
        error: TransportError,
    },
    /// A transport cannot listen.
    #[error(transparent)]
    Bind(#[from] TransportError),
    /// More endpoints than a node may advertise.
    #[error("{count} endpoints are to be advertised; {ENDPOINTS_PER_NODE} is the most")]
    TooManyEndpoints {
        /// How many.
        count: usize,
    },
    /// A setting is outside its bounds.
    #[error("{name} is {value}; it must be {bounds}")]
    Setting {
        /// Which.
        name: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        bounds: &'static str,
    },
}

impl NodeBuilder {
    pub(super) fn new(bus: BusId, node: NodeId) -> Self {
        Self {
            config: Config::new(bus, node, Incarnation(unix_ms())),
            transports: Vec::new(),
            listen: Vec::new(),
            advertise: Vec::new(),
            join: Vec::new(),
            hints: Vec::new(),
            detect_ms: 1500,
            stall_timeout: Duration::from_secs(5),
        }
    }

    /// Adds a transport, which serves all endpoints of its scheme.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transports.push(transport);
        self
    }

    /// Listens at this endpoint; repeat for more. A node that listens nowhere can still
    /// join others.
    #[must_use]
    pub fn listen(mut self, endpoint: Endpoint) -> Self {
        self.listen.push(endpoint);
        self
    }

    /// Tells others this endpoint instead of those that the listeners name; repeat for
    /// more. For nodes behind address translation.
    #[must_use]
    pub fn advertise(mut self, endpoint: Endpoint) -> Self {
        self.advertise.push(endpoint);
        self
    }

    /// Joins the bus at this endpoint, and tries it for as long as nobody of the bus is
    /// linked; repeat for more.
    #[must_use]
    pub fn join(mut self, endpoint: Endpoint) -> Self {
        self.join.push(endpoint);
        self
    }

    /// Tries this endpoint a few times: somebody of the bus may be there. One of a scheme
    /// that the node has no transport for is passed over.
    #[must_use]
    pub fn hint(mut self, endpoint: Endpoint) -> Self {
        self.hints.push(endpoint);
        self
    }

    /// Makes the node a guest: it links to all and asks, and does nothing else.
    #[must_use]
    pub fn guest(mut self) -> Self {
        self.config.role = Role::Guest;
        self
    }

    /// This start's incarnation, which must be larger than those before. Default: the
    /// milliseconds since 1970.
    #[must_use]
    pub fn incarnation(mut self, incarnation: Incarnation) -> Self {
        self.config.incarnation = incarnation;
        self
    }

    /// A peer that died without a word is known to be down within this time by the three
    /// nodes that watch it, on a bus of more than four by all others 400 ms later, and one
    /// that stands still for two thirds of it is taken for dead. This node tells its watchers at
    /// the same pace that it lives, so all nodes of a bus had better have the same.
    /// Default: 1500.
    #[must_use]
    pub fn detect_ms(mut self, detect_ms: u64) -> Self {
        self.detect_ms = detect_ms;
        self
    }

    /// How long publishers of this node wait for a subscriber that makes no progress, and keep
    /// what it has not confirmed once its link fell. [`PublisherBuilder::stall_timeout`] says it
    /// for one publisher. Default: 5 s; from 100 ms to 10 minutes.
    ///
    /// [`PublisherBuilder::stall_timeout`]: super::PublisherBuilder::stall_timeout
    #[must_use]
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = timeout;
        self
    }

    /// First and longest pause before an endpoint is dialled again. Default: 100 ms and
    /// 10 s.
    #[must_use]
    pub fn redial_ms(mut self, min: u64, max: u64) -> Self {
        self.config.redial_min = Duration::from_millis(min);
        self.config.redial_max = Duration::from_millis(max);
        self
    }

    /// How long a vanished peer is redialled and remembered. Default: 600,000.
    #[must_use]
    pub fn forget_after_ms(mut self, forget_after_ms: u64) -> Self {
        self.config.forget_after = Duration::from_millis(forget_after_ms);
        self
    }

    /// Most guests that this node takes at a time. Default: 64.
    #[must_use]
    pub fn guests_max(mut self, guests_max: usize) -> Self {
        self.config.guests_max = guests_max;
        self
    }

    /// Most members of the bus that this node takes part in. Default: 4096.
    #[must_use]
    pub fn peers_max(mut self, peers_max: usize) -> Self {
        self.config.peers_max = peers_max;
        self
    }

    /// Binds all listeners, then starts the node. It joins in the background: an
    /// unreachable seed is no error, but a [`Notice`](super::Notice).
    ///
    /// # Errors
    /// Says which setting is wrong, or where it cannot listen. Nothing runs then.
    pub async fn start(mut self) -> Result<Node, StartError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(StartError::NoRuntime);
        }
        self.check_settings()?;
        let transports = self.transports()?;
        let mut listeners = Vec::new();
        for endpoint in &self.listen {
            let transport = transports.of(endpoint).map_err(wish("listen"))?;
            listeners.push((transport.capabilities().scheme, transport.bind(endpoint).await?));
        }
        self.config.endpoints = self.endpoints(&listeners)?;
        self.config.schemes = transports.schemes().map(Into::into).collect();
        let seed = random_seed(&self.config);
        Ok(driver::start(Setup {
            config: self.config,
            seed,
            transports,
            listeners,
            join: self.join,
            hints: self.hints,
            probe: ProbeConfig {
                detect: Duration::from_millis(self.detect_ms),
                ..ProbeConfig::default()
            },
            stall_timeout: self.stall_timeout,
        }))
    }

    fn check_settings(&self) -> Result<(), StartError> {
        let check = |name, value, fits: bool, bounds| {
            if fits { Ok(()) } else { Err(StartError::Setting { name, value, bounds }) }
        };
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let config = &self.config;
        let (min, max) = (ms(config.redial_min), ms(config.redial_max));
        let (detect, peers) = (self.detect_ms, config.peers_max);
        check("detect_ms", detect, (50..=60_000).contains(&detect), "between 50 and 60000")?;
        let stall = self.stall_timeout;
        let fits = STALL_TIMEOUT.contains(&stall);
        check("stall_timeout (ms)", ms(stall), fits, "between 100 and 600000")?;
        check("redial_ms", min, min >= 1, "at least 1")?;
        check("redial_ms", max, max >= min, "at least the first pause")?;
        check("peers_max", peers as u64, peers <= PEERS_PER_BUS, "at most 4096")
    }

    fn transports(&mut self) -> Result<Transports, StartError> {
        let mut transports = Transports::default();
        for transport in self.transports.drain(..) {
            if let Some(double) = transports.add(transport) {
                let scheme = double.capabilities().scheme;
                return Err(StartError::DuplicateTransport { scheme });
            }
        }
        if transports.is_empty() {
            return Err(StartError::NoTransport);
        }
        for endpoint in &self.listen {
            transports.of(endpoint).map_err(wish("listen"))?;
        }
        for (name, endpoints) in [("advertise", &self.advertise), ("join", &self.join)] {
            for endpoint in endpoints {
                let checked = transports.of(endpoint).map_err(wish(name))?.check_dial(endpoint);
                checked.map_err(|error| StartError::Undiallable { wish: name, error })?;
            }
        }
        Ok(transports)
    }

    /// What others are told: what was given, else what is bound, as many as fit.
    fn endpoints(
        &self,
        listeners: &[(&'static str, Box<dyn Listener>)],
    ) -> Result<Vec<Endpoint>, StartError> {
        let count = self.advertise.len();
        if count > ENDPOINTS_PER_NODE {
            return Err(StartError::TooManyEndpoints { count });
        }
        if count > 0 {
            return Ok(self.advertise.clone());
        }
        let bound = listeners.iter().flat_map(|(_, listener)| listener.endpoints());
        Ok(bound.take(ENDPOINTS_PER_NODE).collect())
    }
}

fn wish(wish: &'static str) -> impl Fn(UnknownScheme) -> StartError {
    move |error| StartError::UnknownScheme { wish, error }
}

fn unix_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// Two nodes must never draw the same numbers: the standard library's hasher is keyed
/// by the system's randomness, once a thread, and the rest tells starts apart.
fn random_seed(config: &Config) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RandomState::new().hash_one((std::process::id(), now, &config.node, config.incarnation))
}
