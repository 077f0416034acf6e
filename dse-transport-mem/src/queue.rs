//! A queue of frames, bounded by their bytes: one direction of one lane.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::task::coop;

/// What a frame counts beside its bytes, so that empty ones are bounded too.
const FRAME_OVERHEAD_BYTES: usize = 64;

/// A queue that holds at most `limit` bytes, or one frame.
pub(crate) fn queue<T>(limit: usize) -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(Queue {
        state: Mutex::new(State {
            frames: VecDeque::new(),
            bytes: 0,
            limit,
            sender: Side::default(),
            receiver: Side::default(),
        }),
    });
    (Sender { queue: queue.clone() }, Receiver { queue })
}

/// The other side is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// Puts frames in. Dropping it lets the other side read the rest.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    queue: Arc<Queue<T>>,
}

impl<T> Sender<T> {
    /// Takes the frame, of `len` bytes, if there is room.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        frame: &mut Option<T>,
        len: usize,
    ) -> Poll<Result<(), Gone>> {
        let turn = ready!(coop::poll_proceed(cx));
        let mut state = self.queue.state();
        if state.receiver.gone || state.sender.gone {
            return Poll::Ready(Err(Gone));
        }
        let cost = len + FRAME_OVERHEAD_BYTES;
        if state.bytes + cost > state.limit && !state.frames.is_empty() {
            state.sender.park(cx);
            return Poll::Pending;
        }
        turn.made_progress();
        if let Some(frame) = frame.take() {
            state.bytes += cost;
            state.frames.push_back((frame, cost));
        }
        let receiver = state.receiver.waker.take();
        drop(state);
        wake(receiver);
        Poll::Ready(Ok(()))
    }

    /// Ends the queue. Ready once the other side has read all, or is gone.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut state = self.queue.state();
        state.sender.gone = true;
        let receiver = state.receiver.waker.take();
        let outcome = match (state.receiver.gone, state.frames.is_empty()) {
            (_, true) => Poll::Ready(Ok(())),
            (true, false) => Poll::Ready(Err(Gone)),
            (false, false) => {
                state.sender.park(cx);
                Poll::Pending
            }
        };
        drop(state);
        wake(receiver);
        outcome
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.sender.gone = true;
        let receiver = state.receiver.waker.take();
        drop(state);
        wake(receiver);
    }
}

/// Takes frames out. Dropping it drops what was not taken.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    queue: Arc<Queue<T>>,
}

impl<T> Receiver<T> {
    /// The next frame. [`Gone`] once the sender is and all was read.
    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Gone>> {
        let turn = ready!(coop::poll_proceed(cx));
        let mut state = self.queue.state();
        let Some((frame, cost)) = state.frames.pop_front() else {
            if state.sender.gone {
                return Poll::Ready(Err(Gone));
            }
            state.receiver.park(cx);
            return Poll::Pending;
        };
        turn.made_progress();
        state.bytes -= cost;
        // A sender that is woken for each frame would sleep again after each.
        let sender = if state.bytes <= state.limit / 2 { state.sender.waker.take() } else { None };
        drop(state);
        wake(sender);
        Poll::Ready(Ok(frame))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.receiver.gone = true;
        let frames = std::mem::take(&mut state.frames);
        let sender = state.sender.waker.take();
        drop(state);
        wake(sender);
        drop(frames);
    }
}

#[derive(Debug)]
struct Queue<T> {
    state: Mutex<State<T>>,
}

impl<T> Queue<T> {
    /// Nothing panics while it holds the lock, so the state is never left broken.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct State<T> {
    /// With what each counts.
    frames: VecDeque<(T, usize)>,
    bytes: usize,
    limit: usize,
    sender: Side,
    receiver: Side,
}

/// One side of a queue.
#[derive(Debug, Default)]
struct Side {
    gone: bool,
    /// Whom to wake when it can go on.
    waker: Option<Waker>,
}

