//! What a subscriber is told beside samples: gaps, and what became of a source.

use std::fmt;

use dse_core::node::{Delivery, SkipReason};
use dse_core::protocol::{Incarnation, Key, NodeId};
use serde::Serialize;

/// A remark, as JSON (`{"event":"gap",...}`) and, displayed, in words.
#[derive(Clone, Debug, Serialize)]
pub struct Remark<'a> {
    #[serde(flatten)]
    event: Event,
    key: &'a Key,
    node: &'a NodeId,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Gap { from_seq: u64, to_seq: u64, reason: Reason },
    GapOpen { from_seq: u64, reason: Reason },
    Restarted { incarnation: Incarnation },
    Ended,
    Left,
    Lost,
    Back,
    Unsupported,
}

/// Why samples do not come.
#[derive(Clone, Copy, Debug)]
struct Reason(SkipReason);

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'a> Remark<'a> {
    /// What a delivery tells; none if it is a sample.
    pub fn of(delivery: &'a Delivery) -> Option<Self> {
        let event = match *delivery {
            Delivery::Gap { from_seq, to_seq: Some(to_seq), reason, .. } => {
                Event::Gap { from_seq, to_seq, reason: Reason(reason) }
            }
            Delivery::Gap { from_seq, to_seq: None, reason, .. } => {
                Event::GapOpen { from_seq, reason: Reason(reason) }
            }
            Delivery::Restarted { ref origin } => {
                Event::Restarted { incarnation: origin.incarnation }
            }
            Delivery::Ended { .. } => Event::Ended,
            Delivery::Left { .. } => Event::Left,
            Delivery::Lost { .. } => Event::Lost,
            Delivery::Back { .. } => Event::Back,
            Delivery::Unsupported { .. } => Event::Unsupported,
            _ => return None,
        };
        let origin = delivery.origin();
        Some(Self { event, key: &origin.key, node: &origin.node })
    }

    /// Appends it as one line of JSON.
    pub fn append_json(&self, line: &mut Vec<u8>) {
        // Writing to memory what holds no map with odd keys cannot fail.
        if serde_json::to_writer(&mut *line, self).is_ok() {
            line.push(b'\n');
        }
    }
}

impl fmt::Display for Remark<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, key, node } = self;
        write!(f, "{key} of {node}")?;
        match event {
            Event::Gap { from_seq, to_seq, reason } if from_seq == to_seq => {
                write!(f, ": sample {from_seq} is lost, {reason}")
            }
            Event::Gap { from_seq, to_seq, reason } => {
                write!(f, ": samples {from_seq} to {to_seq} are lost, {reason}")
            }
            Event::GapOpen { from_seq, reason } => {
                write!(f, ": samples are being lost from {from_seq} on, {reason}")
            }
            Event::Restarted { .. } => f.write_str(" began anew: its node was restarted"),
            Event::Ended => f.write_str(" has ended"),
            Event::Left => f.write_str(": its node has left the bus; what it published is stale"),
            Event::Lost => {
                f.write_str(": the link to its node is lost; what it published may be stale")
            }
            Event::Back => f.write_str(" is back"),
            Event::Unsupported => {
                f.write_str(" cannot be followed by this version; use a newer dse-node")
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            SkipReason::Policy => "dropped by its publisher as this subscriber is slower",
            SkipReason::Wish => "left out as this subscriber asked",
            SkipReason::Superseded => "as newer values took their place",
            SkipReason::Stalled => "as this subscriber took nothing and was waited for no longer",
            SkipReason::Expired => "as their lifetime was over",
            SkipReason::Evicted => "as there was no room for them",
            SkipReason::Lost => "as the link fell",
            other => return write!(f, "for a reason that this version does not know ({other})"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dse_core::node::Origin;
    use dse_core::protocol::Kind;

    use super::*;

    fn told(delivery: &Delivery) -> (String, String) {
        let remark = Remark::of(delivery).expect("a remark");
        let mut line = Vec::new();
        remark.append_json(&mut line);
        (remark.to_string(), String::from_utf8(line).expect("JSON"))
    }

    #[test]
    fn remarks_name_key_and_node_and_gaps_their_numbers() {
        let (node, key) = (NodeId::new("a").expect("valid"), Key::new("x/y").expect("valid"));
        let origin = Arc::new(Origin::new(node, key, Incarnation(7), Kind::Stream, "text/plain"));
        let gap = |to_seq| Delivery::Gap {
            origin: Arc::clone(&origin),
            from_seq: 3,
            to_seq,
            reason: SkipReason::Stalled,
        };
        let (text, json) = told(&gap(Some(5)));
        assert!(text.starts_with("x/y of a: samples 3 to 5 are lost, as"), "{text}");
        let expected = "{\"event\":\"gap\",\"from_seq\":3,\"to_seq\":5,\"reason\":\"stalled\",\"key\":\"x/y\",\"node\":\"a\"}\n";
        assert_eq!(json, expected);
        assert!(told(&gap(Some(3))).0.contains("sample 3 is lost"));
        let (text, json) = told(&gap(None));
        assert!(text.contains("from 3 on"), "{text}");
        assert!(json.starts_with("{\"event\":\"gap_open\",\"from_seq\":3,\"reason\""), "{json}");
        let (_, json) = told(&Delivery::Restarted { origin: Arc::clone(&origin) });
        assert_eq!(
            json,
            "{\"event\":\"restarted\",\"incarnation\":7,\"key\":\"x/y\",\"node\":\"a\"}\n"
        );
        let (text, json) = told(&Delivery::Lost { origin });
        assert!(text.contains("may be stale"), "{text}");
        assert_eq!(json, "{\"event\":\"lost\",\"key\":\"x/y\",\"node\":\"a\"}\n");
    }
}
