//! The four halves of a link.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use dse_core::data::DataFrame;
use dse_core::transport::{
    CONTROL_FRAME_BYTES, ControlReceiver, ControlSender, DATA_FRAME_BYTES, DataReceiver,
    DataSender, Received, TransportError,
};
use quinn::{RecvStream, SendStream, StoppedError};

use crate::driver::write_and_drive;
use crate::lane::{LENGTH_BYTES, LaneReader, LaneWriter, put_length};
use crate::refusal::link_error;

/// Control frames go out in batches of about this size.
const CONTROL_BATCH_BYTES: usize = 64 * 1024;

/// Most frames that one call to a control receiver yields.
const CONTROL_FRAMES_PER_CALL: usize = 64;

/// Payloads below this size are copied together, and none is copied above it: `quinn`
/// walks over all pieces of its send buffer for each packet, so many small ones cost
/// more than the copy.
const COPY_BELOW_BYTES: usize = 8 * 1024;

/// A data frame up to this length is sent by who writes it: it goes with one packet on any
/// path. For longer ones it pays that the connection's task works beside the writer.
const LITTLE_BYTES: usize = 1024;

/// The halves of the control lane.
pub(crate) fn control(
    (send, recv): (SendStream, RecvStream),
) -> (Box<dyn ControlSender>, Box<dyn ControlReceiver>) {
    let sender = QuicControlSender { lane: LaneWriter::new(send), closing: None };
    let lane = LaneReader::new(recv, "control", CONTROL_FRAME_BYTES);
    (Box::new(sender), Box::new(QuicControlReceiver { lane }))
}

/// The halves of the data lane.
pub(crate) fn data(
    (send, recv): (SendStream, RecvStream),
) -> (Box<dyn DataSender>, Box<dyn DataReceiver>) {
    let lane = LaneReader::new(recv, "data", DATA_FRAME_BYTES);
    (Box::new(QuicDataSender { lane: LaneWriter::new(send) }), Box::new(QuicDataReceiver { lane }))
}

/// Ends when the peer has acknowledged the whole stream, or will not.
type Acknowledged =
    Pin<Box<dyn Future<Output = Result<Option<quinn::VarInt>, StoppedError>> + Send>>;

struct QuicControlSender {
    lane: LaneWriter,
    closing: Option<Acknowledged>,
}

impl ControlSender for QuicControlSender {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        frames: &mut VecDeque<Bytes>,
    ) -> Poll<Result<(), TransportError>> {
        while !frames.is_empty() {
            ready!(self.lane.poll_ready(cx))?;
            let batch = take_batch(frames)?;
            self.lane.write(cx, vec![batch])?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if self.closing.is_none() {
            ready!(self.lane.poll_ready(cx))?;
            self.closing = Some(Box::pin(self.lane.finish()?));
        }
        let Some(closing) = &mut self.closing else {
            return Poll::Ready(Ok(()));
        };
        Poll::Ready(match ready!(closing.as_mut().poll(cx)) {
            // Acknowledged, or the peer wants no more of it.
            Ok(_) => Ok(()),
            Err(StoppedError::ConnectionLost(error)) => Err(link_error(&error)),
            Err(error) => Err(TransportError::Lost(error.to_string())),
        })
    }
}

/// As many frames as make a batch, at least one, in wire form.
fn take_batch(frames: &mut VecDeque<Bytes>) -> Result<Bytes, TransportError> {
    let mut batch = BytesMut::new();
    while let Some(frame) = frames.front() {
        let (len, limit) = (frame.len(), CONTROL_FRAME_BYTES);
        let full = batch.len() + LENGTH_BYTES + len > CONTROL_BATCH_BYTES;
        if !batch.is_empty() && (full || len > limit) {
            break;
        }
        if len > limit {
            return Err(TransportError::TooLong { lane: "control", len, limit });
        }
        put_length(&mut batch, len);
        batch.put_slice(frame);
        frames.pop_front();
    }
    Ok(batch.freeze())
}

struct QuicControlReceiver {
    lane: LaneReader,
}

impl ControlReceiver for QuicControlReceiver {
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut Vec<Bytes>,
    ) -> Poll<Result<Received, TransportError>> {
        into.push(ready!(self.lane.poll_frame(cx))?);
        for _ in 1..CONTROL_FRAMES_PER_CALL {
            // An error behind these frames is found again at the next call.
            let Ok(Some(frame)) = self.lane.buffered_frame() else { break };
            into.push(frame);
        }
        Poll::Ready(Ok(Received::Frames))
    }
}

struct QuicDataSender {
    lane: LaneWriter,
}

impl DataSender for QuicDataSender {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        frame: &mut Option<DataFrame>,
    ) -> Poll<Result<(), TransportError>> {
        let len = frame.as_ref().map_or(0, DataFrame::wire_len);
        if len > DATA_FRAME_BYTES {
            let limit = DATA_FRAME_BYTES;
            return Poll::Ready(Err(TransportError::TooLong { lane: "data", len, limit }));
        }
        ready!(self.lane.poll_ready(cx))?;
        let Some(frame) = frame.take() else {
            return Poll::Ready(Ok(()));
        };
        let little = len <= LITTLE_BYTES;
        let mut length = BytesMut::with_capacity(LENGTH_BYTES);
        put_length(&mut length, len);
        let mut pieces = vec![length.freeze()];
        pieces.extend(frame.into_wire(COPY_BELOW_BYTES));
        let write = || self.lane.write(cx, pieces);
        Poll::Ready(if little { write_and_drive(write) } else { write() })
    }
}

struct QuicDataReceiver {
    lane: LaneReader,
}

impl DataReceiver for QuicDataReceiver {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<DataFrame, TransportError>> {
        let wire = ready!(self.lane.poll_frame(cx))?;
        let frame = DataFrame::from_wire(wire);
        Poll::Ready(frame.map_err(|error| TransportError::Malformed(error.to_string())))
    }
}
