//! Nodes: the embedding API, and the tokio driver behind it.
//!
//! # From zero to two nodes
//!
//! A node needs a name, the name of its bus, and at least one transport. This runs two
//! in one process; between machines only the transport and the endpoints differ.
//!
//! ```
//! use std::sync::Arc;
//! use dse_core::node::{Delivery, Node};
//! use dse_core::protocol::Kind;
//! use dse_transport_mem::{MemScope, MemTransport};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let transport = Arc::new(MemTransport::new(&MemScope::new()));
//!
//! // The first node listens, so that others can join there.
//! let thermometer = Node::builder("plant", "thermometer")?
//!     .transport(transport.clone())
//!     .listen("mem://thermometer".parse()?)
//!     .start()
//!     .await?;
//!
//! // It exposes a state: whoever comes later gets the present value at once.
//! let temperature = thermometer
//!     .publisher("hall-2/temperature")?
//!     .kind(Kind::State)
//!     .encoding("text/plain")
//!     .declare()
//!     .await?;
//! temperature.publish("21.5".into()).await?;
//!
//! // The second node joins. From one endpoint it learns of all nodes there are.
//! let display = Node::builder("plant", "display")?
//!     .transport(transport)
//!     .join("mem://thermometer".parse()?)
//!     .start()
//!     .await?;
//! let mut samples = display.subscribe("*/temperature")?.open().await?;
//! if let Some(Delivery::Sample(sample)) = samples.recv().await {
//!     assert_eq!(sample.origin.key.as_str(), "hall-2/temperature");
//!     assert_eq!(sample.payload, "21.5");
//! }
//!
//! // A node that says good-bye is told from one that crashed.
//! thermometer.leave().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Who is there, and who serves what
//!
//! [`Node::watch`] tells changes as they happen, [`Node::lookup`] what is known here,
//! and [`Node::request`] asks every node and names those that did not answer:
//!
//! ```
//! # use std::sync::Arc;
//! # use std::time::Duration;
//! # use dse_core::node::{Change, Node};
//! # use dse_transport_mem::{MemScope, MemTransport};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let transport = Arc::new(MemTransport::new(&MemScope::new()));
//! # let pump = Node::builder("plant", "pump")?
//! #     .transport(transport.clone())
//! #     .listen("mem://pump".parse()?)
//! #     .start()
//! #     .await?;
//! # let operator = Node::builder("plant", "operator")?
//! #     .transport(transport)
//! #     .join("mem://pump".parse()?)
//! #     .start()
//! #     .await?;
//! let mut changes = operator.watch("pump/**").await?;
//! let _rpm = pump.publisher("pump/rpm")?.declare().await?;
//! while let Some(change) = changes.next().await {
//!     if let Change::Declared(found) = change {
//!         assert_eq!(found.declaration.key.as_str(), "pump/rpm");
//!         break;
//!     }
//! }
//!
//! let report = operator.request("pump/*", Duration::from_secs(5)).await?;
//! assert_eq!(report.matches.len(), 1);
//! assert!(report.complete && report.missing.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! One task a node, the driver, owns the control bus and feeds it: commands of the
//! application, messages of links, time. Samples never pass through it (ARCHITECTURE.md).

mod arrivals;
mod beats;
mod builder;
mod call;
mod calls;
mod connect;
mod dial;
mod driver;
mod error;
mod limits;
pub(crate) mod link;
mod links;
mod listen;
mod notices;
mod open;
mod options;
mod outputs;
#[doc(hidden)]
pub mod plane;
pub(crate) mod probe;
mod publisher;
mod stats;
mod status;
mod stopped;
mod subscriber;
mod tasks;
mod transports;
mod watch;
mod window;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::task::AbortHandle;

pub use builder::{NodeBuilder, StartError};
pub use error::NodeError;
pub use notices::{Notice, Notices};
pub use open::{PublisherBuilder, SubscriberBuilder};
pub use options::{Overflow, PublisherOptions};
pub use plane::{PublishError, Waiter};
pub use publisher::{InterestWatch, Publish, Publisher};
pub use stats::{Stats, Wait};
pub use status::{LinkStatus, NodeStatus};
pub use stopped::Stopped;
pub use subscriber::Subscriber;
pub use transports::UnknownScheme;
pub use watch::{Change, Watch};

