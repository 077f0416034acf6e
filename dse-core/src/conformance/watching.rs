//! Behaviours of a link under its supervisor: life, silence, probes, bounds.

use std::any::Any;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::trial::{Pair, SOON, control_frame, within};
use super::{Harness, Silenceable, skip};
use crate::node::link::{Common, LinkEvent, LinkEventKind, LinkHandle, supervise};
use crate::node::probe::ProbeConfig;
use crate::protocol::{BeatTurn, LinkId, Listen, Watch};
use crate::transport::{DataReceiver, DataSender, Link};

const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Two that are alone on their bus: each end watches the other and tells it that it lives.
const CLOSE: Watch = Watch { listen: Listen::Close, beats: Some(BeatTurn { number: 0, of: 1 }) };
const LAZY: Watch = Watch { listen: Listen::Lazy, beats: None };

/// One end of a link with its supervisor.
struct Watched {
    handle: LinkHandle,
    events: mpsc::Receiver<LinkEvent>,
    /// Held, since dropping them may end the link.
    data: (Box<dyn DataSender>, Box<dyn DataReceiver>),
}

impl Watched {
    fn new(link: Link, room: usize, queue_bytes: usize) -> Self {
        let (sender, events) = mpsc::channel(room);
        let common = Common::new(ProbeConfig::default(), queue_bytes, sender);
        let Link { control_sender, control_receiver, data_sender, data_receiver, .. } = link;
        let handle = supervise(LinkId(1), control_sender, control_receiver, true, &common);
        Self { handle, events, data: (data_sender, data_receiver) }
    }

    fn watching(link: Link, watch: Watch) -> Self {
        let watched = Self::new(link, 64, QUEUE_BYTES);
        watched.handle.watch(watch);
        watched
    }

    async fn next(&mut self) -> LinkEventKind {
        let event = within(SOON, "an event", self.events.recv()).await;
        event.expect("the supervisor ends with Down").kind
    }

    /// Nothing happens for this long.
    async fn stays_up(&mut self, time: Duration) {
        if let Ok(event) = tokio::time::timeout(time, self.events.recv()).await {
            panic!("on a link that is up: {event:?}");
        }
    }
}

async fn supervised<H: Harness>(harness: &H, watch: Watch) -> (Watched, Watched) {
    let Pair { near, far, .. } = Pair::link(harness).await;
    (Watched::watching(near, watch), Watched::watching(far, watch))
}

/// A link that carries only beats stays up; its round trip time is known soon.
pub async fn idle_links_stay_up_and_know_their_round_trip<H: Harness>(harness: &H) {
    let (mut near, mut far) = supervised(harness, CLOSE).await;
    let idle = Duration::from_secs(4);
    tokio::join!(near.stays_up(idle), far.stays_up(idle));
    for end in [&near, &far] {
        assert!(end.handle.rtt().is_some(), "the first ping is sent at once");
    }
}

/// A peer that falls silent is down, at both ends, long before a lazy watch would tell; but
/// not for a beat that is late.
pub async fn silence_is_down_when_watched_closely<H: Harness>(harness: &H) {
    const HASTY: Duration = Duration::from_millis(500);
    let behaviour = "silence_is_down_when_watched_closely";
    let Some(mut cuttable) = Cuttable::link(harness, CLOSE, behaviour).await else { return };
    let since = Instant::now();
    (cuttable.silence)();
    for end in [&mut cuttable.near, &mut cuttable.far] {
        let LinkEventKind::Down(why) = end.next().await else { panic!("silence is Down") };
        let took = since.elapsed();
        assert!(took >= HASTY, "down after {took:?}, which is hasty: {why}");
    }
}

/// Lazily watched, a peer may be silent for longer.
pub async fn silence_is_not_yet_down_when_watched_lazily<H: Harness>(harness: &H) {
    let behaviour = "silence_is_not_yet_down_when_watched_lazily";
    let Some(mut cuttable) = Cuttable::link(harness, LAZY, behaviour).await else { return };
    (cuttable.silence)();
    let silent = Duration::from_secs(4);
    tokio::join!(cuttable.near.stays_up(silent), cuttable.far.stays_up(silent));
}

/// A supervised link over a way that can be cut.
struct Cuttable {
    near: Watched,
    far: Watched,
    silence: Box<dyn FnOnce() + Send>,
    _keep: Box<dyn Any + Send>,
}

