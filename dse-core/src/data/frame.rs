//! Frames: how records are written and read (PROTOCOL.md §9.1).

use alloc::vec::Vec;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::headers::Headers;
use super::record::{
    Abort, Begin, Credit, End, EndReason, Fragment, Payload, Received, Record, Refuse, Resume,
    Sample, Skip, SkipReason, Unknown, field, tag,
};
use super::varint::{Reader, VARINT_BYTES, put_varint, unzigzag, varint_len, write_varint, zigzag};
use crate::protocol::{Class, Incarnation, Kind};

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
        let (parts, bytes) = match &self.body {
            Body::Parts(parts) => (Some(parts.as_slice()), 0),
            Body::Whole(whole) => (None, whole.len()),
        };
        Records {
            head: Reader::new(&self.head),
            parts,
            bytes,
            index: 0,
            offset: 0,
            fields: 0,
            forward: false,
        }
    }

    /// The records from a place on where [`Records::place`] was before.
    pub(super) fn records_from(&self, place: Place) -> Records<'_> {
        let mut records = self.records();
        records.head = Reader::new(self.head.get(place.head..).unwrap_or_default());
        (records.index, records.offset) = (place.index, place.offset);
        records
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

    /// The headers of one of its samples.
    pub fn headers(&self, sample: &Sample<'_>) -> Headers {
        if sample.headers.is_empty() {
            return Headers::new();
        }
        Headers::from_encoded(Bytes::copy_from_slice(sample.headers))
    }
}

/// Why a data frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// It ends inside a record or its payload.
    #[error("the data frame ends inside a record")]
    Truncated,
    /// A number does not fit.
    #[error("the data frame holds a number out of range")]
    Number,
    /// A text is not UTF-8, or an offset passes its total.
    #[error("the data frame holds an invalid {0}")]
    Invalid(&'static str),
    /// More payload than records.
    #[error("the data frame holds payload that belongs to no record")]
    Trailing,
}

/// What stands of a sample in a head: made once, written into the frame of each link.
///
/// It names nothing that differs from link to link.
#[derive(Clone, Debug, Hash)]
pub(super) struct SampleHead {
    bytes: [u8; SAMPLE_HEAD_BYTES],
    len: u8,
}

/// The tag, the length of the body, that of the payload, and three numbers.
const SAMPLE_HEAD_BYTES: usize = 1 + 3 + 4 + 3 * VARINT_BYTES;

impl SampleHead {
    pub(super) fn new(
        sequence: u64,
        seq: u64,
        time_ns: i64,
        payload: usize,
        headers: &Headers,
    ) -> Self {
        let mut bytes = [0; SAMPLE_HEAD_BYTES];
        let headers = field_len(headers);
        bytes[0] = tag::SAMPLE;
        // Without headers the length of the body takes one byte.
        let start = 1 + varint_len((headers + SAMPLE_HEAD_BYTES) as u64 - 4);
        let mut at = start;
        for number in [payload as u64, sequence, seq, zigzag(time_ns)] {
            at = write_varint(&mut bytes, at, number);
        }
        let body = at - start + headers;
        // A length may be padded.
        for (place, byte) in bytes[1..start].iter_mut().enumerate() {
            *byte = (body >> (7 * place)) as u8 & 0x7f | if place + 2 < start { 0x80 } else { 0 };
        }
        Self { bytes, len: at as u8 }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }
}

/// How long the field of headers is, in bytes.
fn field_len(headers: &Headers) -> usize {
    let len = headers.encoded().len();
    if len == 0 { 0 } else { varint_len(field::HEADERS) + varint_len(len as u64) + len }
}

/// Longest body of a record of numbers.
const RECORD_BYTES: usize = 7 * VARINT_BYTES;

/// What is allocated for heads at a time, so that the small ones share it.
const HEADS_BYTES: usize = 1024;

/// Collects records into a frame.
#[derive(Debug)]
pub struct FrameWriter {
    head: BytesMut,
    parts: Vec<Bytes>,
    payload_bytes: usize,
    /// A record was written that counts for `Received`.
    counts: bool,
    samples: u64,
}

