//! SWIM-style gossip that carries the same news, simulated message by message.
//!
//! After Das, Gupta and Motivala, "SWIM: Scalable Weakly-consistent Infection-style
//! Process Group Membership Protocol" (DSN 2002): each node probes one other a second, in
//! the order of a shuffled list (§4.3), asks three others to probe it where no answer
//! comes within half a second, then suspects it (§4.2) and after a time that grows with
//! log(n) declares it dead. News travels on the back of probes and answers (§4.1), each
//! node passing each piece on lambda * log(n) times, least passed on first. What the
//! paper leaves open follows memberlist, its best known implementation
//! (github.com/hashicorp/memberlist, `DefaultLANConfig`): besides the probes each node
//! gossips to three others every 200 ms while it has news, in packets of 1400 bytes;
//! a newcomer exchanges the whole state with each seed; each node does so with a random
//! other every 30 s, more seldom beyond 32 nodes.
//!
//! In its favour: no packet is lost, no headers are counted, what is learned by an
//! exchange of states alone is not gossiped again (memberlist does), and a change travels
//! as its delta.
//! A step's messages are those sent until all know and nobody has news to pass on,
//! probes included.

mod agenda;
mod node;
mod run;

pub use run::measure;

use super::shape::SECOND_NS;

/// Each node probes one other so often.
const PROBE_PERIOD_NS: u64 = SECOND_NS;
/// A probe that is not answered by then goes over others.
const PROBE_TIMEOUT_NS: u64 = SECOND_NS / 2;
/// How many others are asked to probe.
const INDIRECT_PROBES: usize = 3;
/// Each node with news gossips so often.
const GOSSIP_PERIOD_NS: u64 = SECOND_NS / 5;
/// To so many others.
const GOSSIP_TO: usize = 3;
/// Most bytes of a packet.
const PACKET_BYTES: u64 = 1400;
/// lambda: how often a piece of news is passed on, times log10(n + 1) rounded up.
const RETRANSMIT: f64 = 4.0;
/// How many probe periods a suspected node has to object, times log10(n).
const SUSPICION: f64 = 4.0;
/// How often a node exchanges its whole state, with up to 32 nodes.
const EXCHANGE_PERIOD_NS: u64 = 30 * SECOND_NS;
/// Beyond so many nodes, the exchanges grow more seldom with each doubling.
const EXCHANGE_SCALES_FROM: f64 = 32.0;

/// How often each node passes a piece of news on.
fn retransmissions(nodes: usize) -> u32 {
    (RETRANSMIT * ((nodes + 1) as f64).log10().ceil()) as u32
}

fn suspicion_ns(nodes: usize) -> u64 {
    let factor = (nodes.max(1) as f64).log10().max(1.0);
    (SUSPICION * factor * PROBE_PERIOD_NS as f64) as u64
}

fn exchange_period_ns(nodes: usize) -> u64 {
    if nodes as f64 <= EXCHANGE_SCALES_FROM {
        return EXCHANGE_PERIOD_NS;
    }
    let doublings = ((nodes as f64).log2() - EXCHANGE_SCALES_FROM.log2()).ceil();
    EXCHANGE_PERIOD_NS * (doublings as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that memberlist computes for these sizes.
    #[test]
    fn times_and_counts_grow_with_the_logarithm() {
        assert_eq!([9, 10, 99, 100, 1000].map(retransmissions), [4, 8, 8, 12, 16]);
        assert_eq!([5, 10, 100, 1000].map(|n| suspicion_ns(n) / SECOND_NS), [4, 4, 8, 12]);
        let exchange = [10, 32, 33, 100, 1000].map(|n| exchange_period_ns(n) / SECOND_NS);
        assert_eq!(exchange, [30, 30, 60, 90, 180]);
    }
}