impl Cuttable {
    async fn link<H: Harness>(harness: &H, watch: Watch, behaviour: &str) -> Option<Self> {
        let Some(Silenceable { near, far, silence, keep }) = harness.silenceable().await else {
            let at = harness.any_endpoint();
            skip(behaviour, &format!("to {at} there is no way that can be cut"));
            return None;
        };
        let (mut near, mut far) = (Watched::watching(near, watch), Watched::watching(far, watch));
        // It works before it is cut.
        near.handle.send(&Bytes::from_static(b"there")).expect("there is room");
        far.handle.send(&Bytes::from_static(b"back")).expect("there is room");
        assert_eq!(far.next().await, LinkEventKind::Message(Bytes::from_static(b"there")));
        assert_eq!(near.next().await, LinkEventKind::Message(Bytes::from_static(b"back")));
        Some(Self { near, far, silence, _keep: keep })
    }
}

/// Who lives answers a probe, however it is watched.
pub async fn a_probe_is_answered_by_who_lives<H: Harness>(harness: &H) {
    let (mut near, mut far) = supervised(harness, LAZY).await;
    for end in [&mut near, &mut far] {
        for _ in 0..5 {
            end.handle.probe();
            assert_eq!(end.next().await, LinkEventKind::Probed);
        }
    }
}

/// Who does not answer a probe is down, long before a lazy watch would tell.
pub async fn a_probe_of_the_silent_is_a_verdict<H: Harness>(harness: &H) {
    let behaviour = "a_probe_of_the_silent_is_a_verdict";
    let Some(mut cuttable) = Cuttable::link(harness, LAZY, behaviour).await else { return };
    (cuttable.silence)();
    for end in [&mut cuttable.near, &mut cuttable.far] {
        end.handle.probe();
        let LinkEventKind::Down(_) = end.next().await else { panic!("silence is Down") };
    }
}

/// While a driver takes no events its link stays up and is not blamed, whichever side
/// it is on; then it gets all messages in order.
pub async fn a_busy_driver_is_not_blamed_on_the_link<H: Harness>(harness: &H) {
    const MESSAGES: u64 = 300;
    const LEN: usize = 12_000;
    /// Longer than silence takes to be Down.
    const BUSY: Duration = Duration::from_millis(1800);
    let Pair { near, far, listener: _listener } = Pair::link(harness).await;
    let mut near = Watched::new(near, 1, QUEUE_BYTES);
    // Takes in so little that it soon reads no more.
    let mut far = Watched::new(far, 1, 2 * LEN);
    for number in 0..MESSAGES {
        near.handle.send(&control_frame(number, LEN)).expect("there is room");
    }
    far.handle.send(&control_frame(0, 100)).expect("there is room");
    tokio::time::sleep(BUSY).await;
    assert!(near.next().await == LinkEventKind::Message(control_frame(0, 100)), "near is down");
    for number in 0..MESSAGES {
        let message = LinkEventKind::Message(control_frame(number, LEN));
        assert!(far.next().await == message, "message {number} is lost or far is down");
    }
    for end in [&mut near, &mut far] {
        end.handle.probe();
        assert_eq!(end.next().await, LinkEventKind::Probed);
    }
}

/// Closing delivers what was queued; the peer sees it, and then that the link is down.
pub async fn a_closed_link_delivers_and_is_down_for_the_peer<H: Harness>(harness: &H) {
    const MESSAGES: u64 = 200;
    let (near, mut far) = supervised(harness, CLOSE).await;
    let Watched { handle, events: mut silent, data } = near;
    for number in 0..MESSAGES {
        handle.send(&control_frame(number, 500)).expect("there is room");
    }
    handle.close();
    for number in 0..MESSAGES {
        let message = LinkEventKind::Message(control_frame(number, 500));
        assert!(far.next().await == message, "message {number} is lost");
    }
    drop(data);
    assert!(matches!(far.next().await, LinkEventKind::Down(_)), "the peer sees the end");
    let ended = within(SOON, "the closed end is quiet and ends", silent.recv()).await;
    assert!(ended.is_none(), "an event after close: {ended:?}");
}

/// What waits for a peer that does not read is bounded, and the sender is told.
pub async fn a_stalled_peer_fills_a_bounded_queue<H: Harness>(harness: &H) {
    const LEN: usize = 60_000;
    const MOST: usize = QUEUE_BYTES + 24 * 1024 * 1024;
    /// The transport takes no more once the queue stays full for so long.
    const FULL: Duration = Duration::from_millis(300);
    let Pair { near, far: _far, listener: _listener } = Pair::link(harness).await;
    let near = Watched::new(near, 64, QUEUE_BYTES);
    let mut sent = 0;
    let filling = async {
        let mut full_since = Instant::now();
        while full_since.elapsed() < FULL {
            if near.handle.send(&control_frame(sent, LEN)).is_ok() {
                sent += 1;
                full_since = Instant::now();
            } else {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    within(SOON, "the queue is full", filling).await;
    assert!(sent as usize * LEN <= MOST, "{sent} messages wait for who does not read");
}
