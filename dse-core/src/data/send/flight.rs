//! The samples of one route that were sent and not confirmed.

use alloc::collections::VecDeque;

use crate::data::limits::Window;

/// Samples that were sent and not yet confirmed, in groups: a group counts until its last
/// sample is confirmed.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Flight {
    groups: VecDeque<Group>,
    samples: u32,
    bytes: usize,
}

#[derive(Clone, Debug, Hash)]
struct Group {
    last_seq: u64,
    samples: u32,
    bytes: usize,
}

/// Groups are a small part of a window, so that credit is not held up for long.
const GROUP_SAMPLES: u32 = 8;
const GROUP_BYTES: usize = 4096;

impl Flight {
    pub(crate) fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// The last sample that was sent and is not confirmed.
    pub(crate) fn last_seq(&self) -> Option<u64> {
        self.groups.back().map(|group| group.last_seq)
    }

    /// May a sample of this length follow?
    pub(crate) fn has_room(&self, window: Window, payload: usize) -> bool {
        self.samples == 0
            || self.samples < window.samples && self.bytes + payload <= window.bytes as usize
    }

    pub(crate) fn samples(&self) -> u32 {
        self.samples
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn add(&mut self, seq: u64, bytes: usize) {
        self.add_all(seq, 1, bytes);
    }

    /// Several samples at once, which count until the last is confirmed.
    pub(crate) fn add_all(&mut self, last_seq: u64, samples: u32, bytes: usize) {
        self.samples += samples;
        self.bytes += bytes;
        match self.groups.back_mut() {
            Some(group) if group.samples < GROUP_SAMPLES && group.bytes < GROUP_BYTES => {
                group.last_seq = last_seq;
                group.samples += samples;
                group.bytes += bytes;
            }
            _ => self.groups.push_back(Group { last_seq, samples, bytes }),
        }
    }

    /// All up to here is confirmed.
    pub(crate) fn release(&mut self, confirmed: u64) {
        while let Some(group) = self.groups.front()
            && group.last_seq <= confirmed
        {
            self.samples -= group.samples;
            self.bytes -= group.bytes;
            self.groups.pop_front();
        }
    }
}
