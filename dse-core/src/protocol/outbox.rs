//! What the core wants done, in order. Effects are values in this one queue, never
//! callbacks.

use alloc::collections::VecDeque;

use super::ids::LinkId;
use super::io::{Counters, Event, Output};
use super::message::Message;
use super::wire;

#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Output>,
    pub(super) counters: Counters,
}

impl Outbox {
    pub(super) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    pub(super) fn send(&mut self, link: LinkId, message: &Message) {
        let bytes = wire::encode(message);
        self.counters.control_messages_sent += 1;
        self.counters.control_bytes_sent += bytes.len() as u64;
        self.push(Output::Send { link, bytes });
    }

    pub(super) fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }
}
