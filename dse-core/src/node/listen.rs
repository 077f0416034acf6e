//! Taking links from others: one task a listener.

use tokio::sync::mpsc;
use tokio::task::JoinError;

use super::driver::Driver;
use super::limits::REST_AFTER_REFUSAL;
use super::notices::Notice;
use crate::protocol::Endpoint;
use crate::transport::{Link, Listener, TransportError};

/// What a listener tells the control task.
#[derive(Debug)]
pub(super) enum Accepted {
    /// A link stands.
    Link { link: Link, transport: &'static str },
    /// One peer was refused.
    Refused(TransportError),
}

/// Accepts until the listener ends, and tells why, or until nobody listens to it.
pub(super) async fn listen(
    transport: &'static str,
    mut listener: Box<dyn Listener>,
    accepted: mpsc::Sender<Accepted>,
) -> Option<TransportError> {
    loop {
        let told = match listener.accept().await {
            Ok(link) => accepted.send(Accepted::Link { link, transport }).await,
            Err(error @ TransportError::Closed(_)) => return Some(error),
            Err(error) => {
                tokio::time::sleep(REST_AFTER_REFUSAL).await;
                accepted.send(Accepted::Refused(error)).await
            }
        };
        if told.is_err() {
            return None;
        }
    }
}

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
