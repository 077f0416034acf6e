//! Bytes of strangers to whatever reads them first, for the workspace's fuzz targets
//! (feature `fuzz`). Each function panics where a promise is broken.

use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use dse_core::data::{DataFrame, FrameError, Record};
use dse_core::protocol::Endpoint;
use dse_core::transport::DATA_FRAME_BYTES;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zeromq::ZmqMessage;

use crate::address::{Address, ipc_endpoint};
use crate::wire::{self, Dial, Kind, Lane, Message};
use crate::zmtp::{Visitor, ZmtpError};

/// A visitor of a door that says these bytes, `piece` of them at a time, and hangs up. It
/// is greeted, and its messages are read for as long as they can be.
pub fn visit(bytes: &[u8], piece: usize) {
    let mut stranger = Stranger { bytes, piece: piece.max(1), heard: 0 };
    let error = {
        let visit = pin!(messages(&mut stranger));
        // A stranger that is all there keeps nobody waiting.
        match visit.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => error,
            Poll::Ready(Ok(never)) => match never {},
            Poll::Pending => panic!("the door waits, and nothing is to come"),
        }
    };
    assert!(stranger.heard <= MOST_HEARD, "{} bytes for a stranger", stranger.heard);
    assert!(!error.to_string().is_empty());
}

async fn messages(stranger: &mut Stranger<'_>) -> Result<std::convert::Infallible, ZmtpError> {
    let mut visitor = Visitor::greet(stranger, Lane::Control.topic()).await?;
    loop {
        message(Lane::Control, visitor.message().await?);
    }
}

/// These parts as a message on one of the lanes: control with `true`, else data.
pub fn parts(control: bool, parts: Vec<Bytes>) {
    let lane = if control { Lane::Control } else { Lane::Data };
    if let Ok(whole) = ZmqMessage::try_from(parts) {
        message(lane, whole);
    }
}

fn message(lane: Lane, whole: ZmqMessage) {
    let Some(message) = Message::decode(lane, whole.clone()) else { return };
    let again = message.clone().encode(lane).into_vec();
    assert_eq!(again, whole.into_vec(), "what came in goes out as it was");
    if let Ok(dial) = Dial::decode(&message) {
        assert_eq!(dial.encode(), message.parts[0], "a Dial is written in one way");
    }
    match message.kind {
        Kind::Frames => {
            let fits = wire::check_frames(&message.parts).is_ok();
            assert!(!fits || (1..=wire::FRAMES_PER_MESSAGE).contains(&message.parts.len()));
        }
        Kind::Data => data_frame(message.parts),
        Kind::Dial | Kind::Bye => {}
    }
}

fn data_frame(parts: Vec<Bytes>) {
    let bytes = parts.concat();
    let Ok(frame) = wire::join_frame(parts) else { return };
    assert!(frame.wire_len() <= DATA_FRAME_BYTES);
    // Records may be nonsense: reading them must end, and say so.
    let before = frame.clone();
    let records = read(&before);
    let parts = wire::split_frame(frame);
    assert_eq!(parts.concat(), bytes, "no byte is lost or added on the way");
    let again = wire::join_frame(parts).expect("a frame that was split");
    if let Ok(records) = records {
        // Payloads may lie in other pieces.
        assert!(read(&again).is_ok_and(|again| again.len() == records.len()));
    }
}

fn read(frame: &DataFrame) -> Result<Vec<Record<'_>>, FrameError> {
    frame.records().collect()
}

/// An endpoint, as this transport reads it.
pub fn endpoint(endpoint: &Endpoint) {
    let folder = Path::new("/run/user/1000/dse");
    let Ok(address) = Address::parse(endpoint, folder) else { return };
    match &address {
        Address::Tcp { host, .. } => assert!(!host.is_empty() && !host.contains('/')),
        Address::Ipc(path) => {
            assert!(path.is_absolute());
            let written = ipc_endpoint(path, folder);
            let read = written.map(|written| Address::parse(&written, folder).ok());
            assert!(read.is_none_or(|read| read == Some(address.clone())), "{endpoint}");
        }
        Address::AnyIpc => {}
    }
}

/// A connection whose other end says what it was made to say.
struct Stranger<'a> {
    bytes: &'a [u8],
    piece: usize,
    /// How many bytes it was sent.
    heard: usize,
}

impl AsyncRead for Stranger<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = self.piece.min(self.bytes.len()).min(into.remaining());
        let (piece, rest) = self.bytes.split_at(len);
        into.put_slice(piece);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stranger<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.heard += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Greeting, READY and a subscription.
const MOST_HEARD: usize = 64 + 40 + 20;
