//! The records of the data lane: their bytes for ever, round trips, growth, and bad input.

use bytes::{BufMut, Bytes, BytesMut};
use dse_core::data::{
    Abort, Begin, Credit, DataFrame, End, EndReason, FrameError, FrameWriter, Headers, Received,
    Record, Refuse, Resume, Samples, Skip, SkipReason, Unknown, field, tag,
};
use dse_core::protocol::{Class, Incarnation, Kind};

/// Writes a record.
type Write = Box<dyn Fn(&mut FrameWriter)>;

/// What is written as these bytes today is read as this for ever (PROTOCOL.md §9): tag, length,
/// body, and the payload.
#[test]
fn every_record_has_its_golden_bytes() {
    let headers = Headers::from_pairs([("a", "1")]).expect("headers");
    let with_headers = headers.clone();
    let whole = Bytes::from_static(b"whole");
    let parts = whole.clone();
    let credit = Credit {
        sequence: 300,
        epoch: 2,
        consumed_seq: 7,
        samples: 1024,
        bytes: 1 << 20,
        missed: 3,
        last: true,
    };
    let goldens: Vec<(Write, &[u8], &[u8])> = vec![
        (
            Box::new(|f| f.begin(&begin())),
            b"\x82\x19\x03\x01\x03a/b\x00\x0atext/plain\xac\x02\x01\x80\x01\x01\x00",
            b"",
        ),
        (
            Box::new(|f| {
                let (class, kind) = (Class::Bulk, Kind::State);
                f.begin(&Begin { class, kind, resume: true, ..begin() });
            }),
            b"\x82\x19\x03\x01\x03a/b\x01\x0atext/plain\xac\x02\x01\x80\x01\x02\x01",
            b"",
        ),
        (Box::new(|f| sample(f, 3, 1, 5, b"hi")), b"\x01\x05\x02\x03\x01\x0a\x00", b"hi"),
        (Box::new(|f| sample(f, 3, 1, -1, b"")), b"\x01\x05\x00\x03\x01\x01\x00", b""),
        (
            Box::new(move |f| f.sample((3, 1, 0), &with_headers, &Bytes::from_static(b"!"))),
            b"\x01\x0b\x01\x03\x01\x00\x00\x01\x04\x01a\x011",
            b"!",
        ),
        (
            Box::new(|f| sample(f, u64::MAX, u64::MAX, i64::MIN, b"!")),
            b"\x01\x20\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\xff\xff\xff\xff\xff\xff\xff\
              \xff\xff\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00",
            b"!",
        ),
        (
            Box::new(|f| {
                sample(f, 3, 1, 5, b"hi");
                sample(f, 3, 2, 4, b"");
                sample(f, 3, 3, 300, b"a");
            }),
            b"\x01\x0b\x03\x03\x01\x0a\x02\x05\x02\x01\x00\xd0\x04",
            b"hia",
        ),
        (
            Box::new(move |f| f.fragment((3, 1, 0), &headers, &whole, 0..2)),
            b"\x03\x0c\x02\x03\x01\x00\x00\x05\x01\x04\x01a\x011",
            b"wh",
        ),
        (
            Box::new(move |f| f.fragment((3, 1, 0), &Headers::new(), &parts, 2..5)),
            b"\x03\x06\x03\x03\x01\x00\x02\x05",
            b"ole",
        ),
        (Box::new(|f| f.skip(skip(3, 128))), b"\x04\x04\x03\x80\x01\x00", b""),
        (
            Box::new(|f| f.skip(Skip { reason: SkipReason::Lost, ..skip(3, 0) })),
            b"\x04\x03\x03\x00\x06",
            b"",
        ),
        (Box::new(|f| f.end(end(7))), b"\x06\x03\x03\x07\x00", b""),
        (
            Box::new(|f| f.end(End { reason: EndReason::Refused, ..end(0) })),
            b"\x06\x03\x03\x00\x02",
            b"",
        ),
        (
            Box::new(|f| f.abort(Abort { sequence: 3, seq: 9, reason: SkipReason::Wish })),
            b"\x0e\x03\x03\x09\x01",
            b"",
        ),
        (
            Box::new(|f| f.received(Received { bytes: 300, delay_us: 5 })),
            b"\x08\x03\xac\x02\x05",
            b"",
        ),
        (
            Box::new(move |f| f.credit(credit)),
            b"\x0a\x0b\xac\x02\x02\x07\x80\x08\x80\x80\x40\x03\x01",
            b"",
        ),
        (
            Box::new(|f| f.resume(Resume { sequence: 3, epoch: 2, next_seq: 9 })),
            b"\x0c\x03\x03\x02\x09",
            b"",
        ),
        (
            Box::new(|f| f.refuse(Refuse { sequence: 3, epoch: 2, tag: 60 })),
            b"\x10\x03\x03\x02\x3c",
            b"",
        ),
    ];
    for (write, head, payload) in goldens {
        let frame = written(&*write);
        assert_eq!(frame.head, head, "{:?}", frame.records().next());
        let mut wire = (head.len() as u32).to_le_bytes().to_vec();
        wire.extend_from_slice(head);
        wire.extend_from_slice(payload);
        assert_eq!(frame.clone().into_wire(64).concat(), wire);
        let read = DataFrame::from_wire(wire.into()).expect("well formed");
        assert_eq!(records(&read), records(&frame));
        assert!(matches!(records(&read), Ok(records) if records.len() == 1));
    }
}

