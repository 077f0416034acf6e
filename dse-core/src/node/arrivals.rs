//! Links that others made, and listeners that ended.

use tokio::task::JoinError;

use super::driver::Driver;
use super::listen::Accepted;
use super::notices::Notice;
use crate::protocol::Endpoint;
use crate::transport::TransportError;

impl Driver {
    pub(super) fn accepted(&mut self, accepted: Accepted) {
        match accepted {
            Accepted::Link { link, transport } => self.link_up(link, transport, None),
            Accepted::Refused(error) => {
                let (remote, why) = match error {
                    TransportError::Refused { peer, why } => (peer, why),
                    other => ("a peer".into(), other.to_string()),
                };
                tracing::debug!(%remote, %why, "refused");
                self.refused += 1;
                self.notice(Notice::PeerRefused { remote, node: None, why });
            }
        }
    }

    pub(super) fn listener_ended(
        &mut self,
        endpoints: Vec<Endpoint>,
        ended: Result<Option<TransportError>, JoinError>,
    ) {
        let why = match ended {
            Ok(Some(error)) => error.to_string(),
            Ok(None) => return,
            Err(panicked) => format!("the transport did not survive: {panicked}"),
        };
        tracing::warn!(?endpoints, why, "a listener ended");
        self.notice(Notice::ListenerEnded { endpoints, why });
    }
}
