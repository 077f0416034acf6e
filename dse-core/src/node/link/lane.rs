//! The control lane and what is being sent on it.

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::{BEAT, PING, PONG};
use crate::transport::{ControlReceiver, ControlSender, TransportError};

/// Both halves of a control lane.
pub(super) struct Lane {
    sender: Box<dyn ControlSender>,
    pub(super) receiver: Box<dyn ControlReceiver>,
    /// What the transport has not taken yet; probe frames first.
    pub(super) sending: VecDeque<Bytes>,
    probes_in_front: usize,
    unflushed: bool,
    /// The ping, the pong and the beat that are due. A newer one takes the place of an
    /// older one, so that a peer that only pings cannot fill memory.
    pub(super) ping: Option<u8>,
    pub(super) pong: Option<u8>,
    /// In what time the next follows.
    pub(super) beat: Option<Duration>,
}

impl Lane {
    pub(super) fn new(sender: Box<dyn ControlSender>, receiver: Box<dyn ControlReceiver>) -> Self {
        Self {
            sender,
            receiver,
            sending: VecDeque::new(),
            probes_in_front: 0,
            unflushed: false,
            ping: None,
            pong: None,
            beat: None,
        }
    }

    /// Ready once all frames and probes are on their way.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, TransportError> {
        loop {
            self.queue_probes();
            if self.sending.is_empty() && !self.unflushed {
                return Ok(Poll::Ready(()));
            }
            let before = self.sending.len();
            let polled = self.sender.poll_send(cx, &mut self.sending);
            let taken = before - self.sending.len();
            self.probes_in_front = self.probes_in_front.saturating_sub(taken);
            match polled {
                Poll::Pending => {
                    self.unflushed = true;
                    return Ok(Poll::Pending);
                }
                Poll::Ready(sent) => sent?,
            }
            self.unflushed = false;
        }
    }

    /// Probes overtake the messages that wait. None is added while others stand before
    /// them, so that there are never more than three.
    fn queue_probes(&mut self) {
        if self.probes_in_front > 0 {
            return;
        }
        let ping = self.ping.take().map(|id| Bytes::copy_from_slice(&[PING, id]));
        let pong = self.pong.take().map(|id| Bytes::copy_from_slice(&[PONG, id]));
        let beat = self.beat.take().map(beat);
        for frame in [beat, ping, pong].into_iter().flatten() {
            self.sending.push_front(frame);
            self.probes_in_front += 1;
        }
    }

    /// Sends what waits and closes. What still comes in is read and dropped, since
    /// unread input makes some sockets reset the connection and lose what was sent.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut dropped = Vec::new();
        let mut batches = 0;
        while let Poll::Ready(received) = self.receiver.poll_recv(cx, &mut dropped) {
            if received.is_err() {
                return Poll::Ready(());
            }
            dropped.clear();
            batches += 1;
            if batches == BATCHES_A_TURN {
                cx.waker().wake_by_ref();
                break;
            }
        }
        match self.poll_flush(cx) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => self.sender.poll_close(cx).map(|_closed| ()),
            Err(_gone) => Poll::Ready(()),
        }
    }
}

/// A beat after which the next follows in this time.
fn beat(next: Duration) -> Bytes {
    let ms = u16::try_from(next.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
    let [high, low] = ms.to_be_bytes();
    Bytes::copy_from_slice(&[BEAT, high, low])
}

/// Most batches that are read and dropped before other tasks get their turn.
const BATCHES_A_TURN: usize = 16;
