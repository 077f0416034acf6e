//! Nodes that are nothing but a data plane, and links between them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dse_core::data::{Begin, Credit, DataFrame, FrameWriter, Headers, Record};
use dse_core::node::plane::{LinkFault, Plane, PlaneConfig, PlaneRequest};
use dse_core::node::{
    Delivery, DeliveryReport, Overflow, Publisher, PublisherOptions, Sample, Subscriber,
    Unconfirmed, UnconfirmedCause,
};
use dse_core::protocol::{
    Class, Declaration, Incarnation, InterestOptions, Key, KeyExpr, Kind, LinkId, NodeId, PeerInfo,
    Role, SubscriptionId,
};
use dse_core::transport::{DataReceiver, DataSender};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::lane::Wire;

pub(crate) const STALL: Duration = Duration::from_millis(300);

pub(crate) struct Node {
    pub(crate) info: PeerInfo,
    pub(crate) plane: Arc<Plane>,
    pub(crate) faults: mpsc::Receiver<LinkFault>,
    pub(crate) requests: mpsc::UnboundedReceiver<PlaneRequest>,
}

impl Node {
    pub(crate) fn new(name: &str) -> Self {
        Self::restarted(name, 1)
    }

    pub(crate) fn restarted(name: &str, incarnation: u64) -> Self {
        Self::with(name, incarnation, STALL)
    }

    /// A node that is in no hurry to give a subscriber up, where a busy machine must not
    /// make the difference.
    pub(crate) fn patient(name: &str) -> Self {
        Self::with(name, 1, STALL * 10)
    }

    fn with(name: &str, incarnation: u64, stall_timeout: Duration) -> Self {
        let node = NodeId::new(name).expect("a node id");
        let incarnation = Incarnation(incarnation);
        let config = PlaneConfig { node: node.clone(), incarnation, stall_timeout };
        let (faults_in, faults) = mpsc::channel(16);
        let (requests_in, requests) = mpsc::unbounded_channel();
        let plane = Plane::new(config, faults_in, requests_in);
        let info = PeerInfo::new(node, incarnation, Role::Member);
        Self { info, plane, faults, requests }
    }

    pub(crate) fn stream(&self, key: &str, overflow: Overflow) -> Publisher {
        self.publisher(key, Kind::Stream, overflow, 0)
    }

    pub(crate) fn state(&self, key: &str) -> Publisher {
        self.publisher(key, Kind::State, Overflow::Block, 0)
    }

    pub(crate) fn publisher(
        &self,
        key: &str,
        kind: Kind,
        overflow: Overflow,
        history: usize,
    ) -> Publisher {
        let mut options = PublisherOptions::default();
        (options.overflow, options.history) = (overflow, history);
        self.publisher_with(key, kind, options)
    }

    pub(crate) fn publisher_with(
        &self,
        key: &str,
        kind: Kind,
        options: PublisherOptions,
    ) -> Publisher {
        let declaration = Declaration::new(self::key(key), kind, "text/plain");
        self.plane.register(declaration, options).expect("a key that is free")
    }

    pub(crate) fn subscribe(&self, id: u64, keys: &str) -> Subscriber {
        self.subscribe_with(id, keys, InterestOptions::default())
    }

    pub(crate) fn subscribe_with(
        &self,
        id: u64,
        keys: &str,
        options: InterestOptions,
    ) -> Subscriber {
        let keys = KeyExpr::new(keys).expect("a key expression");
        self.plane.subscribe(SubscriptionId(id), keys, options, 65_536)
    }

    pub(crate) fn route(&self, key: &str, link: u64) {
        self.plane.route_added(&self::key(key), LinkId(link), InterestOptions::default());
    }
}

/// Both directions of a link.
pub(crate) struct Link {
    pub(crate) id: u64,
    pub(crate) there: Wire,
    pub(crate) back: Wire,
}

/// Links two nodes under one number.
pub(crate) fn link(a: &Node, b: &Node, id: u64) -> Link {
    let link = Link { id, there: Wire::default(), back: Wire::default() };
    let (a_sends, b_receives) = link.there.halves();
    let (b_sends, a_receives) = link.back.halves();
    a.plane.link_opened(LinkId(id), b.info.clone(), a_sends, a_receives, |_now| {});
    b.plane.link_opened(LinkId(id), a.info.clone(), b_sends, b_receives, |_now| {});
    link
}

/// A peer of a node that is nothing but its end of a link.
pub(crate) struct Peer {
    wires: Link,
    receiver: Box<dyn DataReceiver>,
    /// Dropping it ends the lane.
    sender: Option<Box<dyn DataSender>>,
}