#[test]
fn what_stands_in_a_record_is_read_back() {
    let frame = written(|f| {
        f.begin(&begin());
        sample(f, 3, 1, -7, b"one");
        f.fragment((3, 2, 1), &Headers::new(), &Bytes::from_static(b"fragments"), 4..9);
    });
    let read = records(&frame).expect("well formed");
    let [Record::Begin(it), Record::Samples(samples), Record::Fragment(part)] = &read[..] else {
        panic!("{read:?}");
    };
    assert_eq!(*it, begin());
    let one = samples.iter().next().expect("a sample").expect("well formed");
    assert_eq!((one.sequence, one.seq, one.time_ns), (3, 1, -7));
    assert_eq!(frame.payload(one.payload), "one");
    assert_eq!((part.offset, part.total, part.is_last()), (4, 9, true));
    assert_eq!(frame.payload(part.sample.payload), "ments");
}

#[test]
fn records_that_are_not_known_are_skipped_and_named() {
    let unknown = |tag, sequence| Record::Unknown(Unknown { tag, sequence });
    // Those of the next version, between two that are known; odd ones own payload.
    let head =
        b"\x04\x03\x03\x01\x00\x3c\x02\xff\xff\x3d\x02\x02\x09\xbc\x02\x05\x09\xbd\x02\x01\x05\
        \x01\x05\x01\x03\x01\x00\x00";
    let frame = framed(head, b"xxyz");
    let read = records(&frame).expect("well formed");
    assert_eq!(
        read[..5],
        [
            Record::Skip(skip(3, 1)),
            unknown(60, None),
            unknown(61, None),
            unknown(60, Some(5)),
            unknown(61, Some(5)),
        ]
    );
    let Record::Samples(sample) = read[5] else { panic!("{read:?}") };
    assert_eq!(frame.payload(sample.payload), "z");
    // Those that are reserved are not known yet.
    let reserved = [
        tag::ROW_DELTA,
        tag::CALL,
        tag::REPLY,
        tag::SCHEMA,
        tag::SNAPSHOT,
        tag::COMMIT,
        tag::CANCEL,
        tag::SCHEMA_REQUEST,
    ];
    for tag in reserved {
        let frame = framed(&[tag, 1, 0], b"");
        assert_eq!(records(&frame), Ok(vec![unknown(tag, None)]));
    }
}

#[test]
fn fields_that_are_not_known_are_skipped_and_counted() {
    let with_fields = |frame: &DataFrame, fields: &[u8]| {
        let mut head = frame.head.to_vec();
        head[1] += u8::try_from(fields.len()).expect("a short record");
        head.extend_from_slice(fields);
        DataFrame { head: head.into(), body: frame.body.clone() }
    };
    let fields = [77, 2, 9, 9, 78, 0];
    let whole = Bytes::from_static(b"whole");
    let frames: [Write; 11] = [
        Box::new(|f| f.begin(&begin())),
        Box::new(|f| sample(f, 3, 1, 0, b"hi")),
        Box::new(move |f| f.fragment((3, 1, 0), &Headers::new(), &whole, 0..2)),
        Box::new(|f| f.skip(skip(3, 2))),
        Box::new(|f| f.end(end(7))),
        Box::new(|f| f.abort(Abort { sequence: 3, seq: 9, reason: SkipReason::Wish })),
        Box::new(|f| f.received(Received { bytes: 1, delay_us: 5 })),
        Box::new(|f| {
            f.credit(Credit {
                sequence: 3,
                epoch: 1,
                consumed_seq: 7,
                samples: 64,
                bytes: 64,
                missed: 0,
                last: false,
            });
        }),
        Box::new(|f| f.resume(Resume { sequence: 3, epoch: 2, next_seq: 9 })),
        Box::new(|f| f.refuse(Refuse { sequence: 3, epoch: 2, tag: 60 })),
        Box::new(|f| {
            let headers = Headers::from_pairs([("a", "1")]).expect("headers");
            f.sample((3, 1, 0), &headers, &Bytes::new());
        }),
    ];
    for write in frames {
        let frame = written(&*write);
        let longer = with_fields(&frame, &fields);
        assert_eq!(records(&longer), records(&frame));
        let mut read = longer.records();
        read.by_ref().for_each(drop);
        assert_eq!(read.unknown_fields(), 2, "{:?}", records(&frame));
    }
    assert_eq!((field::HEADERS, field::EXPIRES, field::SCHEMA_HASH), (1, 2, 1));
}

