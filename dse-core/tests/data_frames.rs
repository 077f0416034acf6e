//! The codec of the data lane: its bytes for ever, round trips, and bad input.

use bytes::{BufMut, Bytes, BytesMut};
use dse_core::data::{
    Begin, Body, Credit, DataFrame, End, EndReason, FrameError, FrameWriter, Record, Sample, Skip,
};
use dse_core::protocol::{Incarnation, Key, Kind};

/// What is written as these bytes today is read as this for ever (PROTOCOL.md §9).
#[test]
fn every_record_has_its_golden_bytes() {
    let goldens: [(Record, &[u8], &[u8]); 9] = [
        (begin(3, "a/b", Kind::Stream), b"\x01\x03\x03a/b\x00\x0atext/plain\xac\x02\x01", b""),
        (begin(300, "x", Kind::State), b"\x01\xac\x02\x01x\x01\x0atext/plain\xac\x02\x01", b""),
        (sample(3, 1, 5, b"hi"), b"\x02\x03\x01\x0a\x02", b"hi"),
        (sample(3, 1, 0, b""), b"\x02\x03\x01\x00\x00", b""),
        (
            sample(u32::MAX, u64::MAX, u64::MAX, b"!"),
            b"\x02\xff\xff\xff\xff\x0f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x01",
            b"!",
        ),
        (Record::Skip(Skip { alias: 3, next_seq: 128 }), b"\x03\x03\x80\x01", b""),
        (end(3, 7, EndReason::Closed), b"\x04\x03\x07\x00", b""),
        (end(3, 0, EndReason::NoInterest), b"\x04\x03\x00\x01", b""),
        (
            Record::Credit(Credit { alias: 3, consumed_seq: 7, window: 1024 }),
            b"\x05\x03\x07\x80\x08",
            b"",
        ),
    ];
    for (record, head, payload) in goldens {
        let frame = write([record.clone()]);
        assert_eq!(frame.head, head, "{record:?}");
        let mut wire = (head.len() as u32).to_le_bytes().to_vec();
        wire.extend_from_slice(head);
        wire.extend_from_slice(payload);
        assert_eq!(to_wire(frame, 64), wire, "{record:?}");
        assert_eq!(read(&wire), Ok(vec![record]));
    }
}

/// The times of a frame's samples are written as steps from each to the next.
#[test]
fn times_go_forth_and_back() {
    let times = [0, 5, 4, u64::MAX, 0, 1 << 63, (1 << 63) - 1, 1_700_000_000_000_000_000];
    let records: Vec<Record> =
        (1..).zip(times).map(|(seq, time_ns)| sample(1, seq, time_ns, b"v")).collect();
    assert_eq!(read(&to_wire(write(records.clone()), 0)), Ok(records));
    // The first time of a frame never depends on the frame before.
    let mut writer = FrameWriter::new();
    writer.sample(1, 1, 1000, Bytes::new());
    writer.take().expect("a record was written");
    writer.sample(1, 2, 1000, Bytes::new());
    let second = writer.take().expect("a record was written");
    assert_eq!(read(&to_wire(second, 0)), Ok(vec![sample(1, 2, 1000, b"")]));
}

#[test]
fn frames_come_back_as_they_were_written() {
    let mut random = Random(1);
    for _ in 0..500 {
        let count = random.below(40);
        let records: Vec<Record> = (0..count).map(|_| random.record()).collect();
        let frame = write(records.clone());
        let wire_len = frame.wire_len();
        let by_reference: Result<Vec<_>, _> = frame.clone().records().collect();
        assert_eq!(by_reference.as_ref(), Ok(&records));
        for copy_below in [0, 100, usize::MAX] {
            let wire = to_wire(frame.clone(), copy_below);
            assert_eq!(wire.len(), wire_len);
            assert_eq!(read(&wire).as_ref(), Ok(&records));
        }
    }
}

#[test]
fn payloads_are_shared_where_they_are_large() {
    let large = Bytes::from(vec![7_u8; 4096]);
    let mut writer = FrameWriter::new();
    writer.sample(1, 1, 0, Bytes::from_static(b"small"));
    writer.sample(1, 2, 0, large.clone());
    writer.sample(1, 3, 0, Bytes::from_static(b"small"));
    assert_eq!(writer.len(), 4096 + 10 + 16);
    let frame = writer.take().expect("records were written");
    assert!(writer.is_empty());
    let pieces = frame.into_wire(64);
    assert_eq!(pieces.len(), 3, "what is small is copied together");
    assert_eq!(pieces[1].as_ptr(), large.as_ptr());

    let wire = Bytes::from(pieces.concat());
    let frame = DataFrame::from_wire(wire.clone()).expect("well formed");
    let Some(Ok(Record::Sample(read))) = frame.records().nth(1) else { panic!("a sample") };
    assert!(wire.as_ptr_range().contains(&read.payload.as_ptr()), "reading copies nothing");
}