impl Default for FrameWriter {
    fn default() -> Self {
        let head = BytesMut::with_capacity(HEADS_BYTES);
        Self { head, parts: Vec::new(), payload_bytes: 0, counts: false, samples: 0 }
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

    /// Does a record stand in it that counts for [`Received`] (PROTOCOL.md §9.6)?
    pub fn counts(&self) -> bool {
        self.counts
    }

    /// How many samples stand in it, those in fragments counted with their last.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Appends a [`Begin`].
    pub fn begin(&mut self, begin: &Begin<'_>) {
        self.counts = true;
        self.record(tag::BEGIN | tag::MUST_UNDERSTAND, |body| {
            put_varint(body, begin.sequence);
            put_varint(body, begin.epoch);
            put_text(body, begin.key);
            body.put_u8(begin.kind.number());
            put_text(body, begin.encoding);
            put_varint(body, begin.incarnation.0);
            put_varint(body, begin.next_seq);
            put_varint(body, begin.base_time_ns);
            body.put_u8(begin.class.number());
            put_varint(body, begin.resume.into());
        });
    }

    /// Appends a [`Sample`].
    pub fn sample(
        &mut self,
        (sequence, seq, time_ns): (u64, u64, i64),
        headers: &Headers,
        payload: Bytes,
    ) {
        let head = SampleHead::new(sequence, seq, time_ns, payload.len(), headers);
        self.sample_with(&head, headers, payload);
    }

    /// Appends a sample whose head was made before.
    pub(super) fn sample_with(&mut self, head: &SampleHead, headers: &Headers, payload: Bytes) {
        self.counts = true;
        self.samples += 1;
        self.head.put_slice(head.as_slice());
        self.field_of(headers);
        self.payload_bytes += payload.len();
        self.parts.push(payload);
    }

    /// Appends a [`Fragment`] of `payload`, which is all of the value, with its headers.
    pub fn fragment(
        &mut self,
        (sequence, seq, time_ns): (u64, u64, i64),
        headers: &Headers,
        payload: &Bytes,
        range: core::ops::Range<usize>,
    ) {
        self.counts = true;
        let headers = if range.start == 0 { headers } else { &Headers::new() };
        let (offset, total) = (range.start as u64, payload.len() as u64);
        let part = payload.slice(range);
        self.samples += u64::from(offset + part.len() as u64 == total);
        let numbers = [part.len() as u64, sequence, seq, zigzag(time_ns), offset, total];
        let fixed: usize = numbers.iter().map(|number| varint_len(*number)).sum();
        self.head.put_u8(tag::FRAGMENT);
        put_varint(&mut self.head, (fixed + field_len(headers)) as u64);
        for number in numbers {
            put_varint(&mut self.head, number);
        }
        self.field_of(headers);
        self.payload_bytes += part.len();
        self.parts.push(part);
    }

    /// Appends a [`Skip`].
    pub fn skip(&mut self, skip: Skip) {
        self.counts = true;
        self.numbers(tag::SKIP, [skip.sequence, skip.next_seq, skip.reason.number().into()]);
    }

    /// Appends an [`End`].
    pub fn end(&mut self, end: End) {
        self.counts = true;
        self.numbers(tag::END, [end.sequence, end.last_seq, end.reason.number().into()]);
    }

    /// Appends an [`Abort`].
    pub fn abort(&mut self, abort: Abort) {
        self.counts = true;
        self.numbers(tag::ABORT, [abort.sequence, abort.seq, abort.reason.number().into()]);
    }

    /// Appends a [`Received`].
    pub fn received(&mut self, received: Received) {
        self.numbers(tag::RECEIVED, [received.bytes, received.delay_us]);
    }

    /// Appends a [`Credit`].
    pub fn credit(&mut self, credit: Credit) {
        self.numbers(
            tag::CREDIT,
            [
                credit.sequence,
                credit.epoch,
                credit.consumed_seq,
                credit.samples.into(),
                credit.bytes.into(),
                credit.missed,
                credit.last.into(),
            ],
        );
    }

    /// Appends a [`Resume`].
    pub fn resume(&mut self, resume: Resume) {
        self.numbers(tag::RESUME, [resume.sequence, resume.epoch, resume.next_seq]);
    }

    /// Appends a [`Refuse`].
    pub fn refuse(&mut self, refuse: Refuse) {
        self.numbers(tag::REFUSE, [refuse.sequence, refuse.epoch, refuse.tag.into()]);
    }

    /// The frame, if anything was written; the writer is empty then.
    pub fn take(&mut self) -> Option<DataFrame> {
        if self.head.is_empty() {
            return None;
        }
        self.payload_bytes = 0;
        (self.counts, self.samples) = (false, 0);
        let head = self.head.split().freeze();
        Some(DataFrame { head, body: Body::Parts(core::mem::take(&mut self.parts)) })
    }

    fn field_of(&mut self, headers: &Headers) {
        if !headers.is_empty() {
            put_varint(&mut self.head, field::HEADERS);
            put_varint(&mut self.head, headers.encoded().len() as u64);
            self.head.put_slice(headers.encoded());
        }
    }

    /// Appends a record of numbers.
    fn numbers<const N: usize>(&mut self, tag: u8, numbers: [u64; N]) {
        let mut body = [0; RECORD_BYTES];
        let mut at = 0;
        for number in numbers {
            at = write_varint(&mut body, at, number);
        }
        self.head.put_u8(tag);
        put_varint(&mut self.head, at as u64);
        self.head.put_slice(&body[..at]);
    }

    fn record(&mut self, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let mut body = Vec::with_capacity(64);
        write(&mut body);
        self.head.put_u8(tag);
        put_varint(&mut self.head, body.len() as u64);
        self.head.put_slice(&body);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.put_slice(text.as_bytes());
}

/// Reads the records of a frame.
#[derive(Debug)]
pub struct Records<'a> {
    head: Reader<'a>,
    parts: Option<&'a [Bytes]>,
    /// Payload bytes, if the parts do not say them.
    bytes: usize,
    index: usize,
    offset: usize,
    fields: u64,
    /// Records of the other direction are left out.
    forward: bool,
}

/// How far the records of a frame were read.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(super) struct Place {
    head: usize,
    index: usize,
    offset: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.forward {
            self.skip_reverse();
        }
        if self.head.is_empty() {
            let left = match self.parts {
                Some(parts) => self.index < parts.len(),
                None => self.offset < self.bytes,
            };
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
    /// Without the records that concern sequences of the receiver.
    pub(super) fn forward(mut self) -> Self {
        self.forward = true;
        self
    }

    /// How far they were read, of a frame with this head.
    pub(super) fn place(&self, head: &[u8]) -> Place {
        let head = self.head_read(head);
        Place { head, index: self.index, offset: self.offset }
    }

    /// How many bytes of this head, which is the frame's, were read.
    pub(super) fn head_read(&self, head: &[u8]) -> usize {
        head.len() - self.head.rest().len()
    }

    /// How many fields, and numbers of kinds, classes and reasons, were skipped so far that this
    /// version does not know.
    pub fn unknown_fields(&self) -> u64 {
        self.fields
    }

    fn skip_reverse(&mut self) {
        while let [tag::RECEIVED | tag::CREDIT | tag::RESUME | tag::REFUSE, ..] = self.head.rest() {
            let mut after = self.head;
            if after.byte().and_then(|_tag| after.counted()).is_err() {
                return;
            }
            self.head = after;
        }
    }

    fn stop(&mut self) {
        self.head = Reader::new(&[]);
        (self.parts, self.bytes) = (None, 0);
    }

    #[inline]
    fn record(&mut self) -> Result<Record<'a>, FrameError> {
        let tag = self.head.byte()?;
        if tag == tag::SAMPLE { self.whole_sample() } else { self.other(tag) }
    }

