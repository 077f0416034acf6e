//! A link: two lanes, each with a sending and a receiving half.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use dse_core::data::DataFrame;
use dse_core::transport::{
    CONTROL_FRAME_BYTES, ControlReceiver, ControlSender, DATA_FRAME_BYTES, DataReceiver,
    DataSender, Link, Received, TransportError,
};

use crate::fate::{Fate, Half};
use crate::inbox::Inbox;
use crate::lanes::{Reader, Writer};
use crate::outlet::Outlet;
use crate::wire::{self, FRAMES_PER_MESSAGE, Kind, Lane, MESSAGE_BYTES};

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
    let writer =
        |lane, half, outlet| Writer::new(lane, half, sockets.nonce, outlet, Arc::clone(&fate));
    let reader = |half, inbox| Reader::new(half, inbox, Arc::clone(&fate));
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
        while let Some(first) = frames.front() {
            if first.len() > CONTROL_FRAME_BYTES {
                return Poll::Ready(Err(too_long("control", first.len(), CONTROL_FRAME_BYTES)));
            }
            self.writer.send(Kind::Frames, take_message(frames));
            ready!(self.writer.poll_idle(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.writer.poll_close(cx)
    }
}

fn too_long(lane: &'static str, len: usize, limit: usize) -> TransportError {
    TransportError::TooLong { lane, len, limit }
}

/// As many frames from the front as fit into a message; the first does.
fn take_message(frames: &mut VecDeque<Bytes>) -> Vec<Bytes> {
    let mut bytes = 0;
    let count = frames
        .iter()
        .take(FRAMES_PER_MESSAGE)
        .take_while(|frame| {
            bytes += frame.len();
            bytes <= MESSAGE_BYTES && frame.len() <= CONTROL_FRAME_BYTES
        })
        .count();
    frames.drain(..count).collect()
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
        let Poll::Ready(message) = self.reader.poll_message(cx) else {
            let suspicious = self.reader.take_suspicion();
            return if suspicious { Poll::Ready(Ok(Received::Hint)) } else { Poll::Pending };
        };
        let message = message?;
        Poll::Ready(match message.kind {
            Kind::Frames => match wire::check_frames(&message.parts) {
                Ok(()) => {
                    into.extend(message.parts);
                    Ok(Received::Frames)
                }
                Err(why) => Err(self.reader.malformed(why)),
            },
            Kind::Bye => Err(self.reader.closed()),
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
        if let Some(frame) = frame.take_if(|frame| frame.wire_len() <= DATA_FRAME_BYTES) {
            self.writer.send(Kind::Data, wire::split_frame(frame));
        }
        Poll::Ready(match frame {
            Some(long) => Err(too_long("data", long.wire_len(), DATA_FRAME_BYTES)),
            None => Ok(()),
        })
    }
}

struct ZmqDataReceiver {
    reader: Reader,
}

impl DataReceiver for ZmqDataReceiver {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<DataFrame, TransportError>> {
        let message = ready!(self.reader.poll_message(cx))?;
        let frame = match message.kind {
            Kind::Data => wire::join_frame(message.parts),
            other => Err(format!("{other:?} on the data lane")),
        };
        Poll::Ready(frame.map_err(|why| self.reader.malformed(why)))
    }
}
