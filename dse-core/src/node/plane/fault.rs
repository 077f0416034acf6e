//! Why a data lane cannot go on.

use super::limits::ANSWERS;
use crate::data::SequenceFault;
use crate::data::limits::HEAD_BYTES;
use crate::data::receive::ReceiveError;
use crate::protocol::LinkId;
use crate::transport::TransportError;

/// A link on which the data lane cannot go on: to be closed. Told once for each link.
#[derive(Debug)]
pub struct LinkFault {
    /// Which.
    pub link: LinkId,
    /// Why.
    pub error: LaneError,
}

/// Why a data lane cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaneError {
    /// The transport says so.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The peer sent what cannot be read or cannot be true.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// The peer put more records into a frame than a reader may be kept busy with.
    #[error("the peer sent a data frame with a head of {len} bytes; {HEAD_BYTES} is the most")]
    HeadTooLong {
        /// Its length, in bytes.
        len: usize,
    },
    /// The peer begins sequences anew and reads no answers.
    #[error("the peer reads none of {ANSWERS} answers")]
    Answers,
    /// A task of the link panicked.
    #[error("a task of the link panicked: {0}")]
    Panicked(String),
}

impl From<SequenceFault> for LaneError {
    fn from(fault: SequenceFault) -> Self {
        ReceiveError::Fault(fault).into()
    }
}