    /// Most records are samples: what follows one is read along with it, which saves to look
    /// for its end at each number.
    #[inline]
    fn whole_sample(&mut self) -> Result<Record<'a>, FrameError> {
        let len = self.head.number::<usize>()?;
        let from_here = self.head.rest();
        let mut numbers = self.head;
        let payload_len = numbers.number()?;
        let (sequence, seq, time) = (numbers.varint()?, numbers.varint()?, numbers.varint()?);
        let fixed = from_here.len() - numbers.rest().len();
        let (true, Some(fields)) = (len <= from_here.len(), from_here.get(fixed..len)) else {
            return Err(FrameError::Truncated);
        };
        self.head = Reader::new(&from_here[len..]);
        let payload = self.payload(payload_len)?;
        let headers =
            if fields.is_empty() { fields } else { self.headers(&mut Reader::new(fields))? };
        Ok(Record::Sample(Sample { sequence, seq, time_ns: unzigzag(time), headers, payload }))
    }

    fn other(&mut self, full_tag: u8) -> Result<Record<'a>, FrameError> {
        let mut body = Reader::new(self.head.counted()?);
        let tag = full_tag & !tag::MUST_UNDERSTAND;
        let payload = if tag % 2 == 1 { Some(self.payload(body.number()?)?) } else { None };
        let record = match (tag, payload) {
            (tag::SAMPLE, Some(payload)) => Record::Sample(self.sample(&mut body, payload)?),
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

    fn sample(
        &mut self,
        body: &mut Reader<'a>,
        payload: Payload,
    ) -> Result<Sample<'a>, FrameError> {
        let (sequence, seq) = (body.varint()?, body.varint()?);
        let time_ns = unzigzag(body.varint()?);
        let headers = self.headers(body)?;
        Ok(Sample { sequence, seq, time_ns, headers, payload })
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

    fn payload(&mut self, len: usize) -> Result<Payload, FrameError> {
        let payload = Payload { index: self.index, offset: self.offset, len };
        let fits = match self.parts {
            Some(parts) => parts.get(self.index).is_some_and(|part| part.len() == len),
            None => len <= self.bytes - self.offset,
        };
        if !fits {
            return Err(FrameError::Truncated);
        }
        self.index += 1;
        self.offset += len;
        Ok(payload)
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
