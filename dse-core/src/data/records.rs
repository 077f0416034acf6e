//! How frames are read (PROTOCOL.md §9.1).

use bytes::Bytes;

use super::frame_error::FrameError;
use super::record::{
    Abort, Begin, Credit, End, EndReason, Fragment, Payload, Received, Record, Refuse, Resume,
    Sample, Samples, Skip, SkipReason, Unknown, field, tag,
};
use super::varint::{Reader, unzigzag};
use crate::protocol::{Class, Incarnation, Kind};

/// Reads the records of a frame.
#[derive(Debug)]
pub struct Records<'a> {
    head: Reader<'a>,
    pieces: &'a [Bytes],
    /// The payload that belongs to no record so far.
    body: Payload,
    fields: u64,
    /// Length of the whole head, in bytes.
    head_len: usize,
}

/// How far the records of a frame were read.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Place {
    pub(super) head: usize,
    /// The payload of the records that follow.
    pub(super) body: Payload,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.head.is_empty() {
            let left = self.body.len > 0;
            self.stop();
            return left.then_some(Err(FrameError::Trailing));
        }
        let record = self.record();
        if record.is_err() {
            self.stop();
        }
        Some(record)
    }
}

impl<'a> Records<'a> {
    /// Those of this head and body from a place on.
    pub(super) fn new(head: &'a [u8], pieces: &'a [Bytes], place: Place) -> Self {
        let Place { head: at, body } = place;
        let reader = Reader::new(head.get(at..).unwrap_or_default());
        Self { head: reader, pieces, body, fields: 0, head_len: head.len() }
    }

    /// How far they were read.
    pub(super) fn place(&self) -> Place {
        let head = self.head_len - self.head.rest().len();
        Place { head, body: self.body }
    }

    /// Were all of them read?
    pub(super) fn is_over(&self) -> bool {
        self.head.is_empty() && self.body.len == 0
    }

    /// How many fields, and numbers of kinds, classes and reasons, were skipped so far that this
    /// version does not know.
    pub fn unknown_fields(&self) -> u64 {
        self.fields
    }

    fn stop(&mut self) {
        self.head = Reader::new(&[]);
        self.body.len = 0;
    }

