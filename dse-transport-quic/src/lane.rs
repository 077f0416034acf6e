//! Framing: a lane is a stream of frames, each its length as a little-endian u32 and
//! its bytes.

use std::future::poll_fn;
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use dse_core::transport::TransportError;
use quinn::{ReadError, RecvStream, SendStream, StoppedError, VarInt, WriteError};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::refusal::link_error;

/// A lane that is dropped has this long to deliver what it took.
const LINGER: Duration = Duration::from_secs(1);

/// What stands before each frame.
pub(crate) const LENGTH_BYTES: usize = 4;

/// Longer pieces are cut. `quinn` frees a piece only when it is acknowledged whole, so
/// one as long as its window would be sent in fits and starts.
const PIECE_BYTES: usize = 64 * 1024;

/// A receiver's buffer is of this size, unless a frame is longer.
const BUFFER_BYTES: usize = 64 * 1024;

/// A buffer grows ahead of a long frame's bytes by this much at most: what a peer
/// announces costs nothing until it sends it.
const GROWTH_BYTES: usize = 1024 * 1024;

/// A frame that is shorter than this part of the memory that it came in is copied out.
const SHARE: usize = 8;

/// How many pieces of packets are taken from a stream under one lock.
const CHUNKS_PER_READ: usize = 32;

pub(crate) fn put_length(out: &mut BytesMut, len: usize) {
    out.put_u32_le(len as u32);
}

/// The writing half of a lane.
///
/// What it takes is on its way with no further call: what the stream has no room for, a
/// task of its own writes, and until that is done the lane is not ready.
pub(crate) struct LaneWriter {
    state: Writing,
}

enum Writing {
    Ready(SendStream),
    Busy(Rest),
    Ended,
}

impl LaneWriter {
    pub(crate) fn new(stream: SendStream) -> Self {
        Self { state: Writing::Ready(stream) }
    }

    /// Ready when all that was taken is with the stream.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        match &mut self.state {
            Writing::Ready(_) => Poll::Ready(Ok(())),
            Writing::Busy(rest) => {
                let written = ready!(rest.poll_written(cx));
                self.state = Writing::Ended;
                self.state = Writing::Ready(written?);
                Poll::Ready(Ok(()))
            }
            Writing::Ended => Poll::Ready(Err(ended())),
        }
    }

    /// Takes pieces; the lane must be ready.
    pub(crate) fn write(
        &mut self,
        cx: &mut Context<'_>,
        pieces: Vec<Bytes>,
    ) -> Result<(), TransportError> {
        let Writing::Ready(mut stream) = mem::replace(&mut self.state, Writing::Ended) else {
            return Err(ended());
        };
        let mut pieces = cut(pieces);
        let written = match pin!(stream.write_chunks(&mut pieces)).poll(cx) {
            Poll::Ready(written) => written.map_err(|error| write_error(&error))?.chunks,
            Poll::Pending => 0,
        };
        self.state = if written == pieces.len() {
            Writing::Ready(stream)
        } else {
            pieces.drain(..written);
            Writing::Busy(Rest::spawn(stream, pieces))
        };
        Ok(())
    }

    /// Ends the stream; the lane must be ready. The future ends when the peer has
    /// acknowledged all of it.
    pub(crate) fn finish(
        &mut self,
    ) -> Result<
        impl Future<Output = Result<Option<VarInt>, StoppedError>> + Send + use<>,
        TransportError,
    > {
        let Writing::Ready(stream) = &mut self.state else {
            return Err(ended());
        };
        stream.finish().map_err(|_| ended())?;
        Ok(stream.stopped())
    }
}

impl Drop for LaneWriter {
    /// Ends the stream, and holds the connection until the peer has acknowledged that.
    /// `quinn` would close the connection at once, but with one packet that is sent only
    /// if congestion control allows for it at that moment, and never again if it is lost:
    /// the peer of a busy link would often not hear of its end.
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else { return };
        match mem::replace(&mut self.state, Writing::Ended) {
            Writing::Ready(stream) => {
                runtime.spawn(timeout(LINGER, deliver_end(stream)));
            }
            Writing::Busy(mut rest) => {
                runtime.spawn(timeout(LINGER, async move {
                    if let Ok(stream) = poll_fn(|cx| rest.poll_written(cx)).await {
                        deliver_end(stream).await;
                    }
                }));
            }
            Writing::Ended => {}
        }
    }
}

async fn deliver_end(mut stream: SendStream) {
    if stream.finish().is_ok() {
        // Acknowledged, not wanted or gone: there is nothing more to do for it.
        let _ = stream.stopped().await;
    }
}

/// Writes what the stream had no room for. Dropping it gives the rest up.
struct Rest {
    task: JoinHandle<Result<SendStream, WriteError>>,
}

