//! Frames: records and payloads (PROTOCOL.md §9.1).

use alloc::vec::Vec;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::frame_error::FrameError;
use super::headers::Headers;
use super::record::{Payload, Samples};
use super::records::{Place, Records};

/// A unit on a data lane.
#[derive(Clone, Debug, Default, Hash)]
pub struct DataFrame {
    /// The records, without payloads.
    pub head: Bytes,
    /// The payloads.
    pub body: Body,
}

/// The payloads of a frame.
#[derive(Clone, Debug, Hash)]
pub enum Body {
    /// One for each record that owns payload, as the publishers gave them.
    Parts(Vec<Bytes>),
    /// All behind each other, as a transport received them.
    Whole(Bytes),
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl Body {
    /// The length of all payloads together, in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Parts(parts) => parts.iter().map(Bytes::len).sum(),
            Self::Whole(whole) => whole.len(),
        }
    }

    /// Is there not one byte?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl DataFrame {
    /// The length of the wire form, in bytes: the head's length as a little-endian u32,
    /// the head, the payloads.
    pub fn wire_len(&self) -> usize {
        4 + self.head.len() + self.body.len()
    }

    /// The wire form as pieces to be written in this order. Neighbouring payloads of
    /// less than `copy_below` bytes are copied together; larger ones are shared.
    pub fn into_wire(self, copy_below: usize) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        let mut piece = BytesMut::with_capacity(4 + self.head.len() + 1024);
        piece.put_u32_le(self.head.len() as u32);
        piece.put_slice(&self.head);
        let parts = match self.body {
            Body::Parts(parts) => parts,
            Body::Whole(whole) => alloc::vec![whole],
        };
        for part in parts {
            if part.len() < copy_below {
                piece.put_slice(&part);
            } else {
                if !piece.is_empty() {
                    pieces.push(piece.split().freeze());
                }
                pieces.push(part);
            }
        }
        if !piece.is_empty() {
            pieces.push(piece.freeze());
        }
        pieces
    }

    /// Reads the wire form back; payloads share its memory.
    ///
    /// # Errors
    /// The wire form is shorter than its head.
    pub fn from_wire(mut wire: Bytes) -> Result<Self, FrameError> {
        if wire.len() < 4 {
            return Err(FrameError::Truncated);
        }
        let head_len = wire.get_u32_le() as usize;
        if wire.len() < head_len {
            return Err(FrameError::Truncated);
        }
        let head = wire.split_to(head_len);
        Ok(Self { head, body: Body::Whole(wire) })
    }

    /// The records, one after the other. Ends after the first error.
    pub fn records(&self) -> Records<'_> {
        self.records_from(Place::default())
    }

    /// The records from a place on where [`Records::place`] was before.
    pub(super) fn records_from(&self, place: Place) -> Records<'_> {
        match &self.body {
            Body::Parts(parts) => Records::new(&self.head, Some(parts), 0, place),
            Body::Whole(whole) => Records::new(&self.head, None, whole.len(), place),
        }
    }

    /// Can all samples of one of its records be read?
    ///
    /// # Errors
    /// They cannot.
    pub(super) fn check(&self, samples: &Samples<'_>) -> Result<(), FrameError> {
        match &self.body {
            Body::Parts(parts) => {
                let parts = parts.get(samples.payload.index..).unwrap_or_default();
                let len = |place: usize| parts.get(place).map(Bytes::len);
                samples.check(|place, wanted| len(place) == Some(wanted))
            }
            // That all of it is there was seen when the record was read.
            Body::Whole(_) => samples.check(|_, _| true),
        }
    }

    /// A payload of one of its records.
    pub fn payload(&self, payload: Payload) -> Bytes {
        match &self.body {
            Body::Parts(parts) => parts.get(payload.index).cloned().unwrap_or_default(),
            Body::Whole(whole) => {
                let end = payload.offset.saturating_add(payload.len);
                if end <= whole.len() { whole.slice(payload.offset..end) } else { Bytes::new() }
            }
        }
    }

    /// Headers that stand encoded in its head.
    pub fn headers(&self, encoded: &[u8]) -> Headers {
        if encoded.is_empty() {
            return Headers::new();
        }
        Headers::from_encoded(Bytes::copy_from_slice(encoded))
    }
}
