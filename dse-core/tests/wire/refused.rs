//! Bytes that are no message: refused, never a panic, never a large allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dse_core::protocol::limits::CONTROL_MESSAGE_BYTES;
use dse_core::protocol::numbers::message::{
    DELTA, HELLO, INTEREST, LEAVE, MEMBERS, OPEN, SNAPSHOT, STAND, STATS,
};
use dse_core::protocol::wire::{self, Decoded, ENVELOPE_BYTES, VERSION, WireError};
use dse_core::protocol::{Declaration, IndexVersion, Key, Kind, Message, Snapshot};

use crate::golden::{bytes, golden};

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which counts what each thread asks of it.
struct Counting;

// SAFETY: every call goes to the system's allocator as it came; the counter is a plain
// thread-local number without a destructor, whose use allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get().saturating_add(layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a decoding gives and how many bytes it allocated on the way.
fn decode_counted(bytes: &[u8]) -> (Result<Decoded, WireError>, usize) {
    let before = ALLOCATED.get();
    let decoded = wire::decode(bytes);
    (decoded, ALLOCATED.get() - before)
}

fn messages() -> impl Iterator<Item = Vec<u8>> {
    golden().into_iter().map(|(_, hex)| bytes(hex))
}

#[test]
fn a_message_cut_short_anywhere_is_refused() {
    for message in messages() {
        for len in 0..message.len() {
            assert!(wire::decode(&message[..len]).is_err(), "{len} bytes of {message:02x?}");
        }
    }
}

#[test]
fn bytes_behind_the_fields_that_are_no_tag_are_refused() {
    for message in messages() {
        for rest in [&[7][..], &[7, 1], &[7, 2, 0], &[7, 0, 7], &[0xff; 6]] {
            let error = wire::decode(&[&message, rest].concat());
            assert!(matches!(error, Err(WireError::Body { .. })), "{message:02x?}: {error:?}");
        }
    }
}

#[test]
fn other_versions_are_refused() {
    for version in (0..=255).filter(|version| *version != VERSION) {
        let mut message = messages().next().expect("a message");
        message[0] = version;
        assert_eq!(wire::decode(&message), Err(WireError::Version { version }));
    }
}

#[test]
fn lengths_that_do_not_fit_a_number_are_refused() {
    let endless = [VERSION, LEAVE, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert!(wire::decode(&endless).is_err());
    let beyond = [VERSION, LEAVE, 0, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert!(wire::decode(&beyond).is_err());
}

#[test]
fn what_is_longer_than_a_message_may_be_is_refused_unread() {
    let long = vec![VERSION; CONTROL_MESSAGE_BYTES + 1];
    let (decoded, allocated) = decode_counted(&long);
    assert_eq!(decoded, Err(WireError::TooLong { len: CONTROL_MESSAGE_BYTES + 1 }));
    assert_eq!(allocated, 0);
}

/// 2^30 as LEB128: what a length prefix of 1 GiB looks like.
const GIBIBYTE: [u8; 5] = [0x80, 0x80, 0x80, 0x80, 0x04];

#[test]
fn a_claim_of_a_gibibyte_allocates_nothing_to_speak_of() {
    // In the place of every byte of every body.
    let mut claims = vec![[&[VERSION, LEAVE, 0][..], &GIBIBYTE].concat()];
    for message in messages() {
        for at in ENVELOPE_BYTES..message.len() {
            let mut claim = message.clone();
            claim.splice(at..=at, GIBIBYTE);
            claim[3] += 4;
            claims.push(claim);
        }
    }
    for claim in claims {
        let (_, allocated) = decode_counted(&claim);
        assert!(allocated < 64 * 1024, "{claim:02x?} allocated {allocated} bytes");
    }
}

#[test]
fn no_message_allocates_more_than_a_small_multiple_of_its_length() {
    // The worst lists there are: as many of the shortest items as a message holds. What
    // precedes the list, and an item.
    let lists: [(u8, &[u8], &[u8]); 7] = [
        (HELLO, &[1, 1, 0, 1, b'b', 1, b'n', 0, 0, 0, 0, 0, 0], b"\x09\0\0\0\x05a://b"),
        (OPEN, &[0, 0, 0], &[2, 0, 0]),
        (MEMBERS, &[0, 1], &[4, 1, b'n', 0, 0]),
        (SNAPSHOT, &[1, 0, 1], &[5, 1, b'k', 0, 0, 0]),
        (DELTA, &[1, 2, 0, 1, 0], &[2, 1, b'k']),
        (INTEREST, &[1, 0, 1], &[2, 1, b'k']),
        (STATS, &[1], &[2, 0, 0]),
    ];
    for (kind, before, item) in lists {
        let mut message = [&[VERSION, kind, 0], before].concat();
        let count = (60_000 / item.len()) as u32;
        message.extend([(count as u8) | 0x80, (count >> 7) as u8 | 0x80, (count >> 14) as u8]);
        message.extend(item.repeat(count as usize));
        let (decoded, allocated) = decode_counted(&message);
        assert!(decoded.is_ok(), "kind {kind}: {decoded:?}");
        assert!(allocated < 64 * message.len(), "kind {kind} allocated {allocated} bytes");
    }
    for kind in 0..=STAND {
        for filler in [0, 1, 2] {
            let message = [vec![VERSION, kind, 0], vec![filler; 60_000]].concat();
            let (_, allocated) = decode_counted(&message);
            assert!(allocated < 64 * message.len(), "kind {kind} allocated {allocated} bytes");
        }
    }
}

/// SplitMix64, so that every run tries the same.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

#[test]
fn random_bytes_are_refused_or_read_and_never_a_panic() {
    let mut random = Random(1);
    for _ in 0..100_000 {
        let mut bytes: Vec<u8> = (0..random.below(80)).map(|_| random.next() as u8).collect();
        if bytes.len() > ENVELOPE_BYTES && random.below(4) > 0 {
            bytes[..ENVELOPE_BYTES].copy_from_slice(&[VERSION, random.below(20) as u8, 0]);
        }
        read_back(&bytes);
    }
}

#[test]
fn damaged_messages_are_refused_or_read_and_never_a_panic() {
    let mut random = Random(2);
    let messages: Vec<_> = messages().collect();
    for _ in 0..100_000 {
        let mut bytes = messages[random.below(messages.len())].clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        read_back(&bytes);
    }
}

/// What can be read can be written and read again as the same.
fn read_back(bytes: &[u8]) {
    if let Ok(Decoded::Known(message)) = wire::decode(bytes) {
        let again = wire::encode(&message);
        assert_eq!(wire::decode(&again), Ok(Decoded::Known(message)));
    }
}

#[test]
fn names_and_keys_are_checked_as_they_are_read() {
    let bad = Key::new("a//b").expect_err("an empty segment");
    let declarations = vec![Declaration::new(Key::new("a/_b").expect("a key"), Kind::State, "")];
    let snapshot = Snapshot { version: IndexVersion(1), part: 0, last: true, declarations };
    let mut message = wire::encode(&Message::Snapshot(snapshot)).to_vec();
    let at = message.iter().position(|byte| *byte == b'_').expect("the key");
    message[at] = b'/';
    match wire::decode(&message) {
        Err(WireError::Body { kind: 6, .. }) => {}
        other => panic!("{bad}, and yet {other:?}"),
    }
}
