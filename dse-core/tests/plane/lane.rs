//! A data lane in memory, with a gate that a test can shut and a wire that it can cut.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use dse_core::data::DataFrame;
use dse_core::transport::{DataReceiver, DataSender, TransportError};

/// What a test holds of one direction of a lane.
#[derive(Clone, Default)]
pub(crate) struct Wire {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    frames: VecDeque<DataFrame>,
    /// Nothing passes, as with a process that was stopped.
    shut: bool,
    cut: bool,
    /// The sender is gone: what it sent can still be read.
    ended: bool,
    /// Whoever polls the sender, or the receiver, panics.
    panics: [bool; 2],
    /// Bytes that were ever taken from the sender.
    bytes: usize,
    wakers: Vec<Waker>,
}

/// Frames under way.
const FRAMES: usize = 4;

impl Wire {
    pub(crate) fn halves(&self) -> (Box<dyn DataSender>, Box<dyn DataReceiver>) {
        (Box::new(Sender(self.clone())), Box::new(Receiver(self.clone())))
    }

    pub(crate) fn shut(&self) {
        self.state().shut = true;
    }

    pub(crate) fn open(&self) {
        self.change(|state| state.shut = false);
    }

    pub(crate) fn cut(&self) {
        self.change(|state| state.cut = true);
    }

    /// The next look of the receiver panics.
    pub(crate) fn panic_in_receiver(&self) {
        self.change(|state| state.panics[1] = true);
    }

    /// The next frame that is sent makes the sender panic.
    pub(crate) fn panic_in_sender(&self) {
        self.change(|state| state.panics[0] = true);
    }

    /// Bytes that were ever sent.
    pub(crate) fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// Puts a frame in that the sender never sent.
    pub(crate) fn forge(&self, frame: DataFrame) {
        self.change(|state| state.frames.push_back(frame));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let wakers = {
            let mut state = self.state();
            change(&mut state);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics here")
    }
}

struct Sender(Wire);
struct Receiver(Wire);

impl DataSender for Sender {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        frame: &mut Option<DataFrame>,
    ) -> Poll<Result<(), TransportError>> {
        let mut state = self.0.state();
        if state.panics[0] {
            drop(state);
            panic!("a fault that is part of the test");
        }
        if state.cut {
            return Poll::Ready(Err(TransportError::Lost("cut".into())));
        }
        if state.frames.len() >= FRAMES {
            state.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        self.0.change(|state| {
            if let Some(frame) = frame.take() {
                state.bytes += frame.wire_len();
                state.frames.push_back(frame);
            }
        });
        Poll::Ready(Ok(()))
    }
}

impl DataReceiver for Receiver {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<DataFrame, TransportError>> {
        let mut state = self.0.state();
        if state.panics[1] {
            drop(state);
            panic!("a fault that is part of the test");
        }
        if state.cut {
            return Poll::Ready(Err(TransportError::Lost("cut".into())));
        }
        if state.ended && state.frames.is_empty() {
            return Poll::Ready(Err(TransportError::Closed("the sender is gone".into())));
        }
        if state.shut || state.frames.is_empty() {
            state.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        let mut taken = None;
        drop(state);
        self.0.change(|state| taken = state.frames.pop_front());
        match taken {
            Some(frame) => Poll::Ready(Ok(frame)),
            None => Poll::Pending,
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.change(|state| state.ended = true);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.cut();
    }
}
