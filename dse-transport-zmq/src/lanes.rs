//! The two ends of a lane, as parts of a link.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use dse_core::transport::TransportError;
use tokio::task::JoinHandle;
use zeromq::{ZmqError, ZmqMessage};

use crate::fate::{End, Fate, Half};
use crate::inbox::{Inbox, LaneEnd};
use crate::outlet::{Outlet, Upstream};
use crate::wire::{Kind, Lane, Message};

/// Sends the messages of a lane, one at a time.
pub(crate) struct Writer {
    lane: Lane,
    half: Half,
    nonce: u64,
    next_sequence: u64,
    outgoing: Outgoing,
    fate: Arc<Fate>,
}

enum Outgoing {
    /// All is sent.
    Idle(Outlet),
    /// The socket's buffer is full; a task waits for room. It returns none once it has
    /// ended the link.
    Busy(JoinHandle<Option<Outlet>>),
    /// The last message is sent; waiting for its receipt.
    Closing(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// No socket any more.
    Over,
}

impl Writer {
    pub(crate) fn new(lane: Lane, half: Half, nonce: u64, outlet: Outlet, fate: Arc<Fate>) -> Self {
        // The Dial was message 0.
        Self { lane, half, nonce, next_sequence: 1, outgoing: Outgoing::Idle(outlet), fate }
    }

    /// Ready when the next message can be sent.
    pub(crate) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.fate.check()?;
        if let Outgoing::Busy(task) = &mut self.outgoing {
            let Poll::Ready(outlet) = Pin::new(task).poll(cx) else {
                return self.fate.pending(self.half, cx);
            };
            self.outgoing = match outlet {
                Ok(Some(outlet)) => Outgoing::Idle(outlet),
                Ok(None) | Err(_) => Outgoing::Over,
            };
        }
        Poll::Ready(match &self.outgoing {
            Outgoing::Idle(_) => Ok(()),
            _ => Err(self.fate.end(End::Lost("its socket is closed".to_owned()))),
        })
    }

    /// Sends a message, at once if the socket has room; to be called when idle. A task
    /// takes over otherwise: what was accepted goes out without further polls.
    pub(crate) fn send(&mut self, kind: Kind, parts: Vec<Bytes>) {
        let Outgoing::Idle(outlet) = std::mem::replace(&mut self.outgoing, Outgoing::Over) else {
            return;
        };
        let mut sending = Box::pin(outlet.send(self.message(kind, parts).encode(self.lane)));
        self.outgoing = match sending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(outlet)) => Outgoing::Idle(outlet),
            Poll::Ready(Err(error)) => {
                self.fate.end(End::Lost(error.to_string()));
                Outgoing::Over
            }
            Poll::Pending => {
                Outgoing::Busy(tokio::spawn(finish(self.lane, sending, Arc::clone(&self.fate))))
            }
        };
    }

    /// Says `Bye`, and is ready once the peer has read it or the link has ended.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if !matches!(self.outgoing, Outgoing::Closing(_)) {
            ready!(self.poll_idle(cx))?;
            let Outgoing::Idle(outlet) = std::mem::replace(&mut self.outgoing, Outgoing::Over)
            else {
                return Poll::Ready(Ok(()));
            };
            let bye = self.message(Kind::Bye, Vec::new()).encode(self.lane);
            self.outgoing = Outgoing::Closing(Box::pin(say_goodbye(outlet, bye)));
        }
        if let Outgoing::Closing(closing) = &mut self.outgoing
            && closing.as_mut().poll(cx).is_pending()
        {
            // The peer answers a Bye by closing the link too: also an end.
            return match self.fate.pending(self.half, cx) {
                Poll::Ready(Err(TransportError::Closed(_))) => Poll::Ready(Ok(())),
                other => other,
            };
        }
        self.outgoing = Outgoing::Over;
        Poll::Ready(Ok(()))
    }

    fn message(&mut self, kind: Kind, parts: Vec<Bytes>) -> Message {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Message { kind, nonce: self.nonce, sequence, parts }
    }
}

