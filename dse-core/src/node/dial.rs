//! Dialling: one task a dial.

use super::driver::Driver;
use super::limits::DIAL_TIMEOUT;
use crate::protocol::{DialId, Endpoint, Input};
use crate::transport::{Link, TransportError};

/// How a dial went.
pub(super) struct Dialled {
    dial: DialId,
    transport: &'static str,
    outcome: Result<Link, TransportError>,
}

impl Driver {
    /// Connects in a task of its own; the outcome comes back as an input.
    pub(super) fn dial(&mut self, dial: DialId, endpoint: Endpoint) {
        let transport = match self.transports.of(&endpoint) {
            Ok(transport) => transport.clone(),
            Err(error) => {
                let error = error.to_string();
                return self.follow_ups.push_back(Input::ConnectFailed { dial, error });
            }
        };
        self.dials.spawn(async move {
            let outcome = tokio::time::timeout(DIAL_TIMEOUT, transport.connect(&endpoint)).await;
            let outcome = outcome.unwrap_or_else(|_| {
                let why = "no answer within 5 s".into();
                Err(TransportError::Connect { endpoint, why })
            });
            Dialled { dial, transport: transport.capabilities().scheme, outcome }
        });
    }

    pub(super) fn dialled(&mut self, dialled: Dialled) {
        let Dialled { dial, transport, outcome } = dialled;
        match outcome {
            Ok(link) => self.link_up(link, transport, Some(dial)),
            Err(error) => self.feed(Input::ConnectFailed { dial, error: error.to_string() }),
        }
    }
}
