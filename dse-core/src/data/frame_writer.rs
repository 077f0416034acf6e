//! How frames are written (PROTOCOL.md §9.1).

use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

use super::body::BodyWriter;
use super::frame::DataFrame;
use super::headers::Headers;
use super::record::{Abort, Begin, Credit, End, Received, Refuse, Resume, Skip, field, tag};
use super::samples::Run;
use super::varint::{VARINT_BYTES, put_varint, write_varint, zigzag};

/// Longest body of a record of numbers.
const RECORD_BYTES: usize = 7 * VARINT_BYTES;

/// What is allocated for heads at a time, so that the small ones share it.
const HEADS_BYTES: usize = 1024;

/// Collects records into a frame.
#[derive(Debug)]
pub struct FrameWriter {
    head: BytesMut,
    body: BodyWriter,
    /// The samples that come after the head, which one more may follow.
    run: Option<Run>,
    /// What stands in their record for each of them.
    steps: Vec<u8>,
    /// A record was written that counts for `Received`.
    counts: bool,
    samples: u64,
}

impl Default for FrameWriter {
    fn default() -> Self {
        let head = BytesMut::with_capacity(HEADS_BYTES);
        Self {
            head,
            body: BodyWriter::default(),
            run: None,
            steps: Vec::new(),
            counts: false,
            samples: 0,
        }
    }
}

impl FrameWriter {
    /// An empty frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// Length of records and payloads so far, in bytes; a few less where samples follow each
    /// other.
    pub fn len(&self) -> usize {
        let run = self.run.as_ref().map_or(0, Run::fixed_len);
        self.head.len() + run + self.steps.len() + self.body.len()
    }

    /// Was nothing written yet?
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.run.is_none()
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

    /// Appends a sample: to the record of the one before, if it follows that.
    pub fn sample(
        &mut self,
        (sequence, seq, time_ns): (u64, u64, i64),
        headers: &Headers,
        payload: &Bytes,
    ) {
        let len = payload.len();
        match &mut self.run {
            Some(run) if headers.is_empty() && run.goes_on_with(sequence, seq) => {
                run.push(time_ns, len, &mut self.steps);
            }
            _ => {
                self.end_run();
                self.counts = true;
                let run = Run::new((sequence, seq, time_ns), len);
                match headers.is_empty() {
                    true => self.run = Some(run),
                    false => run.write(&[], &header_field(headers), &mut self.head),
                }
            }
        }
        self.samples += 1;
        self.body.push(payload);
    }

    /// No sample follows the last one.
    fn end_run(&mut self) {
        if let Some(run) = self.run.take() {
            run.write(&self.steps, &[], &mut self.head);
            self.steps.clear();
        }
    }

    /// Appends a [`Fragment`](super::Fragment) of `payload`, which is all of the value, with its
    /// headers.
    pub fn fragment(
        &mut self,
        (sequence, seq, time_ns): (u64, u64, i64),
        headers: &Headers,
        payload: &Bytes,
        range: core::ops::Range<usize>,
    ) {
        self.counts = true;
        let fields = if range.start == 0 { header_field(headers) } else { Vec::new() };
        let (offset, total) = (range.start as u64, payload.len() as u64);
        let part = payload.slice(range);
        self.samples += u64::from(offset + part.len() as u64 == total);
        let numbers = [part.len() as u64, sequence, seq, zigzag(time_ns), offset, total];
        self.record(tag::FRAGMENT, |body| {
            numbers.into_iter().for_each(|number| put_varint(body, number));
            body.put_slice(&fields);
        });
        self.body.push(&part);
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
        self.end_run();
        if self.head.is_empty() {
            return None;
        }
        (self.counts, self.samples) = (false, 0);
        let head = self.head.split().freeze();
        Some(DataFrame { head, body: self.body.take() })
    }

    /// Appends a record of numbers.
    fn numbers<const N: usize>(&mut self, tag: u8, numbers: [u64; N]) {
        self.end_run();
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
        self.end_run();
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

/// The field of headers, if there are any.
fn header_field(headers: &Headers) -> Vec<u8> {
    let mut out = Vec::new();
    if !headers.is_empty() {
        put_varint(&mut out, field::HEADERS);
        put_varint(&mut out, headers.encoded().len() as u64);
        out.put_slice(headers.encoded());
    }
    out
}
