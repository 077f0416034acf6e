//! Who listens under which name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dse_core::protocol::{Endpoint, NameError};
use dse_core::transport::Link;
use tokio::sync::mpsc;

use crate::SCHEME;

/// A set of names: nodes reach those, and only those, that share it. Clones are the
/// same scope.
#[derive(Clone, Debug, Default)]
pub struct MemScope {
    names: Arc<Mutex<Names>>,
}

#[derive(Debug, Default)]
struct Names {
    listening: BTreeMap<Endpoint, mpsc::Sender<Link>>,
    /// The last number that was part of a name given by this scope.
    given: u64,
}

impl MemScope {
    /// A scope that nobody else has.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an endpoint. None if it is taken.
    pub(crate) fn register(
        &self,
        endpoint: &Endpoint,
        backlog: mpsc::Sender<Link>,
    ) -> Option<Registration> {
        let mut names = self.names();
        if names.listening.contains_key(endpoint) {
            return None;
        }
        names.listening.insert(endpoint.clone(), backlog);
        Some(Registration { scope: self.clone(), endpoint: endpoint.clone() })
    }

    /// Takes an endpoint that nobody has.
    pub(crate) fn register_any(
        &self,
        backlog: &mpsc::Sender<Link>,
    ) -> Result<Registration, NameError> {
        loop {
            let number = {
                let mut names = self.names();
                names.given += 1;
                names.given
            };
            let endpoint = Endpoint::new(format!("{SCHEME}://any-{number}"))?;
            if let Some(registration) = self.register(&endpoint, backlog.clone()) {
                return Ok(registration);
            }
        }
    }

    pub(crate) fn find(&self, endpoint: &Endpoint) -> Option<mpsc::Sender<Link>> {
        self.names().listening.get(endpoint).cloned()
    }

    /// Every change of the names is one call on the map, so a panic elsewhere cannot
    /// have left them broken.
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A taken name; free again when dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    scope: MemScope,
    endpoint: Endpoint,
}

impl Registration {
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.scope.names().listening.remove(&self.endpoint);
    }
}
