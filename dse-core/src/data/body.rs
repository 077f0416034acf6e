//! The payloads of a frame (PROTOCOL.md §9.1).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

/// The payloads of a frame, behind each other in pieces of memory. Each payload lies in one.
#[derive(Clone, Debug, Hash)]
pub struct Body(Pieces);

/// Most frames have one, for which nothing is allocated.
#[derive(Clone, Debug, Hash)]
enum Pieces {
    One(Bytes),
    Several(Vec<Bytes>),
}

impl Default for Body {
    fn default() -> Self {
        Self(Pieces::Several(Vec::new()))
    }
}

impl From<Bytes> for Body {
    fn from(piece: Bytes) -> Self {
        Self(Pieces::One(piece))
    }
}

impl From<Vec<Bytes>> for Body {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self(Pieces::Several(pieces))
    }
}

impl Body {
    /// The length of all payloads together, in bytes.
    pub fn len(&self) -> usize {
        self.pieces().iter().map(Bytes::len).sum()
    }

    /// Is there not one byte?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces.
    pub fn pieces(&self) -> &[Bytes] {
        match &self.0 {
            Pieces::One(piece) => core::slice::from_ref(piece),
            Pieces::Several(pieces) => pieces,
        }
    }

    /// The pieces, to have them.
    pub fn into_pieces(self) -> Vec<Bytes> {
        match self.0 {
            Pieces::One(piece) => alloc::vec![piece],
            Pieces::Several(pieces) => pieces,
        }
    }
}

/// Payloads of less than this are copied together, in bytes: who frees many pieces on another
/// thread than they come from waits for it at each of them.
const COPY_BELOW: usize = 2048;

/// What is allocated at a time for payloads that are copied, in bytes.
const COPIES_BYTES: core::ops::RangeInclusive<usize> = 1024..=64 * 1024;

/// How much memory of former frames is used again, once nobody holds them any more, in pieces of
/// 64 KiB: to give it back from another thread and to get new one costs more than the copies.
const SPARE_PIECES: usize = 8;

/// Collects the payloads of a frame.
#[derive(Debug, Default)]
pub(super) struct BodyWriter {
    /// The first, as long as it is alone: it is not copied.
    first: Option<Bytes>,
    /// What came next, but the copies at the end.
    pieces: Vec<Bytes>,
    copies: BytesMut,
    len: usize,
    /// What is left of full pieces of copies, the oldest first.
    spare: VecDeque<BytesMut>,
}

impl BodyWriter {
    /// Length of the payloads so far, in bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends a payload.
    #[inline]
    pub(super) fn push(&mut self, payload: &Bytes) {
        self.len += payload.len();
        if self.len == payload.len() && self.first.is_none() && self.pieces.is_empty() {
            self.first = Some(payload.clone());
            return;
        }
        if let Some(first) = self.first.take() {
            self.add(&first);
        }
        self.add(payload);
    }

    fn add(&mut self, payload: &Bytes) {
        if payload.len() >= COPY_BELOW {
            self.end_copies();
            self.pieces.push(payload.clone());
            return;
        }
        if self.copies.capacity() - self.copies.len() < payload.len() {
            self.end_copies();
            self.copies = self.memory(payload.len());
        }
        self.copies.put_slice(payload);
    }

    /// Memory for copies: as much as the frame has so far, within bounds.
    fn memory(&mut self, least: usize) -> BytesMut {
        let (fewest, most) = COPIES_BYTES.into_inner();
        if let Some(mut spare) = self.spare.pop_front() {
            if spare.try_reclaim(most) {
                return spare;
            }
            // Somebody keeps a payload in it.
            self.keep(spare);
        }
        BytesMut::with_capacity(self.len.clamp(fewest.max(least), most))
    }

    /// What is copied next lies in another piece.
    fn end_copies(&mut self) {
        if !self.copies.is_empty() {
            let copies = self.take_copies();
            self.pieces.push(copies);
        }
    }

    fn take_copies(&mut self) -> Bytes {
        let mut copies = core::mem::take(&mut self.copies);
        let is_large = copies.capacity() >= *COPIES_BYTES.end();
        let taken = match copies.len() * 4 < copies.capacity() {
            // Who keeps one of them would keep all of the memory.
            true => Bytes::copy_from_slice(&copies),
            false => copies.split().freeze(),
        };
        if is_large {
            copies.clear();
            self.keep(copies);
        }
        taken
    }

    fn keep(&mut self, memory: BytesMut) {
        if self.spare.len() == SPARE_PIECES {
            self.spare.pop_front();
        }
        self.spare.push_back(memory);
    }

    /// The body; the writer is empty then.
    pub(super) fn take(&mut self) -> Body {
        if core::mem::take(&mut self.len) < *COPIES_BYTES.end() {
            self.spare.clear();
        }
        if let Some(first) = self.first.take() {
            return first.into();
        }
        if self.pieces.is_empty() {
            return self.take_copies().into();
        }
        self.end_copies();
        core::mem::take(&mut self.pieces).into()
    }
}
