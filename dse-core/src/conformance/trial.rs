//! What the behaviours share: a linked pair, and the lanes' halves as futures.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::Harness;
use crate::data::{DataFrame, FrameWriter, Headers, Record};
use crate::protocol::Endpoint;
use crate::transport::{
    ControlReceiver, ControlSender, DataReceiver, DataSender, Link, Listener, Transport,
    TransportError,
};

/// For what takes no time but that of a loaded machine.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// Waits, and fails the test with `what` at the deadline.
pub(super) async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(done) => done,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}

/// Two nodes with a link, and the listener that it came by.
pub(super) struct Pair {
    pub(super) near: Link,
    pub(super) far: Link,
    pub(super) listener: Box<dyn Listener>,
}

impl Pair {
    pub(super) async fn link<H: Harness>(harness: &H) -> Self {
        let (mut listener, endpoint) = listen(harness).await;
        let (near, far) = link(harness, listener.as_mut(), &endpoint).await;
        Self { near, far, listener }
    }
}

/// A listener of one more node, and where it is.
pub(super) async fn listen<H: Harness>(harness: &H) -> (Box<dyn Listener>, Endpoint) {
    listen_with(&harness.transport(), harness).await
}

/// A listener of this transport's node, and where it is.
pub(super) async fn listen_with<H: Harness>(
    transport: &Arc<dyn Transport>,
    harness: &H,
) -> (Box<dyn Listener>, Endpoint) {
    let listener = within(SOON, "bind", transport.bind(&harness.any_endpoint())).await;
    let listener = listener.unwrap_or_else(|error| panic!("bind: {error}"));
    let endpoint = listener.endpoints().into_iter().next().expect("a listener has an endpoint");
    (listener, endpoint)
}

/// Links one more node to the listener: the dialler's end and the listener's.
pub(super) async fn link<H: Harness>(
    harness: &H,
    listener: &mut dyn Listener,
    endpoint: &Endpoint,
) -> (Link, Link) {
    let transport = harness.transport();
    let both = async { tokio::join!(transport.connect(endpoint), accept(listener)) };
    let (near, far) = within(SOON, "connect and accept", both).await;
    (near.unwrap_or_else(|error| panic!("connect to {endpoint}: {error}")), far)
}

/// The next link that stands: those who were refused are passed over.
pub(super) async fn accept(listener: &mut dyn Listener) -> Link {
    loop {
        match listener.accept().await {
            Ok(link) => return link,
            Err(error @ TransportError::Closed(_)) => panic!("accept: {error}"),
            Err(_refused) => {}
        }
    }
}

pub(super) async fn send_control(
    sender: &mut dyn ControlSender,
    frames: impl IntoIterator<Item = Bytes>,
) -> Result<(), TransportError> {
    let mut frames: VecDeque<Bytes> = frames.into_iter().collect();
    poll_fn(|cx| sender.poll_send(cx, &mut frames)).await?;
    assert!(frames.is_empty(), "a sender that is ready has taken all frames");
    Ok(())
}

/// The next `count` frames.
pub(super) async fn recv_control(
    receiver: &mut dyn ControlReceiver,
    count: usize,
) -> Result<Vec<Bytes>, TransportError> {
    let mut frames = Vec::new();
    while frames.len() < count {
        let before = frames.len();
        poll_fn(|cx| receiver.poll_recv(cx, &mut frames)).await?;
        assert!(frames.len() - before <= 64, "at most 64 frames a call");
    }
    assert_eq!(frames.len(), count, "more frames came than were sent");
    Ok(frames)
}

/// Reads, and drops what comes, until the lane ends.
pub(super) async fn control_end(receiver: &mut dyn ControlReceiver) -> TransportError {
    let mut frames = Vec::new();
    loop {
        if let Err(error) = poll_fn(|cx| receiver.poll_recv(cx, &mut frames)).await {
            return error;
        }
        frames.clear();
    }
}

pub(super) async fn send_data(
    sender: &mut dyn DataSender,
    frame: DataFrame,
) -> Result<(), TransportError> {
    let mut frame = Some(frame);
    poll_fn(|cx| sender.poll_send(cx, &mut frame)).await?;
    assert!(frame.is_none(), "a sender that is ready has taken the frame");
    Ok(())
}

pub(super) async fn recv_data(
    receiver: &mut dyn DataReceiver,
) -> Result<DataFrame, TransportError> {
    poll_fn(|cx| receiver.poll_recv(cx)).await
}

/// Reads, and drops what comes, until the lane ends.
pub(super) async fn data_end(receiver: &mut dyn DataReceiver) -> TransportError {
    loop {
        if let Err(error) = recv_data(receiver).await {
            return error;
        }
    }
}

/// Sends until nothing was taken for a while: how many frames went.
pub(super) async fn fill_data(sender: &mut dyn DataSender, payload_len: usize) -> u64 {
    const QUIET: Duration = Duration::from_millis(700);
    let mut sent = 0;
    loop {
        let sending = send_data(sender, data_frame(sent, [payload_len]));
        match tokio::time::timeout(QUIET, sending).await {
            Ok(taken) => taken.unwrap_or_else(|error| panic!("the link is up: {error}")),
            Err(_) => return sent,
        }
        sent += 1;
    }
}

/// A control frame that tells its number.
pub(super) fn control_frame(number: u64, len: usize) -> Bytes {
    let mut frame = number.to_le_bytes().to_vec();
    frame.extend_from_slice(&pattern(number, len.saturating_sub(8)));
    frame.truncate(len.max(8));
    frame.into()
}

/// A frame of samples with payloads of these lengths; sequence numbers go on from
/// `first`.
pub(super) fn data_frame(first: u64, lens: impl IntoIterator<Item = usize>) -> DataFrame {
    let mut writer = FrameWriter::new();
    for (seq, len) in (first..).zip(lens) {
        let time_ns = 1_000 + seq.cast_signed();
        writer.sample((7, seq, time_ns), &Headers::new(), &pattern(seq, len));
    }
    writer.take().expect("a frame has at least one sample")
}

/// Is the frame what [`data_frame`] made?
pub(super) fn check_data_frame(frame: &DataFrame, first: u64, lens: &[usize]) {
    let mut samples = frame.records().flat_map(|record| match record {
        Ok(Record::Samples(samples)) => samples.iter(),
        other => panic!("instead of samples came {other:?}"),
    });
    for (seq, len) in (first..).zip(lens) {
        let Some(Ok(sample)) = samples.next() else {
            panic!("sample {seq} is missing or broken");
        };
        let time_ns = 1_000 + seq.cast_signed();
        assert_eq!((sample.sequence, sample.seq, sample.time_ns), (7, seq, time_ns));
        let payload = frame.payload(sample.payload);
        assert!(payload == pattern(seq, *len), "the payload of sample {seq} is broken");
    }
    assert!(samples.next().is_none(), "more came than was sent");
}

/// `len` bytes that differ from those of other numbers.
fn pattern(number: u64, len: usize) -> Bytes {
    const PERIOD: u64 = 251;
    const LONGEST: usize = 16 * 1024 * 1024 + 64 * 1024;
    static PATTERN: OnceLock<Bytes> = OnceLock::new();
    let pattern = PATTERN.get_or_init(|| (0..=250_u8).cycle().take(LONGEST + 256).collect());
    let start = (number % PERIOD) as usize;
    pattern.slice(start..start + len)
}
