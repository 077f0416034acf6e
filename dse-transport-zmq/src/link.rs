//! A link: two lanes, each with a sending and a receiving half.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use dse_core::data::DataFrame;
use dse_core::transport::{
    ControlReceiver, ControlSender, DataReceiver, DataSender, Link, Received, TransportError,
};
use tokio::task::JoinHandle;
use zeromq::ZmqError;

use crate::inbox::{Inbox, LaneEnd};
use crate::outlet::{Outlet, Upstream};
use crate::wire::{self, FRAMES_PER_MESSAGE, Kind, Lane, MESSAGE_BYTES, Message};

/// The sockets of one side, once both sides are up.
pub(crate) struct Sockets {
    /// What this side calls itself in its messages.
    pub(crate) nonce: u64,
    pub(crate) control_outlet: Outlet,
    pub(crate) control_inbox: Inbox,
    pub(crate) data_outlet: Outlet,
    pub(crate) data_inbox: Inbox,
}

/// Makes a link of them. `remote` is the peer as logs name it.
pub(crate) fn link(remote: String, sockets: Sockets) -> Link {
    let fate = Arc::new(Fate::default());
    let writer = |lane, half, outlet| Writer {
        lane,
        half,
        nonce: sockets.nonce,
        // The Dial was message 0.
        next_sequence: 1,
        outgoing: Outgoing::Idle(outlet),
        fate: Arc::clone(&fate),
    };
    let reader = |half, inbox| Reader { half, inbox, ended: false, fate: Arc::clone(&fate) };
    Link {
        remote,
        identity: None,
        control_sender: Box::new(ZmqControlSender {
            writer: writer(Lane::Control, Half::ControlSender, sockets.control_outlet),
        }),
        control_receiver: Box::new(ZmqControlReceiver {
            reader: reader(Half::ControlReceiver, sockets.control_inbox),
        }),
        data_sender: Box::new(ZmqDataSender {
            writer: writer(Lane::Data, Half::DataSender, sockets.data_outlet),
        }),
        data_receiver: Box::new(ZmqDataReceiver {
            reader: reader(Half::DataReceiver, sockets.data_inbox),
        }),
    }
}

/// What the four halves of a link share: that they end together.
#[derive(Default)]
struct Fate {
    state: Mutex<FateState>,
}

#[derive(Default)]
struct FateState {
    end: Option<End>,
    wakers: [Option<Waker>; 4],
}

/// Which half waits.
#[derive(Clone, Copy)]
enum Half {
    ControlSender,
    ControlReceiver,
    DataSender,
    DataReceiver,
}

/// Why a link ended.
#[derive(Clone)]
enum End {
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
    fn end(&self, end: End) -> TransportError {
        let mut state = self.lock();
        for waker in state.wakers.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
        state.end.get_or_insert(end).to_error()
    }

    fn check(&self) -> Result<(), TransportError> {
        self.lock().end.as_ref().map_or(Ok(()), |end| Err(end.to_error()))
    }

