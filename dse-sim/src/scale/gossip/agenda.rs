//! What is to happen, in order of time and then of when it was planned.

use super::node::{News, Piece};

/// Something that will happen to a life of a node.
pub(super) struct Due {
    pub(super) at: u64,
    pub(super) turn: u64,
    pub(super) node: usize,
    pub(super) life: u32,
    pub(super) what: Happening,
}

pub(super) enum Happening {
    Start,
    Join,
    Gossip,
    Probe,
    /// The present probe has not been answered directly in time.
    ProbeLate {
        target: usize,
        answers: u64,
    },
    ProbeOver {
        target: usize,
        answers: u64,
    },
    SuspicionOver {
        target: usize,
        incarnation: u32,
    },
    Exchange,
    Packet {
        from: usize,
        packet: Packet,
        news: Vec<Piece>,
    },
}

/// What a packet is, beside the news on its back.
#[derive(Clone)]
pub(super) enum Packet {
    Ping { asker: usize },
    PingRequest { target: usize },
    Ack { asker: usize },
    Gossip,
    State { state: Vec<Option<News>>, reply: bool },
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.turn).cmp(&(other.at, other.turn))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}