/// Says `Bye` and waits until the peer has read it. An error means that this cannot be
/// known any more.
async fn say_goodbye(outlet: Outlet, bye: ZmqMessage) {
    let Ok(mut outlet) = outlet.send(bye).await else { return };
    while let Ok(word) = outlet.upstream().await {
        if matches!(word, Upstream::Unsubscribed) {
            return;
        }
    }
}

/// Waits for a send. If it takes too long the link ends. Before that a stalled data lane
/// makes the peer suspect. A stalled control lane does not: no probe could pass it, and
/// a peer that is busy would be taken for dead.
async fn finish(
    lane: Lane,
    mut sending: impl Future<Output = Result<Outlet, ZmqError>> + Unpin,
    fate: Arc<Fate>,
) -> Option<Outlet> {
    let mut sent = tokio::time::timeout(SEND_STALLED, &mut sending).await;
    if sent.is_err() {
        if lane == Lane::Data {
            fate.suspect();
        }
        sent = tokio::time::timeout(SEND_TIMEOUT - SEND_STALLED, sending).await;
    }
    let why = match sent {
        Ok(Ok(outlet)) => return Some(outlet),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the peer took nothing for {} s", SEND_TIMEOUT.as_secs()),
    };
    fate.end(End::Lost(why));
    None
}

impl Drop for Writer {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.outgoing, Outgoing::Over) {
            Outgoing::Busy(task) => task.abort(),
            // So that the peer can tell a dropped link from a crash. If it does not fit
            // into the socket's buffer at once, the closing socket has to do.
            Outgoing::Idle(outlet) if self.lane == Lane::Control && self.fate.check().is_ok() => {
                let bye = self.message(Kind::Bye, Vec::new()).encode(self.lane);
                let mut sending = Box::pin(outlet.send(bye));
                let _ = sending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            }
            _ => {}
        }
    }
}

/// Receives the messages of a lane.
pub(crate) struct Reader {
    half: Half,
    inbox: Inbox,
    ended: bool,
    fate: Arc<Fate>,
}

impl Reader {
    pub(crate) fn new(half: Half, inbox: Inbox, fate: Arc<Fate>) -> Self {
        Self { half, inbox, ended: false, fate }
    }

    /// The next message. What came in before the link ended is still given out.
    pub(crate) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Message, TransportError>> {
        if self.ended {
            return self.fate.pending(self.half, cx);
        }
        match self.inbox.poll_message(cx) {
            Poll::Ready(Ok(message)) => Poll::Ready(Ok(message)),
            Poll::Ready(Err(LaneEnd::Gone(why))) => Poll::Ready(Err(self.end(End::Lost(why)))),
            Poll::Ready(Err(LaneEnd::Broken(why))) => Poll::Ready(Err(self.malformed(why))),
            Poll::Pending => self.fate.pending(self.half, cx),
        }
    }

    /// The peer has said `Bye`.
    pub(crate) fn closed(&mut self) -> TransportError {
        self.inbox.unsubscribe();
        self.end(End::Closed("the peer closed it".to_owned()))
    }

    /// Did a send stall since the last call?
    pub(crate) fn take_suspicion(&self) -> bool {
        self.fate.take_suspicion()
    }

    /// The peer broke the format, in the way that is said.
    pub(crate) fn malformed(&mut self, why: String) -> TransportError {
        self.end(End::Malformed(why))
    }

    fn end(&mut self, end: End) -> TransportError {
        self.ended = true;
        self.fate.end(end)
    }
}

/// A data frame that takes this long starts a probe, whose verdict comes soon.
const SEND_STALLED: Duration = Duration::from_secs(1);
/// How long a send may take, even if the peer answers probes. A message that is held up
/// cannot be taken back from the socket.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