    /// The next record, if it is the most frequent one: that is read faster so.
    #[inline]
    pub(super) fn next_samples(&mut self) -> Option<Result<Samples<'a>, FrameError>> {
        if self.head.rest().first() != Some(&tag::SAMPLES) {
            return None;
        }
        let samples = self.samples();
        if samples.is_err() {
            self.stop();
        }
        Some(samples)
    }

    fn record(&mut self) -> Result<Record<'a>, FrameError> {
        if self.head.rest().first().map(|tag| tag & !tag::MUST_UNDERSTAND) == Some(tag::SAMPLES) {
            return self.samples().map(Record::Samples);
        }
        let full_tag = self.head.byte()?;
        let mut body = Reader::new(self.head.counted()?);
        let tag = full_tag & !tag::MUST_UNDERSTAND;
        let payload = match tag % 2 {
            1 => Some(self.body.take(body.number()?, self.pieces)?),
            _ => None,
        };
        let record = match (tag, payload) {
            (tag::FRAGMENT, Some(payload)) => Record::Fragment(self.fragment(&mut body, payload)?),
            (tag::BEGIN, _) => Record::Begin(self.begin(&mut body)?),
            (tag::SKIP, _) => Record::Skip(Skip {
                sequence: body.varint()?,
                next_seq: body.varint()?,
                reason: self.skip_reason(&mut body)?,
            }),
            (tag::END, _) => Record::End(End {
                sequence: body.varint()?,
                last_seq: body.varint()?,
                reason: self.end_reason(&mut body)?,
            }),
            (tag::ABORT, _) => Record::Abort(Abort {
                sequence: body.varint()?,
                seq: body.varint()?,
                reason: self.skip_reason(&mut body)?,
            }),
            (tag::RECEIVED, _) => {
                Record::Received(Received { bytes: body.varint()?, delay_us: body.varint()? })
            }
            (tag::CREDIT, _) => Record::Credit(credit(&mut body)?),
            (tag::RESUME, _) => Record::Resume(Resume {
                sequence: body.varint()?,
                epoch: body.varint()?,
                next_seq: body.varint()?,
            }),
            (tag::REFUSE, _) => Record::Refuse(Refuse {
                sequence: body.varint()?,
                epoch: body.varint()?,
                tag: body.number()?,
            }),
            _ => {
                let must = full_tag & tag::MUST_UNDERSTAND != 0;
                let sequence = if must { Some(body.varint()?) } else { None };
                return Ok(Record::Unknown(Unknown { tag, sequence }));
            }
        };
        while !body.is_empty() {
            let _ = (body.varint()?, body.counted()?);
            self.fields += 1;
        }
        Ok(record)
    }

    #[inline]
    fn samples(&mut self) -> Result<Samples<'a>, FrameError> {
        let _tag = self.head.byte()?;
        let body = &mut Reader::new(self.head.counted()?);
        let end = self.head_len - self.head.rest().len();
        let len = body.number()?;
        let (sequence, seq) = (body.varint()?, body.varint()?);
        let (time_ns, more) = (unzigzag(body.varint()?), body.number()?);
        let steps = if more > 0 { body.counted()? } else { &[] };
        // A step has two bytes at least.
        if more > steps.len() / 2 {
            return Err(FrameError::Truncated);
        }
        let steps_at = end - body.rest().len() - steps.len();
        let headers = if body.is_empty() { &[] } else { self.headers(body)? };
        let payload = match more {
            0 => self.body.take(len, self.pieces)?,
            _ => self.body.take_all(len, self.pieces)?,
        };
        let pieces = self.pieces;
        Ok(Samples { sequence, seq, time_ns, more, headers, payload, steps, steps_at, pieces })
    }

    fn fragment(
        &mut self,
        body: &mut Reader<'a>,
        payload: Payload,
    ) -> Result<Fragment<'a>, FrameError> {
        let (sequence, seq) = (body.varint()?, body.varint()?);
        let time_ns = unzigzag(body.varint()?);
        let (offset, total) = (body.varint()?, body.varint()?);
        if offset.checked_add(payload.len as u64).is_none_or(|end| end > total) {
            return Err(FrameError::Invalid("fragment"));
        }
        let headers = self.headers(body)?;
        Ok(Fragment { sample: Sample { sequence, seq, time_ns, headers, payload }, offset, total })
    }

    fn begin(&mut self, body: &mut Reader<'a>) -> Result<Begin<'a>, FrameError> {
        let (sequence, epoch) = (body.varint()?, body.varint()?);
        let (key, kind) = (body.text("key")?, Kind::from_number(body.byte()?));
        let (encoding, incarnation) = (body.text("encoding")?, Incarnation(body.varint()?));
        let (next_seq, base_time_ns) = (body.varint()?, body.varint()?);
        let (class, resume) = (body.byte()?, body.varint()? != 0);
        self.fields += u64::from(matches!(kind, Kind::Other(_)));
        self.fields += u64::from(Class::from_number(class).number() != class);
        let class = Class::from_number(class);
        Ok(Begin {
            sequence,
            epoch,
            key,
            kind,
            encoding,
            incarnation,
            next_seq,
            base_time_ns,
            class,
            resume,
        })
    }

    fn skip_reason(&mut self, body: &mut Reader<'a>) -> Result<SkipReason, FrameError> {
        let reason = SkipReason::from_number(body.number()?);
        self.fields += u64::from(matches!(reason, SkipReason::Other(_)));
        Ok(reason)
    }

    fn end_reason(&mut self, body: &mut Reader<'a>) -> Result<EndReason, FrameError> {
        let reason = EndReason::from_number(body.number()?);
        self.fields += u64::from(matches!(reason, EndReason::Other(_)));
        Ok(reason)
    }

    fn headers(&mut self, body: &mut Reader<'a>) -> Result<&'a [u8], FrameError> {
        let mut headers: &[u8] = &[];
        while !body.is_empty() {
            let (tag, value) = (body.varint()?, body.counted()?);
            match tag {
                field::HEADERS => headers = value,
                _ => self.fields += 1,
            }
        }
        Ok(headers)
    }
}

fn credit(body: &mut Reader<'_>) -> Result<Credit, FrameError> {
    Ok(Credit {
        sequence: body.varint()?,
        epoch: body.varint()?,
        consumed_seq: body.varint()?,
        samples: body.number()?,
        bytes: body.number()?,
        missed: body.varint()?,
        last: body.varint()? != 0,
    })
}
