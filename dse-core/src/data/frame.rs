//! Frames: how records are written and read.

use alloc::vec::Vec;
use core::str;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::record::{Begin, Credit, End, EndReason, Record, Sample, Skip};
use crate::protocol::{Incarnation, Key, Kind};

/// A unit on a data lane.
#[derive(Clone, Debug, Default)]
pub struct DataFrame {
    /// The records, without payloads.
    pub head: Bytes,
    /// The payloads.
    pub body: Body,
}

/// The payloads of a frame.
#[derive(Clone, Debug)]
pub enum Body {
    /// One for each sample, as the publishers gave them.
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
    pub fn records(self) -> Records {
        let body = match self.body {
            Body::Parts(parts) => Payloads::Parts(parts.into_iter()),
            Body::Whole(whole) => Payloads::Whole(whole),
        };
        Records { head: self.head, at: 0, body, time_ns: 0 }
    }
}

const BEGIN: u8 = 1;
const SAMPLE: u8 = 2;
const SKIP: u8 = 3;
const END: u8 = 4;
const CREDIT: u8 = 5;

/// Longest record of a sample: five bytes of the alias and ten of each other number.
const SAMPLE_BYTES: usize = 1 + 5 + 3 * 10;

/// What is allocated for heads at a time, so that the small ones share it.
const HEADS_BYTES: usize = 1024;

/// Collects records into a frame.
#[derive(Debug)]
pub struct FrameWriter {
    head: BytesMut,
    parts: Vec<Bytes>,
    payload_bytes: usize,
    time_ns: u64,
}

impl Default for FrameWriter {
    fn default() -> Self {
        let head = BytesMut::with_capacity(HEADS_BYTES);
        Self { head, parts: Vec::new(), payload_bytes: 0, time_ns: 0 }
    }
}

impl FrameWriter {
    /// An empty frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// Length of records and payloads so far, in bytes.
    pub fn len(&self) -> usize {
        self.head.len() + self.payload_bytes
    }

    /// Was nothing written yet?
    pub fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    /// Appends a [`Begin`].
    pub fn begin(&mut self, begin: &Begin) {
        self.head.put_u8(BEGIN);
        put_varint(&mut self.head, begin.alias.into());
        put_text(&mut self.head, begin.key.as_str());
        self.head.put_u8(begin.kind.number());
        put_text(&mut self.head, &begin.encoding);
        put_varint(&mut self.head, begin.incarnation.0);
        put_varint(&mut self.head, begin.next_seq);
    }

    /// Appends a [`Sample`].
    pub fn sample(&mut self, alias: u32, seq: u64, time_ns: u64, payload: Bytes) {
        let step = time_ns.wrapping_sub(self.time_ns).cast_signed();
        // Put together first: the head would look for room at every byte.
        let mut record = [0; SAMPLE_BYTES];
        let mut rest = &mut record[..];
        rest.put_u8(SAMPLE);
        put_varint(&mut rest, alias.into());
        put_varint(&mut rest, seq);
        put_varint(&mut rest, ((step << 1) ^ (step >> 63)).cast_unsigned());
        put_varint(&mut rest, payload.len() as u64);
        let len = SAMPLE_BYTES - rest.len();
        self.head.put_slice(&record[..len]);
        self.time_ns = time_ns;
        self.payload_bytes += payload.len();
        self.parts.push(payload);
    }

    /// Appends a [`Skip`].
    pub fn skip(&mut self, skip: Skip) {
        self.head.put_u8(SKIP);
        put_varint(&mut self.head, skip.alias.into());
        put_varint(&mut self.head, skip.next_seq);
    }

    /// Appends an [`End`].
    pub fn end(&mut self, end: End) {
        self.head.put_u8(END);
        put_varint(&mut self.head, end.alias.into());
        put_varint(&mut self.head, end.last_seq);
        self.head.put_u8(end.reason as u8);
    }

    /// Appends a [`Credit`].
    pub fn credit(&mut self, credit: Credit) {
        self.head.put_u8(CREDIT);
        put_varint(&mut self.head, credit.alias.into());
        put_varint(&mut self.head, credit.consumed_seq);
        put_varint(&mut self.head, credit.window.into());
    }

    /// The frame, if anything was written; the writer is empty then.
    pub fn take(&mut self) -> Option<DataFrame> {
        if self.head.is_empty() {
            return None;
        }
        self.payload_bytes = 0;
        self.time_ns = 0;
        let head = self.head.split().freeze();
        Some(DataFrame { head, body: Body::Parts(core::mem::take(&mut self.parts)) })
    }
}

/// Why a data frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It ends inside a record or its payload.
    #[error("the data frame ends inside a record")]
    Truncated,
    /// A number does not fit.
    #[error("the data frame holds a number out of range")]
    Number,
    /// A key, kind or reason is none.
    #[error("the data frame holds an invalid {0}")]
    Invalid(&'static str),
    /// The record is of no known type.
    #[error("the data frame holds a record of unknown type {0}")]
    Type(u8),
    /// More payload than records.
    #[error("the data frame holds payload that belongs to no record")]
    Trailing,
}

