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
    pub(crate) ends: Ends,
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

/// Where the two ends are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Each in a process of its own, on a tokio runtime as an application has it: a worker
    /// for each core.
    Processes,
    /// In one process, each on a thread of its own with a runtime of its own.
    Threads,
    /// As tasks on the one thread of one runtime: nothing is waited for but work.
    OneThread,
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
    /// Does both.
    Both,
    /// Publishes without end, for what a stopped subscriber does to another.
    Publisher,
    /// Subscribes at the publisher, and does as it is told.
    Subscriber { name: String, peer: String },
}

impl Transport {
    /// Where its ends are measured: as far apart as it reaches, and mem at its nearest too.
    pub(crate) fn ends(self) -> &'static [Ends] {
        match self {
            Self::Mem => &[Ends::Threads, Ends::OneThread],
            Self::Zmq | Self::Quic => &[Ends::Processes],
        }
    }
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

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Processes => "2-processes",
            Self::Threads => "2-threads",
            Self::OneThread => "1-thread",
        })
    }
}

impl FromStr for Ends {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "2-processes" => Ok(Self::Processes),
            "2-threads" => Ok(Self::Threads),
            "1-thread" => Ok(Self::OneThread),
            other => Err(format!("{other}: use 2-processes, 2-threads or 1-thread")),
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
