//! The data plane: all between [`Publisher::publish`] and the data lanes of links, and
//! from there to [`Subscriber::recv`](super::Subscriber::recv).
//!
//! ```text
//! Publisher ─ Sequencer ─ Route ┐                    ┌ Stage ─ Queue ─ Subscriber
//!   numbers, keeps,   a Flow:   ├ outbox ─ Writer ≈≈ Reader ┤
//!   distributes       credit    ┘  (Link)            └ Inlet ─ Tap ─ Meter ─ credit ─ outbox
//! ```
//!
//! It is public for its tests and its benchmark; applications use
//! [`Node`](super::Node).

mod counters;
mod flow;
mod hub;
mod inlet;
pub(super) mod limits;
mod link;
mod loopback;
mod meter;
mod patience;
pub(super) mod queue;
mod reader;
mod receipts;
mod route;
pub(super) mod sequencer;
mod stage;
mod standing;
mod writer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub use counters::PlaneCounters;
pub(super) use counters::count;
pub(super) use hub::Hub;
pub(super) use meter::Tap;
pub use reader::{LaneError, RecordFault};
pub(super) use route::{Errand, Stamped};

use counters::Counters;
use hub::Subscription;
use link::{Closing, Link};
use reader::Reader;
use writer::Writer;

use super::publisher::{Overflow, Publisher};
use super::subscriber::Subscriber;
use crate::protocol::{
    Declaration, Incarnation, Key, KeyExpr, LinkId, NodeId, PeerInfo, SubscriptionId,
};
use crate::transport::{DataReceiver, DataSender};

/// The link from a node to itself. The driver numbers its links from 1.
pub const LOOPBACK: LinkId = LinkId(0);

/// What a data plane is started with.
#[derive(Clone, Debug)]
pub struct PlaneConfig {
    /// This node's id.
    pub node: NodeId,
    /// This start's incarnation.
    pub incarnation: Incarnation,
    /// How long a publisher waits for one subscriber within any 10 s.
    pub stall_timeout: Duration,
}

/// A link on which the data lane cannot go on: to be closed. Told once for each link.
#[derive(Debug)]
pub struct LinkFault {
    /// Which.
    pub link: LinkId,
    /// Why.
    pub error: LaneError,
}

/// What the end of a handle asks of the driver.
///
/// Their channel has no bound of its own and needs none. A handle is made by a call that
/// has a place in the bounded channel of calls, and the driver carries out all requests
/// there are before each call. So no more of them wait than a node may have declarations
/// and subscriptions, and calls in their channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaneRequest {
    /// A subscriber was dropped.
    Unsubscribe(SubscriptionId),
    /// A publisher was closed or dropped; its Ends are on their way.
    Undeclare(Key),
}

type Table = Arc<[Arc<Subscription>]>;

/// The data plane of one node.
pub struct Plane {
    config: PlaneConfig,
    counters: Arc<Counters>,
    faults: mpsc::Sender<LinkFault>,
    hub: Arc<Hub>,
    links: Mutex<Links>,
}

#[derive(Default)]
struct Links {
    up: BTreeMap<LinkId, Arc<Link>>,
    /// Those whose peers have left, while what came before is still read.
    draining: Vec<Weak<Link>>,
    /// How many ever opened.
    opened: u64,
}

impl Plane {
    /// A data plane without links. To be called within a tokio runtime.
    ///
    /// Requests are to be taken before commands of the application: a publisher that was
    /// closed may be declared again at once.
    pub fn new(
        config: PlaneConfig,
        faults: mpsc::Sender<LinkFault>,
        requests: mpsc::UnboundedSender<PlaneRequest>,
    ) -> Arc<Self> {
        let counters = Arc::<Counters>::default();
        let PlaneConfig { node, incarnation, .. } = config.clone();
        // What a node sends itself counts as neither sent nor received.
        let (sender, receiver) = loopback::lane();
        let writer = Writer::new(sender, config.stall_timeout);
        let loopback = Link::new(LOOPBACK, 0, node, incarnation, Arc::default(), writer);
        let loopback = Arc::new(loopback);
        let hub = Hub::new(Arc::clone(&loopback), Arc::clone(&counters), requests);
        let plane = Arc::new(Self { config, counters, faults, hub, links: Mutex::default() });
        plane.spawn_lanes(loopback, receiver, Box::new(|| {}));
        plane
    }

    /// A link opened. `heard` is called for each frame that comes in.
    pub fn link_opened(
        &self,
        link: LinkId,
        peer: PeerInfo,
        sender: Box<dyn DataSender>,
        receiver: Box<dyn DataReceiver>,
        heard: impl Fn() + Send + 'static,
    ) {
        let counters = Arc::clone(&self.counters);
        let writer = Writer::new(sender, self.config.stall_timeout);
        let opened = {
            let mut links = lock(&self.links);
            links.opened += 1;
            let PeerInfo { node, incarnation, .. } = peer;
            let opened = Link::new(link, links.opened, node, incarnation, counters, writer);
            let opened = Arc::new(opened);
            links.up.insert(link, Arc::clone(&opened));
            opened
        };
        self.spawn_lanes(opened, receiver, Box::new(heard));
    }

    /// A link is no more. Where the peer has left gracefully, what it sent before is still
    /// read, for a bounded time.
    pub fn link_closed(&self, link: LinkId, graceful: bool) {
        let mut links = lock(&self.links);
        if let Some(closed) = links.up.remove(&link) {
            closed.close(if graceful { Closing::Draining } else { Closing::Gone });
            links.draining.retain(|link| link.strong_count() > 0);
            links.draining.push(Arc::downgrade(&closed));
        }
    }

