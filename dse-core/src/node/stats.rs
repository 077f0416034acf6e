//! What a node counts.

/// Declares [`Stats`]: each counter's name on the bus is its field's name.
macro_rules! stats {
    ($($(#[$meta:meta])* $name:ident)*) => {
        /// A node's counters since its start, and what it holds now.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$meta])* pub $name: u64,)*
        }

        impl Stats {
            /// All by name, as they go over the bus.
            pub fn counters(&self) -> Vec<(Box<str>, u64)> {
                vec![$((stringify!($name).into(), self.$name)),*]
            }
        }
    };
}

stats! {
    /// Control messages sent.
    control_messages_sent
    /// Control messages received.
    control_messages_received
    /// Bytes of control messages sent, probes and framing not counted.
    control_bytes_sent
    /// Bytes of control messages received.
    control_bytes_received
    /// 1 while the control bus waits for a moment in time, 0 while it waits for nothing but
    /// input: an idle bus does (law L1).
    control_timers
    /// Samples sent, one for each link that a sample went to.
    samples_sent
    /// Samples received over links.
    samples_received
    /// Bytes of data frames sent.
    data_bytes_sent
    /// Bytes of data frames received.
    data_bytes_received
    /// Gaps reported to subscribers of this node.
    gaps
    /// Samples that publishers of this node dropped for a slow subscriber.
    drops
    /// Times that a subscriber was found stalled.
    stalls
    /// Control messages of kinds that this version does not know.
    unknown_messages
    /// What was skipped inside control messages because this version does not know it: tags,
    /// numbers of kinds, reasons, roles, scopes and classes, bits of flags and features.
    unknown_fields
    /// Links closed because the peer broke the protocol.
    faults
    /// Peers refused, and messages of strangers dropped.
    refused
    /// Links that stand now, open or not yet.
    links
    /// Members with an open link now.
    peers
    /// Guests with an open link now.
    guests
}
