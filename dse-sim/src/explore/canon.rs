//! What a state is, apart from the names that its things happen to have.
//!
//! Two states that differ only in how links and dials are numbered, in which random
//! nonces were drawn, or in what the clock shows, have the same future. So a state is
//! read through serde, which tells the type and the field of each value, and written
//! down as a row of numbers in which
//!
//! * a time is its distance from now, in steps of [`TICK`], and "never" beyond an hour;
//! * a link or a dial is its rank among those that its node knows: their order, which
//!   decides what the core looks at first, stays;
//! * a nonce of a link is the place of its first appearance: nonces are only compared;
//! * what decides nothing is left out: [`Meaning::of`] says what, and why.
//!
//! A field of the core that nobody has thought of here is written as it stands: at worst
//! states that are the same count as two.

use serde::ser::{self, Serialize};

use super::clock::{NEVER, TICK};

/// 128 bits that stand for a state. Two of n states collide with a probability of about
/// n² / 2^129: for a hundred million states, less than one in 10^22.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Print(pub(super) u128);

/// Writes a state down.
pub(super) struct Canon {
    now: u64,
    /// From which age on the past is all one.
    past: u64,
    numbers: Vec<u64>,
    meaning: Meaning,
    nonces: Vec<u64>,
    /// Where links and dials of the node in hand stand among the numbers.
    links: Vec<usize>,
    dials: Vec<usize>,
}

/// The links and dials that one node knows, in order.
pub(super) struct Known {
    links: Vec<u64>,
    dials: Vec<u64>,
}

impl Known {
    pub(super) fn link(&self, link: u64) -> u64 {
        rank(&self.links, link)
    }

    pub(super) fn dial(&self, dial: u64) -> u64 {
        rank(&self.dials, dial)
    }
}

fn rank(known: &[u64], number: u64) -> u64 {
    known.binary_search(&number).map_or(u64::MAX, |rank| rank as u64)
}

/// How a value is to be written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Plain,
    Nonce,
    Left,
    Presence,
    AtMost(u64),
}

impl Meaning {
    /// What the fields of the core mean. In these worlds all pauses between dials are
    /// alike, so that nothing depends on how many failed, but for the three tries of a
    /// hint, nor on how long a link was open before it fell.
    fn of(record: &str, field: &str) -> Self {
        match (record, field) {
            ("Link", "nonce")
            | ("Hello", "link_nonce")
            | ("Open", "echo" | "held")
            | ("Reject", "echo")
            | ("OpenLink", "peer_nonce") => Self::Nonce,
            // Constant for a start of a node; each input brings the time; what is drawn
            // next is new either way; the same as what is beside it; a counter whose next
            // number is new.
            ("ControlBus", "config" | "now" | "random")
            | ("Timers", "queue")
            | ("Dials", "last")
            | ("Peer", "brief" | "opened_at") => Self::Left,
            ("Course", "failures") => Self::AtMost(3),
            ("Course", "last_error") => Self::Presence,
            _ => Self::Plain,
        }
    }
}

impl Canon {
    /// At this time; the past is all one from the age of `past` on.
    pub(super) fn new(now: u64, past: u64) -> Self {
        let meaning = Meaning::Plain;
        let (links, dials, nonces) = (Vec::new(), Vec::new(), Vec::new());
        Self { now, past, numbers: Vec::with_capacity(1024), meaning, nonces, links, dials }
    }

    pub(super) fn number(&mut self, number: u64) {
        self.numbers.push(number);
    }

    pub(super) fn write(&mut self, value: &impl Serialize) {
        let Ok(()) = value.serialize(&mut *self);
    }

    /// Ends what belongs to one node: its links and dials get their ranks.
    pub(super) fn end_node(&mut self) -> Known {
        let links = self.ranked(|canon| &mut canon.links);
        let dials = self.ranked(|canon| &mut canon.dials);
        Known { links, dials }
    }

    fn ranked(&mut self, which: impl Fn(&mut Self) -> &mut Vec<usize>) -> Vec<u64> {
        let places = std::mem::take(which(self));
        let mut known: Vec<u64> = places.iter().map(|at| self.numbers[*at]).collect();
        known.sort_unstable();
        known.dedup();
        for at in places {
            self.numbers[at] = rank(&known, self.numbers[at]);
        }
        known
    }