#[derive(Debug)]
enum Payloads {
    Parts(alloc::vec::IntoIter<Bytes>),
    Whole(Bytes),
}

/// Reads the records of a frame.
#[derive(Debug)]
pub struct Records {
    head: Bytes,
    /// How far the head was read.
    at: usize,
    body: Payloads,
    time_ns: u64,
}

impl Iterator for Records {
    type Item = Result<Record, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.head.len() {
            let trailing = match &mut self.body {
                Payloads::Parts(parts) => parts.next().is_some(),
                Payloads::Whole(whole) => !core::mem::take(whole).is_empty(),
            };
            return trailing.then_some(Err(FrameError::Trailing));
        }
        let record = self.record();
        if record.is_err() {
            self.at = self.head.len();
            self.body = Payloads::Whole(Bytes::new());
        }
        Some(record)
    }
}

impl Records {
    fn record(&mut self) -> Result<Record, FrameError> {
        match self.byte()? {
            SAMPLE => self.sample().map(Record::Sample),
            BEGIN => self.begin().map(Record::Begin),
            SKIP => Ok(Record::Skip(Skip { alias: self.alias()?, next_seq: self.varint()? })),
            END => Ok(Record::End(End {
                alias: self.alias()?,
                last_seq: self.varint()?,
                reason: match self.byte()? {
                    0 => EndReason::Closed,
                    1 => EndReason::NoInterest,
                    _ => return Err(FrameError::Invalid("reason")),
                },
            })),
            CREDIT => Ok(Record::Credit(Credit {
                alias: self.alias()?,
                consumed_seq: self.varint()?,
                window: u32::try_from(self.varint()?).map_err(|_| FrameError::Number)?,
            })),
            other => Err(FrameError::Type(other)),
        }
    }

    fn begin(&mut self) -> Result<Begin, FrameError> {
        Ok(Begin {
            alias: self.alias()?,
            key: {
                let text = self.text()?;
                let text = str::from_utf8(&text).map_err(|_| FrameError::Invalid("key"))?;
                Key::new(text).map_err(|_| FrameError::Invalid("key"))?
            },
            kind: match self.byte()? {
                0 => Kind::Stream,
                1 => Kind::State,
                _ => return Err(FrameError::Invalid("kind")),
            },
            encoding: {
                let text = self.text()?;
                str::from_utf8(&text).map_err(|_| FrameError::Invalid("encoding"))?.into()
            },
            incarnation: Incarnation(self.varint()?),
            next_seq: self.varint()?,
        })
    }

    fn sample(&mut self) -> Result<Sample, FrameError> {
        let alias = self.alias()?;
        let seq = self.varint()?;
        let step = self.varint()?;
        let step = (step >> 1).cast_signed() ^ -(step & 1).cast_signed();
        self.time_ns = self.time_ns.wrapping_add(step.cast_unsigned());
        let len = usize::try_from(self.varint()?).map_err(|_| FrameError::Number)?;
        let payload = match &mut self.body {
            Payloads::Parts(parts) => parts.next().filter(|part| part.len() == len),
            Payloads::Whole(whole) => (len <= whole.len()).then(|| whole.split_to(len)),
        };
        let payload = payload.ok_or(FrameError::Truncated)?;
        Ok(Sample { alias, seq, time_ns: self.time_ns, payload })
    }

    fn byte(&mut self) -> Result<u8, FrameError> {
        let byte = *self.head.get(self.at).ok_or(FrameError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn alias(&mut self) -> Result<u32, FrameError> {
        u32::try_from(self.varint()?).map_err(|_| FrameError::Number)
    }

    fn text(&mut self) -> Result<Bytes, FrameError> {
        let len = usize::try_from(self.varint()?).map_err(|_| FrameError::Number)?;
        if len > self.head.len() - self.at {
            return Err(FrameError::Truncated);
        }
        self.at += len;
        Ok(self.head.slice(self.at - len..self.at))
    }

    fn varint(&mut self) -> Result<u64, FrameError> {
        let mut value = 0_u64;
        let mut read = 0;
        for byte in self.head[self.at..].iter().take(10) {
            let low = u64::from(byte & 0x7f);
            if read == 9 && low > 1 {
                return Err(FrameError::Number);
            }
            value |= low << (7 * read);
            read += 1;
            if byte & 0x80 == 0 {
                self.at += read;
                return Ok(value);
            }
        }
        Err(if read == 10 { FrameError::Number } else { FrameError::Truncated })
    }
}

fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn put_text(out: &mut BytesMut, text: &str) {
    put_varint(out, text.len() as u64);
    out.put_slice(text.as_bytes());
}
