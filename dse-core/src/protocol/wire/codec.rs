//! How bodies are written and read (PROTOCOL.md §2.4): plain values, items, lists of items,
//! and tags.
//!
//! Plain values are postcard. All that a later version may add to has its length in front,
//! or the end of the message behind it, so that a reader knows where what it does not know
//! ends.

use alloc::vec::Vec;

use serde::Serialize;
use serde::de::Deserialize;

use super::Skipped;

/// Why a body cannot be read.
pub(super) type Malformed = postcard::Error;

/// What is written field by field, with tags behind its fields: a body or an item.
pub trait Fields: Sized {
    /// Writes the fields, then the tags.
    fn write(&self, to: &mut Writer);

    /// Reads the fields, then the tags that it knows, if it knows any. The caller skips
    /// those that are left.
    ///
    /// # Errors
    /// A field is cut short or is not what it should be.
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// What lists hold.
pub trait Item: Sized {
    /// Writes its fields and tags.
    fn write_item(&self, to: &mut Writer);

    /// Reads its fields and tags. None if it is of a sort that this version does not know:
    /// it is left out of its list.
    ///
    /// # Errors
    /// A field is cut short or is not what it should be.
    fn read_item(from: &mut Reader<'_>) -> Result<Option<Self>, Malformed>;
}

impl<T: Fields> Item for T {
    fn write_item(&self, to: &mut Writer) {
        self.write(to);
    }

    fn read_item(from: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        Self::read(from).map(Some)
    }
}

/// The bytes of a message as they are written.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A value that never grows.
    pub(super) fn plain<T: Serialize + ?Sized>(&mut self, value: &T) {
        // postcard fails only for lists of unknown length and custom errors; no plain value
        // here has either.
        let written = postcard::to_extend(value, core::mem::take(&mut self.bytes));
        self.bytes = written.unwrap_or_default();
    }

    /// How many there are, and each as an item.
    pub(super) fn list<T: Item>(&mut self, items: &[T]) {
        self.plain(&(items.len() as u32));
        for item in items {
            self.item(|to| item.write_item(to));
        }
    }

    /// What `write` writes, with its length in front.
    pub(super) fn item(&mut self, write: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        self.bytes.push(0);
        write(self);
        let len = self.bytes.len() - at - 1;
        match u8::try_from(len) {
            Ok(len @ ..0x80) => self.bytes[at] = len,
            _ => {
                let mut prefix = Self::default();
                prefix.plain(&(len as u32));
                self.bytes.splice(at..=at, prefix.bytes);
            }
        }
    }

    /// A value that readers which do not know its tag skip.
    pub(super) fn tag<T: Serialize>(&mut self, tag: u32, value: &T) {
        self.plain(&tag);
        self.item(|to| to.plain(value));
    }
}

/// What is left to read of a body or of an item.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    pub(super) skipped: Skipped,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, skipped: Skipped::default() }
    }

    /// A value that never grows.
    pub(super) fn plain<T: Deserialize<'a>>(&mut self) -> Result<T, Malformed> {
        let (value, rest) = postcard::take_from_bytes(self.rest)?;
        self.rest = rest;
        Ok(value)
    }

    /// Items, without those of a sort that this version does not know. No place is reserved
    /// for an item that did not come.
    pub(super) fn list<T: Item>(&mut self) -> Result<Vec<T>, Malformed> {
        let count: u32 = self.plain()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.extend(self.item(T::read_item)?);
        }
        Ok(items)
    }

    /// Reads what has its length in front, and skips the tags that `read` leaves.
    pub(super) fn item<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        let mut item = Self { rest: self.counted()?, skipped: self.skipped };
        let value = read(&mut item)?;
        item.skip_tags()?;
        self.skipped = item.skipped;
        Ok(value)
    }

    /// Reads all tags. `known` reads the value of one, or says that it does not know it.
    pub(super) fn tags(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<bool, Malformed>,
    ) -> Result<(), Malformed> {
        while !self.rest.is_empty() {
            let tag = self.plain()?;
            let mut value = Self { rest: self.counted()?, skipped: self.skipped };
            let is_known = known(tag, &mut value)?;
            // What follows the value of a known tag is of a later version, too.
            value.skipped.tags += u64::from(!is_known || !value.rest.is_empty());
            self.skipped = value.skipped;
        }
        Ok(())
    }

    /// Skips all tags that are left.
    pub(super) fn skip_tags(&mut self) -> Result<(), Malformed> {
        self.tags(|_, _| Ok(false))
    }

    /// Skips the fields of what this version does not know.
    pub(super) fn skip_rest(&mut self) {
        self.rest = &[];
    }

    fn counted(&mut self) -> Result<&'a [u8], Malformed> {
        let len: u32 = self.plain()?;
        let split = self.rest.split_at_checked(len as usize);
        let (bytes, rest) = split.ok_or(Malformed::DeserializeUnexpectedEnd)?;
        self.rest = rest;
        Ok(bytes)
    }
}
