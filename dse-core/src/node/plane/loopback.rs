//! The data lane from a node to itself: what is published here and wanted here takes the
//! same way as everything else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::limits::LOOPBACK_BYTES;
use super::lock::Lock;
use crate::data::DataFrame;
use crate::data::limits::FRAME_BYTES;
use crate::transport::{DataReceiver, DataSender, TransportError};

/// Both halves of a lane within this process.
pub(super) fn lane() -> (Box<dyn DataSender>, Box<dyn DataReceiver>) {
    let shared = Arc::<Shared>::default();
    (Box::new(Sender(Arc::clone(&shared))), Box::new(Receiver(shared)))
}

struct Sender(Arc<Shared>);
struct Receiver(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Lock<State>,
}

#[derive(Default)]
struct State {
    frames: VecDeque<DataFrame>,
    bytes: usize,
    closed: bool,
    sender: Option<Waker>,
    receiver: Option<Waker>,
}

impl DataSender for Sender {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        frame: &mut Option<DataFrame>,
    ) -> Poll<Result<(), TransportError>> {
        let mut state = self.0.state.lock();
        if state.closed {
            return Poll::Ready(Err(closed()));
        }
        if state.bytes + FRAME_BYTES > LOOPBACK_BYTES {
            state.sender = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(frame) = frame.take() {
            state.bytes += frame.wire_len();
            state.frames.push_back(frame);
        }
        if let Some(receiver) = state.receiver.take() {
            receiver.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl DataReceiver for Receiver {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<DataFrame, TransportError>> {
        let mut state = self.0.state.lock();
        if let Some(frame) = state.frames.pop_front() {
            state.bytes -= frame.wire_len();
            if let Some(sender) = state.sender.take() {
                sender.wake();
            }
            return Poll::Ready(Ok(frame));
        }
        if state.closed {
            return Poll::Ready(Err(closed()));
        }
        state.receiver = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Shared {
    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        for half in [state.sender.take(), state.receiver.take()].into_iter().flatten() {
            half.wake();
        }
    }
}

fn closed() -> TransportError {
    TransportError::Closed("the node has stopped".into())
}
