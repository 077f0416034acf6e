//! Frames: records and payloads (PROTOCOL.md §9.1).

use alloc::vec::Vec;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::body::Body;
use super::frame_error::FrameError;
use super::headers::Headers;
use super::record::Payload;
use super::records::{Place, Records};

/// A unit on a data lane.
#[derive(Clone, Debug, Default, Hash)]
pub struct DataFrame {
    /// The records, without payloads.
    pub head: Bytes,
    /// The payloads.
    pub body: Body,
}

impl DataFrame {
    /// The length of the wire form, in bytes: the head's length as a little-endian u32,
    /// the head, the payloads.
    pub fn wire_len(&self) -> usize {
        4 + self.head.len() + self.body.len()
    }

    /// The wire form as pieces to be written in this order. Neighbours of less than `copy_below`
    /// bytes are copied together; larger ones are shared.
    pub fn into_wire(self, copy_below: usize) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        let mut piece = BytesMut::with_capacity(4 + self.head.len() + 1024);
        piece.put_u32_le(self.head.len() as u32);
        piece.put_slice(&self.head);
        for part in self.body.into_pieces() {
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
        Ok(Self { head, body: wire.into() })
    }

    /// The records, one after the other. Ends after the first error.
    pub fn records(&self) -> Records<'_> {
        self.records_from(self.start())
    }

    /// The place of the first record.
    pub(super) fn start(&self) -> Place {
        Place { head: 0, body: Payload { piece: 0, offset: 0, len: self.body.len() } }
    }

    /// The records from a place on where [`Records::place`] was before.
    pub(super) fn records_from(&self, place: Place) -> Records<'_> {
        Records::new(&self.head, self.body.pieces(), place)
    }

    /// A payload of one of its records.
    #[inline]
    pub fn payload(&self, payload: Payload) -> Bytes {
        let Payload { piece, offset, len } = payload;
        match self.body.pieces().get(piece) {
            Some(piece) if offset.saturating_add(len) <= piece.len() => {
                piece.slice(offset..offset + len)
            }
            _ => Bytes::new(),
        }
    }

    /// The same, as a copy where it would hold on to memory that is much larger than itself.
    pub(super) fn payload_alone(&self, payload: Payload) -> Bytes {
        let shared = self.payload(payload);
        match self.body.pieces().get(payload.piece) {
            Some(piece) if shared.len() * 4 < piece.len() => Bytes::copy_from_slice(&shared),
            _ => shared,
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