use call::{Call, Caller, TooManyRequests};
use plane::Plane;
use transports::Transports;

pub use crate::data::receive::{Delivery, Sample};
pub use crate::data::send::{Report as DeliveryReport, Unconfirmed, UnconfirmedCause};
pub use crate::data::{HeaderError, Headers, Origin, SkipReason};

use crate::protocol::{
    BusId, Endpoint, Incarnation, Key, KeyExpr, Match, NameError, NodeId, Report, Role, StatsError,
    SubscriptionId,
};

/// The longest payload that a sample may have, in bytes.
pub const PAYLOAD_BYTES: usize = crate::data::limits::PAYLOAD_BYTES;

/// A running node: a handle to it, to be cloned at will.
///
/// Dropping the last handle ends the node at once, as a crash would: no word is said
/// and its publishers and subscribers end with it. [`Node::leave`] says good-bye.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
}

struct Shared {
    bus: BusId,
    node: NodeId,
    incarnation: Incarnation,
    role: Role,
    endpoints: Vec<Endpoint>,
    transports: Transports,
    caller: Caller,
    plane: Arc<Plane>,
    last_subscription: AtomicU64,
    notices: broadcast::WeakSender<Notice>,
    /// What was noticed from the start on, for the first who asks.
    first_notices: Mutex<Option<broadcast::Receiver<Notice>>>,
    task: AbortHandle,
}

impl Shared {
    fn next_subscription(&self) -> SubscriptionId {
        SubscriptionId(self.last_subscription.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    /// Sets up a node of this name on this bus.
    ///
    /// # Errors
    /// One of the names is none.
    pub fn builder(bus: impl AsRef<str>, node: impl AsRef<str>) -> Result<NodeBuilder, NameError> {
        Ok(NodeBuilder::new(BusId::new(bus)?, NodeId::new(node)?))
    }

    /// The bus it is on.
    pub fn bus(&self) -> &BusId {
        &self.shared.bus
    }

    /// Its id.
    pub fn id(&self) -> &NodeId {
        &self.shared.node
    }

    /// This start's incarnation.
    pub fn incarnation(&self) -> Incarnation {
        self.shared.incarnation
    }

    /// Member or guest.
    pub fn role(&self) -> Role {
        self.shared.role
    }

    /// Where others can reach it, as it tells them.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.shared.endpoints
    }

    /// Publishes under a key.
    ///
    /// # Errors
    /// The key is none.
    pub fn publisher(&self, key: impl AsRef<str>) -> Result<PublisherBuilder, NameError> {
        Ok(PublisherBuilder::new(self.clone(), Key::new(key)?))
    }

    /// Receives the samples of all keys that match, whoever publishes them, this node
    /// included.
    ///
    /// # Errors
    /// The key expression is none.
    pub fn subscribe(&self, keys: impl AsRef<str>) -> Result<SubscriberBuilder, NameError> {
        Ok(SubscriberBuilder::new(self.clone(), KeyExpr::new(keys)?))
    }

    /// Watches the directory: the present state up to [`Change::Synced`], then what
    /// changes. Told are all other members, and those of their declarations that match.
    ///
    /// # Errors
    /// The key expression is none, the node is a guest or has stopped.
    pub async fn watch(&self, keys: impl AsRef<str>) -> Result<Watch, NodeError> {
        let keys = self.directory(keys)?;
        let wanted = keys.clone();
        let caller = &self.shared.caller;
        let watching = caller.ask(|reply| Call::Watch { keys: wanted, reply }).await?;
        Ok(Watch::new(caller.clone(), keys, watching))
    }

    /// What this node's directory holds, its own declarations included, in order of node
    /// and key. Asks nobody: what a node declared a moment ago may not be in it.
    ///
    /// # Errors
    /// The key expression is none, the node is a guest or has stopped.
    pub async fn lookup(&self, keys: impl AsRef<str>) -> Result<Vec<Match>, NodeError> {
        let keys = self.directory(keys)?;
        Ok(self.shared.caller.ask(|reply| Call::Lookup { keys, reply }).await?)
    }

    fn directory(&self, keys: impl AsRef<str>) -> Result<KeyExpr, NodeError> {
        match self.shared.role {
            Role::Member => Ok(KeyExpr::new(keys)?),
            Role::Guest => Err(NodeError::Guest),
        }
    }

    /// Asks every node of the bus who serves a key expression. The report names those
    /// that did not answer in time, and why.
    ///
    /// # Errors
    /// The key expression is none, 1024 requests of this node are out, or it has stopped.
    pub async fn request(
        &self,
        keys: impl AsRef<str>,
        timeout: Duration,
    ) -> Result<Report, NodeError> {
        let keys = KeyExpr::new(keys)?;
        let caller = &self.shared.caller;
        let asked = caller.ask(|reply| Call::Request { keys, timeout, reply }).await?;
        asked.map_err(|TooManyRequests| NodeError::TooManyRequests { limit: limits::REQUESTS })
    }

    /// What this node has counted.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn stats(&self) -> Result<Stats, Stopped> {
        self.shared.caller.ask(|reply| Call::Stats { reply }).await
    }