#[test]
fn a_frame_that_is_cut_at_any_byte_is_an_error() {
    let mut random = Random(2);
    let mut records: Vec<Record> = (0..12).map(|_| random.record()).collect();
    records.push(sample(1, 1, 1, b"last"));
    let wire = to_wire(write(records), usize::MAX);
    for len in 0..wire.len() {
        assert_eq!(read(&wire[..len]), Err(FrameError::Truncated), "cut after {len} bytes");
    }
    // A head that is cut between records leaves payload that belongs to none.
    let frame = write([sample(1, 1, 1, b"one"), sample(1, 2, 1, b"two")]);
    let first_record = write([sample(1, 1, 1, b"one")]).head.len();
    for len in 0..frame.head.len() {
        let cut = DataFrame { head: frame.head.slice(..len), body: frame.body.clone() };
        let error = cut.records().find_map(Result::err);
        let between = len == 0 || len == first_record;
        let expected = if between { FrameError::Trailing } else { FrameError::Truncated };
        assert_eq!(error, Some(expected), "head cut after {len} bytes");
    }
}

#[test]
fn huge_lengths_allocate_nothing() {
    let huge = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    assert_eq!(read_head(&[b"\x01\x01", &huge[..]].concat()), Err(FrameError::Truncated));
    assert_eq!(
        read_head(&[b"\x01\x01\x01k\x00", &huge[..]].concat()),
        Err(FrameError::Truncated),
        "the length of an encoding"
    );
    assert_eq!(read_head(&[b"\x02\x01\x01\x00", &huge[..]].concat()), Err(FrameError::Truncated));
    let gib = [&0x4000_0000_u32.to_le_bytes()[..], b"\x02\x01\x01\x00\x00"].concat();
    assert_eq!(read(&gib), Err(FrameError::Truncated), "the length of the head");
    assert_eq!(read(&[0xff; 4]), Err(FrameError::Truncated), "the length of the head");
}

#[test]
fn bad_records_are_named() {
    let bad: [(&[u8], FrameError); 11] = [
        (b"\x00", FrameError::Type(0)),
        (b"\x06", FrameError::Type(6)),
        (b"\xff\x01\x02", FrameError::Type(255)),
        (b"\x03\xff\xff\xff\xff\x10\x01", FrameError::Number),
        (b"\x03\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", FrameError::Number),
        (b"\x03\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", FrameError::Number),
        (b"\x05\x01\x01\x80\x80\x80\x80\x10", FrameError::Number),
        (b"\x01\x01\x02//\x00\x00\x01\x01", FrameError::Invalid("key")),
        (b"\x01\x01\x01k\x02\x00\x01\x01", FrameError::Invalid("kind")),
        (b"\x01\x01\x01k\x00\x01\xff\x01\x01", FrameError::Invalid("encoding")),
        (b"\x04\x01\x01\x02", FrameError::Invalid("reason")),
    ];
    for (head, error) in bad {
        assert_eq!(read_head(head), Err(error), "{head:02x?}");
    }
}

#[test]
fn nothing_follows_an_error() {
    let head = Bytes::from_static(b"\x03\x01\x01\x09\x03\x01\x01");
    let mut records = DataFrame { head, body: Body::default() }.records();
    assert_eq!(records.next(), Some(Ok(Record::Skip(Skip { alias: 1, next_seq: 1 }))));
    assert_eq!(records.next(), Some(Err(FrameError::Type(9))));
    assert_eq!(records.next(), None);
}

#[test]
fn payload_that_belongs_to_no_record_is_an_error() {
    let mut wire = to_wire(write([sample(1, 1, 1, b"mine")]), 0);
    wire.push(0);
    assert_eq!(read(&wire), Err(FrameError::Trailing));
    assert_eq!(read(&[0, 0, 0, 0]), Ok(vec![]));
    assert_eq!(read(&[0, 0, 0, 0, 1]), Err(FrameError::Trailing));
}

