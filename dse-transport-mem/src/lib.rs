//! The mem transport of DSE: nodes of one process, over bounded queues in memory.
//!
//! Frames pass by reference, so a payload that was published is the very memory that
//! the subscriber gets. Nodes find each other by name within a [`MemScope`]: nodes of
//! two scopes never meet, so tests that run side by side each take their own.
//!
//! Endpoints are `mem://name`. Listening at `mem://*` takes a name that is free.
#![forbid(unsafe_code)]

mod lane;
mod queue;
mod scope;

use std::time::Duration;

use async_trait::async_trait;
use dse_core::protocol::Endpoint;
use dse_core::transport::{Capabilities, Link, Listener, Transport, TransportError};
use tokio::sync::mpsc;

pub use scope::MemScope;
use scope::Registration;

const SCHEME: &str = "mem";
/// Stands for any free name.
const ANY: &str = "*";
/// How many links wait to be accepted.
const BACKLOG: usize = 128;
/// How long a dialler waits for a place in the backlog.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Links nodes that share a [`MemScope`].
#[derive(Clone, Debug)]
pub struct MemTransport {
    scope: MemScope,
}

impl MemTransport {
    /// A transport within a scope.
    pub fn new(scope: &MemScope) -> Self {
        Self { scope: scope.clone() }
    }
}

#[async_trait]
impl Transport for MemTransport {
    fn capabilities(&self) -> Capabilities {
        Capabilities { scheme: SCHEME, authenticated: false, encrypted: true, zero_copy: true }
    }

    async fn bind(&self, endpoint: &Endpoint) -> Result<Box<dyn Listener>, TransportError> {
        let failed = |why: String| TransportError::Bind { endpoint: endpoint.clone(), why };
        let (backlog, accepted) = mpsc::channel(BACKLOG);
        let registration = if is_any(endpoint)? {
            self.scope.register_any(&backlog).map_err(|error| failed(error.to_string()))?
        } else {
            self.scope.register(endpoint, backlog).ok_or_else(|| {
                failed("that name is taken; choose another, or mem://* for any".into())
            })?
        };
        Ok(Box::new(MemListener { registration, accepted }))
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Link, TransportError> {
        if is_any(endpoint)? {
            return Err(TransportError::InvalidEndpoint {
                endpoint: endpoint.clone(),
                why: "mem://* stands for any free name and can only be listened at".into(),
            });
        }
        let failed =
            |why: &str| TransportError::Connect { endpoint: endpoint.clone(), why: why.into() };
        let backlog = self.scope.find(endpoint).ok_or_else(|| failed("nobody listens there"))?;
        let place = tokio::time::timeout(CONNECT_TIMEOUT, backlog.reserve()).await;
        let place = place
            .map_err(|_| failed("it accepts no links"))?
            .map_err(|_| failed("nobody listens there any more"))?;
        let (near, far) = lane::pair(endpoint.as_str());
        place.send(far);
        Ok(near)
    }
}

/// A name that others can connect to.
#[derive(Debug)]
struct MemListener {
    registration: Registration,
    accepted: mpsc::Receiver<Link>,
}

#[async_trait]
impl Listener for MemListener {
    fn endpoints(&self) -> Vec<Endpoint> {
        vec![self.registration.endpoint().clone()]
    }

    async fn accept(&mut self) -> Result<Link, TransportError> {
        // The scope holds the other end as long as the registration lives.
        let closed = || TransportError::Closed("the listener".into());
        self.accepted.recv().await.ok_or_else(closed)
    }
}

/// Does the endpoint stand for any free name?
fn is_any(endpoint: &Endpoint) -> Result<bool, TransportError> {
    let invalid =
        |why: &str| TransportError::InvalidEndpoint { endpoint: endpoint.clone(), why: why.into() };
    if endpoint.scheme() != SCHEME {
        return Err(invalid("this transport takes mem:// endpoints only"));
    }
    let name = endpoint.address();
    if name != ANY && name.contains(ANY) {
        return Err(invalid("write mem://name, or mem://* for any name that is free"));
    }
    Ok(name == ANY)
}