impl Side {
    fn park(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A queue with room for two frames of 36 bytes.
    struct Trial {
        sender: Option<Sender<u32>>,
        receiver: Option<Receiver<u32>>,
        wakes: Arc<Wakes>,
    }

    impl Trial {
        fn new() -> Self {
            let (sender, receiver) = queue(200);
            Self { sender: Some(sender), receiver: Some(receiver), wakes: Arc::default() }
        }

        fn send(&mut self, frame: u32) -> Poll<Result<(), Gone>> {
            let waker = self.wakes.clone().into();
            let sender = self.sender.as_mut().expect("not dropped");
            sender.poll_send(&mut Context::from_waker(&waker), &mut Some(frame), 36)
        }

        fn close(&mut self) -> Poll<Result<(), Gone>> {
            let waker = self.wakes.clone().into();
            let sender = self.sender.as_mut().expect("not dropped");
            sender.poll_close(&mut Context::from_waker(&waker))
        }

        fn recv(&mut self) -> Poll<Result<u32, Gone>> {
            let waker = self.wakes.clone().into();
            let receiver = self.receiver.as_mut().expect("not dropped");
            receiver.poll_recv(&mut Context::from_waker(&waker))
        }

        fn wakes(&self) -> usize {
            self.wakes.0.swap(0, Ordering::Relaxed)
        }
    }

    #[test]
    fn a_full_queue_holds_the_sender_up_until_half_is_read() {
        let mut trial = Trial::new();
        assert_eq!(trial.send(1), Poll::Ready(Ok(())));
        assert_eq!(trial.send(2), Poll::Ready(Ok(())));
        assert_eq!(trial.send(3), Poll::Pending);
        assert_eq!(trial.wakes(), 0);
        assert_eq!(trial.recv(), Poll::Ready(Ok(1)));
        assert_eq!(trial.wakes(), 1);
        assert_eq!(trial.send(3), Poll::Ready(Ok(())));
    }

    #[test]
    fn a_frame_larger_than_the_queue_goes_alone() {
        let (mut sender, _receiver) = queue(200);
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(sender.poll_send(&mut cx, &mut Some(1), 5000), Poll::Ready(Ok(())));
        let mut frame = Some(2);
        assert_eq!(sender.poll_send(&mut cx, &mut frame, 0), Poll::Pending);
        assert_eq!(frame, Some(2));
    }

    #[test]
    fn an_empty_queue_wakes_the_receiver_once_a_frame_comes() {
        let mut trial = Trial::new();
        assert_eq!(trial.recv(), Poll::Pending);
        assert_eq!(trial.send(1), Poll::Ready(Ok(())));
        assert_eq!(trial.send(2), Poll::Ready(Ok(())));
        assert_eq!(trial.wakes(), 1);
    }

    #[test]
    fn what_was_sent_is_read_after_the_sender_is_gone() {
        let mut trial = Trial::new();
        assert_eq!(trial.send(1), Poll::Ready(Ok(())));
        trial.sender = None;
        assert_eq!(trial.recv(), Poll::Ready(Ok(1)));
        assert_eq!(trial.recv(), Poll::Ready(Err(Gone)));
    }

    #[test]
    fn a_receiver_that_goes_frees_and_wakes_the_sender() {
        let mut trial = Trial::new();
        assert_eq!(trial.send(1), Poll::Ready(Ok(())));
        assert_eq!(trial.send(2), Poll::Ready(Ok(())));
        assert_eq!(trial.send(3), Poll::Pending);
        trial.receiver = None;
        assert_eq!(trial.wakes(), 1);
        assert_eq!(trial.send(3), Poll::Ready(Err(Gone)));
    }

    #[test]
    fn closing_waits_for_the_reader() {
        let mut trial = Trial::new();
        assert_eq!(trial.send(1), Poll::Ready(Ok(())));
        assert_eq!(trial.close(), Poll::Pending);
        assert_eq!(trial.recv(), Poll::Ready(Ok(1)));
        assert_eq!(trial.wakes(), 1);
        assert_eq!(trial.close(), Poll::Ready(Ok(())));
        assert_eq!(trial.recv(), Poll::Ready(Err(Gone)));
        assert_eq!(trial.send(2), Poll::Ready(Err(Gone)));
    }
}
