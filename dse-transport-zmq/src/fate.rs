//! The fate of a link: its four halves end together.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use dse_core::transport::TransportError;

/// What the four halves of a link share: that they end together.
#[derive(Default)]
pub(crate) struct Fate {
    state: Mutex<FateState>,
}

#[derive(Default)]
struct FateState {
    end: Option<End>,
    /// A send is stalled, which the control receiver has not told yet.
    suspicion: bool,
    wakers: [Option<Waker>; 4],
}

/// Which half waits.
#[derive(Clone, Copy)]
pub(crate) enum Half {
    ControlSender,
    ControlReceiver,
    DataSender,
    DataReceiver,
}

/// Why a link ended.
#[derive(Clone)]
pub(crate) enum End {
    Closed(String),
    Lost(String),
    Malformed(String),
}

impl End {
    fn to_error(&self) -> TransportError {
        match self.clone() {
            Self::Closed(why) => TransportError::Closed(why),
            Self::Lost(why) => TransportError::Lost(why),
            Self::Malformed(why) => TransportError::Malformed(why),
        }
    }
}

impl Fate {
    /// Ends the link, unless it has ended before, and says why it has.
    pub(crate) fn end(&self, end: End) -> TransportError {
        let mut state = self.lock();
        for waker in state.wakers.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
        state.end.get_or_insert(end).to_error()
    }

    /// The peer may be gone: the control receiver says so.
    pub(crate) fn suspect(&self) {
        let mut state = self.lock();
        state.suspicion = true;
        if let Some(waker) = state.wakers[Half::ControlReceiver as usize].take() {
            waker.wake();
        }
    }

    pub(crate) fn take_suspicion(&self) -> bool {
        std::mem::take(&mut self.lock().suspicion)
    }

    pub(crate) fn check(&self) -> Result<(), TransportError> {
        self.lock().end.as_ref().map_or(Ok(()), |end| Err(end.to_error()))
    }

    /// To be returned where nothing can be done: the link's end will wake `half`.
    pub(crate) fn pending<T>(
        &self,
        half: Half,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, TransportError>> {
        let mut state = self.lock();
        if let Some(end) = &state.end {
            return Poll::Ready(Err(end.to_error()));
        }
        match &mut state.wakers[half as usize] {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, FateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
