//! The data lane: frames of records (PROTOCOL.md §9).
//!
//! A frame is a `head` of encoded records and a `body` of payloads in the order of
//! the head's samples. Transports that write bytes put the two behind each other;
//! the in-memory transport passes the frame as it is, so payloads stay shared.

mod frame;
mod record;

pub use frame::{Body, DataFrame, FrameError, FrameWriter, Records};
pub use record::{Begin, Credit, End, EndReason, Record, Sample, Skip};