    /// What another node has counted, by name, asked over the bus. [`Stats`] names the
    /// counters of this version.
    ///
    /// # Errors
    /// No link leads to the node, it does not answer in time, 1024 requests of this node are
    /// out, or it has stopped.
    pub async fn stats_of(
        &self,
        node: &NodeId,
        timeout: Duration,
    ) -> Result<Vec<(Box<str>, u64)>, StatsError> {
        if *node == self.shared.node {
            return Ok(self.stats().await.map_err(|_| StatsError::Stopped)?.counters());
        }
        let node = node.clone();
        let asked = self.shared.caller.ask(|reply| Call::StatsOf { node, timeout, reply });
        asked.await.unwrap_or(Err(StatsError::Stopped))
    }

    /// The other nodes that this one knows, in order of their ids: those that are up,
    /// those that vanished and are not yet forgotten, and guests.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn nodes(&self) -> Result<Vec<NodeStatus>, Stopped> {
        self.shared.caller.ask(|reply| Call::Nodes { reply }).await
    }

    /// What an operator should know: failed dials, refused peers and the like. Whoever
    /// asks first gets all from the start on, others from now on.
    pub fn notices(&self) -> Notices {
        let first = self.shared.first_notices.lock().unwrap_or_else(PoisonError::into_inner).take();
        let receiver = first.or_else(|| Some(self.shared.notices.upgrade()?.subscribe()));
        Notices::new(receiver.unwrap_or_else(|| broadcast::Sender::new(1).subscribe()))
    }

    /// Joins the bus at this endpoint, too, as [`NodeBuilder::join`] does.
    ///
    /// # Errors
    /// The node has no transport for the endpoint, or has stopped.
    pub async fn join(&self, endpoint: Endpoint) -> Result<(), NodeError> {
        self.shared.transports.of(&endpoint)?;
        Ok(self.shared.caller.tell(Call::Join { endpoint }).await?)
    }

    /// Tries this endpoint a few times: somebody of the bus may be there. One of a scheme
    /// that this node has no transport for is passed over.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn hint(&self, endpoint: Endpoint) -> Result<(), Stopped> {
        self.shared.caller.tell(Call::Hint { endpoint }).await
    }

    /// Gives up a hint, because whoever was thought to be there is known to be gone: else a
    /// node that met nobody goes on to say that it may have missed somebody.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn drop_hint(&self, endpoint: Endpoint) -> Result<(), Stopped> {
        self.shared.caller.tell(Call::DropHint { endpoint }).await
    }

    /// Sends the whole index to all peers again. Nothing needs it: it is what a bus
    /// without a control bus does on a timer, kept to be measured against.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn reannounce(&self) -> Result<(), Stopped> {
        self.shared.caller.tell(Call::Reannounce).await
    }

    /// Leaves the bus: delivers what was published, says good-bye, and waits until both
    /// is done, which takes at most 4 s and usually a few milliseconds. All handles,
    /// publishers and subscribers of the node end.
    pub async fn leave(&self) -> Stopped {
        // A node that has stopped already needs no telling.
        let _ = self.shared.caller.tell(Call::Leave).await;
        self.stopped().await
    }

    /// Waits until the node has stopped, and tells why.
    pub async fn stopped(&self) -> Stopped {
        self.shared.caller.stopped().await
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shared { bus, node, incarnation, .. } = &*self.shared;
        f.debug_struct("Node")
            .field("bus", bus)
            .field("node", node)
            .field("incarnation", incarnation)
            .finish_non_exhaustive()
    }
}
