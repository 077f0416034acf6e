//! The links of a node, from the moment they stand to the moment they are gone.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::limits::CONTROL_QUEUE_BYTES;
use super::link::{Common, LinkEvent, LinkHandle, QueueFull, SkippedFrames, supervise};
use super::probe::ProbeConfig;
use super::status::LinkStatus;
use super::window::Place;
use crate::protocol::{LinkId, NodeId, Watch};
use crate::transport::{DataReceiver, DataSender, Link};

/// The halves of a data lane, and the scheme of the transport that carries it.
pub(super) struct DataLane {
    pub(super) sender: Box<dyn DataSender>,
    pub(super) receiver: Box<dyn DataReceiver>,
}

/// All links by their numbers.
pub(super) struct Links {
    links: BTreeMap<LinkId, Entry>,
    /// How many were accepted and are not open yet.
    accepting: usize,
    last: u64,
    common: Common,
}

struct Entry {
    transport: &'static str,
    remote: Box<str>,
    /// None once the link fell or is being closed.
    handle: Option<LinkHandle>,
    stage: Stage,
    /// The peer has left the bus.
    left: bool,
}

enum Stage {
    /// The data lane rests until the peer is known. If this node dialled it, the dial is
    /// under way until then.
    Opening(DataLane, Option<Place>),
    Open(NodeId),
}

impl Links {
    pub(super) fn new(probe: ProbeConfig, events: mpsc::Sender<LinkEvent>) -> Self {
        let common = Common::new(probe, CONTROL_QUEUE_BYTES, events);
        Self { links: BTreeMap::new(), accepting: 0, last: 0, common }
    }

    /// A link stands, that this node accepted, or dialled and holds a place for: numbers it
    /// and starts its supervisor.
    pub(super) fn add(
        &mut self,
        link: Link,
        transport: &'static str,
        place: Option<Place>,
    ) -> LinkId {
        self.last += 1;
        let id = LinkId(self.last);
        let Link { remote, control_sender, control_receiver, data_sender, data_receiver, .. } =
            link;
        let handle = supervise(id, control_sender, control_receiver, place.is_some(), &self.common);
        let data = DataLane { sender: data_sender, receiver: data_receiver };
        self.accepting += usize::from(place.is_none());
        self.links.insert(
            id,
            Entry {
                transport,
                remote: remote.into(),
                handle: Some(handle),
                stage: Stage::Opening(data, place),
                left: false,
            },
        );
        id
    }

    /// What was skipped on all control lanes.
    pub(super) fn skipped(&self) -> &SkippedFrames {
        self.common.skipped()
    }

    /// How many that this node accepted are not open yet.
    pub(super) fn accepting(&self) -> usize {
        self.accepting
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.links.values().filter(|it| it.handle.is_some()).count()
    }

    /// Does the link stand?
    pub(super) fn stands(&self, link: LinkId) -> bool {
        self.handle(link).is_some()
    }

    /// Queues a message; on a link that fell it goes nowhere.
    pub(super) fn send(&self, link: LinkId, message: &Bytes) -> Result<(), QueueFull> {
        self.handle(link).map_or(Ok(()), |handle| handle.send(message))
    }

    pub(super) fn watch(&self, link: LinkId, watch: Watch) {
        if let Some(handle) = self.handle(link) {
            handle.watch(watch);
        }
    }

    pub(super) fn probe(&self, link: LinkId) {
        if let Some(handle) = self.handle(link) {
            handle.probe();
        }
    }

    /// The link is about to fall. It does so once what came on the control lane is told.
    pub(super) fn data_lane_ended(&self, link: LinkId, error: String) {
        if let Some(handle) = self.handle(link) {
            handle.data_lane_ended(error);
        }
    }

    /// The peer is known: hands out the data lane, unless the link fell meanwhile.
    pub(super) fn open(&mut self, link: LinkId, node: NodeId) -> Option<(DataLane, &LinkHandle)> {
        let entry = self.links.get_mut(&link)?;
        entry.handle.as_ref()?;
        let Stage::Opening(data, place) = std::mem::replace(&mut entry.stage, Stage::Open(node))
        else {
            return None;
        };
        match place {
            Some(place) => place.opened(),
            None => self.accepting -= 1,
        }
        Some((data, self.handle(link)?))
    }

    /// The node said good-bye on its link, which will fall soon.
    pub(super) fn left(&mut self, node: &NodeId) {
        for entry in self.links.values_mut() {
            if matches!(&entry.stage, Stage::Open(it) if it == node) {
                entry.left = true;
            }
        }
    }

    /// Delivers what was queued, then closes the link.
    pub(super) fn close(&mut self, link: LinkId) {
        let Some(entry) = self.links.get_mut(&link) else { return };
        if let Some(handle) = entry.handle.take() {
            handle.close();
        }
        if matches!(entry.stage, Stage::Opening(..)) {
            self.remove(link);
        }
    }

    /// The link fell, or has to fall: drops it at once. Its entry stays until
    /// [`remove`](Self::remove). Tells whether it stood until now.
    pub(super) fn fell(&mut self, link: LinkId) -> bool {
        self.links.get_mut(&link).is_some_and(|entry| entry.handle.take().is_some())
    }

    /// Forgets a link. Tells whether its peer has left the bus.
    pub(super) fn remove(&mut self, link: LinkId) -> bool {
        let Some(entry) = self.links.remove(&link) else { return false };
        if matches!(entry.stage, Stage::Opening(_, None)) {
            self.accepting -= 1;
        }
        entry.left
    }

    /// Where the other end is.
    pub(super) fn remote(&self, link: LinkId) -> Option<&str> {
        self.links.get(&link).map(|entry| &*entry.remote)
    }

    pub(super) fn status(&self, link: LinkId) -> Option<LinkStatus> {
        let entry = self.links.get(&link)?;
        let rtt: Option<Duration> = entry.handle.as_ref()?.rtt();
        Some(LinkStatus { transport: entry.transport, remote: entry.remote.clone(), rtt })
    }

    fn handle(&self, link: LinkId) -> Option<&LinkHandle> {
        self.links.get(&link)?.handle.as_ref()
    }
}
