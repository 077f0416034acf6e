//! Taking links from others: one task a listener.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::protocol::Endpoint;
use crate::transport::{Link, Listener, TransportError};

/// Links that wait for the control task before a listener waits, too.
pub(super) const ACCEPTED_QUEUED: usize = 16;

/// How long a listener rests after it refused a peer, so that a flood of bad ones
/// fills neither the processor nor the log.
const REST_AFTER_REFUSAL: Duration = Duration::from_millis(10);

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