#[test]
fn numbers_that_are_not_known_are_kept_as_they_are() {
    let frame = framed(b"\x04\x04\x03\x02\xc8\x01\x06\x04\x03\x02\xc8\x01", b"");
    let skip = Skip { reason: SkipReason::Other(200), ..skip(3, 2) };
    let end = End { reason: EndReason::Other(200), ..end(2) };
    assert_eq!(records(&frame), Ok(vec![Record::Skip(skip), Record::End(end)]));
    let mut head = written(|f| f.begin(&begin())).head.to_vec();
    head[8] = 200;
    let frame = framed(&head, b"");
    let Ok(read) = records(&frame) else { panic!("a Begin") };
    let [Record::Begin(read)] = read[..] else { panic!("{read:?}") };
    assert!(!matches!(read.kind, Kind::Stream | Kind::State));
}

#[test]
fn headers_have_their_limits() {
    use dse_core::data::HeaderError;
    let pairs = |count: usize| Headers::from_pairs((0..count).map(|i| (format!("h{i}"), "")));
    assert!(pairs(16).is_ok());
    assert_eq!(pairs(17), Err(HeaderError::TooMany));
    let one = |name: &str, len: usize| Headers::from_pairs([(name, vec![0; len])]);
    assert!(one("a", 4095).is_ok());
    assert_eq!(one("a", 4096), Err(HeaderError::TooLong { len: 4097 }));
    assert!(one(&"a".repeat(64), 0).is_ok());
    for name in ["", "A", "a_b", "\u{e4}", &"a".repeat(65)] {
        assert_eq!(one(name, 0), Err(HeaderError::InvalidName { name: name.into() }));
    }
    assert_eq!(one("dse-x", 0), Err(HeaderError::ReservedName { name: "dse-x".into() }));
}

#[test]
fn payloads_are_shared_where_they_are_large() {
    let large = Bytes::from(vec![7_u8; 4096]);
    let mut writer = FrameWriter::new();
    sample(&mut writer, 1, 1, 0, b"small");
    writer.sample((1, 2, 0), &Headers::new(), &large);
    sample(&mut writer, 1, 3, 0, b"small");
    let frame = writer.take().expect("records were written");
    assert!(writer.is_empty());
    let pieces = frame.into_wire(64);
    assert_eq!(pieces.len(), 3, "what is small is copied together");
    assert_eq!(pieces[1].as_ptr(), large.as_ptr());

    let wire = Bytes::from(pieces.concat());
    let frame = DataFrame::from_wire(wire.clone()).expect("well formed");
    let Some(Ok(Record::Samples(read))) = frame.records().next() else { panic!("samples") };
    let Some(Ok(read)) = read.iter().nth(1) else { panic!("a sample") };
    let payload = frame.payload(read.payload);
    assert!(wire.as_ptr_range().contains(&payload.as_ptr()), "reading copies nothing");
}

#[test]
fn a_frame_that_is_cut_at_any_byte_is_an_error() {
    let wire = written(|f| {
        f.begin(&begin());
        sample(f, 3, 1, 1, b"first");
        f.skip(skip(3, 3));
        sample(f, 3, 3, 1, b"last");
    });
    let wire = wire.into_wire(usize::MAX).concat();
    for len in 0..wire.len() {
        let cut = Bytes::copy_from_slice(&wire[..len]);
        let read = DataFrame::from_wire(cut).and_then(|frame| records(&frame).map(|it| it.len()));
        assert_eq!(read, Err(FrameError::Truncated), "cut after {len} bytes");
    }
}