impl Peer {
    pub(crate) fn of(node: &Node, id: u64) -> Self {
        let wires = Link { id, there: Wire::default(), back: Wire::default() };
        let (sends, receiver) = wires.there.halves();
        let (sender, receives) = wires.back.halves();
        let peer = NodeId::new("peer").expect("a node id");
        let info = PeerInfo::new(peer, Incarnation(1), Role::Member);
        node.plane.link_opened(LinkId(id), info, sends, receives, |_now| {});
        Self { wires, receiver, sender: Some(sender) }
    }

    /// The next frame that the node sends.
    pub(crate) async fn frame(&mut self) -> DataFrame {
        let frame = std::future::poll_fn(|cx| self.receiver.poll_recv(cx));
        let frame = timeout(Duration::from_secs(20), frame).await.expect("a frame was due");
        frame.expect("the link stands")
    }

    /// Takes frames up to one with a record that is looked for.
    pub(crate) async fn heard(&mut self, is_it: impl Fn(&Record<'_>) -> bool) {
        while !records(&self.frame().await).iter().any(&is_it) {}
    }

    /// A credit for what the node sends in its first sequence, begun once.
    pub(crate) fn credit(&self, consumed_seq: u64) {
        self.send(|frame| frame.credit(credit(1, 1, consumed_seq)));
    }

    /// The last credit for it.
    pub(crate) fn last_credit(&self, consumed_seq: u64) {
        self.send(|frame| frame.credit(Credit { last: true, ..credit(1, 1, consumed_seq) }));
    }

    /// The peer closes its side: what it sent before can still be read.
    pub(crate) fn end(&mut self) {
        self.sender = None;
    }

    pub(crate) fn send(&self, write: impl FnOnce(&mut FrameWriter)) {
        let mut frame = FrameWriter::new();
        write(&mut frame);
        self.forge(frame.take().expect("something was written"));
    }

    pub(crate) fn forge(&self, frame: DataFrame) {
        self.wires.back.forge(frame);
    }
}

impl Link {
    /// The link breaks, and both ends know.
    pub(crate) fn fall(&self, a: &Node, b: &Node) {
        self.there.cut();
        self.back.cut();
        a.plane.link_closed(LinkId(self.id), false);
        b.plane.link_closed(LinkId(self.id), false);
    }
}

pub(crate) fn records(frame: &DataFrame) -> Vec<Record<'_>> {
    frame.records().map(|record| record.expect("a record")).collect()
}

pub(crate) fn credit(sequence: u64, epoch: u64, consumed_seq: u64) -> Credit {
    let (samples, bytes) = (64, 64 * 1024);
    Credit { sequence, epoch, consumed_seq, samples, bytes, missed: 0, last: false }
}

/// A sequence of the peer's.
pub(crate) fn begin(sequence: u64, key: &str, kind: Kind) -> Begin<'_> {
    Begin {
        sequence,
        epoch: 1,
        key,
        kind,
        encoding: "text/plain",
        incarnation: Incarnation(1),
        next_seq: 1,
        base_time_ns: 0,
        class: Class::Normal,
        resume: false,
    }
}

pub(crate) fn sample(frame: &mut FrameWriter, sequence: u64, seq: u64, payload: Bytes) {
    frame.sample((sequence, seq, 0), &Headers::new(), &payload);
}

/// What a report says: how many have confirmed, who has not, how many withdrew.
pub(crate) type Told = (usize, Vec<(NodeId, UnconfirmedCause)>, u64);

pub(crate) fn told(report: &DeliveryReport) -> Told {
    let one = |it: &Unconfirmed| (it.node.clone(), it.cause);
    let unconfirmed = report.unconfirmed.iter().map(one).collect();
    (report.confirmed, unconfirmed, report.withdrawn)
}

pub(crate) fn confirmed(nodes: usize) -> Told {
    (nodes, Vec::new(), 0)
}

pub(crate) fn withdrawn(nodes: u64) -> Told {
    (0, Vec::new(), nodes)
}

pub(crate) fn unconfirmed(node: &Node, cause: UnconfirmedCause) -> Told {
    (0, vec![(node.info.node.clone(), cause)], 0)
}

/// Lets everybody do what there is to do.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

pub(crate) fn payload(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

pub(crate) fn number(sample: &Sample) -> u64 {
    let bytes = sample.payload[..8].try_into().expect("8 bytes");
    u64::from_le_bytes(bytes)
}

/// The next delivery, which is to come soon.
pub(crate) async fn next(subscriber: &mut Subscriber) -> Delivery {
    timeout(Duration::from_secs(20), subscriber.recv())
        .await
        .expect("a delivery was awaited for 20 s")
        .expect("the node goes on")
}

/// The next delivery, which is to be a sample.
pub(crate) async fn next_sample(subscriber: &mut Subscriber) -> Sample {
    match next(subscriber).await {
        Delivery::Sample(sample) => sample,
        other => panic!("a sample was due, not {other:?}"),
    }
}

/// Waits for something that only a look can tell.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
