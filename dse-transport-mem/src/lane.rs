//! The halves of a link.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use dse_core::data::DataFrame;
use dse_core::transport::{
    CONTROL_FRAME_BYTES, ControlReceiver, ControlSender, DATA_FRAME_BYTES, DataReceiver,
    DataSender, Link, Received, TransportError,
};

use crate::queue::{Gone, Receiver, Sender, queue};

/// What waits on a control lane, in bytes.
const CONTROL_QUEUE_BYTES: usize = 256 * 1024;
/// What waits on a data lane, in bytes, unless it is one frame.
const DATA_QUEUE_BYTES: usize = 2 * 1024 * 1024;
/// Most frames that a receiver of control takes at a time.
const CONTROL_BATCH_FRAMES: usize = 64;

/// Both ends of a new link: the dialler's and the listener's.
pub(crate) fn pair(dialled: &str) -> (Link, Link) {
    let (control_there, control_far) = queue(CONTROL_QUEUE_BYTES);
    let (control_back, control_near) = queue(CONTROL_QUEUE_BYTES);
    let (data_there, data_far) = queue(DATA_QUEUE_BYTES);
    let (data_back, data_near) = queue(DATA_QUEUE_BYTES);
    let near = Link {
        remote: dialled.into(),
        identity: None,
        control_sender: Box::new(ControlOut(control_there)),
        control_receiver: Box::new(ControlIn(control_near)),
        data_sender: Box::new(DataOut(data_there)),
        data_receiver: Box::new(DataIn(data_near)),
    };
    let far = Link {
        remote: format!("a dialler of {dialled}"),
        identity: None,
        control_sender: Box::new(ControlOut(control_back)),
        control_receiver: Box::new(ControlIn(control_far)),
        data_sender: Box::new(DataOut(data_back)),
        data_receiver: Box::new(DataIn(data_far)),
    };
    (near, far)
}

struct ControlOut(Sender<Bytes>);

impl ControlSender for ControlOut {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        frames: &mut VecDeque<Bytes>,
    ) -> Poll<Result<(), TransportError>> {
        while let Some(len) = frames.front().map(Bytes::len) {
            check_len("control", len, CONTROL_FRAME_BYTES)?;
            let mut frame = frames.pop_front();
            let sent = self.0.poll_send(cx, &mut frame, len);
            if let Some(frame) = frame {
                frames.push_front(frame);
            }
            ready!(sent).map_err(closed)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.0.poll_close(cx).map_err(closed)
    }
}

struct ControlIn(Receiver<Bytes>);

impl ControlReceiver for ControlIn {
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut Vec<Bytes>,
    ) -> Poll<Result<Received, TransportError>> {
        into.push(ready!(self.0.poll_recv(cx)).map_err(closed)?);
        for _ in 1..CONTROL_BATCH_FRAMES {
            // What ends the batch comes again at the next call.
            let Poll::Ready(Ok(frame)) = self.0.poll_recv(cx) else { break };
            into.push(frame);
        }
        Poll::Ready(Ok(Received::Frames))
    }
}

struct DataOut(Sender<DataFrame>);

impl DataSender for DataOut {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        frame: &mut Option<DataFrame>,
    ) -> Poll<Result<(), TransportError>> {
        let len = frame.as_ref().map_or(0, DataFrame::wire_len);
        check_len("data", len, DATA_FRAME_BYTES)?;
        self.0.poll_send(cx, frame, len).map_err(closed)
    }
}

struct DataIn(Receiver<DataFrame>);

impl DataReceiver for DataIn {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<DataFrame, TransportError>> {
        self.0.poll_recv(cx).map_err(closed)
    }
}

fn check_len(lane: &'static str, len: usize, limit: usize) -> Result<(), TransportError> {
    if len > limit {
        return Err(TransportError::TooLong { lane, len, limit });
    }
    Ok(())
}

fn closed(Gone: Gone) -> TransportError {
    TransportError::Closed("the other node dropped it".into())
}
