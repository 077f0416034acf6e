//! A hash of all that a state holds.

use std::hash::Hasher;

use crate::explore::canon::{Print, Sum};

/// Hashes into 128 bits.
pub(super) struct Fingerprint(Sum);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(Sum::new())
    }
}

impl Fingerprint {
    pub(super) fn print(&self) -> Print {
        self.0.print()
    }
}

/// Of what is longer only both edges are looked at. So long are payloads alone, which tell
/// themselves apart by their edges and their lengths, and are alike between them.
const EDGE: usize = 256;

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        if bytes.len() > 2 * EDGE {
            self.0.number(bytes.len() as u64);
            self.write(&bytes[..EDGE]);
            return self.write(&bytes[bytes.len() - EDGE..]);
        }
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.0.number(u64::from_le_bytes(word.try_into().unwrap_or_default()));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.0.number(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.0.number(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.0.number(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.0.number(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.0.number(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.0.number(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0.print().0 as u64
    }
}
