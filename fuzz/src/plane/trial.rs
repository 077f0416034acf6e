//! The plane under trial, and the peer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dse_core::node::plane::{LOOPBACK, LinkFault, Plane, PlaneConfig, PlaneRequest};
use dse_core::node::{Overflow, Publisher, PublisherOptions, Subscriber};
use dse_core::protocol::{
    Declaration, Incarnation, InterestOptions, Key, KeyExpr, Kind, LinkId, NodeId, PeerInfo, Role,
    SubscriptionId,
};
use tokio::sync::mpsc;

use super::lane::Wire;
use super::peer::{Peer, key, peer};
use super::told::{Sent, Stamp, Told};
use crate::source::Source;

/// One node's data plane, its handles, and the link with its peer.
pub(super) struct Trial {
    plane: Arc<Plane>,
    faults: mpsc::Receiver<LinkFault>,
    requests: mpsc::UnboundedReceiver<PlaneRequest>,
    publishers: BTreeMap<Key, Publisher>,
    /// How many samples the node has published.
    published: u64,
    subscribers: Vec<(Subscriber, Told, InterestOptions)>,
    subscriptions: u64,
    line: Option<Line>,
    links: u64,
}

/// A link with the peer.
struct Line {
    link: LinkId,
    /// From the peer to the node, and back.
    to_node: Wire,
    to_peer: Wire,
    sent: Sent,
    peer: Peer,
}

impl Trial {
    pub(super) fn new() -> Self {
        let config = PlaneConfig {
            node: NodeId::new("m").expect("a node id"),
            incarnation: Incarnation(1),
            stall_timeout: Duration::from_millis(300),
        };
        let (faults_in, faults) = mpsc::channel(16);
        let (requests_in, requests) = mpsc::unbounded_channel();
        Self {
            plane: Plane::new(config, faults_in, requests_in),
            faults,
            requests,
            publishers: BTreeMap::new(),
            published: 0,
            subscribers: Vec::new(),
            subscriptions: 0,
            line: None,
            links: 0,
        }
    }