    /// The peer of a link wants this key of ours. Whatever is published after this
    /// returned goes there.
    pub fn route_added(&self, key: &Key, link: LinkId) {
        self.change_route(key, link, true);
    }

    /// The peer of a link wants this key of ours no more.
    pub fn route_removed(&self, key: &Key, link: LinkId) {
        self.change_route(key, link, false);
    }

    /// Somebody wants this key of ours, and nobody did before.
    pub fn first_interest(&self, key: &Key) {
        self.set_wanted(key, true);
    }

    /// Nobody has wanted this key of ours for a while.
    pub fn last_interest(&self, key: &Key) {
        self.set_wanted(key, false);
    }

    /// How far subscriptions came with this node's values is of no use any more.
    pub fn peer_forgotten(&self, node: &NodeId) {
        self.hub.forget(node);
    }

    /// A publisher of what is going to be declared; none if this node has one of that key.
    ///
    /// To be called before the declaration is made known, so that the routes that it
    /// brings find the publisher. If it comes to nothing, [`Publisher::abandon`] it.
    pub fn register(
        &self,
        declaration: Declaration,
        overflow: Overflow,
        history: usize,
    ) -> Option<Publisher> {
        self.hub.register(declaration, overflow, history, &self.config)
    }

    /// A subscription. To be called before the interest is made known, so that no sample
    /// is lost at the seam. If it comes to nothing, drop it.
    pub fn subscribe(
        &self,
        subscription: SubscriptionId,
        keys: KeyExpr,
        capacity: usize,
    ) -> Subscriber {
        self.hub.subscribe(subscription, keys, capacity)
    }

    /// Ends all publishers and waits until their subscribers have all that was published,
    /// or are known not to get it, and until publishers elsewhere are told what was taken
    /// here; or until the deadline. This takes the publishers' locks, so it is no work for
    /// the control task itself.
    pub async fn finish(&self, deadline: Instant) {
        let publishers = self.hub.shut();
        let receipts = async {
            for publisher in publishers {
                publisher.receipts().await;
            }
        };
        // Beyond the deadline nobody is waited for.
        let _ = tokio::time::timeout_at(deadline, receipts).await;
        // A publisher elsewhere hears what was taken here before it hears of the leave: the
        // link may be gone soon after that.
        let links: Vec<_> = lock(&self.links).up.values().cloned().collect();
        links.iter().for_each(|link| link.hurry_credits());
        let credits = async {
            for link in links {
                std::future::poll_fn(|cx| link.poll_idle(cx)).await;
            }
        };
        let _ = tokio::time::timeout_at(deadline, credits).await;
    }

    /// The node is gone: subscribers end once they have taken what they hold, publishers
    /// take nothing more, lanes are dropped.
    pub fn stop(&self) {
        self.hub.stop();
        let Links { up, draining, .. } = std::mem::take(&mut *lock(&self.links));
        let draining = draining.iter().filter_map(Weak::upgrade);
        up.into_values().chain(draining).for_each(|link| link.close(Closing::Gone));
    }

    /// What was counted so far.
    pub fn counters(&self) -> PlaneCounters {
        self.counters.read()
    }

    fn change_route(&self, key: &Key, link: LinkId, wanted: bool) {
        let link = lock(&self.links).up.get(&link).cloned();
        if let (Some(link), Some(sequencer)) = (link, self.hub.sequencer(key)) {
            sequencer.change_route(&link, wanted);
        }
    }

    fn set_wanted(&self, key: &Key, wanted: bool) {
        if let Some(sequencer) = self.hub.sequencer(key) {
            sequencer.interest.send_if_modified(|interest| {
                std::mem::replace(&mut interest.wanted, wanted) != wanted
            });
        }
    }

    fn spawn_lanes(
        &self,
        link: Arc<Link>,
        receiver: Box<dyn DataReceiver>,
        heard: Box<dyn Fn() + Send>,
    ) {
        let reader = Reader::new(Arc::clone(&link), receiver, heard, self.hub.table());
        tokio::spawn(write(Arc::clone(&link), self.faults.clone()));
        tokio::spawn(read(link, reader, self.faults.clone()));
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The writing task of a link.
async fn write(link: Arc<Link>, faults: mpsc::Sender<LinkFault>) {
    let mut closing: watch::Receiver<Closing> = link.closing();
    let failed = tokio::select! {
        error = link.write() => Some(error),
        _ = closing.wait_for(|closing| *closing != Closing::Open) => None,
    };
    // What the peer sent before is still of use.
    link.close(Closing::Draining);
    link.stop_writing();
    report(&link, failed, faults).await;
}

/// The reading task of a link.
async fn read(link: Arc<Link>, reader: Reader, faults: mpsc::Sender<LinkFault>) {
    let failed = reader.run().await.err();
    link.close(Closing::Gone);
    link.stop_writing();
    link.forget();
    report(&link, failed, faults).await;
}

async fn report(link: &Link, failed: Option<LaneError>, faults: mpsc::Sender<LinkFault>) {
    if let Some(error) = failed
        && link.fails_first()
    {
        // Without a driver there is nobody to tell.
        let _ = faults.send(LinkFault { link: link.id, error }).await;
    }
}

/// Every change under these locks is complete in itself, so a panic elsewhere cannot have
/// left anything broken.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