#[test]
fn huge_lengths_allocate_nothing() {
    let huge = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    for head in [
        [b"\x04", &huge[..]].concat(),
        [b"\x01\x0e", &huge[..], b"\x01\x01\x00\x00"].concat(),
        [b"\x3d\x0a", &huge[..]].concat(),
    ] {
        assert_eq!(records(&framed(&head, b"")), Err(FrameError::Truncated), "{head:02x?}");
    }
    let gib = [&0x4000_0000_u32.to_le_bytes()[..], b"\x04\x03\x03\x01\x00"].concat();
    assert_eq!(DataFrame::from_wire(gib.into()).err(), Some(FrameError::Truncated));
}

#[test]
fn bad_records_are_named_and_nothing_follows_them() {
    let bad: [(&[u8], FrameError); 7] = [
        (b"\x04\x0c\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\x01\x00", FrameError::Number),
        (b"\x04\x0d\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x01\x00", FrameError::Number),
        (b"\x0a\x0b\x01\x01\x01\x80\x80\x80\x80\x10\x01\x00\x00", FrameError::Number),
        (b"\x82\x0b\x01\x01\x01\xff\x00\x00\x01\x01\x00\x00\x00", FrameError::Invalid("key")),
        (b"\x03\x06\x00\x03\x01\x00\x02\x01", FrameError::Invalid("fragment")),
        (b"\xbc\x00", FrameError::Truncated),
        (b"\x04\x01\x03", FrameError::Truncated),
    ];
    for (head, error) in bad {
        let head = [head, b"\x04\x03\x03\x01\x00"].concat();
        let frame = framed(&head, b"");
        let mut read = frame.records();
        assert_eq!(read.next(), Some(Err(error)), "{head:02x?}");
        assert_eq!(read.next(), None);
    }
}

/// Samples that follow each other stand in one record, whatever their times and lengths; a hole,
/// another sequence and headers begin another one.
#[test]
fn samples_that_follow_each_other_share_a_record() {
    let headers = Headers::from_pairs([("a", "1")]).expect("headers");
    let frame = written(|f| {
        sample(f, 1, 1, i64::MAX, b"");
        sample(f, 1, 2, i64::MIN, b"second");
        sample(f, 1, 4, 0, b"fourth");
        sample(f, 2, 5, 0, b"of another");
        f.sample((2, 6, 0), &headers, &Bytes::from_static(b"with headers"));
        sample(f, 2, 7, 0, b"without");
        sample(f, 2, 8, 0, b"last");
    });
    let wire = frame.clone().into_wire(usize::MAX).concat();
    for frame in [frame, DataFrame::from_wire(wire.into()).expect("well formed")] {
        let read = records(&frame).expect("well formed");
        let runs: Vec<_> = read.iter().map(samples).map(|it| (it.seq, it.more)).collect();
        assert_eq!(runs, [(1, 1), (4, 0), (5, 0), (6, 0), (7, 1)]);
        let all = read.iter().flat_map(|it| samples(it).iter());
        let all: Vec<_> = all
            .map(|it| it.expect("well formed"))
            .map(|it| (it.sequence, it.seq, it.time_ns, frame.payload(it.payload)))
            .collect();
        let text = Bytes::from_static;
        let expected = [
            (1, 1, i64::MAX, text(b"")),
            (1, 2, i64::MIN, text(b"second")),
            (1, 4, 0, text(b"fourth")),
            (2, 5, 0, text(b"of another")),
            (2, 6, 0, text(b"with headers")),
            (2, 7, 0, text(b"without")),
            (2, 8, 0, text(b"last")),
        ];
        assert_eq!(all, expected);
        assert_eq!(frame.headers(samples(&read[3]).headers), headers);
        assert!(samples(&read[4]).headers.is_empty());
    }
}