    /// The print of all that was written.
    pub(super) fn print(&self) -> Print {
        let (mut high, mut low) = (0x243f_6a88_85a3_08d3_u64, 0x1319_8a2e_0370_7344_u64);
        for number in &self.numbers {
            high = mix(high ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            low = mix(low.rotate_left(23) ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
        }
        Print(u128::from(high) << 64 | u128::from(low))
    }

    fn instant(&mut self, at: u64) {
        let number = if at >= self.now {
            let after = at - self.now;
            if after >= NEVER { u64::MAX } else { (after + TICK / 2) / TICK }
        } else {
            let ago = (self.now - at).min(self.past);
            u64::MAX - 1 - (ago + TICK / 2) / TICK
        };
        self.number(number);
    }

    fn value(&mut self, value: u64) {
        let number = match self.meaning {
            Meaning::Nonce => self.nonce(value),
            Meaning::AtMost(most) => value.min(most),
            Meaning::Plain | Meaning::Left | Meaning::Presence => value,
        };
        self.number(number);
    }

    fn nonce(&mut self, nonce: u64) -> u64 {
        let found = self.nonces.iter().position(|known| *known == nonce);
        found.unwrap_or_else(|| {
            self.nonces.push(nonce);
            self.nonces.len() - 1
        }) as u64
    }

    fn text(&mut self, text: &[u8]) {
        let start = 0xcbf2_9ce4_8422_2325 ^ text.len() as u64;
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        self.number(mix(text.iter().fold(start, fold)));
    }
}

/// SplitMix64's finisher: one to one, so no number is lost on the way.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Writing down cannot fail.
#[derive(Debug)]
pub(super) enum Never {}

impl std::fmt::Display for Never {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Never {}

impl ser::Error for Never {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        // No type of the core's or the simulator's refuses to be serialized.
        panic!("a state cannot be written down: {message}")
    }
}

/// One record, list or map in the making.
pub(super) struct Inside<'a> {
    canon: &'a mut Canon,
    record: &'static str,
}

impl Inside<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        value.serialize(&mut *self.canon)
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Never> {
        let meaning = Meaning::of(self.record, key);
        if meaning == Meaning::Left {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.canon.meaning, meaning);
        let result = value.serialize(&mut *self.canon);
        self.canon.meaning = before;
        result
    }
}

macro_rules! integers {
    ($($method:ident $type:ty)*) => {
        $(fn $method(self, value: $type) -> Result<(), Never> {
            self.value(value as u64);
            Ok(())
        })*
    };
}

impl<'a> ser::Serializer for &'a mut Canon {
    type Ok = ();
    type Error = Never;
    type SerializeSeq = Inside<'a>;
    type SerializeTuple = Inside<'a>;
    type SerializeTupleStruct = Inside<'a>;
    type SerializeTupleVariant = Inside<'a>;
    type SerializeMap = Inside<'a>;
    type SerializeStruct = Inside<'a>;
    type SerializeStructVariant = Inside<'a>;

    integers! {
        serialize_bool bool serialize_i8 i8 serialize_i16 i16 serialize_i32 i32
        serialize_i64 i64 serialize_u8 u8 serialize_u16 u16 serialize_u32 u32
        serialize_u64 u64 serialize_char char
    }

    fn serialize_f32(self, value: f32) -> Result<(), Never> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Never> {
        self.number(value.to_bits());
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Never> {
        self.text(value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Never> {
        self.text(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Never> {
        self.number(0);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Never> {
        self.number(1);
        if self.meaning == Meaning::Presence { Ok(()) } else { value.serialize(self) }
    }

    fn serialize_unit(self) -> Result<(), Never> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Never> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
    ) -> Result<(), Never> {
        self.number(index.into());
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        match name {
            "LinkId" => self.links.push(self.numbers.len()),
            "DialId" => self.dials.push(self.numbers.len()),
            _ => {}
        }
        value.serialize(&mut *self)?;
        if name == "Instant"
            && let Some(at) = self.numbers.pop()
        {
            self.instant(at);
        }
        Ok(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        self.number(index.into());
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Inside<'a>, Never> {
        self.number(len.unwrap_or(usize::MAX) as u64);
        Ok(Inside { canon: self, record: "" })
    }

    fn serialize_tuple(self, _: usize) -> Result<Inside<'a>, Never> {
        Ok(Inside { canon: self, record: "" })
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Inside<'a>, Never> {
        Ok(Inside { canon: self, record: "" })
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Inside<'a>, Never> {
        self.number(index.into());
        Ok(Inside { canon: self, record: "" })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Inside<'a>, Never> {
        self.serialize_seq(len)
    }

    fn serialize_struct(self, record: &'static str, _: usize) -> Result<Inside<'a>, Never> {
        Ok(Inside { canon: self, record })
    }

    fn serialize_struct_variant(
        self,
        record: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Inside<'a>, Never> {
        self.number(index.into());
        Ok(Inside { canon: self, record })
    }
}

macro_rules! compounds {
    ($($compound:ident $method:ident)*) => {
        $(impl ser::$compound for Inside<'_> {
            type Ok = ();
            type Error = Never;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
                self.element(value)
            }

            fn end(self) -> Result<(), Never> {
                Ok(())
            }
        })*
    };
}

compounds! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

impl ser::SerializeMap for Inside<'_> {
    type Ok = ();
    type Error = Never;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Never> {
        self.element(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        self.element(value)
    }

    fn end(self) -> Result<(), Never> {
        Ok(())
    }
}

macro_rules! records {
    ($($record:ident)*) => {
        $(impl ser::$record for Inside<'_> {
            type Ok = ();
            type Error = Never;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Never> {
                self.field(key, value)
            }

            fn end(self) -> Result<(), Never> {
                Ok(())
            }
        })*
    };
}

records! { SerializeStruct SerializeStructVariant }
