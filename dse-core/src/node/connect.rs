//! Making links to others: one task a dial.

use std::sync::Arc;

use super::limits::DIAL_TIMEOUT;
use super::window::Place;
use crate::protocol::Endpoint;
use crate::transport::{Link, Transport, TransportError};

/// How a dial went.
pub(super) struct Dialled {
    pub(super) transport: &'static str,
    pub(super) outcome: Result<Link, TransportError>,
    pub(super) place: Place,
}

/// Dials an endpoint, for a bounded time.
pub(super) async fn connect(
    transport: Arc<dyn Transport>,
    endpoint: Endpoint,
    place: Place,
) -> Dialled {
    let outcome = tokio::time::timeout(DIAL_TIMEOUT, transport.connect(&endpoint)).await;
    let outcome = outcome.unwrap_or_else(|_| {
        let why = "no answer within 5 s".into();
        Err(TransportError::Connect { endpoint, why })
    });
    Dialled { transport: transport.capabilities().scheme, outcome, place }
}