#[test]
fn steps_of_samples_that_do_not_add_up_are_an_error() {
    let bad: [(&[u8], FrameError); 5] = [
        // Two samples, and the first is longer than both.
        (b"\x01\x08\x04\x01\x01\x00\x01\x02\x05\x00", FrameError::Truncated),
        // Three samples, and steps for one.
        (b"\x01\x08\x04\x01\x01\x00\x02\x02\x01\x00", FrameError::Truncated),
        // Two samples, and steps for two.
        (b"\x01\x0a\x04\x01\x01\x00\x01\x04\x01\x00\x01\x00", FrameError::Invalid("steps")),
        // A step without its time.
        (b"\x01\x07\x04\x01\x01\x00\x01\x01\x01", FrameError::Truncated),
        // More samples than there are numbers.
        (
            b"\x01\x11\x04\x01\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x01\x00",
            FrameError::Truncated,
        ),
    ];
    for (head, error) in bad {
        let frame = framed(head, b"four");
        let read = records(&frame)
            .and_then(|read| samples(&read[0]).iter().collect::<Result<Vec<_>, _>>());
        assert_eq!(read, Err(error), "{head:02x?}");
    }
}

#[test]
fn payload_that_belongs_to_no_record_is_an_error() {
    let mut wire = written(|f| sample(f, 1, 1, 1, b"mine")).into_wire(0).concat();
    wire.push(0);
    let frame = DataFrame::from_wire(wire.into()).expect("well formed");
    assert_eq!(records(&frame), Err(FrameError::Trailing));
    assert_eq!(records(&framed(b"", b"")), Ok(vec![]));
    assert_eq!(records(&framed(b"", b"1")), Err(FrameError::Trailing));
}

/// Several payloads may lie in a piece, but none in two.
#[test]
fn pieces_that_do_not_fit_their_records_are_an_error() {
    let head = written(|f| {
        sample(f, 1, 1, 1, b"four");
        sample(f, 1, 2, 1, b"five5");
        sample(f, 2, 1, 1, b"six");
        sample(f, 2, 2, 1, b"");
    });
    let with = |pieces: &[&'static [u8]]| {
        let pieces: Vec<_> = pieces.iter().map(|piece| Bytes::from_static(piece)).collect();
        let frame = DataFrame { head: head.head.clone(), body: pieces.into() };
        let read = records(&frame)?;
        let all = read.iter().flat_map(|it| samples(it).iter());
        all.map(|it| Ok(frame.payload(it?.payload))).collect::<Result<Vec<_>, _>>()
    };
    let all = Ok(["four", "five5", "six", ""].map(Bytes::from).to_vec());
    assert_eq!(with(&[b"fourfive5six"]), all);
    assert_eq!(with(&[b"four", b"five5six"]), all);
    assert_eq!(with(&[b"", b"fourfive5", b"", b"six", b""]), all);
    assert_eq!(with(&[b"fourfi", b"ve5six"]), Err(FrameError::Truncated));
    assert_eq!(with(&[b"fourfive5s", b"ix"]), Err(FrameError::Truncated));
    assert_eq!(with(&[b"fourfive5si"]), Err(FrameError::Truncated));
    assert_eq!(with(&[b"fourfive5six", b"more"]), Err(FrameError::Trailing));
    assert_eq!(with(&[]), Err(FrameError::Truncated));
}

fn begin() -> Begin<'static> {
    Begin {
        sequence: 3,
        epoch: 1,
        key: "a/b",
        kind: Kind::Stream,
        encoding: "text/plain",
        incarnation: Incarnation(300),
        next_seq: 1,
        base_time_ns: 128,
        class: Class::Normal,
        resume: false,
    }
}

fn sample(frame: &mut FrameWriter, sequence: u64, seq: u64, time_ns: i64, payload: &'static [u8]) {
    frame.sample((sequence, seq, time_ns), &Headers::new(), &Bytes::from_static(payload));
}

fn skip(sequence: u64, next_seq: u64) -> Skip {
    Skip { sequence, next_seq, reason: SkipReason::Policy }
}

fn end(last_seq: u64) -> End {
    End { sequence: 3, last_seq, reason: EndReason::Closed }
}

fn written(write: impl FnOnce(&mut FrameWriter)) -> DataFrame {
    let mut writer = FrameWriter::new();
    write(&mut writer);
    writer.take().expect("something was written")
}

fn samples<'a>(record: &Record<'a>) -> Samples<'a> {
    match *record {
        Record::Samples(samples) => samples,
        other => panic!("instead of samples came {other:?}"),
    }
}

fn records(frame: &DataFrame) -> Result<Vec<Record<'_>>, FrameError> {
    frame.records().collect()
}

/// A frame as a transport receives it.
fn framed(head: &[u8], payload: &'static [u8]) -> DataFrame {
    let mut wire = BytesMut::new();
    wire.put_u32_le(head.len() as u32);
    wire.put_slice(head);
    wire.put_slice(payload);
    DataFrame::from_wire(wire.freeze()).expect("well formed")
}
