//! The data plane of one node.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::clock::Clock;
use super::config::{PlaneConfig, PlaneRequest};
use super::counters::{Counters, PlaneCounters};
use super::fault::LinkFault;
use super::hub::Hub;
use super::link::{Closing, Link};
use super::lock::Lock;
use super::loopback;
use super::progress::PeerSequences;
use super::publication::{Publication, Waiter};
use super::reader::Reader;
use super::tasks;
use crate::node::options::PublisherOptions;
use crate::node::publisher::Publisher;
use crate::node::subscriber::Subscriber;
use crate::protocol::{
    Declaration, InterestOptions, Key, KeyExpr, LinkId, NodeId, PeerInfo, SubscriptionId,
};
use crate::transport::{DataReceiver, DataSender};

/// The link from a node to itself. The driver numbers its links from 1.
pub const LOOPBACK: LinkId = LinkId(0);

/// The data plane of one node.
pub struct Plane {
    config: PlaneConfig,
    clock: Clock,
    counters: Arc<Counters>,
    faults: mpsc::Sender<LinkFault>,
    hub: Arc<Hub>,
    links: Lock<Links>,
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
        let (clock, counters) = (Clock::new(), Arc::<Counters>::default());
        let me = (config.node.clone(), config.incarnation);
        let (sender, receiver) = loopback::lane();
        // What a node sends itself counts as neither sent nor received.
        let loopback = Link::new(LOOPBACK, 0, me.clone(), Arc::default(), clock, sender);
        let link = Arc::clone(&loopback);
        let hub = Hub::new(config.clone(), clock, link, Arc::clone(&counters), requests);
        let peer = PeerSequences::new(config.incarnation);
        let links = Lock::default();
        let plane = Arc::new(Self { config, clock, counters, faults, hub, links });
        plane.spawn_lanes(loopback, peer, receiver, Box::new(|_now| {}));
        plane
    }

    /// A link opened. `heard` is called for each frame that comes in, with the time of it.
    pub fn link_opened(
        &self,
        link: LinkId,
        peer: PeerInfo,
        sender: Box<dyn DataSender>,
        receiver: Box<dyn DataReceiver>,
        heard: impl Fn(Instant) + Send + 'static,
    ) {
        let PeerInfo { node, incarnation, .. } = peer;
        let sequences = self.hub.peer(&node, incarnation);
        let counters = Arc::clone(&self.counters);
        let opened = {
            let mut links = self.links.lock();
            links.opened += 1;
            let order = links.opened;
            let opened = Link::new(link, order, (node, incarnation), counters, self.clock, sender);
            links.up.insert(link, Arc::clone(&opened));
            opened
        };
        self.spawn_lanes(opened, sequences, receiver, Box::new(heard));
    }

    /// A link is no more. Where the peer has left in order, what it sent before is still
    /// read, for a bounded time.
    pub fn link_closed(&self, link: LinkId, left: bool) {
        let mut links = self.links.lock();
        if let Some(closed) = links.up.remove(&link) {
            let later = |it: &&Arc<Link>| it.node == closed.node && it.order > closed.order;
            closed.replaced.store(links.up.values().any(|it| later(&it)), Relaxed);
            closed.close(if left { Closing::Left } else { Closing::Gone });
            links.draining.retain(|link| link.strong_count() > 0);
            links.draining.push(Arc::downgrade(&closed));
        }
    }

    /// The peer of a link wants this key of ours. Whatever is published after this
    /// returned goes there.
    pub fn route_added(&self, key: &Key, link: LinkId, options: InterestOptions) {
        if let (Some(link), Some(publication)) = (self.link(link), self.hub.publication(key)) {
            publication.attach(&link, options);
        }
    }

    /// The peer of a link asks for something else of a route that it has.
    pub fn route_changed(&self, key: &Key, link: LinkId, options: InterestOptions) {
        if let Some(publication) = self.hub.publication(key) {
            publication.set_options(link, options);
        }
    }

    /// The peer of a link wants this key of ours no more.
    pub fn route_removed(&self, key: &Key, link: LinkId) {
        if let Some(publication) = self.hub.publication(key) {
            publication.withdraw(link);
        }
    }

    /// Somebody wants this key of ours, and nobody did before.
    pub fn first_interest(&self, key: &Key) {
        self.set_wanted(key, true);
    }

    /// Nobody has wanted this key of ours for a while.
    pub fn last_interest(&self, key: &Key) {
        self.set_wanted(key, false);
    }

    /// A peer exposes a key no more.
    pub fn undeclared(&self, node: &NodeId, key: &Key) {
        self.hub.undeclared(node, key);
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
        options: PublisherOptions,
    ) -> Option<Publisher> {
        let publication = self.hub.register(declaration, options)?;
        Some(Publisher::new(publication, Arc::clone(&self.hub)))
    }

    /// A subscription. To be called before the interest is made known, so that no sample
    /// is lost at the seam. If it comes to nothing, drop it.
    pub fn subscribe(
        &self,
        subscription: SubscriptionId,
        keys: KeyExpr,
        options: InterestOptions,
        capacity: usize,
    ) -> Subscriber {
        let items = self.hub.subscribe(subscription, keys, options, capacity);
        Subscriber::new(subscription, options, items, Arc::clone(&self.hub))
    }

    /// Ends all publishers and waits until their subscribers have all that was published,
    /// or are known not to get it, and until publishers elsewhere are told what was taken
    /// here; or until the deadline.
    pub async fn finish(&self, deadline: Instant) {
        let publications = self.hub.publications();
        publications.iter().for_each(|publication| publication.close());
        let confirmed = async {
            for publication in publications {
                publication.confirmed().await;
            }
        };
        // Beyond the deadline nobody is waited for.
        let _ = tokio::time::timeout_at(deadline, confirmed).await;
        // A publisher elsewhere hears what was taken here before it hears of the leave: the
        // link may be gone soon after that.
        let links: Vec<_> = self.links.lock().up.values().cloned().collect();
        let credits = async {
            for link in links {
                link.hurry().await;
            }
        };
        let _ = tokio::time::timeout_at(deadline, credits).await;
    }

    /// Who publishers of this node wait for at the moment, by key.
    pub fn waits_for(&self) -> Vec<(Key, Waiter)> {
        let of = |publication: &Arc<Publication>| {
            let key = publication.origin.key.clone();
            publication.waits_for().into_iter().map(move |waiter| (key.clone(), waiter))
        };
        self.hub.publications().iter().flat_map(of).collect()
    }

    /// The node is gone: subscribers end once they have taken what they hold, publishers
    /// take nothing more, lanes are dropped.
    pub fn stop(&self) {
        self.hub.stop();
        let Links { up, draining, .. } = std::mem::take(&mut *self.links.lock());
        let draining = draining.iter().filter_map(Weak::upgrade);
        up.into_values().chain(draining).for_each(|link| link.close(Closing::Gone));
    }

    /// What was counted so far.
    pub fn counters(&self) -> PlaneCounters {
        self.counters.read()
    }

    fn link(&self, link: LinkId) -> Option<Arc<Link>> {
        self.links.lock().up.get(&link).cloned()
    }

    fn set_wanted(&self, key: &Key, wanted: bool) {
        if let Some(publication) = self.hub.publication(key) {
            publication.interest.send_if_modified(|interest| {
                std::mem::replace(&mut interest.wanted, wanted) != wanted
            });
        }
    }

    fn spawn_lanes(
        &self,
        link: Arc<Link>,
        peer: Arc<PeerSequences>,
        receiver: Box<dyn DataReceiver>,
        heard: Box<dyn Fn(Instant) + Send>,
    ) {
        let reader = Reader::new(Arc::clone(&link), Arc::clone(&self.hub), peer, receiver, heard);
        tokio::spawn(tasks::write(Arc::clone(&link), self.faults.clone()));
        tokio::spawn(tasks::read(link, reader, self.faults.clone()));
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
