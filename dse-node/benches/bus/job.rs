//! What one pair of processes measures.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// One measurement.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) subject: Subject,
    pub(crate) transport: Transport,
    pub(crate) measure: Measure,
    /// For how long the sender sends.
    pub(crate) time: Duration,
    /// A private folder for sockets and certificates.
    pub(crate) folder: PathBuf,
}

/// Which of the two is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Bus,
    Bare,
}

/// Over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Mem,
    Zmq,
    Quic,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// How many payloads of so many bytes arrive in a second.
    Throughput { payload: usize },
    /// How long 64 bytes take there and back.
    RoundTrip,
}

/// A process's part in the measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Listens, and takes samples or sends pings back.
    Receiver,
    /// Connects to the receiver, and sends.
    Sender { peer: String },
    /// Does both: mem has one process.
    Both,
}

/// The payload of a round trip, in bytes.
pub(crate) const PING_BYTES: usize = 64;

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bus => "bus",
            Self::Bare => "bare",
        })
    }
}

impl FromStr for Subject {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bus" => Ok(Self::Bus),
            "bare" => Ok(Self::Bare),
            other => Err(format!("{other}: use bus or bare")),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mem => "mem",
            Self::Zmq => "zmq",
            Self::Quic => "quic",
        })
    }
}

impl FromStr for Transport {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mem" => Ok(Self::Mem),
            "zmq" => Ok(Self::Zmq),
            "quic" => Ok(Self::Quic),
            other => Err(format!("{other}: use mem, zmq or quic")),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throughput { payload } => payload.fmt(f),
            Self::RoundTrip => f.write_str("ping"),
        }
    }
}

impl FromStr for Measure {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("ping", _) => Ok(Self::RoundTrip),
            (_, Ok(payload)) => Ok(Self::Throughput { payload }),
            (other, Err(_)) => Err(format!("{other}: use a number of bytes or ping")),
        }
    }
}
