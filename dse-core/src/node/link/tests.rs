//! The supervisor over a lane that the test plays, in virtual time. What needs two
//! real ends is in the conformance suite.

use std::task::{Context, Poll};

use super::*;
use crate::protocol::{BeatTurn, Listen};
use crate::transport::{Received, TransportError};

const QUEUE_BYTES: usize = 10_000;

/// The lane as the test plays it.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<WireState>>);

#[derive(Default)]
struct WireState {
    /// Takes no frames.
    blocked: bool,
    sent: Vec<Bytes>,
    coming: VecDeque<Result<Coming, TransportError>>,
    closed: bool,
    halves: usize,
    wakers: Vec<Waker>,
}

enum Coming {
    Frame(Bytes),
    Hint,
}

struct Out(Wire);
struct In(Wire);

impl Wire {
    fn state(&self) -> MutexGuard<'_, WireState> {
        self.0.lock().expect("no test panics while it holds this")
    }

    fn change<T>(&self, change: impl FnOnce(&mut WireState) -> T) -> T {
        let mut state = self.state();
        let changed = change(&mut state);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        changed
    }

    fn comes(&self, frame: &[u8]) {
        let frame = Bytes::copy_from_slice(frame);
        self.change(|state| state.coming.push_back(Ok(Coming::Frame(frame))));
    }

    fn block(&self, blocked: bool) {
        self.change(|state| state.blocked = blocked);
    }

    /// What was sent since the last call.
    fn sent(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.state().sent)
    }
}

impl ControlSender for Out {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        frames: &mut VecDeque<Bytes>,
    ) -> Poll<Result<(), TransportError>> {
        let mut state = self.0.state();
        if state.blocked {
            state.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        state.sent.extend(frames.drain(..));
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.0.state().closed = true;
        Poll::Ready(Ok(()))
    }
}

impl ControlReceiver for In {
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut Vec<Bytes>,
    ) -> Poll<Result<Received, TransportError>> {
        let mut state = self.0.state();
        match state.coming.pop_front() {
            None => {
                state.wakers.push(cx.waker().clone());
                Poll::Pending
            }
            Some(Ok(Coming::Frame(frame))) => {
                into.push(frame);
                Poll::Ready(Ok(Received::Frames))
            }
            Some(Ok(Coming::Hint)) => Poll::Ready(Ok(Received::Hint)),
            Some(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.0.state().halves -= 1;
    }
}

impl Drop for In {
    fn drop(&mut self) {
        self.0.state().halves -= 1;
    }
}

struct Trial {
    wire: Wire,
    handle: LinkHandle,
    events: mpsc::Receiver<LinkEvent>,
}

impl Trial {
    /// A link whose driver has room for this many events.
    async fn new(room: usize) -> Self {
        let (events, taken) = mpsc::channel(room);
        let common = Common::new(ProbeConfig::default(), QUEUE_BYTES, events);
        let (wire, handle) = Self::link(&common).await;
        Self { wire, handle, events: taken }
    }

    /// One more link of a node.
    async fn link(common: &Common) -> (Wire, LinkHandle) {
        let wire = Wire::default();
        wire.state().halves = 2;
        let (sender, receiver) = (Box::new(Out(wire.clone())), Box::new(In(wire.clone())));
        let handle = supervise(LinkId(1), sender, receiver, true, common);
        settle().await;
        assert_eq!(wire.sent(), [&[PING, 1][..]], "the first ping is sent at once");
        (wire, handle)
    }

    /// The next event, and after how many milliseconds it came.
    async fn next(&mut self) -> (u128, LinkEventKind) {
        let since = tokio::time::Instant::now();
        let event = self.events.recv().await.expect("the link ends with Down");
        (since.elapsed().as_millis(), event.kind)
    }

    fn message(text: &'static str) -> LinkEventKind {
        LinkEventKind::Message(Bytes::from_static(text.as_bytes()))
    }
}

/// Lets the supervisor do all it can do now; virtual time moves by 1 ms.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn probes_overtake_the_messages_that_wait() {
    let trial = Trial::new(8).await;
    trial.wire.block(true);
    trial.handle.send(&Bytes::from_static(b"first")).expect("there is room");
    settle().await;
    trial.wire.comes(&[PING, 77]);
    trial.handle.probe();
    settle().await;
    trial.wire.block(false);
    settle().await;
    assert_eq!(trial.wire.sent(), [&[PONG, 77][..], &[PING, 2], b"\0first"]);
}

#[tokio::test(start_paused = true)]
async fn who_only_pings_fills_no_memory() {
    let trial = Trial::new(8).await;
    trial.wire.block(true);
    for id in 0..=255 {
        trial.wire.comes(&[PING, id]);
        settle().await;
    }
    trial.wire.block(false);
    settle().await;
    let pongs = trial.wire.sent().iter().filter(|frame| frame[0] == PONG).count();
    assert!((1..=2).contains(&pongs), "{pongs} pongs waited");
}

