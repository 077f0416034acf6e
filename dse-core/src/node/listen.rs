//! Taking links from others: one task a listener.

use tokio::sync::mpsc;

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
    /// No more links come.
    Ended { endpoints: Vec<Endpoint>, error: TransportError },
}

/// Accepts until the listener ends or nobody listens to it.
pub(super) async fn listen(
    transport: &'static str,
    mut listener: Box<dyn Listener>,
    accepted: mpsc::Sender<Accepted>,
) {
    loop {
        let told = match listener.accept().await {
            Ok(link) => accepted.send(Accepted::Link { link, transport }).await,
            Err(error @ TransportError::Closed(_)) => {
                let endpoints = listener.endpoints();
                // Without a control task nobody needs to know.
                let _ = accepted.send(Accepted::Ended { endpoints, error }).await;
                return;
            }
            Err(error) => {
                tokio::time::sleep(REST_AFTER_REFUSAL).await;
                accepted.send(Accepted::Refused(error)).await
            }
        };
        if told.is_err() {
            return;
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
                self.notice(Notice::PeerRefused { remote, node: None, why });
            }
            Accepted::Ended { endpoints, error } => {
                tracing::warn!(?endpoints, %error, "a listener ended");
                self.notice(Notice::ListenerEnded { endpoints, why: error.to_string() });
            }
        }
    }
}
