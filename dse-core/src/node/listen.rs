//! Taking links from others: one task a listener.

use tokio::sync::mpsc;

use super::limits::REST_AFTER_REFUSAL;
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