#[tokio::test(start_paused = true)]
async fn a_hint_starts_a_probe_at_once() {
    let mut trial = Trial::new(8).await;
    trial.handle.watch(Watch { listen: Listen::Lazy, beats: None });
    trial.wire.comes(&[PONG, 1]);
    trial.wire.change(|state| state.coming.push_back(Ok(Coming::Hint)));
    let (ms, down) = trial.next().await;
    assert_eq!(down, LinkEventKind::Down("the peer did not answer a probe".into()));
    assert!((400..=402).contains(&ms), "{ms} ms");
}

#[tokio::test(start_paused = true)]
async fn silence_is_down_and_data_is_a_sign_of_life() {
    let mut trial = Trial::new(8).await;
    let activity = trial.handle.activity();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        activity.mark(tokio::time::Instant::now());
    }
    assert!(trial.wire.sent().is_empty(), "who hears does not ping");
    let (ms, down) = trial.next().await;
    assert_eq!(down, LinkEventKind::Down("the peer was silent for 1500 ms".into()));
    assert!((1500..=1502).contains(&ms), "{ms} ms");
    assert_eq!(trial.wire.state().halves, 0, "a fallen link drops its lane");
}

#[tokio::test(start_paused = true)]
async fn a_node_tells_its_watchers_in_turn_on_links_of_any_age() {
    let (events, _taken) = mpsc::channel(8);
    let common = Common::new(ProbeConfig::default(), QUEUE_BYTES, events);
    let mut links = Vec::new();
    for number in 0..3 {
        let (wire, handle) = Trial::link(&common).await;
        let beats = Some(BeatTurn { number, of: 3 });
        handle.watch(Watch { listen: Listen::Lazy, beats });
        settle().await;
        let first = wire.sent();
        assert_eq!((first.len(), first[0][0]), (1, BEAT), "the first is sent at once");
        links.push((wire, handle));
        tokio::time::sleep(Duration::from_millis(90)).await;
    }
    let mut told = Vec::new();
    while common.origin.elapsed() < Duration::from_secs(3) {
        settle().await;
        for (number, (wire, _)) in links.iter().enumerate() {
            let sent = wire.sent();
            assert!(sent.is_empty() || sent == [&[BEAT, 5, 220][..]], "1500 ms: {sent:?}");
            let ms = common.origin.elapsed().as_millis();
            assert!(sent.is_empty() || ms % 500 <= 2, "{ms} ms is no slot of the node's clock");
            told.extend(sent.iter().map(|_| (ms / 500, number)));
        }
    }
    assert_eq!(told, [(1, 1), (2, 2), (3, 0), (4, 1), (5, 2)]);
}

#[tokio::test(start_paused = true)]
async fn who_is_told_does_not_ping_and_waits_for_the_next_beat() {
    let mut trial = Trial::new(8).await;
    for _ in 0..5 {
        trial.wire.comes(&[BEAT, 5, 220]);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(trial.wire.sent().is_empty());
    }
    let (ms, down) = trial.next().await;
    assert_eq!(down, LinkEventKind::Down("the peer was silent for 2500 ms".into()));
    assert!((1000..=1002).contains(&ms), "{ms} ms");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_tells_nothing_is_pinged_in_time_for_an_answer() {
    let trial = Trial::new(8).await;
    let mut pings = 0;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        for ping in trial.wire.sent() {
            pings += 1;
            trial.wire.comes(&[PONG, ping[1]]);
        }
    }
    assert!((8..=10).contains(&pings), "{pings} pings in 10 s");
}