    /// One thing happens, and then what comes of it.
    pub(super) async fn step(&mut self, source: &mut Source<'_>) {
        match source.below(20) {
            0 => self.link_up(source),
            1 => self.link_down(source.once_in(2)),
            2..=8 => self.records(source),
            9 => self.noise(source),
            10 => self.subscribe(source),
            11 if !self.subscribers.is_empty() => {
                let at = source.below(self.subscribers.len());
                drop(self.subscribers.swap_remove(at));
            }
            11 | 12 => self.take(source.pick(&[1000, 1, 5])),
            13 => self.register(source),
            14 => self.unregister(source),
            15 => self.publish(source),
            16 | 17 => self.route(source),
            18 => {
                let millis = source.pick(&[1, 6, 25, 400, 3000, 20_000]);
                crate::tell(|| format!("{millis} ms pass"));
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
            _ => match (&self.line, source.below(4)) {
                (Some(line), 0) => line.to_peer.shut(source.once_in(2)),
                (None, 1) => self.forget(),
                _ => {}
            },
        }
        self.come_to_rest().await;
    }

    fn link_up(&mut self, source: &mut Source<'_>) {
        self.link_down(source.once_in(2));
        self.links += 1;
        let (to_node, to_peer) = (Wire::default(), Wire::default());
        let incarnation = Incarnation(1 + source.below(3) as u64);
        let link = LinkId(self.links);
        crate::tell(|| format!("{link:?} opens with {incarnation:?}"));
        let info = PeerInfo::new(peer(), incarnation, Role::Member);
        self.plane.link_opened(link, info, to_peer.sender(), to_node.receiver(), |_now| {});
        let (sent, peer) = (Sent::default(), Peer::new(incarnation));
        self.line = Some(Line { link, to_node, to_peer, sent, peer });
    }

    fn link_down(&mut self, graceful: bool) {
        if let Some(line) = self.line.take() {
            crate::tell(|| format!("{:?} ends", line.link));
            if !graceful {
                line.to_node.cut();
            }
            line.to_peer.cut();
            self.plane.link_closed(line.link, graceful);
        }
    }

    fn records(&mut self, source: &mut Source<'_>) {
        let Some(line) = &mut self.line else { return };
        if let Some(frame) = line.peer.frame(source, &mut line.sent) {
            line.to_node.put(frame);
        }
    }

    fn noise(&mut self, source: &mut Source<'_>) {
        if let Some(line) = &self.line {
            line.to_node.put(Peer::noise(source));
        }
    }

    fn subscribe(&mut self, source: &mut Source<'_>) {
        if self.subscribers.len() == MOST_SUBSCRIBERS {
            return;
        }
        self.subscriptions += 1;
        let keys = KeyExpr::new(source.pick(&["**", "a", "*/b", "c/**"])).expect("a pattern");
        let capacity = source.pick(&[65_536, 1, 20]);
        let options = interest_options(source);
        crate::tell(|| format!("a subscription to {keys} of {capacity}, {options:?}"));
        let id = SubscriptionId(self.subscriptions);
        let subscriber = self.plane.subscribe(id, keys, options, capacity);
        self.subscribers.push((subscriber, Told::default(), options));
    }

    fn take(&mut self, most: usize) {
        for (subscriber, told, options) in &mut self.subscribers {
            for delivery in std::iter::from_fn(|| subscriber.try_recv()).take(most) {
                crate::tell(|| format!("    taken: {delivery:?}"));
                // With an interval what lies between is left out untold.
                if options.min_interval.is_zero() {
                    told.note(&delivery);
                }
            }
        }
    }

    /// The peer is forgotten. What a subscriber has not taken yet was said before.
    fn forget(&mut self) {
        self.take(usize::MAX);
        crate::tell(|| "the peer is forgotten".into());
        self.plane.peer_forgotten(&peer());
        self.subscribers.iter_mut().for_each(|(_, told, _)| told.forget(&peer()));
    }

    fn register(&mut self, source: &mut Source<'_>) {
        let kind = source.pick(&[Kind::Stream, Kind::State]);
        let overflows = [Overflow::Block, Overflow::DropOldest, Overflow::DropNewest];
        let mut options = PublisherOptions::default();
        (options.overflow, options.history) = (source.pick(&overflows), source.pick(&[0, 3]));
        let overflow = options.overflow;
        let declaration = Declaration::new(key(source), kind, "");
        let key = declaration.key.clone();
        if let Some(publisher) = self.plane.register(declaration, options) {
            crate::tell(|| format!("a publisher of {key}: {kind:?}, {overflow:?}"));
            self.publishers.insert(key, publisher);
        }
    }

    fn unregister(&mut self, source: &mut Source<'_>) {
        if let Some(publisher) = self.publishers.remove(&key(source)) {
            crate::tell(|| format!("no publisher of {}", publisher.key()));
        }
    }

    fn publish(&mut self, source: &mut Source<'_>) {
        let Some(publisher) = self.publishers.get(&key(source)) else { return };
        let (times, len) = (source.pick(&[1, 3, 70]), source.pick(&[8, 0, 300, 70_000]));
        crate::tell(|| format!("{times} times {len} bytes on {}", publisher.key()));
        for _ in 0..times {
            self.published += 1;
            let stamp = Stamp { key: publisher.key().clone(), number: self.published };
            // Where a subscriber is behind, the publisher is told so.
            let _ = publisher.try_publish(stamp.payload(len));
        }
    }

    fn route(&mut self, source: &mut Source<'_>) {
        let peer = self.line.as_ref().map(|line| line.link).filter(|_| !source.once_in(4));
        let (link, key, wanted) = (peer.unwrap_or(LOOPBACK), key(source), !source.once_in(4));
        crate::tell(|| format!("{link:?} wants {key}: {wanted}"));
        match wanted {
            true => self.plane.route_added(&key, link, interest_options(source)),
            false => self.plane.route_removed(&key, link),
        }
    }

    /// All tasks do what there is to do now, and what came of it is looked at.
    async fn come_to_rest(&mut self) {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        self.hear();
        while self.requests.try_recv().is_ok() {}
        while let Ok(LinkFault { link, error }) = self.faults.try_recv() {
            crate::tell(|| format!("    {link:?} fails: {error}"));
            if self.line.as_ref().is_some_and(|line| line.link == link) {
                self.link_down(false);
            }
        }
    }

    /// What the node sent.
    fn hear(&mut self) {
        let Some(line) = &mut self.line else { return };
        while let Some(frame) = line.to_peer.take() {
            line.sent.note(&frame);
        }
    }

    /// All goes, and nothing may go on.
    pub(super) async fn finish(mut self) {
        self.come_to_rest().await;
        self.take(usize::MAX);
        self.link_down(true);
        self.plane.stop();
        drop(self);
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

pub(crate) fn interest_options(source: &mut Source<'_>) -> InterestOptions {
    let mut options = InterestOptions::default();
    if source.once_in(4) {
        options.never_wait = source.once_in(2);
        options.min_interval = Duration::from_millis(source.pick(&[0, 5, 1000]));
    }
    options
}

const MOST_SUBSCRIBERS: usize = 4;
/// Enough for what one step causes, by way of each task.
const TURNS: usize = 12;
