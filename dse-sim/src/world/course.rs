//! The course of a world as one number: two worlds have the same if all that nodes were
//! told and all that they sent was the same, to the byte and the nanosecond.

use dse_core::protocol::{Input, LinkId};

use super::World;

/// A hash of all that happened so far. It depends on no machine and no process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course(u64);

impl World {
    /// A number that all depends on which any node was told or sent, and when.
    pub fn course(&self) -> u64 {
        self.course.0
    }

    pub(super) fn note_sent(&mut self, node: usize, link: LinkId, bytes: &[u8]) {
        self.course.add(self.now, node, SENT, link.0, bytes);
    }

    pub(super) fn note_input(&mut self, node: usize, input: &Input) {
        let (now, course) = (self.now, &mut self.course);
        match input {
            Input::Timeout => course.add(now, node, 0, 0, &[]),
            Input::LinkUp { link, dial, identity } => {
                course.add(now, node, 1, link.0, identity.as_deref().unwrap_or("").as_bytes());
                course.word(dial.map_or(u64::MAX, |dial| dial.0));
            }
            Input::ConnectFailed { dial, error } => {
                course.add(now, node, 2, dial.0, error.as_bytes());
            }
            Input::LinkDown { link, error } => course.add(now, node, 3, link.0, error.as_bytes()),
            Input::Message { link, bytes } => course.add(now, node, 4, link.0, bytes),
            Input::Probed { link } => course.add(now, node, 5, link.0, &[]),
            Input::Command(command) => {
                course.add(now, node, 6, 0, format!("{command:?}").as_bytes());
            }
        }
    }
}

impl Course {
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, now: u64, node: usize, what: u64, number: u64, bytes: &[u8]) {
        for word in [now, node as u64, what, number, bytes.len() as u64] {
            self.word(word);
        }
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

const SENT: u64 = 7;
