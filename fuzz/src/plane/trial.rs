//! The plane under trial, and the peer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dse_core::data::{Begin, Body, Credit, DataFrame, End, EndReason, FrameWriter, Skip};
use dse_core::node::plane::{LOOPBACK, LinkFault, Plane, PlaneConfig, PlaneRequest};
use dse_core::node::{Overflow, Publisher, Subscriber};
use dse_core::protocol::{
    Declaration, Incarnation, Key, KeyExpr, Kind, LinkId, NodeId, PeerInfo, Role, SubscriptionId,
};
use tokio::sync::mpsc;

use super::lane::Wire;
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
    subscribers: Vec<(Subscriber, Told)>,
    subscriptions: u64,
    line: Option<Line>,
    links: u64,
}

/// A link with the peer.
struct Line {
    link: LinkId,
    incarnation: Incarnation,
    /// From the peer to the node, and back.
    to_node: Wire,
    to_peer: Wire,
    sent: Sent,
    /// The peer's own sequences by alias: of which key, and how far they came.
    begun: BTreeMap<u32, (Key, u64)>,
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
        self.plane.link_opened(link, info, to_peer.sender(), to_node.receiver(), || {});
        let (sent, begun) = (Sent::default(), BTreeMap::new());
        self.line = Some(Line { link, incarnation, to_node, to_peer, sent, begun });
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
        let mut frame = FrameWriter::new();
        for _ in 0..=source.below(4) {
            line.record(source, &mut frame);
        }
        let Some(mut frame) = frame.take() else { return };
        crate::tell(|| {
            let records: Vec<_> = frame.clone().records().collect();
            format!("the peer sends {records:?}")
        });
        // As a transport receives it.
        if source.once_in(2) {
            let wire = frame.into_wire(64).concat();
            frame = DataFrame::from_wire(wire.into()).expect("a frame that was written");
        }
        line.to_node.put(frame);
    }

    fn noise(&mut self, source: &mut Source<'_>) {
        let Some(line) = &self.line else { return };
        let head = Bytes::from(source.bytes(24));
        crate::tell(|| format!("the peer sends a head of {head:?}"));
        line.to_node.put(DataFrame { head, body: Body::Whole(source.bytes(16).into()) });
    }

    fn subscribe(&mut self, source: &mut Source<'_>) {
        if self.subscribers.len() == MOST_SUBSCRIBERS {
            return;
        }
        self.subscriptions += 1;
        let keys = KeyExpr::new(source.pick(&["**", "a", "*/b", "c/**"])).expect("a pattern");
        let capacity = source.pick(&[65_536, 1, 20]);
        crate::tell(|| format!("a subscription to {keys} of {capacity}"));
        let id = SubscriptionId(self.subscriptions);
        self.subscribers.push((self.plane.subscribe(id, keys, capacity), Told::default()));
    }

    fn take(&mut self, most: usize) {
        for (subscriber, told) in &mut self.subscribers {
            for delivery in std::iter::from_fn(|| subscriber.try_recv()).take(most) {
                crate::tell(|| format!("    taken: {delivery:?}"));
                told.note(&delivery);
            }
        }
    }

    /// The peer is forgotten. What a subscriber has not taken yet was said before.
    fn forget(&mut self) {
        self.take(usize::MAX);
        crate::tell(|| "the peer is forgotten".into());
        self.plane.peer_forgotten(&peer());
        self.subscribers.iter_mut().for_each(|(_, told)| told.forget(&peer()));
    }

    fn register(&mut self, source: &mut Source<'_>) {
        let kind = source.pick(&[Kind::Stream, Kind::State]);
        let overflows = [Overflow::Block, Overflow::DropOldest, Overflow::DropNewest];
        let (overflow, history) = (source.pick(&overflows), source.pick(&[0, 3]));
        let declaration = Declaration::new(key(source), kind, "");
        let key = declaration.key.clone();
        if let Some(publisher) = self.plane.register(declaration, overflow, history) {
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
            true => self.plane.route_added(&key, link),
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
            for record in frame.records() {
                let record = record.expect("the node sends what can be read");
                crate::tell(|| format!("    sent: {record:?}"));
                line.sent.note(&record);
            }
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

impl Line {
    /// A record, mostly one that fits.
    fn record(&mut self, source: &mut Source<'_>, frame: &mut FrameWriter) {
        let alias =
            if source.once_in(24) { source.number() as u32 } else { source.below(3) as u32 };
        let begun = self.begun.get(&alias).cloned();
        let (of, last) = begun.map_or((None, 0), |(key, last)| (Some(key), last));
        match source.below(8) {
            0 | 1 => {
                let next_seq = self.number(source, last);
                let begin = self.begin(source, alias, next_seq);
                self.begun.insert(alias, (begin.key.clone(), next_seq.saturating_sub(1)));
                frame.begin(&begin);
            }
            2..=4 => {
                let seq = self.number(source, last);
                self.come_to(alias, seq);
                let len = source.pick(&[4, 0, 200, 70_000]);
                let stamp = of.map(|key| Stamp { key, number: seq });
                let payload = stamp.map_or_else(Bytes::new, |stamp| stamp.payload(len));
                frame.sample(alias, seq, source.number(), payload);
            }
            5 => {
                let next_seq = self.number(source, last);
                self.come_to(alias, next_seq.saturating_sub(1));
                frame.skip(Skip { alias, next_seq });
            }
            6 => {
                let last_seq = if source.once_in(4) { source.number() } else { last };
                let reason = source.pick(&[EndReason::Closed, EndReason::NoInterest]);
                self.come_to(alias, last_seq);
                frame.end(End { alias, last_seq, reason });
            }
            _ => {
                let sent = self.sent.last_seq(alias).unwrap_or(0);
                let less = source.below(3) as u64;
                let consumed_seq =
                    if source.once_in(12) { source.number() } else { sent.saturating_sub(less) };
                let window = source.pick(&[64, 0, 1, 65_536, u32::MAX]);
                let credit = Credit { alias, consumed_seq, window };
                self.sent.credited(credit);
                frame.credit(credit);
            }
        }
    }

    fn come_to(&mut self, alias: u32, seq: u64) {
        if let Some((_, last)) = self.begun.get_mut(&alias) {
            *last = seq;
        }
    }

    fn begin(&self, source: &mut Source<'_>, alias: u32, next_seq: u64) -> Begin {
        let odd = source.once_in(32);
        Begin {
            alias,
            key: key(source),
            kind: source.pick(&[Kind::Stream, Kind::State, Kind::Table, Kind::Service]),
            encoding: if odd { "x".repeat(200).into() } else { "".into() },
            incarnation: if odd { Incarnation(9) } else { self.incarnation },
            next_seq,
        }
    }

    /// Mostly the one after this, or a little more.
    fn number(&self, source: &mut Source<'_>, last: u64) -> u64 {
        match source.below(8) {
            0 => source.number(),
            1 => last.saturating_add(source.below(4) as u64),
            _ => last.saturating_add(1),
        }
    }
}

pub(super) fn peer() -> NodeId {
    NodeId::new("peer").expect("a node id")
}

fn key(source: &mut Source<'_>) -> Key {
    Key::new(source.pick(&["a", "a/b", "c/d", "c"])).expect("a key")
}

const MOST_SUBSCRIBERS: usize = 4;
/// Enough for what one step causes, by way of each task.
const TURNS: usize = 12;
