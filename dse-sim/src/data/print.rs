//! A state as a hash of its words.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};

/// Hashes what is written, times by how long they are ago or ahead: not at all, less than it
/// takes until something goes alone, less than the stall timeout, or more.
pub(super) struct Print {
    now: u64,
    hash: DefaultHasher,
    /// What comes next is a time.
    time: bool,
}

const STEPS: [u64; 3] = [0, 5_000_000, 5_000_000_000];

impl Print {
    pub(super) fn new(now: u64) -> Self {
        Self { now, hash: DefaultHasher::new(), time: false }
    }

    pub(super) fn finish(&self) -> u64 {
        self.hash.finish()
    }
}

impl fmt::Write for Print {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text == "Instant" {
            self.time = true;
        } else if self.time
            && let Ok(at) = text.parse::<u64>()
        {
            self.time = false;
            self.hash.write_u8(u8::from(at > self.now));
            self.hash.write_usize(STEPS.partition_point(|step| *step < at.abs_diff(self.now)));
            return Ok(());
        }
        self.hash.write(text.as_bytes());
        Ok(())
    }
}