/// By reference too the head and the parts must fit.
#[test]
fn parts_that_do_not_fit_their_records_are_an_error() {
    let head = write([sample(1, 1, 1, b"four")]).head;
    let with = |parts: &[&'static [u8]]| {
        let parts = parts.iter().map(|part| Bytes::from_static(part)).collect();
        let frame = DataFrame { head: head.clone(), body: Body::Parts(parts) };
        frame.records().collect::<Result<Vec<_>, _>>()
    };
    assert_eq!(with(&[b"four"]), Ok(vec![sample(1, 1, 1, b"four")]));
    assert_eq!(with(&[b"fiver"]), Err(FrameError::Truncated));
    assert_eq!(with(&[]), Err(FrameError::Truncated));
    assert_eq!(with(&[b"four", b"more"]), Err(FrameError::Trailing));
}

/// Any bytes: no panic, and never more records than bytes.
#[test]
fn noise_is_read_or_refused() {
    let mut random = Random(3);
    for _ in 0..20_000 {
        let head: Vec<u8> = (0..random.below(60)).map(|_| random.noise_byte()).collect();
        let body: Vec<u8> = (0..random.below(60)).map(|_| random.noise_byte()).collect();
        let frame = DataFrame { head: head.clone().into(), body: Body::Whole(body.into()) };
        assert!(frame.records().count() <= head.len() + 1);
    }
}

/// Well-formed frames with a few bytes changed: no panic.
#[test]
fn mutations_are_read_or_refused() {
    let mut random = Random(4);
    for _ in 0..5_000 {
        let records: Vec<Record> = (0..1 + random.below(8)).map(|_| random.record()).collect();
        let mut wire = to_wire(write(records), usize::MAX);
        for _ in 0..1 + random.below(4) {
            let place = random.below(wire.len() as u64) as usize;
            wire[place] = random.noise_byte();
        }
        let _ = read(&wire);
    }
}

fn begin(alias: u32, key: &str, kind: Kind) -> Record {
    Record::Begin(Begin {
        alias,
        key: Key::new(key).expect("a key"),
        kind,
        encoding: "text/plain".into(),
        incarnation: Incarnation(300),
        next_seq: 1,
    })
}

fn sample(alias: u32, seq: u64, time_ns: u64, payload: &'static [u8]) -> Record {
    Record::Sample(Sample { alias, seq, time_ns, payload: Bytes::from_static(payload) })
}

fn end(alias: u32, last_seq: u64, reason: EndReason) -> Record {
    Record::End(End { alias, last_seq, reason })
}

/// The frame of these records; an empty one if there are none.
fn write(records: impl IntoIterator<Item = Record>) -> DataFrame {
    let mut writer = FrameWriter::new();
    for record in records {
        match record {
            Record::Begin(begin) => writer.begin(&begin),
            Record::Sample(s) => writer.sample(s.alias, s.seq, s.time_ns, s.payload),
            Record::Skip(skip) => writer.skip(skip),
            Record::End(end) => writer.end(end),
            Record::Credit(credit) => writer.credit(credit),
        }
    }
    writer.take().unwrap_or_default()
}

fn to_wire(frame: DataFrame, copy_below: usize) -> Vec<u8> {
    frame.into_wire(copy_below).concat()
}

fn read(wire: &[u8]) -> Result<Vec<Record>, FrameError> {
    DataFrame::from_wire(Bytes::copy_from_slice(wire))?.records().collect()
}

/// Reads a frame of this head and no payload.
fn read_head(head: &[u8]) -> Result<Vec<Record>, FrameError> {
    let mut wire = BytesMut::new();
    wire.put_u32_le(head.len() as u32);
    wire.put_slice(head);
    read(&wire)
}

/// xorshift64*: the same frames in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    /// Numbers of every length that a varint has.
    fn number(&mut self) -> u64 {
        let bits = self.below(65);
        if bits == 0 { 0 } else { self.next() >> (64 - bits) }
    }

    /// Small numbers and continuation bytes more often than chance would have them.
    fn noise_byte(&mut self) -> u8 {
        match self.below(4) {
            0 => self.below(8) as u8,
            1 => 0x80 | self.next() as u8,
            _ => self.next() as u8,
        }
    }

    fn record(&mut self) -> Record {
        let alias = self.number() as u32;
        match self.below(8) {
            0 => begin(
                alias,
                ["a", "a/b/c", "site/hall-2/temp"][self.below(3) as usize],
                Kind::State,
            ),
            1 => Record::Skip(Skip { alias, next_seq: self.number() }),
            2 => end(alias, self.number(), EndReason::NoInterest),
            3 => Record::Credit(Credit {
                alias,
                consumed_seq: self.number(),
                window: self.number() as u32,
            }),
            _ => {
                let payload = vec![alias as u8; self.below(300) as usize].into();
                let (seq, time_ns) = (self.number(), self.number());
                Record::Sample(Sample { alias, seq, time_ns, payload })
            }
        }
    }
}