#[tokio::test(start_paused = true)]
async fn the_links_of_a_node_are_counted() {
    let (events, _taken) = mpsc::channel(8);
    let common = Common::new(ProbeConfig::default(), QUEUE_BYTES, events);
    let (_wire, one) = Trial::link(&common).await;
    let (_wire, other) = Trial::link(&common).await;
    assert_eq!(common.count.load(Ordering::Relaxed), 2);
    drop(one);
    settle().await;
    assert_eq!(common.count.load(Ordering::Relaxed), 1);
    other.close();
    settle().await;
    assert_eq!(common.count.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn what_came_before_the_fall_is_delivered_before_it() {
    let mut trial = Trial::new(1).await;
    for text in ["one", "two", "three"] {
        trial.wire.comes(&[&[MESSAGE], text.as_bytes()].concat());
    }
    let lost = TransportError::Lost("reset".into());
    trial.wire.change(|state| state.coming.push_back(Err(lost)));
    settle().await;
    for text in ["one", "two", "three"] {
        assert_eq!(trial.next().await.1, Trial::message(text));
    }
    let down = LinkEventKind::Down("the link is lost: reset".into());
    assert_eq!(trial.next().await.1, down);
    assert!(trial.events.recv().await.is_none(), "nothing follows");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_frame_takes_the_link_down() {
    for (frame, text) in [
        (&b""[..], "malformed input: an empty control frame"),
        (b"\x01", "malformed input: a control frame of 1 bytes and type 1"),
        (b"\x02", "malformed input: a control frame of 1 bytes and type 2"),
        (b"\x03a", "malformed input: a control frame of 2 bytes and type 3"),
    ] {
        let mut trial = Trial::new(8).await;
        trial.wire.comes(frame);
        assert_eq!(trial.next().await.1, LinkEventKind::Down(text.into()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_later_version_sends_is_skipped_and_counted() {
    let (events, mut taken) = mpsc::channel(8);
    let common = Common::new(ProbeConfig::default(), QUEUE_BYTES, events);
    let (wire, handle) = Trial::link(&common).await;
    for kind in BEAT + 1..=u8::MAX {
        wire.comes(&[kind]);
        wire.comes(&[kind, 1, 2, 3]);
        settle().await;
    }
    assert_eq!((common.skipped().frames(), common.skipped().fields()), (2 * 252, 0));
    assert!(wire.sent().is_empty(), "who hears does not ping");
    for longer in [&[PONG, 1, 9][..], &[PING, 77, 9, 9], &[BEAT, 5, 220, 9], b"\0message"] {
        wire.comes(longer);
        settle().await;
    }
    assert_eq!((common.skipped().frames(), common.skipped().fields()), (2 * 252, 3));
    assert!(handle.rtt().is_some(), "a longer pong is one");
    assert_eq!(wire.sent(), [&[PONG, 77][..]], "a longer ping is one");
    let event = taken.try_recv().expect("a message came");
    assert_eq!(event.kind, Trial::message("message"));
    assert!(taken.try_recv().is_err(), "the link stands");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_full_says_so_and_takes_more_once_sent() {
    let trial = Trial::new(8).await;
    let message = Bytes::from_static(&[7; 936]);
    trial.wire.block(true);
    for _ in 0..10 {
        trial.handle.send(&message).expect("there is room");
        settle().await;
    }
    assert_eq!(trial.handle.send(&message), Err(QueueFull { queue_bytes: QUEUE_BYTES }));
    trial.wire.block(false);
    settle().await;
    assert_eq!(trial.wire.sent().len(), 10);
    trial.handle.send(&message).expect("there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_busy_driver_stops_the_reading_but_not_the_probing() {
    let mut trial = Trial::new(1).await;
    for _ in 0..15 {
        trial.wire.comes(&[0; 1000]);
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let unread = trial.wire.state().coming.len();
    assert!((3..=6).contains(&unread), "{unread} messages stay in the transport");
    let pings = trial.wire.sent().len();
    assert!((19..=21).contains(&pings), "{pings} pings in 10 s");
    for _ in 0..15 {
        assert_eq!(trial.next().await, (0, LinkEventKind::Message(Bytes::from_static(&[0; 999]))));
    }
    let (ms, down) = trial.next().await;
    assert!(matches!(down, LinkEventKind::Down(_)));
    assert!((1500..=1502).contains(&ms), "the window starts when reading goes on: {ms} ms");
}

#[tokio::test(start_paused = true)]
async fn closing_flushes_and_closes() {
    let mut trial = Trial::new(8).await;
    trial.wire.block(true);
    trial.handle.send(&Bytes::from_static(b"last")).expect("there is room");
    trial.handle.close();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(trial.wire.state().halves, 2);
    trial.wire.block(false);
    settle().await;
    assert_eq!(trial.wire.sent(), [&b"\0last"[..]]);
    assert!(trial.wire.state().closed);
    assert_eq!(trial.wire.state().halves, 0);
    assert!(trial.events.recv().await.is_none(), "no event follows");
}

#[tokio::test(start_paused = true)]
async fn closing_a_stuck_link_takes_a_second() {
    let trial = Trial::new(8).await;
    trial.wire.block(true);
    trial.handle.send(&Bytes::from_static(b"last")).expect("there is room");
    trial.handle.close();
    tokio::time::sleep(Duration::from_millis(1002)).await;
    assert_eq!(trial.wire.state().halves, 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_drops_the_lane() {
    let trial = Trial::new(8).await;
    drop(trial.handle);
    settle().await;
    assert_eq!(trial.wire.state().halves, 0);
    assert!(!trial.wire.state().closed);
}

#[tokio::test(start_paused = true)]
async fn the_round_trip_time_is_known_from_the_first_pong() {
    let trial = Trial::new(8).await;
    assert_eq!(trial.handle.rtt(), None);
    tokio::time::sleep(Duration::from_millis(9)).await;
    trial.wire.comes(&[PONG, 1]);
    settle().await;
    let rtt = trial.handle.rtt().expect("a ping was answered").as_millis();
    assert!((10..=11).contains(&rtt), "{rtt} ms");
}
