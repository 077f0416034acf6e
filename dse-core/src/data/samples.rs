//! Samples of one sequence that follow each other, in one record (PROTOCOL.md §9.1).

use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

use super::frame_error::FrameError;
use super::record::{Payload, Sample, Samples, tag};
use super::varint::{Reader, VARINT_BYTES, put_varint, unzigzag, varint_len, write_varint, zigzag};

impl<'a> Samples<'a> {
    /// The number of the last one; none if there is no such number.
    pub fn last_seq(&self) -> Option<u64> {
        self.seq.checked_add(self.more as u64)
    }

    /// One after the other. Ends after the first error.
    pub fn iter(&self) -> impl Iterator<Item = Result<Sample<'a>, FrameError>> + use<'a> {
        let Self { sequence, headers, steps, pieces, .. } = *self;
        let mut cursor = Cursor { at: 0, end: steps.len(), ..self.cursor() };
        core::iter::from_fn(move || {
            let next = cursor.next(steps, pieces)?;
            Some(next.map(|Step { seq, time_ns, payload }| Sample {
                sequence,
                seq,
                time_ns,
                headers,
                payload,
            }))
        })
    }

    /// Do the steps add up, and is there payload of these lengths?
    ///
    /// # Errors
    /// They do not.
    pub(super) fn check(&self) -> Result<(), FrameError> {
        let mut steps = Reader::new(self.steps);
        let mut payload = self.payload;
        for _ in 0..self.more {
            let len = steps.number::<usize>()?;
            let _until_next = steps.varint()?;
            payload.take(len, self.pieces)?;
        }
        payload.take(payload.len, self.pieces)?;
        if steps.is_empty() { Ok(()) } else { Err(FrameError::Invalid("steps")) }
    }

    /// A place in front of the first one, in the head that holds the record.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            seq: self.seq,
            time_ns: self.time_ns,
            payload: self.payload,
            more: Some(self.more),
            at: self.steps_at,
            end: self.steps_at + self.steps.len(),
        }
    }
}

/// A place between samples of one record.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Cursor {
    seq: u64,
    time_ns: i64,
    /// Of the next one and all that follow it.
    payload: Payload,
    /// How many follow the next one; none if there is no next one.
    more: Option<usize>,
    at: usize,
    end: usize,
}

/// A sample as a cursor comes to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) seq: u64,
    pub(super) time_ns: i64,
    pub(super) payload: Payload,
}

impl Cursor {
    /// Did it come behind the last one?
    pub(super) fn is_over(&self) -> bool {
        self.more.is_none()
    }

    /// The next sample. Ends after the first error.
    #[inline]
    pub(super) fn next(
        &mut self,
        head: &[u8],
        pieces: &[Bytes],
    ) -> Option<Result<Step, FrameError>> {
        let more = self.more.take()?;
        let steps = head.get(self.at..self.end).unwrap_or_default();
        Some(if more == 0 { self.last(steps, pieces) } else { self.step(steps, pieces, more) })
    }

    fn last(&mut self, steps: &[u8], pieces: &[Bytes]) -> Result<Step, FrameError> {
        if !steps.is_empty() {
            return Err(FrameError::Invalid("steps"));
        }
        let payload = self.payload.take(self.payload.len, pieces)?;
        Ok(Step { seq: self.seq, time_ns: self.time_ns, payload })
    }

    #[inline]
    fn step(&mut self, steps: &[u8], pieces: &[Bytes], more: usize) -> Result<Step, FrameError> {
        let mut reader = Reader::new(steps);
        let len = reader.number::<usize>()?;
        let until_next = unzigzag(reader.varint()?);
        let payload = self.payload.take(len, pieces)?;
        let step = Step { seq: self.seq, time_ns: self.time_ns, payload };
        self.at = self.end - reader.rest().len();
        self.seq = self.seq.wrapping_add(1);
        self.time_ns = self.time_ns.wrapping_add(until_next);
        self.more = Some(more - 1);
        Ok(step)
    }
}

/// Samples that are being collected into a record.
#[derive(Debug)]
pub(super) struct Run {
    sequence: u64,
    seq: u64,
    time_ns: i64,
    more: usize,
    /// Payload of all of them, in bytes.
    bytes: usize,
    /// Of the last one.
    last_len: usize,
    last_time_ns: i64,
    /// Length of the record without the steps, in bytes, at least.
    fixed: usize,
}

impl Run {
    pub(super) fn new((sequence, seq, time_ns): (u64, u64, i64), len: usize) -> Self {
        let numbers = [sequence, seq, zigzag(time_ns), len as u64];
        // The tag, the length of the body, and how many follow.
        let fixed = 3 + numbers.into_iter().map(varint_len).sum::<usize>();
        Self {
            sequence,
            seq,
            time_ns,
            more: 0,
            bytes: len,
            last_len: len,
            last_time_ns: time_ns,
            fixed,
        }
    }

    /// Does this sample follow the last one?
    pub(super) fn goes_on_with(&self, sequence: u64, seq: u64) -> bool {
        sequence == self.sequence && seq == self.seq + self.more as u64 + 1
    }

    /// Takes in the sample that follows the last one.
    pub(super) fn push(&mut self, time_ns: i64, len: usize, steps: &mut Vec<u8>) {
        put_varint(steps, self.last_len as u64);
        put_varint(steps, zigzag(time_ns.wrapping_sub(self.last_time_ns)));
        self.more += 1;
        self.bytes += len;
        (self.last_len, self.last_time_ns) = (len, time_ns);
    }

    /// Length of the record so far without the steps, in bytes, at least.
    pub(super) fn fixed_len(&self) -> usize {
        self.fixed
    }

    /// Writes the record; `fields` are the tagged ones.
    pub(super) fn write(self, steps: &[u8], fields: &[u8], out: &mut BytesMut) {
        let Self { sequence, seq, time_ns, more, bytes, .. } = self;
        let mut numbers = [0; 6 * VARINT_BYTES];
        let mut end = 0;
        for number in [bytes as u64, sequence, seq, zigzag(time_ns), more as u64] {
            end = write_varint(&mut numbers, end, number);
        }
        if more > 0 {
            end = write_varint(&mut numbers, end, steps.len() as u64);
        }
        out.put_u8(tag::SAMPLES);
        put_varint(out, (end + steps.len() + fields.len()) as u64);
        out.put_slice(&numbers[..end]);
        out.put_slice(steps);
        out.put_slice(fields);
    }
}
