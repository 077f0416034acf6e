//! The transports of a node, by the schemes of their endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::protocol::Endpoint;
use crate::transport::Transport;

/// One transport for each scheme.
#[derive(Clone, Default)]
pub(super) struct Transports {
    by_scheme: BTreeMap<&'static str, Arc<dyn Transport>>,
}

/// No transport of this node has the endpoint's scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no transport for {endpoint}: this node has {schemes}; use an endpoint of one of these")]
pub struct UnknownScheme {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The schemes there are, such as `quic://, zmq://`.
    pub schemes: String,
}

impl Transports {
    /// Adds one; the one that had its scheme before is handed back.
    pub(super) fn add(&mut self, transport: Arc<dyn Transport>) -> Option<Arc<dyn Transport>> {
        self.by_scheme.insert(transport.capabilities().scheme, transport)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_scheme.is_empty()
    }

    pub(super) fn schemes(&self) -> impl Iterator<Item = &'static str> {
        self.by_scheme.keys().copied()
    }

    /// Messages of strangers that were dropped.
    pub(super) fn strays(&self) -> u64 {
        self.by_scheme.values().map(|transport| transport.strays()).sum()
    }

    pub(super) fn of(&self, endpoint: &Endpoint) -> Result<&Arc<dyn Transport>, UnknownScheme> {
        self.by_scheme.get(endpoint.scheme()).ok_or_else(|| UnknownScheme {
            endpoint: endpoint.clone(),
            schemes: self.schemes().map(|it| format!("{it}://")).collect::<Vec<_>>().join(", "),
        })
    }
}
