//! Why a node did not do what it was asked to.

use super::stopped::Stopped;
use super::transports::UnknownScheme;
use crate::protocol::{CommandError, NameError};

/// Why a node did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// A key or key expression is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No transport for an endpoint.
    #[error(transparent)]
    UnknownScheme(#[from] UnknownScheme),
    /// Guests are told of no index.
    #[error("a guest holds no directory; ask the bus with a request, or join as a member")]
    Guest,
    /// As many requests of this node are out as it may have at a time.
    #[error("{limit} requests of this node are out, the most there may be; wait for some of them")]
    TooManyRequests {
        /// The limit.
        limit: usize,
    },
    /// The control bus does not carry it out.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// The node does no more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}