impl Rest {
    fn spawn(mut stream: SendStream, mut pieces: Vec<Bytes>) -> Self {
        let task = tokio::spawn(async move {
            stream.write_all_chunks(&mut pieces).await?;
            Ok(stream)
        });
        Self { task }
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream, TransportError>> {
        Poll::Ready(match ready!(Pin::new(&mut self.task).poll(cx)) {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(write_error(&error)),
            Err(_) => Err(TransportError::Lost("the runtime is shutting down".to_owned())),
        })
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn cut(pieces: Vec<Bytes>) -> Vec<Bytes> {
    if pieces.iter().all(|piece| piece.len() <= PIECE_BYTES) {
        return pieces;
    }
    let mut cut = Vec::new();
    for mut piece in pieces {
        while piece.len() > PIECE_BYTES {
            cut.push(piece.split_to(PIECE_BYTES));
        }
        cut.push(piece);
    }
    cut
}

/// The reading half of a lane.
///
/// Takes what the stream has in large portions; long frames share the memory of the portion
/// that they came in.
pub(crate) struct LaneReader {
    stream: RecvStream,
    buffer: BytesMut,
    /// How long the memory is that the buffer is a part of, in bytes.
    portion: usize,
    name: &'static str,
    limit: usize,
}

impl LaneReader {
    /// Frames longer than `limit` are an error.
    pub(crate) fn new(stream: RecvStream, name: &'static str, limit: usize) -> Self {
        Self { stream, buffer: BytesMut::new(), portion: 0, name, limit }
    }

    /// The next frame.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, TransportError>> {
        loop {
            if let Some(frame) = self.buffered_frame()? {
                return Poll::Ready(Ok(frame));
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    /// The next frame, if all of it is here.
    pub(crate) fn buffered_frame(&mut self) -> Result<Option<Bytes>, TransportError> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes(*length) as usize;
        if len > self.limit {
            let (name, limit) = (self.name, self.limit);
            return Err(TransportError::Malformed(format!(
                "a {name} frame claims {len} bytes, more than the {limit} that it may have"
            )));
        }
        if self.buffer.len() < LENGTH_BYTES + len {
            let missing = LENGTH_BYTES + len - self.buffer.len();
            self.make_room(missing.min(GROWTH_BYTES), 0);
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.cut(len)))
    }

    /// Cuts a frame off the buffer. A short one that waits somewhere would hold on to far
    /// more than its length, by which it is counted there.
    fn cut(&mut self, len: usize) -> Bytes {
        if len < self.portion / SHARE {
            let frame = Bytes::copy_from_slice(&self.buffer[..len]);
            self.buffer.advance(len);
            return frame;
        }
        let frame = self.buffer.split_to(len).freeze();
        if self.portion > GROWTH_BYTES {
            // What comes behind a long frame is not to be cut from its memory.
            self.buffer = BytesMut::from(&self.buffer[..]);
            self.portion = self.buffer.capacity();
        }
        frame
    }

    /// Makes room for `len` bytes more, and if there is none, for at least `ahead`.
    fn make_room(&mut self, len: usize, ahead: usize) {
        if self.buffer.capacity() - self.buffer.len() < len {
            self.buffer.reserve(len.max(ahead));
            self.portion = self.buffer.capacity();
        }
    }

    /// Ready when something was added to the buffer.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let mut chunks = [const { Bytes::new() }; CHUNKS_PER_READ];
        let read = ready!(pin!(self.stream.read_chunks(&mut chunks)).poll(cx));
        let Some(count) = read.map_err(|error| read_error(&error))? else {
            return Poll::Ready(Err(self.end()));
        };
        let chunks = &chunks[..count];
        let len = chunks.iter().map(Bytes::len).sum::<usize>();
        self.make_room(len, BUFFER_BYTES);
        for chunk in chunks {
            self.buffer.put_slice(chunk);
        }
        Poll::Ready(Ok(()))
    }

    fn end(&self) -> TransportError {
        TransportError::Closed(if self.buffer.is_empty() {
            "the peer closed it".to_owned()
        } else {
            format!("the peer dropped it inside a {} frame", self.name)
        })
    }
}

fn ended() -> TransportError {
    TransportError::Closed("this lane was closed or has failed before".to_owned())
}

fn write_error(error: &WriteError) -> TransportError {
    match error {
        WriteError::ConnectionLost(error) => link_error(error),
        WriteError::Stopped(_) => TransportError::Closed("the peer dropped it".to_owned()),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => ended(),
    }
}

fn read_error(error: &ReadError) -> TransportError {
    match error {
        ReadError::ConnectionLost(error) => link_error(error),
        ReadError::Reset(_) => TransportError::Closed("the peer dropped it".to_owned()),
        other => TransportError::Lost(other.to_string()),
    }
}