    /// To be returned where nothing can be done: the link's end will wake `half`.
    fn pending<T>(&self, half: Half, cx: &mut Context<'_>) -> Poll<Result<T, TransportError>> {
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

/// Sends the messages of a lane, one at a time.
struct Writer {
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
    /// Ready when the next message can be sent.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
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
    fn send(&mut self, kind: Kind, parts: Vec<Bytes>) {
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
            Poll::Pending => Outgoing::Busy(tokio::spawn(finish(sending, Arc::clone(&self.fate)))),
        };
    }

    fn message(&mut self, kind: Kind, parts: Vec<Bytes>) -> Message {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Message { kind, nonce: self.nonce, sequence, parts }
    }
}

/// Waits for a send, and ends the link if it takes too long.
async fn finish(
    sending: impl Future<Output = Result<Outlet, ZmqError>>,
    fate: Arc<Fate>,
) -> Option<Outlet> {
    let why = match tokio::time::timeout(SEND_TIMEOUT, sending).await {
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
struct Reader {
    half: Half,
    inbox: Inbox,
    ended: bool,
    fate: Arc<Fate>,
}

impl Reader {
    /// The next message. What came in before the link ended is still given out.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, TransportError>> {
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

    fn malformed(&mut self, why: String) -> TransportError {
        self.end(End::Malformed(why))
    }

    fn end(&mut self, end: End) -> TransportError {
        self.ended = true;
        self.fate.end(end)
    }
}

struct ZmqControlSender {
    writer: Writer,
}

impl ControlSender for ZmqControlSender {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        frames: &mut VecDeque<Bytes>,
    ) -> Poll<Result<(), TransportError>> {
        ready!(self.writer.poll_idle(cx))?;
        while !frames.is_empty() {
            self.writer.send(Kind::Frames, take_message(frames));
            ready!(self.writer.poll_idle(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let writer = &mut self.writer;
        if !matches!(writer.outgoing, Outgoing::Closing(_)) {
            ready!(writer.poll_idle(cx))?;
            let Outgoing::Idle(outlet) = std::mem::replace(&mut writer.outgoing, Outgoing::Over)
            else {
                return Poll::Ready(Ok(()));
            };
            let bye = writer.message(Kind::Bye, Vec::new());
            writer.outgoing = Outgoing::Closing(Box::pin(say_goodbye(outlet, bye)));
        }
        if let Outgoing::Closing(closing) = &mut writer.outgoing
            && closing.as_mut().poll(cx).is_pending()
        {
            // The peer answers a Bye by closing the link too: also an end.
            return match writer.fate.pending(writer.half, cx) {
                Poll::Ready(Err(TransportError::Closed(_))) => Poll::Ready(Ok(())),
                other => other,
            };
        }
        Poll::Ready(Ok(()))
    }
}

/// As many frames from the front as fit into a message; at least one.
fn take_message(frames: &mut VecDeque<Bytes>) -> Vec<Bytes> {
    let mut bytes = 0;
    let count = frames
        .iter()
        .take(FRAMES_PER_MESSAGE)
        .take_while(|frame| {
            bytes += frame.len();
            bytes <= MESSAGE_BYTES
        })
        .count();
    frames.drain(..count.max(1)).collect()
}

/// Says `Bye` and waits until the peer has read it. An error means that this cannot be
/// known any more.
async fn say_goodbye(outlet: Outlet, bye: Message) {
    let Ok(mut outlet) = outlet.send(bye.encode(Lane::Control)).await else { return };
    while let Ok(word) = outlet.upstream().await {
        if matches!(word, Upstream::Unsubscribed) {
            return;
        }
    }
}

struct ZmqControlReceiver {
    reader: Reader,
}

impl ControlReceiver for ZmqControlReceiver {
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut Vec<Bytes>,
    ) -> Poll<Result<Received, TransportError>> {
        let message = ready!(self.reader.poll_message(cx))?;
        Poll::Ready(match message.kind {
            Kind::Frames => match wire::check_frames(&message.parts) {
                Ok(()) => {
                    into.extend(message.parts);
                    Ok(Received::Frames)
                }
                Err(why) => Err(self.reader.malformed(why)),
            },
            Kind::Bye => {
                self.reader.inbox.unsubscribe();
                Err(self.reader.end(End::Closed("the peer closed it".to_owned())))
            }
            other => Err(self.reader.malformed(format!("{other:?} on the control lane"))),
        })
    }
}

struct ZmqDataSender {
    writer: Writer,
}

impl DataSender for ZmqDataSender {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        frame: &mut Option<DataFrame>,
    ) -> Poll<Result<(), TransportError>> {
        ready!(self.writer.poll_idle(cx))?;
        if let Some(frame) = frame.take() {
            match wire::split_frame(frame) {
                Ok((kind, parts)) => self.writer.send(kind, parts),
                Err(why) => return Poll::Ready(Err(self.writer.fate.end(End::Malformed(why)))),
            }
        }
        Poll::Ready(Ok(()))
    }
}

struct ZmqDataReceiver {
    reader: Reader,
}

impl DataReceiver for ZmqDataReceiver {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<DataFrame, TransportError>> {
        let message = ready!(self.reader.poll_message(cx))?;
        let frame = match message.kind {
            Kind::Whole | Kind::Parts => wire::join_frame(message.kind, message.parts),
            other => Err(format!("{other:?} on the data lane")),
        };
        Poll::Ready(frame.map_err(|why| self.reader.malformed(why)))
    }
}

/// How long a send may take. A peer that takes nothing for so long is stopped or cut
/// off, and the message that it holds up cannot be taken back from the socket.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
