//! A data lane in memory, whose other end is in the hands of the trial.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use dse_core::data::DataFrame;
use dse_core::transport::{DataReceiver, DataSender, TransportError};

/// One direction of a lane.
#[derive(Clone, Default)]
pub(super) struct Wire(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    frames: VecDeque<DataFrame>,
    /// Nothing more is taken from the sender.
    shut: bool,
    cut: bool,
    waker: Option<Waker>,
}

impl Wire {
    pub(super) fn sender(&self) -> Box<dyn DataSender> {
        Box::new(Sender(self.clone()))
    }

    pub(super) fn receiver(&self) -> Box<dyn DataReceiver> {
        Box::new(Receiver(self.clone()))
    }

    pub(super) fn put(&self, frame: DataFrame) {
        self.change(|state| state.frames.push_back(frame));
    }

    pub(super) fn take(&self) -> Option<DataFrame> {
        self.change(|state| state.frames.pop_front())
    }

    pub(super) fn shut(&self, shut: bool) {
        self.change(|state| state.shut = shut);
    }

    pub(super) fn cut(&self) {
        self.change(|state| state.cut = true);
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let changed = change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        changed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        if state.cut {
            return Poll::Ready(Err(TransportError::Lost("cut".into())));
        }
        if state.shut {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.frames.extend(frame.take());
        Poll::Ready(Ok(()))
    }
}

impl DataReceiver for Receiver {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<DataFrame, TransportError>> {
        let mut state = self.0.state();
        match state.frames.pop_front() {
            _ if state.cut => Poll::Ready(Err(TransportError::Lost("cut".into()))),
            Some(frame) => Poll::Ready(Ok(frame)),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
