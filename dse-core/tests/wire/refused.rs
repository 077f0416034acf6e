//! Bytes that are no message: refused, never a panic, never a large allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dse_core::protocol::limits::CONTROL_MESSAGE_BYTES;
use dse_core::protocol::wire::{self, Decoded, VERSION, WireError};
use dse_core::protocol::{Declaration, IndexVersion, Key, Kind, Message, Snapshot};

use crate::golden::{bytes, golden};

/// Flag bit 0: extensions follow the body.
const EXTENSIONS: u8 = 1;
/// Where the flags are.
const FLAGS: usize = 2;

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
fn a_body_cut_short_anywhere_is_refused() {
    for message in messages() {
        let [version, kind, flags, len, body @ ..] = &message[..] else { panic!("an envelope") };
        assert!(*len < 0x80, "an envelope of four bytes");
        for len in 0..body.len() {
            let mut cut = vec![*version, *kind, *flags, len as u8];
            cut.extend(&body[..len]);
            let error = wire::decode(&cut);
            assert!(matches!(error, Err(WireError::Body { .. })), "{cut:02x?}: {error:?}");
        }
    }
}

#[test]
fn what_follows_a_message_is_refused() {
    for mut message in messages() {
        message.push(0);
        assert_eq!(wire::decode(&message), Err(WireError::Trailing { len: 1 }));
    }
}

#[test]
fn what_follows_a_value_inside_the_body_is_refused() {
    for mut message in messages() {
        message[3] += 1;
        message.push(0);
        let error = wire::decode(&message);
        assert!(matches!(error, Err(WireError::Body { .. })), "{message:02x?}: {error:?}");
    }
}

#[test]
fn unknown_kinds_are_told_apart() {
    for kind in [0, 19, 100, 255] {
        let message = [VERSION, kind, 0, 3, 1, 2, 3];
        assert_eq!(wire::decode(&message), Ok(Decoded::Unknown { kind }));
    }
    assert_eq!(wire::decode(&[VERSION, 200, 0, 3, 1, 2]), Err(WireError::Truncated));
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
fn unknown_flags_are_refused() {
    for flags in (0..=255_u8).filter(|flags| flags & !EXTENSIONS != 0) {
        let mut message = messages().next().expect("a message");
        message[FLAGS] = flags;
        assert_eq!(wire::decode(&message), Err(WireError::Flags { flags }));
    }
}

#[test]
fn extensions_are_skipped() {
    for (message, hex) in golden() {
        let mut extended = bytes(hex);
        extended[FLAGS] = EXTENSIONS;
        assert_eq!(wire::decode(&extended), Ok(Decoded::Known(message.clone())), "none");
        // Tag 1 with three bytes, tag 300 with none.
        extended.extend([1, 3, 7, 7, 7, 0xac, 0x02, 0]);
        assert_eq!(wire::decode(&extended), Ok(Decoded::Known(message)), "two");
        for cut in 1..8 {
            let cut = &extended[..extended.len() - cut];
            // Between the two it is whole.
            assert!(wire::decode(cut).is_err() || cut.ends_with(&[1, 3, 7, 7, 7]), "{cut:02x?}");
        }
    }
}

#[test]
fn lengths_that_do_not_fit_a_number_are_refused() {
    let endless = [VERSION, 12, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert!(wire::decode(&endless).is_err());
    let beyond = [VERSION, 12, 0, 0xff, 0xff, 0xff, 0xff, 0x7f];
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
    // In the envelope, and in the place of every byte of every body.
    let mut claims = vec![[&[VERSION, 6, 0][..], &GIBIBYTE].concat()];
    for message in messages() {
        for at in 4..message.len() {
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
    // The worst list there is: as many elements of one byte as a message holds.
    for kind in 1..=15 {
        let mut message = vec![VERSION, kind, 0];
        let body = 60_000_u32;
        message.extend([(body as u8) | 0x80, (body >> 7) as u8 | 0x80, (body >> 14) as u8]);
        for filler in [0, 1] {
            let mut message = message.clone();
            message.resize(message.len() + body as usize, filler);
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
        if bytes.len() > 4 && random.below(4) > 0 {
            let len = bytes.len() - 4;
            bytes[..4].copy_from_slice(&[VERSION, random.below(17) as u8, 0, len as u8]);
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
