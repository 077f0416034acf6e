//! The mem transport passes the conformance suite.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use dse_core::conformance::{Harness, Silenceable};
use dse_core::protocol::Endpoint;
use dse_core::transport::Transport;
use dse_transport_mem::{MemScope, MemTransport};

struct MemHarness(MemScope);

#[async_trait]
impl Harness for MemHarness {
    async fn start() -> Self {
        Self(MemScope::new())
    }

    fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(MemTransport::new(&self.0))
    }

    fn any_endpoint(&self) -> Endpoint {
        Endpoint::new("mem://*").expect("well written")
    }

    fn deserted_endpoint(&self) -> Endpoint {
        Endpoint::new("mem://nobody").expect("well written")
    }

    /// There is no way between two ends that share memory.
    async fn silenceable(&self) -> Option<Silenceable> {
        None
    }

    /// Only links are handed to a listener, never bytes.
    async fn intrude(&self, _at: &Endpoint, _bytes: &[u8]) -> Option<Box<dyn Any + Send>> {
        None
    }
}

dse_core::conformance_tests!(MemHarness);
